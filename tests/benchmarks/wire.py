"""How fast the wire is, beside the least that could do the same.

Events: the same envelopes go through the same Redis to a server of the product and to a bare
Tornado broadcast (subscribe, write to all), for 1, 100 and 500 clients each. Latency is from
PUBLISH to the client's socket at a steady rate; throughput is how fast windows of events reach
every client.
Readings: `POST /readings` beside bare `executemany` commits of the same rows on the same disk.

The ratio is the figure, since both suffer from the same machine: p99 <= 2x, throughput >= 0.5x.

Run it by `python -m tests.benchmarks.wire [--seconds 10]`.
"""

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import os
import re
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import redis
import redis.asyncio
from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from app import server
from app.api import ROUTES
from enms_core.bus import client as redis_client
from enms_core.events import CHANNELS, Envelope, SystemAlert
from enms_core.plant import Factory, Machine
from enms_core.settings import Settings
from enms_core.store import Store, machines
from tests.conftest import Valkey
from tests.plants import ROOT, wait_until

CLIENTS = (1, 100, 500)
RATE = 10  # events a second
WINDOW, WINDOWS = 100, 10  # events on their way at once; how often
ROWS = (1, 100, 1000, 5000)
SENDERS, AT_ONCE = 16, 20_000  # senders at most, and rows on their way
PING, PONG = 9, bytes([0x8A, 0x80, 0, 0, 0, 0])  # a pong without a body, masked by zeros
P99_RATIO, THROUGHPUT_RATIO = 2.0, 0.5


# -- two servers -----------------------------------------------------------------------------------


class Bare(WebSocketHandler):
    """The least that broadcasts."""

    clients: "set[Bare]" = set()  # noqa: RUF012 (shared by all)

    def open(self) -> None:
        """Get everything from now on."""
        self.clients.add(self)

    def on_close(self) -> None:
        """Get nothing more."""
        self.clients.discard(self)


async def broadcast(url: str) -> None:
    """Write what is published to all clients."""
    async with redis.asyncio.Redis.from_url(url) as connection, connection.pubsub() as pubsub:
        await pubsub.subscribe(*CHANNELS)
        async for message in pubsub.listen():
            if message["type"] == "message":
                for client in list(Bare.clients):
                    client.write_message(message["data"].decode())


async def serve(kind: str, port: int) -> None:
    """Be one of the two servers until killed."""
    settings = Settings.from_env()
    if kind == "bare":
        following = broadcast(str(settings.redis_url))
        routes = [(r"/api/v1/ws/dashboard", Bare), (r"/health", Alive)]
    else:
        following, routes = server.run(server.start(settings)), ROUTES
    task = asyncio.get_running_loop().create_task(following)
    HTTPServer(Application(routes, cookie_secret="of a benchmark")).listen(port, "127.0.0.1")
    gc.collect()
    gc.freeze()  # as the product's start does it
    await task


class Alive(WebSocketHandler):
    """Says that the bare server is there."""

    def get(self, *_args: str) -> None:
        """Say it."""
        self.finish("{}")


