"""Kill everything at random times while events flow, and count what the clients got.

Four producers record events, five WebSocket clients of different subscriptions follow and resume,
and meanwhile Valkey (half of the times with its log cut back, as at a power loss), the engine with
its relay, and the server are killed with SIGKILL, Valkey is emptied and frozen. Every acknowledged
event must reach every client that is entitled to it exactly once and in order.

Run it by `python -m tests.chaos --events 100000 --kills 20`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import psutil
import redis
import websockets

from enms_core import broker, supervise
from enms_core.bus import client as redis_client
from enms_core.store import events
from tests.plants import ROOT, RunningPlant, settings_of

PRODUCERS = 4
SETTLE_S = 120.0  # a guard: how long the last event may take to reach everybody
FREEZE_S = 10.0
CHANNELS = {"dashboard": "*", "anomalies": "anomaly.*", "training": "training.*", "events": "*"}


@dataclass
class Client:
    """A client that resumes for ever; notes what it got and when."""

    url: str
    stream: str
    machines: dict[str, str] = field(default_factory=dict)  # name -> id; none means all
    since: int | None = None
    epoch: str = ""
    got: list[tuple[int, str]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    connects: int = 0
    unrecovered: int = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            with contextlib.suppress(OSError, websockets.WebSocketException, TimeoutError):
                await self._follow()
            await asyncio.sleep(random.uniform(0.1, 0.4))

    async def _follow(self) -> None:
        query = f"machines={','.join(self.machines)}"
        if self.since is not None:
            query += f"&since={self.since}&epoch={self.epoch}"
        address = f"{self.url.replace('http', 'ws', 1)}/api/v1/ws/{self.stream}?{query}"
        async with websockets.connect(address, ping_interval=5, ping_timeout=5) as socket:
            hello = json.loads(await socket.recv())
            self.connects += 1
            self.unrecovered += self.since is not None and not hello["recovered"]
            self.epoch = hello["epoch"]
            self.since = hello["seq"] if self.since is None else self.since
            async for text in socket:
                message = json.loads(text)
                if message.get("seq") is not None:
                    self.got.append((message["seq"], message["event_id"]))
                    self.at.append(time.monotonic())
                    self.since = message["seq"]

    def is_entitled(self, envelope: dict[str, Any]) -> bool:
        """Return whether an event is for this client."""
        if not fnmatch(envelope["channel"], CHANNELS[self.stream]):
            return False
        owner = envelope["data"].get("machine_id")
        return not self.machines or owner is None or owner in self.machines.values()

    def longest_stall(self) -> float:
        """Return the longest time between two events, in seconds."""
        return max((b - a for a, b in zip(self.at, self.at[1:], strict=False)), default=0.0)


class Plant(RunningPlant):
    """A running plant whose parts can be hurt."""

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
        with contextlib.suppress(redis.RedisError, OSError):
            found = broker.locate(self.settings)
            if found:
                redis_client(found.url).flushall()

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


def faults(plant: Plant, kills: int, rng: random.Random) -> list[tuple[str, Callable[[], Any]]]:
    """Return what is done to the plant, in random order."""
    chosen: list[tuple[str, Callable[[], Any]]] = []
    for i in range(kills):
        chosen.append(
            [
                ("broker killed", lambda: plant.hurt("broker")),
                ("broker, power cut", lambda: plant.cut_power(rng)),
                ("engine killed", lambda: plant.hurt("engine")),
                ("server killed", lambda: plant.hurt("server")),
            ][i % 4]
        )
    chosen += [("Valkey emptied", plant.empty), ("Valkey frozen", plant.freeze)]
    rng.shuffle(chosen)
    return chosen


async def produce(plant: Plant, count: int, pause_s: float) -> list[str]:
    """Run the producers to their end; return the ids of all acknowledged events."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.producer", f"p{i}", str(count // PRODUCERS)),
            str(pause_s),
            env={**os.environ, **plant.settings.environment()},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            limit=1 << 22,
        )
        for i in range(PRODUCERS)
    ]
    told = await asyncio.gather(*(process.communicate() for process in processes))
    return [line for out, _ in told for line in out.decode().splitlines() if line]


