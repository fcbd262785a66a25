"""A bad line between the plant and its Redis, and between a client and the plant."""

import asyncio
import contextlib
from urllib.parse import urlsplit

from tests.chaos.client import Client, ended, until
from tests.chaos.lab import (
    GUARD_S,
    Fault,
    Figure,
    Lab,
    Traffic,
    seconds_until,
    until_state,
    worst,
)
from tests.chaos.plant import Plant
from tests.chaos.proxy import Proxy
from tests.chaos.valkey import Valkey

DELAY_S, CUT = (0.1, 0.3), 0.01
HALF_OPEN_S = 35.0  # a ping every 25 s, and 10 s for its pong
REDIS_S = 5.0


async def bad_line(lab: Lab, n: int = 60) -> list[Figure]:
    """Between plant and Redis 200 +- 100 ms and 1 % of the packets cut it, for n seconds."""
    with contextlib.closing(Valkey(lab.folder / "valkey")) as valkey:
        proxy = Proxy(valkey.start().port, lab.rng)
        async with proxy.running():
            plant = lab.new_plant("far-redis", valkey.url_with("right", proxy.port))
            try:
                await asyncio.to_thread(plant.start)
                async with Traffic(plant, per_second=20.0) as traffic:
                    await traffic.recovery()
                    proxy.delay_s, proxy.cut = DELAY_S, CUT
                    await asyncio.sleep(n)
                    proxy.delay_s, proxy.cut = (0.0, 0.0), 0.0
                    calm = await traffic.recovery()
                    proxy.is_silent = True
                    quiet = await until_state(plant, "degraded")
                    swallowed = await traffic.recovery()
                    proxy.is_silent = False
                    back = await until_state(plant, "live")
            finally:
                plant.stop()
    return [
        *traffic.figures(),
        Figure("connections cut", proxy.cuts),
        worst("recovery", [calm], 5.0),
        worst("half open: noticed", [quiet], REDIS_S),
        worst("half open: events come from the store", [swallowed], REDIS_S),
        worst("half open: live again", [back], 5.0),
    ]


async def half_open_client(lab: Lab, n: int = 3) -> list[Figure]:
    """The line to n clients swallows all and closes nothing; the server notices by its ping."""
    plant = lab.plant
    proxy = Proxy(urlsplit(plant.url).port or 0, lab.rng)
    async with proxy.running(), Traffic(plant) as traffic:
        far = [Client(f"http://127.0.0.1:{proxy.port}", "training") for _ in range(n)]
        following = [asyncio.create_task(client.run()) for client in far]
        await until(lambda: all(client.connects for client in far), GUARD_S)
        proxy.is_silent = True
        await ended(following)  # the line tells the server nothing of it
        assert _clients(plant) == n + 1
        took = await seconds_until(lambda: _clients(plant) == 1)
    return [*traffic.figures(), worst("noticed by the server", [took], HALF_OPEN_S)]


def _clients(plant: Plant) -> int:
    return int(plant.detail()["connections"].get("training", 0))


FAULTS: dict[str, Fault] = {"N1": bad_line, "N1-client": half_open_client}
