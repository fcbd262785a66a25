"""Keep the parts running: the library supervisor starts them, restarts them and stops them.

`run` is supervisord itself, in this process. The parts write to `<home>/logs`; one that stops
without being asked is back within two seconds, and `listen` tells a `SystemAlert` about it.
"""

import argparse
import configparser
import contextlib
import ctypes
import fcntl
import http.client
import ipaddress
import logging
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
import xmlrpc.client
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import psutil  # type: ignore[import-untyped]
import supervisor.childutils
import supervisor.loggers
import supervisor.options
import supervisor.supervisord
import supervisor.xmlrpc

from enms_core import telemetry
from enms_core.settings import Settings
from enms_core.store import Store, users
from enms_core.store.alerts import Condition

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
PYTHON = (sys.executable, "-m")
PARTS = {  # each is kept running; the first starts before the others and ends after them
    "broker": (*PYTHON, "enms_core", "broker"),
    "engine": (*PYTHON, "enms_core", "engine"),
    "worker": ("nice", "-n", "10", *PYTHON, "enms_core", "worker"),
    "source": (*PYTHON, "enms_core", "source"),
    "server": (*PYTHON, "panel", "serve"),
}
LISTENER = (*PYTHON, "enms_core", "supervise-listen")
ADDRESS, PORT = "127.0.0.1", 5006
SERVER = {
    "--setup": ROOT / "app" / "startup.py",
    "--plugins": "app.api",
    "--keep-alive": 25_000,
    "--check-unused-sessions": 20_000,
    "--unused-session-lifetime": 120_000,  # above the browser's attempts to reconnect
    "--websocket-compression-level": 6,
}
LOGIN_PAGE = ROOT / "app" / "views" / "templates" / "login.html"
PACE_S = 0.5  # supervisor itself looks after its programs once a second: too slow for two
STOP_WAIT_S = 2  # then SIGKILL, so that nothing is left after five seconds
LONGEST_SOCKET = 90  # bytes; supervisor appends its pid while it binds
OFTEN, WITHIN_S = 3, 60.0  # a part that stops more often than this is failing
STEADY_S = 10.0  # a part that has run for so long after a stop is right again
ALERTS = ("part_restarted", "part_failing")
SUPERVISED_BY = "SUPERVISED_BY"  # variable: the pid of the supervisor, in every part
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h

# startsecs=0: no growing pause between restarts, which supervisor has for parts that never came up
CONFIG = """\
[supervisord]
nodaemon=true
silent=true
nocleanup=true
logfile={home}/logs/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
pidfile={home}/supervisord.pid
childlogdir={home}/logs
{user}

[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[enms]
url={url}

[group:plant]
programs={plant}
priority=10

[eventlistener:listener]
command={listener}
events=PROCESS_STATE_EXITED,PROCESS_STATE_FATAL,TICK_5
autorestart=true
startsecs=0
stopwaitsecs=1
stdout_logfile=NONE
stderr_logfile={logs}/listener.log
stderr_logfile_maxbytes=5MB
stderr_logfile_backups=2
"""
PROGRAM = """
[program:{name}]
command={command}
environment={environment}
priority={priority}
autorestart=true
startsecs=0
startretries=1000000000
exitcodes=
stopasgroup=true
killasgroup=true
stopwaitsecs={stop_wait}
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=2
"""

# supervisor is not typed
_childutils: Any = supervisor.childutils
_loggers: Any = supervisor.loggers
_options: Any = supervisor.options
_supervisord: Any = supervisor.supervisord
_xmlrpc: Any = supervisor.xmlrpc


# How `panel serve` is told who may log in.


