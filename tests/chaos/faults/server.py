"""The server killed or restarted while people look at it, and browsers that stall or are away."""

import asyncio
import signal
import time
from datetime import UTC, datetime

import httpx
import psutil
from websockets.asyncio.client import ClientConnection

from tests.browser.visit import Visit, chromium
from tests.chaos.client import ended, until
from tests.chaos.faults.clients import server_mb
from tests.chaos.lab import (
    GUARD_S,
    MACHINES,
    Fault,
    Figure,
    Lab,
    Traffic,
    p99,
    seconds_until,
    stored_readings,
    worst,
)
from tests.chaos.page import Page
from tests.chaos.plant import Plant

PAGES, FLOOD_PER_S, MISSED = 5, 200.0, 8
GOING_AWAY, TRY_AGAIN = 1001, 1013  # RFC 6455 and IANA's list: spelled as clients know them


async def stalled_pages(lab: Lab, n: int = 20) -> list[Figure]:
    """Five pages stop reading while 200 events a second come for n seconds; before, five read."""
    plant = lab.plant
    async with Traffic(plant, FLOOD_PER_S, streams=["dashboard"]) as traffic:
        reading = [asyncio.create_task(Page(plant.url).run()) for _ in range(PAGES)]
        await seconds_until(lambda: plant.detail()["connections"]["page"] == PAGES)
        usual = await _growth(plant, n)
        await ended(reading)
        stalled = await _stalled(plant)
        grown = await _growth(plant, n)
        held = _open(plant, stalled)
        for socket in stalled:
            socket.transport.abort()
    return [
        *traffic.figures(),
        Figure("pages that were stalled to the end", held, least=PAGES),
        Figure("the server grew by, all reading", usual, unit="MB"),
        Figure("for each that stalled", (grown - max(0.0, usual)) / PAGES, 5.0, unit="MB"),
    ]


async def stalled_pages_end(lab: Lab, n: int = 5) -> list[Figure]:
    """n pages stop reading and hold their sockets; the server lets them go."""
    async with Traffic(lab.plant, FLOOD_PER_S, streams=["dashboard"]) as traffic:
        stalled = await _stalled(lab.plant, n)
        began = time.monotonic()
        await until(lambda: not _open(lab.plant, stalled), 2 * GUARD_S)
        took = time.monotonic() - began
    return [*traffic.figures(), worst("let go after", [took], 60.0)]


async def _stalled(plant: Plant, count: int = PAGES) -> list[ClientConnection]:
    sockets = [await Page(plant.url).open() for _ in range(count)]
    for socket in sockets:
        socket.transport.pause_reading()  # type: ignore[attr-defined]
    return sockets


async def _growth(plant: Plant, seconds: float) -> float:
    before = server_mb(plant)
    await asyncio.sleep(seconds)
    return server_mb(plant) - before


def _open(plant: Plant, sockets: list[ClientConnection]) -> int:
    """Return how many of our sockets the server still holds."""
    ports = {socket.local_address[1] for socket in sockets}
    held = psutil.Process(plant.pid_of("server")).net_connections("tcp")
    return sum(c.status == "ESTABLISHED" and bool(c.raddr) and c.raddr.port in ports for c in held)


async def server_killed(lab: Lab, n: int = 50) -> list[Figure]:
    """SIGKILL of the server while n pages are open; they load again by themselves."""
    plant = lab.plant
    pages = [Page(plant.url) for _ in range(n)]
    async with Traffic(plant, per_second=2.0) as traffic:
        tasks = [asyncio.create_task(page.run()) for page in pages]
        assert await until(lambda: all(page.lived for page in pages), 4 * GUARD_S), "not all live"
        loads = [len(page.loads_s) for page in pages]
        killed = time.monotonic()
        plant.hurt("server")
        await until(lambda: all(page.lived[-1] > killed for page in pages), 2 * GUARD_S)
        back = [page.lived[-1] - killed for page in pages]
        await traffic.recovery()
        await ended(tasks)
    again = [len(page.loads_s) - count for page, count in zip(pages, loads, strict=True)]
    return [
        *traffic.figures(),
        Figure("pages that are not live again", sum(seconds < 0 for seconds in back), 0),
        Figure("loads of a page at most", max(again), 1),
        worst("all pages live again", back, 5.0),
        p99("p99 of a page load in the storm", [page.loads_s[-1] for page in pages], 3000.0),
    ]


async def browser_offline(lab: Lab, n: int = 60) -> list[Figure]:
    """A Chromium is offline for n seconds while anomalies are found; then its network is back."""
    return await asyncio.to_thread(_offline, lab.plant, n)


