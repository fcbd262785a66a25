"""A running plant whose parts can be hurt."""

import asyncio
import contextlib
import json
import os
import random
import signal
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import redis

from enms_core import broker, supervise
from enms_core.bus import client as redis_client
from tests.plants import GUARD_S, RunningPlant

FREEZE_S = 10.0


class Plant(RunningPlant):
    """A running plant whose parts can be hurt."""

    def __init__(self, home: Path, source: str = "simulator", redis_url: str | None = None) -> None:
        super().__init__(home, source)
        self.settings = replace(self.settings, redis_url=redis_url)

    def pids(self) -> dict[str, int | None]:
        """Return the pid of every part; a configured Redis is none of them."""
        own = self.settings.redis_url is None
        return {name: pid for name, pid in super().pids().items() if own or name != "broker"}

    @property
    def redis(self) -> redis.Redis:
        """A client of its Redis."""
        found = broker.locate(self.settings)
        assert found, "there is no Redis"
        return redis_client(found.url)

    def detail(self) -> dict[str, Any]:
        """Return what the server tells of its health."""
        with urllib.request.urlopen(f"{self.url}/health/detail", timeout=GUARD_S) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def pid_of(self, part: str) -> int:
        """Return the pid of a part; 0 for none."""
        return supervise.parts(self.settings).get(part) or 0

    def hurt(self, part: str) -> None:
        """Kill a part with SIGKILL."""
        pid = self.pid_of(part)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cut_power(self, rng: random.Random) -> None:
        """Kill Valkey and lose the end of its log, as a power loss does."""
        assert self.process is not None
        pid = self.pid_of("broker")
        os.kill(self.process.pid, signal.SIGSTOP)  # nobody starts it before the log is cut
        try:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            for log in self.home.rglob("*.incr.aof"):
                size = log.stat().st_size
                os.truncate(log, max(0, size - rng.randint(1, 64_000)))
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def empty(self) -> None:
        """Forget all that Valkey knows."""
        with contextlib.suppress(redis.RedisError, OSError, AssertionError):
            self.redis.flushall()

    async def freeze(self) -> None:
        """Let Valkey hang for ten seconds."""
        pid = self.pid_of("broker")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(FREEZE_S)
            os.kill(pid, signal.SIGCONT)

    def rss(self) -> dict[str, float]:
        """Return the memory of every part in MB."""
        found = {}
        for part, pid in supervise.parts(self.settings).items():
            with contextlib.suppress(psutil.Error):
                found[part] = psutil.Process(pid).memory_info().rss / 1e6 if pid else 0.0
        return found