@dataclass(frozen=True)
class Part:
    """A program that is kept running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


def run(settings: Settings, server_args: Sequence[str] = ()) -> int:
    """Run the plant until it is told to stop, by Ctrl-C, SIGTERM or SIGHUP; nothing is left then.

    Raise SystemExit, saying why, when a plant runs in this home already or the port is taken, and
    ValueError for server arguments that cannot be.
    """
    if _asks_store(settings, server_args):
        _require_user(settings)
    with _only_one(settings.home):
        _require_free(*_listens_on(server_args))
        os.environ.update(settings.environment() | telemetry.share(settings.home))
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
        )
        return keep(
            settings.home, plant_parts(settings, server_args), LISTENER, server_url(server_args)
        )


def keep(home: Path, parts: Sequence[Part], listener: Sequence[str], url: str = "") -> int:
    """Be the supervisor of some parts, in this process; return its exit code at the end."""
    os.umask(0o077)
    os.environ[SUPERVISED_BY] = str(os.getpid())
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    (home / "logs").mkdir(exist_ok=True)
    with _socket_path(home) as control:
        config = write_config(home, parts, listener, control, url)
        left = _supervise(config)
    _end(left)
    return 0


def write_config(
    home: Path, parts: Sequence[Part], listener: Sequence[str], control: Path, url: str = ""
) -> Path:
    """Write supervisord's configuration, readable by its owner only, and return its path."""
    logs = _value(_value(str(home / "logs")))  # supervisor expands it twice
    text = CONFIG.format(
        logs=logs,
        home=_value(str(home)),
        user="user=0" if os.getuid() == 0 else "",
        socket=_value(str(control)),
        url=_value(url),
        plant=",".join(part.name for part in parts[1:]),
        listener=_value(shlex.join(listener)),
    )
    for part in parts:
        text += PROGRAM.format(
            name=part.name,
            command=_value(shlex.join(part.command)),
            environment=",".join(f'{k}="{_value(v)}"' for k, v in part.environment.items()),
            priority=1 if part is parts[0] else 10,
            stop_wait=STOP_WAIT_S,
            logs=logs,
        )
    return _write_private(home / "supervisord.conf", text)


def plant_parts(settings: Settings, server_args: Sequence[str] = ()) -> list[Part]:
    """Return the parts of a plant, in the order of their start."""
    environment = _server_secrets(settings.home)
    if _asks_store(settings, server_args):
        environment["PANEL_BASIC_AUTH"] = secrets.token_hex(16)  # switches the login on; unused
    server = Part("server", server_command(settings, server_args), environment)
    return [*(Part(name, PARTS[name]) for name in _names(settings)[:-1]), server]


def server_command(settings: Settings, server_args: Sequence[str] = ()) -> list[str]:
    """Return the command of the web server; what the user gives comes last and so wins.

    >>> settings = Settings.from_env({})
    >>> server_command(settings, ["--port", "5010"])[-6:]
    ['--allow-websocket-origin', 'localhost:5010', '--allow-websocket-origin', '127.0.0.1:5010',
     '--port', '5010']
    >>> server_command(settings, ["--address", "0.0.0.0"])
    Traceback (most recent call last):
    ...
    ValueError: ENMS_AUTH is none, so the server may listen on loopback only, not on 0.0.0.0; ...
    """
    address, port = _listens_on(server_args)
    if settings.auth == "none" and not _is_loopback(address):
        raise ValueError(
            f"ENMS_AUTH is none, so the server may listen on loopback only, not on {address}; "
            "set ENMS_AUTH to basic or oauth"
        )
    _require_login(settings, server_args)
    command = [*PARTS["server"], str(ROOT / "app" / "main.py")]
    for option, value in {**SERVER, "--address": ADDRESS, "--port": PORT}.items():
        command += [option, str(value)]
    if settings.auth == "basic" and not _has_option("--basic-login-template", server_args):
        command += ["--basic-login-template", str(LOGIN_PAGE)]
    if not _has_option("--allow-websocket-origin", server_args):
        for name in _names_of_host(address):
            command += ["--allow-websocket-origin", f"{name}:{port}"]
    return [*command, *server_args]


def _require_login(settings: Settings, server_args: Sequence[str]) -> None:
    """Raise ValueError unless the server is told how people log in, where they must."""
    if settings.auth == "oauth" and not _has_option("--oauth-provider", server_args):
        raise ValueError(
            "ENMS_AUTH is oauth; say who vouches: ./panel_serve.sh --oauth-provider generic ..."
        )


def _require_user(settings: Settings) -> None:
    """Raise SystemExit where people log in with a password and nobody has one."""
    store = Store(settings.database_url).migrate()
    with store.read() as connection:
        has_one = any(user.has_password for user in users.listed(connection))
    store.dispose()
    if not has_one:
        raise SystemExit(
            "ENMS_AUTH is basic and nobody can log in. Add somebody: "
            "enms user add NAME --role admin"
        )


def _asks_store(settings: Settings, server_args: Sequence[str]) -> bool:
    """Whether passwords are checked against the store's users, not against a file for Panel."""
    return settings.auth == "basic" and not _has_option("--basic-auth", server_args)


def _has_option(option: str, args: Sequence[str]) -> bool:
    return any(arg.split("=")[0] == option for arg in args)


