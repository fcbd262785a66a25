"""A Redis on a TCP port, to be started when a fault wants it."""

import subprocess
import time
from pathlib import Path

import redis

from enms_core import broker
from tests.plants import free_port

GUARD_S = 20.0  # against hanging; no promise


class Valkey:
    """A server that does not run yet; `url` is where it will be."""

    def __init__(self, folder: Path, password: str = "right") -> None:
        self.folder, self.password, self.port = folder, password, free_port()
        self.folder.mkdir(exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, with its password."""
        return self.url_with(self.password)

    def url_with(self, password: str, port: int | None = None) -> str:
        """Return its URL with that password, or as seen through another port."""
        return f"redis://:{password}@127.0.0.1:{port or self.port}"

    def start(self) -> "Valkey":
        """Start it and wait until it answers."""
        options = {
            "bind": "127.0.0.1",
            "port": self.port,
            "requirepass": self.password,
            "dir": self.folder,
            "appendonly": "yes",
            "save": "",
        }
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [broker.find_binary().path, *words], stdout=subprocess.DEVNULL
        )
        end = time.monotonic() + GUARD_S
        while not self._answers():
            assert time.monotonic() < end, "no Valkey"
            time.sleep(0.02)
        return self

    def client(self) -> redis.Redis:
        """Return a client of it."""
        return redis.Redis.from_url(self.url, socket_timeout=5.0)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(GUARD_S)
            self._process = None

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
