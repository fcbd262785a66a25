"""One subscriber per server process: a numbered, bounded log of events that wakes its listeners.

It knows nothing of sessions, pages or Panel: a listener is anything with `push`. One that fails is
dropped, so that a broken session never costs the others an event.
"""

import asyncio
import contextlib
import logging
import statistics
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from itertools import islice
from typing import Protocol

from enms_core import telemetry
from enms_core.bus import Restored
from enms_core.events import Envelope, MetricUpdated, age_s

log = logging.getLogger(__name__)

KEEP = 10_000
LATENCIES = 100
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0


class Feed(Protocol):
    """Where envelopes come from: `enms_core.bus.Follower`."""

    state: str
    epoch: str
    last: int

    async def begin(self) -> None:
        """Learn `epoch` and `last`."""
        ...

    def follow(self) -> AsyncGenerator[Envelope]:
        """Yield envelopes in order, each once."""
        ...


class Listener(Protocol):
    """What the hub wakes."""

    def push(self, envelope: Envelope) -> None:
        """Take an envelope without waiting for anything."""
        ...

    def restored(self) -> None:
        """Forget what is known: the store is another one."""
        ...


class Hub:
    """The events of this process: `seq` is the newest number of the `epoch`, None at the start."""

    def __init__(self, feed: Callable[[int | None], Feed]) -> None:
        self._make_feed = feed
        self._feed: Feed | None = None
        self._log: deque[Envelope] = deque(maxlen=KEEP)
        self._listeners: list[Listener] = []
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self.epoch = ""
        self.seq: int | None = None
        self.newest: dict[str, MetricUpdated] = {}
        self.last_event: str | None = None

    @property
    def state(self) -> str:
        """How the events come: connecting, live, or degraded (read from the store)."""
        return self._feed.state if self._feed else "connecting"

    @property
    def latency_ms(self) -> float | None:
        """The median time from publication to here of the last events, None before the first."""
        return statistics.median(self._latencies) if self._latencies else None

    async def run(self) -> None:
        """Follow for ever; a feed that breaks is started again from the last number seen."""
        pause = FIRST_PAUSE_S
        while True:
            before = self.seq
            try:
                await self._follow()
            except Restored as error:
                log.warning("%s", error)
                self._forget()
            except Exception:  # whatever broke the feed: without it every page would stand still
                telemetry.ERRORS.labels("feed").inc()
                log.exception("the event feed broke, starting it again in %.1f s", pause)
            self._feed = None
            await asyncio.sleep(pause)
            longer = FIRST_PAUSE_S if self.seq != before else 2 * pause
            pause = min(longer, LONGEST_PAUSE_S)

    async def _follow(self) -> None:
        self._feed = self._make_feed(self.seq)
        await self._feed.begin()
        if self.epoch not in ("", self._feed.epoch):
            raise Restored(f"the store is not the one of epoch {self.epoch} any more")
        self.epoch = self._feed.epoch
        self.seq = self._feed.last if self.seq is None else self.seq
        async with contextlib.aclosing(self._feed.follow()) as told:
            async for envelope in told:
                self.take(envelope)

    def take(self, envelope: Envelope) -> None:
        """Keep an envelope, and wake who listens."""
        if envelope.seq is not None:
            self._log.append(envelope)
            self.seq = envelope.seq
        self.last_event = envelope.published_at
        self._latencies.append(1e3 * age_s(envelope.published_at))
        if isinstance(envelope.event, MetricUpdated):
            self._note(envelope.event)
        for listener in list(self._listeners):
            self._wake(listener, envelope)

    def after(self, seq: int) -> list[Envelope] | None:
        """Return the events after this number; None where the log does not reach back so far."""
        if self.seq is None or seq >= self.seq:
            return []
        first = self._log[0].seq if self._log else None
        if first is None or seq + 1 < first:
            return None
        return list(islice(self._log, seq + 1 - first, None))

    def _forget(self) -> None:
        self._log.clear()
        self.newest.clear()
        self.epoch, self.seq = "", None
        for listener in list(self._listeners):
            listener.restored()

    def register(self, listener: Listener) -> None:
        """Wake this listener from now on."""
        self._listeners.append(listener)

    def unregister(self, listener: Listener) -> None:
        """Wake this listener no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def _note(self, update: MetricUpdated) -> None:
        known = self.newest.get(update.machine_id)
        values = {**(known.values if known else {}), **update.values}
        self.newest[update.machine_id] = replace(update, values=values)

    def _wake(self, listener: Listener, envelope: Envelope) -> None:
        try:
            listener.push(envelope)
        except Exception:  # one session's fault is not the others': it is dropped, they go on
            telemetry.ERRORS.labels("listener").inc()
            log.exception("dropped a listener that failed on %s", envelope.channel)
            self.unregister(listener)