def server_url(server_args: Sequence[str] = ()) -> str:
    """Return the address that a browser on this machine opens.

    >>> server_url(["--port=5010", "--address", "0.0.0.0"])
    'http://localhost:5010'
    """
    address, port = _listens_on(server_args)
    secure = any(arg.split("=")[0] == "--ssl-certfile" for arg in server_args)
    return f"http{'s' if secure else ''}://{_names_of_host(address)[0]}:{port}"


def running_url(settings: Settings) -> str | None:
    """Return the address of the server that runs in this home, None when none does."""
    if not any(parts(settings).values()):
        return None
    return _read_config(settings.home).get("enms", "url", fallback=None)


def parts(settings: Settings) -> dict[str, int | None]:
    """Return the pid of every part; None for one that does not run."""
    running = _running(settings.home)
    return {name: running.get(name) for name in _names(settings)}


def die_with_parent() -> None:
    """End this process at once when the process that started it ends, however that ends.

    Does nothing outside a supervised plant, and nothing on systems other than Linux.
    """
    boss = os.environ.get(SUPERVISED_BY)
    if boss is None:
        return
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if not psutil.pid_exists(int(boss)):  # it ended before we asked
        os.kill(os.getpid(), signal.SIGKILL)


def listen(
    tell: Callable[[list[Condition]], None],
    stdin: TextIO,
    stdout: TextIO,
    *,
    retry_on: tuple[type[Exception], ...] = (OSError,),
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Tell what is wrong with the parts, whenever that changes, until stdin ends.

    What could not be told, because `tell` raised one of `retry_on`, is told at the next event;
    supervisord sends one every five seconds.
    """
    judge, told = _Judge(clock), None
    for name, data in _events(stdin, stdout):
        judge.take(name, data)
        wrong = judge.wrong()
        if wrong == told:
            continue
        try:
            tell(wrong)
            told = wrong
        except retry_on as error:
            log.warning("what is wrong with the parts waits to be told: %s", error)


class _Judge:
    """Turns what supervisord tells into what is wrong now; a part that fails stays one alert."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stops: defaultdict[str, deque[float]] = defaultdict(deque)
        self._wrong: dict[str, Condition] = {}

    def take(self, event: str, data: Mapping[str, str]) -> None:
        part = data.get("processname", "")
        if event == "PROCESS_STATE_FATAL":
            self._stops[part].append(self._clock())
            self._wrong[part] = _failing(part, f"The {part} cannot be started")
        if event == "PROCESS_STATE_EXITED" and data["expected"] != "1":
            self._stop(part)

    def wrong(self) -> list[Condition]:
        """Return what is wrong now: a part that has run for a while is right again."""
        now = self._clock()
        for part in list(self._wrong):
            is_failing = self._wrong[part].alert_type == "part_failing"
            if now - self._stops[part][-1] >= (WITHIN_S if is_failing else STEADY_S):
                del self._wrong[part]
        return list(self._wrong.values())

    def _stop(self, part: str) -> None:
        stops, now = self._stops[part], self._clock()
        stops.append(now)
        while stops[0] < now - WITHIN_S:
            stops.popleft()
        if len(stops) > OFTEN:
            self._wrong[part] = _failing(part, f"The {part} stops again and again")
        elif part not in self._wrong:
            self._wrong[part] = Condition(
                alert_type="part_restarted",
                subject=part,
                severity="warning",
                message=f"The {part} stopped unexpectedly; it is being started again.",
                over=f"The {part} runs again.",
                details={"part": part},
            )


def _failing(part: str, what: str) -> Condition:
    return Condition(
        alert_type="part_failing",
        subject=part,
        severity="critical",
        message=f"{what}; logs/{part}.log in ENMS_HOME says why.",
        over=f"The {part} has been running for a minute.",
        details={"part": part},
    )


def _events(stdin: TextIO, stdout: TextIO) -> Iterator[tuple[str, dict[str, str]]]:
    """Speak supervisor's protocol for listeners; acknowledge an event when the next is asked."""
    while True:
        _childutils.listener.ready(stdout)
        line = stdin.readline()
        if not line:
            return
        headers = _childutils.get_headers(line)
        payload = stdin.read(int(headers["len"]))
        yield headers["eventname"], _childutils.get_headers(payload)
        _childutils.listener.ok(stdout)


def _names(settings: Settings) -> list[str]:
    return [name for name in PARTS if name != "source" or settings.source != "none"]


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Hold the home's lock; the kernel lets go of it however this process ends."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "supervisor.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise SystemExit(
                f"A plant runs in {home} already (pid {lock.read().strip()}). Stop it first, or "
                "set ENMS_HOME to another folder."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _require_free(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise SystemExit(
                f"The server cannot listen on {address}:{port} ({error.strerror}). Choose another "
                f"port: ./panel_serve.sh --port {port + 1}"
            ) from None


@contextlib.contextmanager
def _socket_path(home: Path) -> Iterator[Path]:
    """Give a path for the control socket that is short enough and nobody else's."""
    path = home / "supervisor.sock"
    if len(os.fsencode(path)) < LONGEST_SOCKET:
        yield path
        return
    folder = Path(tempfile.mkdtemp(prefix="enms-"))
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _supervise(config: Path) -> set[psutil.Process]:
    """Be supervisord until a signal ends it; return the processes that were below it then."""
    options = _options.ServerOptions()
    options.realize(["-c", str(config)], doc=__doc__)
    options.first, options.test = True, False
    below: set[psutil.Process] = set()

    def stop(_number: int, frame: object) -> None:
        below.update(psutil.Process().children(recursive=True))
        options.signal_receiver.receive(signal.SIGTERM, frame)

    def set_signals(inherited: Callable[[], None] = options.setsignals) -> None:
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        inherited()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else stop)

    def poll(timeout: float, inherited: Callable[[float], Any] = options.poller.poll) -> Any:
        return inherited(min(timeout, PACE_S))

    options.setsignals, options.poller.poll = set_signals, poll
    _loggers.Handler.handleError = _leave_unsaid
    _supervisord.go(options)
    options.close_httpservers()
    options.close_logger()
    return below


def _leave_unsaid(_handler: object) -> None:
    """Log nothing where nothing can be logged: a full disk ends neither supervisor nor parts."""


def _end(left: set[psutil.Process]) -> None:
    """Kill what the parts had started and left behind."""
    left = {process for process in left if process.is_running()}
    left.update(psutil.Process().children(recursive=True))
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=1)


