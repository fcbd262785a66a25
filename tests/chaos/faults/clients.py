"""Clients that do not read, that are very many, or that mean harm."""

import asyncio
import contextlib
import itertools
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
from scipy.stats import theilslopes

from enms_core import broker
from enms_core.events import SystemAlert
from enms_core.store import Store
from tests.chaos.lab import GUARD_S, Fault, Figure, Lab, Traffic, p99, seconds_until, worst
from tests.chaos.plant import Plant
from tests.plants import ROOT

DEAF, OTHERS = 5, 20
LARGE, LARGE_PER_S = 20_000, 50
WINDOW_S = 8.0  # one of a round's two
WATCHED_S = 30.0
IDLE, SAMPLE_S = 2000, 10.0
HANDSHAKE = (
    "GET /api/v1/ws/{stream} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Crowd:
    """Very many clients in a process of their own."""

    def __init__(self, url: str, stream: str, count: int) -> None:
        self._words = ("-m", "tests.chaos.crowd", url, stream, str(count))
        self.connect_s = 0.0

    async def __aenter__(self) -> "Crowd":
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self._words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self.connect_s = (await self._line())["connect_s"]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        await self._process.wait()

    async def look(self, *, anew: bool = False) -> dict[str, float]:
        """Return what it saw so far, and begin anew."""
        assert self._process.stdin
        self._process.stdin.write(b"anew\n" if anew else b"\n")
        return await self._line()

    async def seen(self, messages: int) -> dict[str, float]:
        """Return what it saw once so many messages came, or none has come for some seconds."""
        before = -1.0
        while before < (now := await self.look())["messages"] < messages:
            before = now["messages"]
            await asyncio.sleep(2.0)
        return now

    async def _line(self) -> dict[str, float]:
        assert self._process.stdout
        async with asyncio.timeout(GUARD_S):
            text = await self._process.stdout.readline()
        found: dict[str, float] = json.loads(text)
        return found


async def never_read(lab: Lab, n: int = 3) -> list[Figure]:
    """Five clients never read while twenty others do; before, five read the same; n rounds."""
    plant, port = lab.plant, urlsplit(lab.plant.url).port
    calm: list[float] = []
    hard: list[float] = []
    grown: list[float] = []
    cuts: list[float] = []
    async with Traffic(plant, streams=["training"]) as traffic:
        filling = asyncio.create_task(_large_alerts(traffic))
        async with Crowd(plant.url, "training", OTHERS) as crowd:
            for _ in range(n):
                async with Crowd(plant.url, "events", DEAF):
                    usual, figures = await _window(plant, crowd)
                calm.append(figures["p99"])
                with _deaf(port, DEAF):
                    watching = asyncio.create_task(_until_cut(plant))
                    growth, figures = await _window(plant, crowd)
                    cuts.append(await watching)
                hard.append(figures["p99"])
                grown.append((growth - usual) / DEAF)
        filling.cancel()
    return [
        *traffic.figures(),
        Figure("others' p99 before", float(np.median(calm)), unit="ms"),
        Figure("others' p99 meanwhile", float(np.median(hard)), unit="ms"),
        Figure("their change", float(np.median(hard) / np.median(calm) - 1) * 100, 20.0, unit="%"),
        Figure("the server grew by, for each", max(grown), 5.0, unit="MB"),
        worst("until all were cut", cuts, 10.0),
    ]


async def _large_alerts(traffic: Traffic) -> None:
    for number in itertools.count():
        details = {"number": number, "at": time.time()}
        alert = SystemAlert(
            alert_type="large", severity="info", message="x" * LARGE, details=details
        )
        await asyncio.to_thread(traffic.tell, alert)
        await asyncio.sleep(1 / LARGE_PER_S)


async def _window(plant: Plant, crowd: Crowd) -> tuple[float, dict[str, float]]:
    """Return by how many MB the server grew at most in a while, and what the crowd saw then."""
    await crowd.look(anew=True)
    before, most = server_mb(plant), 0.0
    end = time.monotonic() + WINDOW_S
    while time.monotonic() < end:
        await asyncio.sleep(0.2)
        most = max(most, server_mb(plant))
    return most - before, await crowd.look()


async def _until_cut(plant: Plant) -> float:
    """Return the seconds until nobody follows the stream of events."""
    await asyncio.sleep(0.5)
    return 0.5 + await seconds_until(lambda: not plant.detail()["connections"].get("events"))


@contextlib.contextmanager
def _deaf(port: int | None, count: int, stream: str = "events") -> Iterator[list[socket.socket]]:
    """Open streams and never read them."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            raw = stack.enter_context(socket.socket())
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", port))
            raw.sendall(HANDSHAKE.format(stream=stream).encode())
            made.append(raw)
        yield made


def server_mb(plant: Plant) -> float:
    """Return the memory of the server in MB."""
    return plant.rss()["server"]


async def many_clients(lab: Lab, n: int = 500) -> list[Figure]:
    """n clients follow ten events a second for half a minute."""
    plant = lab.plant
    async with (
        Crowd(plant.url, "dashboard", n) as crowd,
        Traffic(plant, per_second=10.0, streams=["dashboard"]) as traffic,
    ):
        await asyncio.sleep(2.0)
        await crowd.look(anew=True)
        server = psutil.Process(plant.pid_of("server"))
        first, busy = traffic.newest, sum(server.cpu_times()[:2])
        await asyncio.sleep(WATCHED_S)
        told = traffic.newest - first
        traffic.stop()
        seen = await crowd.seen(told * n)
        busy = sum(server.cpu_times()[:2]) - busy
    return [
        *traffic.figures(),
        Figure("events a second", told / WATCHED_S, least=9.0, unit="/s"),
        Figure("messages that came, of all that should", seen["messages"] / (told * n), least=1.0),
        Figure("server's CPU for a message", 1e3 * busy / (seen["messages"] or 1), unit="ms"),
        Figure("p50 from commit to client", seen["p50"], unit="ms"),
        Figure("p99 from commit to client", seen["p99"], 100.0, unit="ms"),
        Figure("longest", seen["max"], 500.0, unit="ms"),
        Figure("clients that were cut", seen["closed"], 0),
    ]


async def idle_clients(lab: Lab, n: int = 2000) -> list[Figure]:
    """n clients connect and wait."""
    plant = lab.plant
    before = server_mb(plant)
    async with (
        Traffic(plant, per_second=1.0, streams=["dashboard"]) as traffic,
        Crowd(plant.url, "training", n) as crowd,
    ):
        await asyncio.sleep(WINDOW_S)
        grown, seen = server_mb(plant) - before, await crowd.look()
        waits = [seconds async for seconds in health(plant, WINDOW_S)]
    return [
        *traffic.figures(),
        Figure("connected", seen["open"] - seen["closed"], least=n),
        Figure("all connected within", crowd.connect_s, 10.0, unit="s"),
        Figure("the server grew by", grown, 100 + 0.03 * n, unit="MB"),
        p99("p99 of a request meanwhile", waits, 50.0),
    ]


async def at_rest(lab: Lab, n: int = 60) -> list[Figure]:
    """2,000 clients wait for n minutes and nothing else happens; the memory must not grow."""
    plant = lab.plant
    samples: list[dict[str, float]] = []
    async with Crowd(plant.url, "training", IDLE) as crowd:
        end = time.monotonic() + 60.0 * n
        while time.monotonic() < end:
            await asyncio.sleep(SAMPLE_S)
            samples.append(plant.rss())
        seen = await crowd.look()
    settled = samples[len(samples) // 3 :]
    hours = np.arange(len(settled)) * SAMPLE_S / 3600.0
    return [
        Figure("connected", seen["open"] - seen["closed"], least=IDLE),
        *(
            Figure(f"{part} at the end", settled[-1][part], unit="MB")
            for part in sorted(settled[-1])
        ),
        *(
            Figure(f"slope of {part}", _slope(hours, settled, part), 1.0, unit="MB/h")
            for part in sorted(settled[-1])
        ),
    ]


def _slope(hours: np.ndarray, samples: list[dict[str, float]], part: str) -> float:
    """Return the median slope over all pairs (Theil 1950, Sen 1968): one step does not move it."""
    return float(theilslopes([sample[part] for sample in samples], hours).slope)


async def flooded_with_values(lab: Lab, n: int = 60) -> list[Figure]:
    """10,000 newest values a second on Redis for n seconds, events among them."""
    plant = lab.plant
    found = broker.locate(plant.settings)
    assert found
    epoch = Store(plant.settings.database_url).epoch
    words = ("-m", "tests.chaos.flood", found.url, epoch, "10000", str(n))
    async with Traffic(plant, per_second=20.0, streams=["dashboard", "events"]) as traffic:
        await traffic.recovery()
        before, taken = server_mb(plant), plant.metric("enms_events_total")
        flood = await asyncio.create_subprocess_exec(
            *(sys.executable, *words), stdout=subprocess.PIPE, cwd=ROOT
        )
        waits = [seconds async for seconds in health(plant, n)]
        most, taken = server_mb(plant), plant.metric("enms_events_total") - taken
        sent = int((await flood.communicate())[0])
        took = await traffic.recovery()
    return [
        *traffic.figures(),
        Figure("values sent", sent / n, least=9_000, unit="/s"),
        Figure("of them taken by the server", taken / n, least=1_000, unit="/s"),
        p99("p99 of a request meanwhile", waits, 50.0),
        Figure("the server grew by", most - before, 50.0, unit="MB"),
        worst("events are live again after", [took], 2.0),
    ]


async def health(plant: Plant, seconds: float) -> AsyncIterator[float]:
    """Yield how long the server took to answer, again and again: its loop's lag, and a bit."""
    end = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=plant.url, timeout=GUARD_S) as client:
        while time.monotonic() < end:
            began = time.monotonic()
            (await client.get("/health")).raise_for_status()
            yield time.monotonic() - began
            await asyncio.sleep(0.02)