def _offline(plant: Plant, seconds: float) -> list[Figure]:
    with httpx.Client(base_url=f"{plant.url}/api/v1", timeout=GUARD_S) as rest:
        _report(rest, 0)
        with chromium() as browser:
            visit = Visit(browser, plant.url).live()
            visit.context.set_offline(True)
            cut = time.time()
            visit.when("^pill:(reconnecting|offline)$", after=cut)
            noticed = time.time() - cut
            missed = []
            for number in range(1, MISSED + 1):
                missed.append(_report(rest, number))
                visit.page.wait_for_timeout(1e3 * max(0.1, (seconds - noticed) / MISSED))
            before = len(visit.records("^toasts:"))
            back = time.time()
            visit.context.set_offline(False)
            live = visit.when("^pill:live$", after=back) - back
            visit.page.wait_for_timeout(3000)
            stacks = visit.records("^toasts:")[before:]
            toasts = max((int(stack.split(":")[1]) for stack in stacks), default=0)
            shown = [visit.find(f"[data-anomaly-id='{one}']").count() for one in missed]
            visit.close()
    return [
        Figure("noticed after", noticed, 10.0, unit="s"),
        Figure("missed anomalies that are not on the page", sum(not times for times in shown), 0),
        Figure("missed anomalies that are there twice", sum(times > 1 for times in shown), 0),
        Figure("toasts at a time on return", toasts, 3),
        Figure("live after the network is back", live, 3.0, unit="s"),
    ]


def _report(rest: httpx.Client, number: int) -> str:
    """Report an anomaly as a person does; return its id."""
    body = {
        "machine": MACHINES[number % len(MACHINES)],
        "started_at": datetime.now(UTC).isoformat(),
        "severity": "critical",
        "note": f"number {number}",
        "value": 90.0,
        "expected": 30.0,
    }
    row = {"metric": "power_kw", "time": body["started_at"], "value": 90.0}
    rest.post("/readings", json=[{**row, "machine": body["machine"]}]).raise_for_status()
    answer = rest.post("/anomalies", json=body)
    answer.raise_for_status()
    return str(answer.json()["id"])


async def server_restarted(lab: Lab, n: int = 5) -> list[Figure]:
    """SIGTERM to the server, n times, while readings are sent to it and streams are open."""
    plant = lab.plant
    exits: list[float] = []
    acknowledged, over = [0], asyncio.Event()
    async with httpx.AsyncClient(base_url=f"{plant.url}/api/v1", timeout=GUARD_S) as rest:
        before = await stored_readings(rest)
    async with Traffic(plant) as traffic:
        sending = asyncio.create_task(_send_readings(plant, acknowledged, over))
        for _ in range(n):
            await traffic.recovery()
            await asyncio.sleep(lab.rng.uniform(0.2, 1.0))
            server = psutil.Process(plant.pid_of("server"))
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            await asyncio.to_thread(server.wait, GUARD_S)
            exits.append(time.monotonic() - began)
        await traffic.recovery()
        over.set()
        await sending
    codes = [code for client in traffic.clients for code in client.closes]
    closes = [code for code in codes if code != TRY_AGAIN]  # so says a server that starts
    async with httpx.AsyncClient(base_url=f"{plant.url}/api/v1", timeout=GUARD_S) as rest:
        stored = await stored_readings(rest) - before
    return [
        *traffic.figures(),
        Figure("acknowledged readings", acknowledged[0], least=10 * n),
        Figure("acknowledged readings lost", acknowledged[0] - stored, 0),
        Figure("streams that were closed", len(closes), least=n),
        Figure("of them not with 1001", sum(code != GOING_AWAY for code in closes), 0),
        worst("the server's exit", exits, 5.0),
    ]


async def _send_readings(plant: Plant, acknowledged: list[int], over: asyncio.Event) -> None:
    """Send readings one by one, each until it is acknowledged, until it is over."""
    number = 0
    async with httpx.AsyncClient(base_url=f"{plant.url}/api/v1", timeout=5.0) as rest:
        while not over.is_set():
            at = datetime.fromtimestamp(1_780_000_000 + number, UTC).isoformat()
            row = {"machine": "Pump", "metric": "power_kw", "time": at, "value": 1.0}
            try:
                answer = await rest.post("/readings", json=[row])
            except httpx.HTTPError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 200:
                told = answer.json()
                acknowledged[0] += told["accepted"] + told["duplicates"]
                number += 1
            await asyncio.sleep(0.02)


FAULTS: dict[str, Fault] = {
    "W2": stalled_pages,
    "W2-end": stalled_pages_end,
    "W6": server_killed,
    "W7": browser_offline,
    "W8": server_restarted,
}
