"""The routes on a real port: REST and WebSockets over a real store and a real Valkey."""

import asyncio
import contextlib
import socket
import threading
import time

import httpx
import pytest
from tornado.httpserver import HTTPServer
from tornado.web import Application

from app import server
from app.api import ROUTES
from enms_core.bus import Relay
from enms_core.plant import Factory, Machine
from enms_core.settings import Settings
from enms_core.store import Store, machines


class Served:
    """A server process's inside, in a thread: the hub, the routes and a port."""

    def __init__(self, settings):
        self.settings = settings
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(30), "the server did not start"
        while self.server.hub.seq is None:
            time.sleep(0.01)

    async def _serve(self):
        self._loop = asyncio.get_running_loop()
        self.server = server.start(self.settings)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        listener = HTTPServer(Application(ROUTES, cookie_secret="of a test"))
        listener.listen(self.port, "127.0.0.1")
        following = self._loop.create_task(server.run(self.server))
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        listener.stop()
        self.server.audience.restored()
        await asyncio.sleep(0.05)
        await listener.close_all_connections()
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        await asyncio.sleep(0.05)  # the Redis client closes its sockets beside us

    def soon(self, call):
        """Have something called in the server's loop."""
        self._loop.call_soon_threadsafe(call)

    def close(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        server._servers.clear()
        self.server.plant.store.dispose()
        self.server.wire.store.dispose()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def settings(tmp_path, valkey, database_url):
    """Give the settings of a plant on a store and a Valkey of its own."""
    return Settings.from_env(
        {
            "ENMS_HOME": str(tmp_path),
            "ENMS_SOURCE": "none",
            "ENMS_REDIS_URL": valkey.url,
            "ENMS_DATABASE_URL": database_url,
        }
    )


@pytest.fixture
def database_url(sqlite_url):
    """Give SQLite; a module that wants both parametrises this."""
    return sqlite_url


@pytest.fixture
def served(settings, valkey):
    """Serve a plant with two machines."""
    store = Store(settings.database_url).migrate()
    site = Factory("Works", "Europe/Berlin")
    with store.write() as connection:
        for name, kind in {"Pump": "pump", "Press": "injection_molding"}.items():
            machines.add(connection, Machine(name, kind, rated_kw=75.0, factory=site))
    stop = threading.Event()
    relay = threading.Thread(target=Relay(store, valkey.locate).run, args=(stop,))
    relay.start()
    running = Served(settings)
    yield running
    running.close()
    stop.set()
    relay.join()
    store.dispose()


@pytest.fixture
def rest(served):
    """Give an HTTP client of the served plant."""
    with httpx.Client(base_url=f"{served.url}/api/v1", timeout=30) as client:
        yield client
