"""What waits to be sent to one WebSocket client: bounded, and honest about it.

Latest values coalesce to the newest of a machine. Nothing else is dropped: where more waits than
it holds, the client does not read, is cut, and may resume where it was.
"""

from collections import deque
from dataclasses import replace

from app.audience import Message
from enms_core.events import MetricUpdated

HOLDS, HOLDS_BYTES = 512, 1_000_000


class Full(Exception):
    """More waits than the outbox holds."""


class Outbox:
    """Messages in the order in which they came, latest values after them."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._newest: dict[str, Message] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages) + len(self._newest)

    def put(self, message: Message) -> None:
        """Keep a message; raise Full where too many wait."""
        if isinstance(message.envelope.event, MetricUpdated):
            self._put_newest(message, message.envelope.event)
            return
        self._messages.append(message)
        self._bytes += len(message.text)
        if len(self._messages) > HOLDS or self._bytes > HOLDS_BYTES:
            raise Full

    def take(self) -> Message | None:
        """Return what is to be sent next, None where nothing waits."""
        if self._messages:
            message = self._messages.popleft()
            self._bytes -= len(message.text)
            return message
        for machine_id in self._newest:
            return self._newest.pop(machine_id)
        return None

    def clear(self) -> None:
        """Forget what waits."""
        self._messages.clear()
        self._newest.clear()
        self._bytes = 0

    def _put_newest(self, message: Message, update: MetricUpdated) -> None:
        waiting = self._newest.get(update.machine_id)
        if waiting is not None:
            assert isinstance(waiting.envelope.event, MetricUpdated)
            values = {**waiting.envelope.event.values, **update.values}
            message = Message(replace(message.envelope, event=replace(update, values=values)))
        self._newest[update.machine_id] = message
