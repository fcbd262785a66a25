"""The only Redis commands: relay events out of the store, follow them, ring the doorbell.

An event is appended to one stream and published on its channel in one transaction; its number in
the stream is its `seq`. The stream's own last id is the relay's cursor: a repeated append is
refused by Redis, and nothing is doubled. A follower that misses a number fills the gap from the
stream, and what the stream has not from the store.
"""

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from enms_core import broker, telemetry
from enms_core.events import CHANNELS, Envelope, MetricUpdated, age_s
from enms_core.settings import Settings
from enms_core.store import Store, Unavailable, events, progress, readings
from enms_core.store.machines import all_machines
from enms_core.store.times import iso

log = logging.getLogger(__name__)

TIMEOUT_S = 2.0  # a Redis that does not answer for so long counts as gone
AGAIN_S = 0.5  # and has so long to show that it is there after all
POLL_S = 0.25  # how often the store is asked where nobody rings
MOMENT_S = 0.025  # how long nobody minds to wait for Redis
BATCH = 200
FAIR = 20  # messages that are read before whatever else waits has its turn
KEEP = 20_000  # events that the stream holds; older ones are in the store

Locate = Callable[[], str | None]  # the URL of Redis as it is now, None when there is none
GONE = (RedisError, OSError)  # what a client raises when Redis is away


def locator(settings: Settings) -> Locate:
    """Return what finds the plant's Redis, wherever it is by then."""

    def locate() -> str | None:
        found = broker.locate(settings)
        return found.url if found else None

    return locate


def stream_key(epoch: str) -> str:
    """Return the stream's name; a store made anew starts a new stream."""
    return f"enms:events:{epoch}"


def bell_key(topic: str) -> str:
    """Return the channel on which the doorbell of a topic rings."""
    return f"enms:bell:{topic}"


def client(url: str, timeout: float = TIMEOUT_S) -> redis.Redis:
    """Return a client that never retries by itself: a silent retry could leave a hole."""
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
    )


class Bell:
    """Tells other processes at once that there is something new in the store.

    It carries no data and may be lost: who waits for it looks after `POLL_S` all the same. A thread
    of its own speaks to Redis, so that a Redis that hangs holds up nobody for longer than a moment.
    """

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
        self._client: redis.Redis | None = None
        self._misses = 0  # in a row; after one that was only slow it rings on
        self._quiet_until = 0.0
        self._turn = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._errand: Future[None] | None = None

    def ring(self, topic: str) -> None:
        """Ring, if there is a Redis to ring through; never raises."""
        self.soon(partial(self._publish, bell_key(topic), ""))

    def publish(self, envelope: Envelope) -> None:
        """Publish a latest value; like a ring it may be lost."""
        self.soon(partial(self._publish, envelope.channel, envelope.to_json()))

    def soon(self, errand: Callable[[], None]) -> None:
        """Run an errand to Redis in the bell's thread, and wait for it, but for a moment only.

        It is dropped while an earlier one hangs, and whatever Redis raises is its own affair.
        """
        if not self._turn.acquire(timeout=MOMENT_S):
            return
        try:
            if self._errand is None or self._errand.done():
                self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="bell")
                self._errand = self._thread.submit(_forgiving, errand)
                wait([self._errand], timeout=MOMENT_S)
        finally:
            self._turn.release()

    def _publish(self, channel: str, message: str) -> None:
        if time.monotonic() < self._quiet_until:
            return
        try:
            self._client = self._client or client(self._locate() or "", timeout=0.05)
            self._client.publish(channel, message)
            self._misses = 0
        except (*GONE, ValueError):
            self._client = None
            self._misses += 1
            if self._misses > 1:
                self._quiet_until = time.monotonic() + 1.0


def _forgiving(errand: Callable[[], None]) -> None:
    try:
        errand()
    except GONE as error:
        log.warning("Redis does not answer: %s", error)