@contextlib.contextmanager
def serving(kind: str, settings: Settings) -> Iterator[int]:
    """Run one of the servers; give its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.wire", "--serve", kind, "--port", str(port)],
        cwd=ROOT,
        env=os.environ | settings.environment(),
    )
    try:
        wait_until(lambda: _answers(port), f"the {kind} server")
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    return False


# -- clients ---------------------------------------------------------------------------------------


@dataclass
class Crowd:
    """Many clients that do as little as a client can: take frames apart and note when they came."""

    port: int
    waits_ms: list[float] = field(default_factory=list)
    count: int = 0
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _tasks: "list[asyncio.Task[None]]" = field(default_factory=list)

    async def gather(self, clients: int) -> None:
        """Connect so many."""
        for _ in range(clients):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(
                b"GET /api/v1/ws/dashboard HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            await reader.readuntil(b"\r\n\r\n")
            self._writers.append(writer)
            self._tasks.append(asyncio.create_task(self._read(reader, writer)))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(2)
                length = head[1] & 127
                if length == 126:
                    length = int.from_bytes(await reader.readexactly(2), "big")
                elif length == 127:
                    length = int.from_bytes(await reader.readexactly(8), "big")
                text = await reader.readexactly(length)
                if head[0] & 15 == PING:
                    writer.write(PONG)
                else:
                    self._note(text)

    def _note(self, text: bytes) -> None:
        at = text.find(b"sent:")
        if at >= 0:
            sent = int(text[at + 5 : at + 24])
            self.waits_ms.append((time.monotonic_ns() - sent) / 1e6)
            self.count += 1

    async def until(self, count: int) -> None:
        """Wait until so many messages came."""
        end = time.monotonic() + 60
        while self.count < count:
            assert time.monotonic() < end, f"{self.count} of {count} messages came"
            await asyncio.sleep(0.001)

    def leave(self) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.close()


class Publisher:
    """Publishes numbered envelopes, as the relay does."""

    def __init__(self, url: str, epoch: str) -> None:
        self._redis, self._epoch = redis_client(url, timeout=10.0), epoch
        self._numbers = itertools.count(1)

    def publish(self) -> None:
        """Publish one that carries its time."""
        sent = f"sent:{time.monotonic_ns():019d}"
        alert = SystemAlert(alert_type="benchmark", severity="info", message=sent)
        envelope = Envelope.now(alert, seq=next(self._numbers), epoch=self._epoch)
        text = envelope.to_json()
        pipe = self._redis.pipeline(transaction=True)
        key = f"enms:events:{self._epoch}"
        pipe.xadd(key, {"e": text}, id=f"{envelope.seq}-0", maxlen=20_000, approximate=True)
        pipe.publish(envelope.channel, text)
        pipe.execute()


@dataclass(frozen=True)
class Figures:
    """What one server did for so many clients."""

    p50_ms: float
    p99_ms: float
    per_s: float  # events to every client


async def measure(port: int, clients: int, publisher: Publisher, seconds: float) -> Figures:
    """Send at a steady rate, then in windows."""
    crowd = Crowd(port)
    await crowd.gather(clients)
    await asyncio.sleep(0.5)
    for n in range(int(seconds * RATE)):
        await asyncio.to_thread(publisher.publish)
        await crowd.until((n + 1) * clients)
        await asyncio.sleep(1 / RATE)
    waits, rates = np.array(crowd.waits_ms), []
    for _ in range(WINDOWS):
        wanted, began = crowd.count + WINDOW * clients, time.monotonic()
        await asyncio.to_thread(lambda: [publisher.publish() for _ in range(WINDOW)])
        await crowd.until(wanted)
        rates.append(WINDOW / (time.monotonic() - began))
    crowd.leave()
    await asyncio.sleep(0.5)
    return Figures(
        float(np.percentile(waits, 50)), float(np.percentile(waits, 99)), statistics.median(rates)
    )


async def events(settings: Settings, seconds: float) -> bool:
    """Measure both servers for every number of clients; print and judge the ratios."""
    store = Store(settings.database_url)
    publisher, good = Publisher(str(settings.redis_url), store.epoch), True
    print(f"{'clients':>8} {'server':8} {'p50 ms':>8} {'p99 ms':>8} {'events/s':>9} {'sends/s':>9}")
    with serving("bare", settings) as bare, serving("product", settings) as product:
        for clients in CLIENTS:
            found = {}
            for name, port in (("bare", bare), ("product", product)):
                found[name] = await measure(port, clients, publisher, seconds)
                f = found[name]
                print(
                    f"{clients:8} {name:8} {f.p50_ms:8.2f} {f.p99_ms:8.2f} {f.per_s:9.0f} "
                    f"{f.per_s * clients:9.0f}",
                    flush=True,
                )
            slower = found["product"].p99_ms / found["bare"].p99_ms
            rate = found["product"].per_s / found["bare"].per_s
            kept = slower <= P99_RATIO and rate >= THROUGHPUT_RATIO
            good = good and kept
            print(
                f"{'':8} ratio    p99 {slower:.2f} (limit {P99_RATIO:g}), events/s {rate:.2f} "
                f"(limit {THROUGHPUT_RATIO:g}): {'kept' if kept else 'NOT KEPT'}"
            )
    return good


# -- readings --------------------------------------------------------------------------------------


async def posted(port: int, batches: list[list[tuple[str, str, float]]], senders: int) -> float:
    """Return the readings a second that the server takes in from so many senders at once."""
    waiting = deque(_request(rows) for rows in batches)

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while waiting:
            writer.write(waiting.popleft())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head.split(b"\r\n")[0], head
            length = re.search(rb"(?i)content-length: (\d+)", head)
            assert length
            await reader.readexactly(int(length[1]))
        writer.close()

    began = time.monotonic()
    await asyncio.gather(*(send() for _ in range(senders)))
    return sum(map(len, batches)) / (time.monotonic() - began)


def _request(rows: list[tuple[str, str, float]]) -> bytes:
    body = json.dumps(
        [{"machine": m, "metric": "power_kw", "time": at, "value": v} for m, at, v in rows]
    ).encode()
    head = (
        "POST /api/v1/readings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def inserted(path: Path, batches: list[list[tuple[str, str, float]]]) -> float:
    """Return the rows a second that bare SQLite takes in, with the same table and durability."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE readings (id INTEGER PRIMARY KEY, series_id INTEGER NOT NULL, "
            "time BIGINT NOT NULL, value FLOAT NOT NULL, UNIQUE (series_id, time))"
        )
        rows = [
            [(1, int(datetime.fromisoformat(at).timestamp() * 1e6), v) for _, at, v in batch]
            for batch in batches
        ]
        began = time.monotonic()
        for batch in rows:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO readings (series_id, time, value) VALUES (?, ?, ?)", batch
            )
            connection.execute("COMMIT")
        return sum(map(len, batches)) / (time.monotonic() - began)


