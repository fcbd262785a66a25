"""What can happen to Redis beside being killed: it hangs, it cuts, it forgets, it is not there."""

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

import httpx
import redis

from enms_core.bus import stream_key
from enms_core.events import SystemAlert
from tests.chaos.client import until
from tests.chaos.lab import GUARD_S, MACHINES, Fault, Figure, Lab, Traffic, p99, until_state, worst
from tests.chaos.plant import Plant
from tests.chaos.valkey import Valkey

LARGE = 50_000  # characters of an alert that fills a buffer


async def redis_frozen(lab: Lab, n: int = 1) -> list[Figure]:
    """Redis hangs for ten seconds (SIGSTOP), n times; readings are sent meanwhile."""
    took: list[float] = []
    back: list[float] = []
    async with Traffic(lab.plant) as traffic:
        for _ in range(n):
            freezing = asyncio.create_task(lab.plant.freeze())
            async for seconds in requests(lab, until_done=freezing):
                took.append(seconds)
            back.append(await traffic.recovery())
    return [
        *traffic.figures(),
        p99(f"p99 of {len(took)} requests while it hangs", took, 500.0),
        worst("recovery", back, 2.0),
    ]


async def requests(lab: Lab, until_done: asyncio.Task[None]) -> AsyncIterator[float]:
    """Send readings, one after the other; yield how long each took until it was acknowledged."""
    async with httpx.AsyncClient(base_url=f"{lab.plant.url}/api/v1", timeout=GUARD_S) as rest:
        number = 0
        while not until_done.done():
            number += 1
            row = {
                "machine": MACHINES[number % 3],
                "metric": "power_kw",
                "time": f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:"
                f"{number % 60:02d}Z",
                "value": 20.0,
            }
            began = time.monotonic()
            answer = await rest.post("/readings", json=[row])
            answer.raise_for_status()
            yield time.monotonic() - began
            await asyncio.sleep(0.02)


async def subscribers_cut(lab: Lab, n: int = 100) -> list[Figure]:
    """All subscribers of Redis are cut (CLIENT KILL TYPE pubsub), n times."""
    took, cut = [], 0
    async with Traffic(lab.plant) as traffic:
        for _ in range(n):
            cut += lab.plant.redis.client_kill_filter(_type="pubsub")
            took.append(await traffic.recovery())
            await asyncio.sleep(lab.rng.uniform(0.0, 0.3))
    return [
        *traffic.figures(),
        Figure("subscribers cut", cut, least=n),
        worst("recovery", took, 1.0),
    ]


async def buffer_overflows(lab: Lab, n: int = 20) -> list[Figure]:
    """Redis cuts the server, which stands still, for being behind (64 kB buffer), n times."""
    plant, client = lab.plant, lab.plant.redis
    before = _cut(client)
    client.config_set("client-output-buffer-limit", "pubsub 64kb 32kb 1")
    took = []
    try:
        async with Traffic(plant) as traffic:
            for i in range(n):
                server, wanted = plant.pid_of("server"), before + i + 1
                os.kill(server, signal.SIGSTOP)
                try:
                    while _cut(client) < wanted:  # the system's own buffers take some MB first
                        large = [_large(lab.rng.random()) for _ in range(100)]
                        await asyncio.to_thread(traffic.tell, *large)
                finally:
                    os.kill(server, signal.SIGCONT)
                took.append(await traffic.recovery())
    finally:
        client.config_set("client-output-buffer-limit", "pubsub 32mb 8mb 60")
    return [
        *traffic.figures(),
        Figure("subscribers cut by Redis", _cut(client) - before, least=n),
        worst("recovery", took, 2.0),
    ]


def _cut(client: redis.Redis) -> int:
    """Return how many clients Redis has cut because they were behind."""
    return int(client.info("stats")["client_output_buffer_limit_disconnections"])


