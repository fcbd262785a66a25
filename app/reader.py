"""Reads the store for all sessions of this process: in a thread, when there is something new.

Without a session it listens to no events, and keeps its snapshot warm every ten seconds.
"""

import asyncio
import logging
from collections.abc import Callable

from app.models import snapshot
from app.models.snapshot import Snapshot
from enms_core.events import Envelope, MetricUpdated
from enms_core.store import Store, Unavailable
from enms_core.store.times import now_us

log = logging.getLogger(__name__)

EVERY_S = 10.0
PAUSE_S = 0.25  # events come in groups: one reading serves them all


class Reader:
    """Keeps the newest snapshot; `fresh` is called in the event loop when there is another."""

    def __init__(self, store: Store, fresh: Callable[[], None]) -> None:
        self._store, self._fresh = store, fresh
        self._asked = asyncio.Event()
        self.snapshot: Snapshot | None = None

    def push(self, envelope: Envelope) -> None:
        """Read soon if an event says that the store changed."""
        if not isinstance(envelope.event, MetricUpdated):
            self.ask()

    def restored(self) -> None:
        """Read soon: the store is another one."""
        self.snapshot = None
        self.ask()

    def ask(self) -> None:
        """Read soon."""
        self._asked.set()

    async def run(self) -> None:
        """Read for ever."""
        while True:
            try:
                self.snapshot = await asyncio.to_thread(self.read)
                self._fresh()
            except Unavailable as error:
                log.warning("the store does not answer, pages show what they have: %s", error)
            await asyncio.sleep(PAUSE_S)
            try:
                await asyncio.wait_for(self._asked.wait(), EVERY_S - PAUSE_S)
            except TimeoutError:
                continue
            finally:
                self._asked.clear()

    def read(self) -> Snapshot:
        """Return what the store holds now."""
        traces = self.snapshot.traces if self.snapshot else {}
        with self._store.read() as connection:
            return snapshot.take(connection, traces, now_us())
