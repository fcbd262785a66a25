"""A bounded mailbox between the hub and one session.

The hub pushes and goes on; the mailbox is emptied at most every 50 ms, at once when it was quiet.
A session that stalls costs nothing: of a machine the newest values win, and where more events wait
than it holds they are forgotten and the session takes up from the store.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from enms_core.events import Envelope, MetricUpdated

FLUSH_S = 0.05
STALLED_S = 0.5  # how soon a session that does not read is tried again
HOLDS = 1000


class Loop(Protocol):
    """The part of an event loop that a mailbox needs."""

    def time(self) -> float:
        """Return the loop's clock."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> object:
        """Call back at that time."""
        ...


@dataclass
class Delivery:
    """What came since the last flush."""

    updates: dict[str, MetricUpdated] = field(default_factory=dict)
    events: list[Envelope] = field(default_factory=list)
    forgot: bool = False


class Mailbox:
    """Collects for one session; `deliver` gets what came, unless the session is `stalled`."""

    def __init__(
        self,
        loop: Loop,
        deliver: Callable[[Delivery], None],
        stalled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._loop, self._deliver, self._stalled = loop, deliver, stalled
        self._waiting = Delivery()
        self._pending = False
        self._last = float("-inf")
        self._closed = False

    def push(self, envelope: Envelope) -> None:
        """Take an envelope; never waits, never grows beyond its bound."""
        waiting, event = self._waiting, envelope.event
        if isinstance(event, MetricUpdated):
            known = waiting.updates.get(event.machine_id)
            values = {**(known.values if known else {}), **event.values}
            waiting.updates[event.machine_id] = replace(event, values=values)
        elif len(waiting.events) < HOLDS:
            waiting.events.append(envelope)
        else:
            waiting.events.clear()
            waiting.forgot = True
        self.wake()

    def restored(self) -> None:
        """Forget what waits: the store is another one, the session takes up from it."""
        self._waiting = Delivery(forgot=True)
        self.wake()

    def wake(self) -> None:
        """See to it that the session is flushed, also if nothing came."""
        if not self._pending and not self._closed:
            self._pending = True
            self._loop.call_at(max(self._loop.time(), self._last + FLUSH_S), self._flush)

    def close(self) -> None:
        """Deliver nothing any more."""
        self._closed = True

    def _flush(self) -> None:
        if self._closed:
            return
        self._last = self._loop.time()
        if self._stalled():
            self._loop.call_at(self._last + STALLED_S, self._flush)
            return
        self._pending = False
        delivery, self._waiting = self._waiting, Delivery()
        self._deliver(delivery)