async def attacked(lab: Lab, n: int = 20) -> list[Figure]:
    """For n seconds clients flood, send 10 MB, half requests, a bomb, and hold 300 sockets."""
    plant = lab.plant
    async with Traffic(plant) as traffic:
        before = [seconds async for seconds in health(plant, min(n, 10))]
        mb = server_mb(plant)
        words = ("-m", "tests.chaos.attackers", plant.url)
        attackers = await asyncio.create_subprocess_exec(*(sys.executable, *words), cwd=ROOT)
        await asyncio.sleep(2.0)  # they start
        meanwhile = [seconds async for seconds in health(plant, n)]
        attackers.kill()
        await attackers.wait()
        grown = server_mb(plant) - mb
    return [
        *traffic.figures(),
        Figure("clients that were cut for it", plant.metric("enms_clients_cut_total"), least=1),
        p99("p99 of a request before", before, None),
        p99("p99 of a request meanwhile", meanwhile, 50.0),
        Figure("longest", 1e3 * max(meanwhile), unit="ms"),
        Figure("the server grew by", grown, 50.0, unit="MB"),
    ]


FAULTS: dict[str, Fault] = {
    "W1": never_read,
    "W3": many_clients,
    "W3-idle": idle_clients,
    "M2": at_rest,
    "W4": flooded_with_values,
    "W5": attacked,
}