def _prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _running(home: Path) -> dict[str, int | None]:
    control = _read_config(home).get("unix_http_server", "file", fallback="")
    transport = _xmlrpc.SupervisorTransport(None, None, f"unix://{control.replace('%%', '%')}")
    proxy = xmlrpc.client.ServerProxy("http://localhost", transport)
    try:
        processes: Any = proxy.supervisor.getAllProcessInfo()
        return {process["name"]: process["pid"] or None for process in processes}
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return {}
    finally:
        transport.close()


def _read_config(home: Path) -> configparser.RawConfigParser:
    config = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error):
        config.read(home / "supervisord.conf")
    return config


def _value(text: str) -> str:
    """Return text as a value of supervisord.conf, which knows comments and expands `%`.

    >>> _value("100%")
    '100%%'
    """
    if re.search(r"\n|\s[;#]", text):
        raise ValueError(
            f"{text!r} has a line end, or a blank before ; or #; supervisor cuts there"
        )
    return text.replace("%", "%%")


def _server_secrets(home: Path) -> dict[str, str]:
    return {
        "BOKEH_SIGN_SESSIONS": "yes",
        "BOKEH_SECRET_KEY": _secret(home, "session_key"),
        "BOKEH_COOKIE_SECRET": _secret(home, "cookie_secret"),
    }


def _secret(home: Path, name: str) -> str:
    """Return a secret of this home, made at its first use."""
    path = home / "secrets" / name
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _write_private(path, secrets.token_hex(32))
    return path.read_text()


def _write_private(path: Path, text: str) -> Path:
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return fresh.replace(path)


def _listens_on(server_args: Sequence[str]) -> tuple[str, int]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--address", default=ADDRESS)
    parser.add_argument("--port", default=PORT, type=int)
    try:
        given, _ = parser.parse_known_args(list(server_args))
    except argparse.ArgumentError as error:
        raise ValueError(f"{error}; right would be: --port 5010 --address 127.0.0.1") from error
    return given.address, given.port


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _names_of_host(address: str) -> list[str]:
    """Return the names under which browsers will know a server that listens there."""
    host = f"[{address}]" if ":" in address else address
    if _is_loopback(address):
        return list(dict.fromkeys(["localhost", "127.0.0.1", host]))
    if address in ("", "0.0.0.0", "::"):
        return ["localhost", "127.0.0.1", socket.gethostname()]
    return [host]