def readings(settings: Settings, folder: Path) -> bool:
    """Measure both ways in for every size of batch; print and judge the ratio of many senders."""
    at, good = itertools.count(), True
    start = datetime(2020, 1, 1, tzinfo=UTC)

    def made(size: int) -> list[list[tuple[str, str, float]]]:
        return [
            [("Pump", (start + timedelta(seconds=next(at))).isoformat(), 40.0) for _ in range(size)]
            for _ in range(max(24, min(800, 60_000 // size)))
        ]

    print(
        f"\n{'rows a batch':>12} {'executemany rows/s':>19} {'POST rows/s, 1 sender':>22} "
        f"{'ratio':>6} {'many senders':>12} {'ratio':>6}"
    )
    with serving("product", settings) as port:
        for size in ROWS:
            asyncio.run(posted(port, made(size)[:4], 1))  # warm
            bare = inserted(folder / f"bare{size}.db", made(size))
            one = asyncio.run(posted(port, made(size), 1))
            senders = min(SENDERS, AT_ONCE // size)
            many = asyncio.run(posted(port, made(size), senders))
            good = good and many / bare >= THROUGHPUT_RATIO
            print(
                f"{size:12} {bare:19.0f} {one:22.0f} {one / bare:6.2f} {many:12.0f} "
                f"{many / bare:6.2f}",
                flush=True,
            )
    return good


def main() -> int:
    """Run all of it on a plant of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each steady run")
    parser.add_argument("--only", choices=("events", "readings"))
    parser.add_argument("--serve", choices=("bare", "product"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.serve, args.port))
        return 0
    with tempfile.TemporaryDirectory(prefix="enms-", dir="/tmp") as text:
        folder = Path(text)
        valkey = Valkey(folder)
        settings = Settings.from_env(
            {
                "ENMS_HOME": text,
                "ENMS_SOURCE": "none",
                "ENMS_REDIS_URL": valkey.url,
                "ENMS_LOG_LEVEL": "WARNING",
            }
        )
        store = Store(settings.database_url).migrate()
        with store.write() as connection:
            site = Factory("Works", "Europe/Berlin")
            machines.add(connection, Machine("Pump", "pump", 75.0, site))
        try:
            print(f"load before {os.getloadavg()[0]:.1f}")
            kept = []
            if args.only != "readings":
                kept.append(asyncio.run(events(settings, args.seconds)))
            if args.only != "events":
                kept.append(readings(settings, folder))
        finally:
            valkey.kill()
        return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