class Ear:
    """Waits for a bell."""

    def __init__(self, locate: Locate, topic: str) -> None:
        self._locate, self._topic = locate, topic
        self._pubsub: Any = None

    def wait(self, timeout: float = POLL_S) -> None:
        """Return when the bell rang or after `timeout` seconds; rings in between are one."""
        end = time.monotonic() + timeout
        try:
            if self._pubsub is None:
                self._pubsub = client(self._locate() or "").pubsub()
                self._pubsub.subscribe(bell_key(self._topic))
            while (left := end - time.monotonic()) > 0:
                message = self._pubsub.get_message(timeout=left)
                if message and message["type"] == "message":
                    break
            while self._pubsub.get_message(timeout=0):
                pass
        except (*GONE, ValueError):
            self._pubsub = None
            time.sleep(max(0.0, end - time.monotonic()))


class Relay:
    """Takes events out of the store and tells them through Redis, in order, each once."""

    def __init__(self, store: Store, locate: Locate) -> None:
        self._store, self._locate = store, locate
        self._key = stream_key(store.epoch)
        self._client: redis.Redis | None = None
        self._last = 0
        with store.read() as connection:
            self._told = events.last_seq(connection)
        self.lost_since: float | None = time.monotonic()  # None while Redis answers

    def run(self, stop: threading.Event) -> None:
        """Relay until told to stop; Redis or the store may go and come back meanwhile."""
        ear = Ear(self._locate, "events")
        while not stop.is_set():
            try:
                while self.step():
                    pass
            except GONE as error:
                self._forget(error)
            except Unavailable as error:
                log.warning("the store does not answer, the relay waits: %s", error)
            ear.wait()

    def step(self) -> int:
        """Relay one batch and return its size; raise when Redis is gone."""
        if self._client is None:
            self._connect()
        with self._store.read() as connection:
            batch = events.after(connection, self._last, BATCH)
        if batch:
            self._append(batch)
            self._last = batch[-1][0]
        return len(batch)

    def _connect(self) -> None:
        url = self._locate()
        if url is None:
            raise ConnectionError("no Redis yet")
        connected = client(url)
        newest: Any = connected.xrevrange(self._key, count=1)
        if newest and not self._is_ours(*newest[0]):
            self._key = stream_key(self._store.renew())
            newest = None
        self._last = int(newest[0][0].split(b"-")[0]) if newest else self._resume()
        self._client = connected
        self.lost_since = None

    def _is_ours(self, entry_id: bytes, entry: dict[bytes, bytes]) -> bool:
        """Whether the store knows what was told last; one restored from a backup does not."""
        seq = int(entry_id.split(b"-")[0])
        with self._store.read() as connection:
            rows = events.after(connection, seq - 1, 1)
        return bool(rows) and rows[0][2].encode() == entry.get(b"e")

    def _resume(self) -> int:
        """Where an empty stream starts: as far back as it would hold."""
        with self._store.read() as connection:
            return max(0, events.last_seq(connection) - KEEP)

    def _append(self, batch: list[tuple[int, str, str]]) -> None:
        assert self._client is not None
        pipe = self._client.pipeline(transaction=True)
        for seq, channel, envelope in batch:
            pipe.xadd(self._key, {"e": envelope}, id=f"{seq}-0", maxlen=KEEP, approximate=True)
            pipe.publish(channel, envelope)
        try:
            pipe.execute()
        except ResponseError as error:  # another relay was faster: start again from its last id
            self._client = None
            raise ConnectionError(str(error)) from error
        self._count(batch)

    def _count(self, batch: list[tuple[int, str, str]]) -> None:
        """Note how long events took from their commit; not of those that Redis had forgotten."""
        for seq, _, envelope in batch:
            if seq > self._told:
                self._told = seq
                telemetry.PUBLISHED.observe(age_s(json.loads(envelope)["published_at"]))

    def _forget(self, error: Exception) -> None:
        if self._client is not None:
            log.warning("Redis is gone, events wait in the store: %s", error)
        self._client = None
        self.lost_since = self.lost_since or time.monotonic()