async def stream_trimmed(lab: Lab, n: int = 1000) -> list[Figure]:
    """The stream is trimmed to 100 while its reader, the server, stands still for n events."""
    plant = lab.plant
    async with Traffic(plant) as traffic:
        await traffic.recovery()
        before, client = plant.metric("enms_gaps_filled_total"), plant.redis
        server = plant.pid_of("server")
        os.kill(server, signal.SIGSTOP)
        try:
            last = traffic.newest + n
            await asyncio.to_thread(traffic.tell, *(_small(lab.rng.random()) for _ in range(n)))
            key = _stream_of(client)
            await until(lambda: client.xrevrange(key, count=1)[0][0] >= b"%d-0" % last, GUARD_S)
            client.client_kill_filter(_type="pubsub")  # what waits in its socket is gone, too
            client.xtrim(key, maxlen=100, approximate=False)
        finally:
            os.kill(server, signal.SIGCONT)
        took = await traffic.recovery()
    filled = plant.metric("enms_gaps_filled_total") - before
    return [
        *traffic.figures(),
        Figure("filled in (the stream held 100)", filled, least=n),
        worst("recovery", [took], 2.0),
    ]


async def redis_absent(lab: Lab, n: int = 1) -> list[Figure]:
    """Redis is not there when the plant starts, n times; then it is started."""
    starts = []
    for i in range(n):
        with contextlib.closing(Valkey(lab.folder / f"absent-{i}")) as valkey:
            plant = lab.new_plant(f"without-redis-{i}", valkey.url)
            starts.append(await _without_redis(plant, valkey.start))
    usual = lab.new_plant("usual")
    try:
        beside = Figure("a start with Redis beside it", await _served(usual), unit="s")
    finally:
        usual.stop()
    return [*_of_starts(starts), beside]


async def redis_refuses(lab: Lab, n: int = 1) -> list[Figure]:
    """The password of Redis is wrong when the plant starts, n times; then it becomes right."""
    starts = []
    for i in range(n):
        with contextlib.closing(Valkey(lab.folder / f"refuses-{i}")) as valkey:
            client = valkey.start().client()
            plant = lab.new_plant(f"refused-{i}", valkey.url_with("wrong"))
            mend = partial(client.config_set, "requirepass", "wrong")
            starts.append(await _without_redis(plant, mend))
    return _of_starts(starts)


@dataclass(frozen=True)
class Start:
    """How a plant started without Redis."""

    served_s: float
    live_s: float  # after Redis was there
    figures: list[Figure]


async def _without_redis(plant: Plant, mend: Callable[[], object]) -> Start:
    """Start a plant that has no Redis, and mend that."""
    try:
        served_s = await _served(plant)
        async with Traffic(plant) as traffic:
            await traffic.recovery()
            degraded = plant.detail()["redis"] == "degraded"
            await asyncio.to_thread(mend)
            live_s = await until_state(plant, "live")
            await traffic.recovery()
    finally:
        plant.stop()
    said = Figure("the server said degraded, and events came", float(degraded), least=1)
    return Start(served_s, live_s, [*traffic.figures(), said])


async def _served(plant: Plant) -> float:
    """Start a plant; return the seconds until its page was served."""
    began = time.monotonic()
    starting = asyncio.create_task(asyncio.to_thread(plant.start))
    await until(plant.answers, GUARD_S)
    served = time.monotonic() - began
    await starting
    return served


def _of_starts(starts: list[Start]) -> list[Figure]:
    return [
        *itertools.chain.from_iterable(start.figures for start in starts),
        worst("start until the page is served", [start.served_s for start in starts], 5.0),
        worst("live after Redis is there", [start.live_s for start in starts], 5.0),
    ]


def _stream_of(client: redis.Redis) -> bytes:
    return next(iter(client.scan_iter(match=stream_key("*"))))


def _small(key: float) -> SystemAlert:
    return SystemAlert(alert_type="small", severity="info", message="", details={"key": key})


def _large(key: float) -> SystemAlert:
    return SystemAlert(
        alert_type="large", severity="info", message="x" * LARGE, details={"key": key}
    )


FAULTS: dict[str, Fault] = {
    "R3": redis_frozen,
    "R4": subscribers_cut,
    "R5": buffer_overflows,
    "R6": stream_trimmed,
    "R8": redis_absent,
    "R8-password": redis_refuses,
}