async def disturb(
    plant: Plant, kills: int, clients: list[Client], rng: random.Random
) -> list[tuple[str, float]]:
    """Do the faults one after the other; return how long each took to be over for the clients."""
    took = []
    for name, fault in faults(plant, kills, rng):
        await asyncio.sleep(rng.uniform(0.5, 4.0))
        done = await asyncio.to_thread(fault)
        if isinstance(done, Awaitable):
            await done
        began = time.monotonic()
        await _until(lambda b=began: all(c.at and c.at[-1] > b + 0.05 for c in clients), 60.0)
        took.append((name, time.monotonic() - began))
        print(f"  {name:20} events at all clients again after {took[-1][1]:5.2f} s", flush=True)
    return took


async def _until(check: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not check() and time.monotonic() < end:  # noqa: ASYNC110 (nothing tells it)
        await asyncio.sleep(0.02)
    return check()


async def run(plant: Plant, count: int, kills: int, seed: int) -> bool:
    """Let it all happen; print what came of it and return whether nothing was lost or doubled."""
    rng, store = random.Random(seed), plant.connect().store
    ids = dict(zip(*(plant.connect().machines()[name] for name in ("name", "id")), strict=True))
    some = {name: ids[name] for name in sorted(ids)[:3]}
    clients = [Client(plant.url, stream) for stream in CHANNELS]
    clients.append(Client(plant.url, "dashboard", some))
    with store.read() as connection:
        first = events.last_seq(connection)
    following = [asyncio.create_task(client.run()) for client in clients]
    await _until(lambda: all(client.connects for client in clients), 30)
    pause_s = max(0.001, kills * 7.0 * PRODUCERS / count)  # as long as the faults take
    before = plant.rss()
    making = asyncio.create_task(produce(plant, count, pause_s))
    took = await disturb(plant, kills, clients, rng)
    acknowledged = await making
    with store.read() as connection:
        rows = [json.loads(row[2]) for row in events.after(connection, first, 10_000_000)]
    last = rows[-1]["seq"]
    expected = [[(e["seq"], e["event_id"]) for e in rows if c.is_entitled(e)] for c in clients]
    await _until(
        lambda: all(c.got and c.got[-1] == e[-1] for c, e in zip(clients, expected, strict=True)),
        SETTLE_S,
    )
    for task in following:
        task.cancel()
    stored = {e["event_id"] for e in rows}
    lost_rows = len(set(acknowledged) - stored)
    print(
        f"\n{len(acknowledged)} acknowledged events, {lost_rows} of them not stored; last is {last}"
    )
    print(
        f"{'client':24} {'expected':>9} {'lost':>5} {'doubled':>8} {'disordered':>11} "
        f"{'stall s':>8}"
    )
    good = lost_rows == 0 and len(acknowledged) >= count // PRODUCERS * PRODUCERS
    for client, wanted in zip(clients, expected, strict=True):
        lost = len(set(wanted) - set(client.got))
        doubled = sum(n - 1 for n in Counter(client.got).values())
        disordered = sum(a[0] >= b[0] for a, b in zip(client.got, client.got[1:], strict=False))
        name = f"{client.stream}{' (3 machines)' if client.machines else ''}"
        print(
            f"{name:24} {len(wanted):9} {lost:5} {doubled:8} {disordered:11} "
            f"{client.longest_stall():8.2f}   {client.connects} connects, "
            f"{client.unrecovered} not recovered"
        )
        good = good and not (lost or doubled or disordered or client.unrecovered)
    after = plant.rss()
    print("RSS MB", {part: f"{before.get(part, 0):.0f} -> {mb:.0f}" for part, mb in after.items()})
    worst = max((seconds for _, seconds in took), default=0.0)
    print(f"recovery: worst {worst:.2f} s; limits: lost 0, doubled 0, disordered 0")
    return good


def main() -> int:
    """Run it on a plant of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="enms-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        home.mkdir()
        subprocess.run(
            [sys.executable, "-m", "enms_core", "setup"],
            env={**os.environ, **settings_of(home).environment()},
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        plant = Plant(home)
        try:
            plant.start()
            return 0 if asyncio.run(run(plant, args.events, args.kills, args.seed)) else 1
        finally:
            plant.stop()


if __name__ == "__main__":
    sys.exit(main())