class Restored(Exception):
    """The store was restored from a backup or made anew: numbers known of it are void."""


class Follower:
    """Follows every event, in order and each once, whatever happens to Redis.

    `state` is "live" while Redis tells them and "degraded" while they are read from the store;
    `last` is the number of the newest event yielded or passed over, of the store's `epoch`.
    """

    def __init__(self, store: Store, locate: Locate, since: int | None = None) -> None:
        self._store, self._locate = store, locate
        self.state = "connecting"
        self.last = since if since is not None else -1
        self.epoch = ""
        self._seen: dict[str, int] = {}

    async def begin(self) -> None:
        """Learn from the store where to start; wait for it where it does not answer."""
        while not self.epoch:
            try:
                self.epoch, newest = await asyncio.to_thread(self._beginning)
                self.last = newest if self.last < 0 else self.last
            except Unavailable:
                await asyncio.sleep(POLL_S)

    async def follow(self) -> AsyncGenerator[Envelope]:
        """Yield envelopes for ever, from after `since` or from now on.

        Raise Restored when the store is not the one that it was.
        """
        await self.begin()
        while True:
            try:
                async with contextlib.aclosing(self._live()) as told:
                    async for envelope in told:
                        yield envelope
            except GONE as error:
                only_we_were_slow = isinstance(error, TimeoutError) and await self._answers(AGAIN_S)
                if not only_we_were_slow:
                    self._degrade(error)
            except Unavailable as error:
                log.warning("the store does not answer, the follower waits: %s", error)
                await asyncio.sleep(POLL_S)
            async for envelope in self._polled():
                yield envelope

    def _beginning(self) -> tuple[str, int]:
        with self._store.read() as connection:
            return progress.get(connection, "epoch"), events.last_seq(connection)

    @property
    def _key(self) -> str:
        return stream_key(self.epoch)

    async def _live(self) -> AsyncGenerator[Envelope]:
        connected = await self._connect()
        async with connected, connected.pubsub() as pubsub:
            await _in_time(pubsub.subscribe(*CHANNELS))
            while True:
                while missing := await self._missing(connected):
                    for envelope in missing:
                        yield envelope
                if self.state == "degraded":
                    telemetry.RECONNECTS.inc()
                self.state = "live"
                async for envelope in self._heard(pubsub):
                    yield envelope

    async def _heard(self, pubsub: Any) -> AsyncGenerator[Envelope]:
        """Yield what is published, until a number is missing or all was still for a while."""
        tick, is_missing = time.monotonic() + 2 * POLL_S, False
        while not is_missing and (left := tick - time.monotonic()) > 0:
            for data in await _in_time(_messages(pubsub, left)):
                envelope = _parsed(data)
                if envelope is None or self._is_known(envelope):
                    continue
                if envelope.seq is not None:
                    is_missing = is_missing or envelope.seq != self.last + 1
                    if is_missing:  # it is filled in; the newest values are not
                        continue
                    self.last = envelope.seq
                yield envelope
            await asyncio.sleep(0)  # what has arrived is read without waiting for anything

    def _is_known(self, envelope: Envelope) -> bool:
        """Whether it was told before, or is another plant's on the same Redis."""
        seq = envelope.seq
        return envelope.epoch != self.epoch or (seq is not None and seq <= self.last)

    async def _missing(self, connected: Any) -> list[Envelope]:
        """Return what was appended after the last number seen: from the stream, else the store."""
        asked = connected.xrange(self._key, min=f"({self.last}-0", count=BATCH)
        entries = await _in_time(asked)
        if not entries:  # nothing is new, or the stream was emptied
            with contextlib.suppress(Unavailable):
                return await asyncio.to_thread(self._stored)
        found = [_parsed(entry[1][b"e"]) for entry in entries]
        numbers = [envelope.seq for envelope in found if envelope is not None]
        if numbers != list(range(self.last + 1, self.last + 1 + len(entries))):
            return await asyncio.to_thread(self._stored)
        self.last += len(numbers)
        telemetry.FILLED.inc(len(numbers))
        return [envelope for envelope in found if envelope is not None]

    def _stored(self) -> list[Envelope]:
        with self._store.read() as connection:
            if progress.get(connection, "epoch") != self.epoch:
                raise Restored(f"the store is not the one of epoch {self.epoch} any more")
            rows = events.after(connection, self.last, BATCH)
        self.last = rows[-1][0] if rows else self.last
        telemetry.FILLED.inc(len(rows))
        found = [_parsed(text) for _, _, text in rows]
        return [envelope for envelope in found if envelope is not None]

    async def _polled(self) -> AsyncGenerator[Envelope]:
        """Yield from the store until Redis answers again."""
        while not await self._answers():
            with contextlib.suppress(Unavailable):
                for envelope in await asyncio.to_thread(self._polled_once):
                    yield envelope
            await asyncio.sleep(2 * POLL_S)

    def _polled_once(self) -> list[Envelope]:
        return [*self._stored(), *self._newest_values()]

    def _newest_values(self) -> list[Envelope]:
        with self._store.read() as connection:
            names = {machine.id: machine.name for machine in all_machines(connection)}
            rows = readings.latest(connection)
        updates = newest_values(names, rows, self._seen)
        return [Envelope.now(event, seq=None, epoch=self.epoch) for event in updates]

    async def _answers(self, within: float = TIMEOUT_S) -> bool:
        try:
            async with await self._connect() as connected:
                return bool(await _in_time(connected.ping(), within))
        except GONE:
            return False

    async def _connect(self) -> Any:
        url = await asyncio.to_thread(self._locate)
        if url is None:
            raise ConnectionError("no Redis yet")
        return redis.asyncio.Redis.from_url(
            url,
            socket_timeout=None,  # see _in_time
            socket_connect_timeout=TIMEOUT_S,
            retry=AsyncRetry(NoBackoff(), 0),
        )

    def _degrade(self, error: Exception) -> None:
        if self.state != "degraded":
            log.warning("following the store, Redis does not answer: %s", error)
        self.state = "degraded"


def newest_values(
    names: dict[str, str], rows: list[tuple[str, str, int, float]], seen: dict[str, int]
) -> list[MetricUpdated]:
    """Return an update for every machine with a newer reading than `seen`, and note it there."""
    values: dict[str, dict[str, float]] = {}
    times: dict[str, int] = {}
    for machine_id, metric, at, value in rows:
        values.setdefault(machine_id, {})[metric] = value
        times[machine_id] = max(at, times.get(machine_id, 0))
    fresh = [m for m, at in times.items() if at > seen.get(m, 0)]
    seen.update({m: times[m] for m in fresh})
    return [
        MetricUpdated(machine_id=m, machine=names.get(m, m), values=values[m], time=iso(times[m]))
        for m in fresh
    ]


async def _messages(pubsub: Any, wait_s: float) -> list[bytes]:
    """Return what was published once there is something: all that has arrived, up to some."""
    found: list[bytes] = []
    for _ in range(FAIR):
        message = await pubsub.get_message(timeout=0.0 if found else wait_s)
        if message is None:
            break
        if message["type"] == "message":
            found.append(message["data"])
    return found


async def _in_time(answer: Awaitable[Any], seconds: float = TIMEOUT_S) -> Any:
    """Await what Redis answers.

    Not by its client's `socket_timeout`: on Python 3.11 that swallows the cancellation of a task.
    """
    async with asyncio.timeout(seconds):
        return await answer


def _parsed(data: str | bytes) -> Envelope | None:
    try:
        return Envelope.from_json(data)
    except ValueError as error:
        telemetry.REFUSED.inc()
        log.warning("passed over: %s", error)
        return None
