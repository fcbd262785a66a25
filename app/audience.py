"""All WebSocket clients of this process: one listener of the hub for all of them."""

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol

from enms_core import telemetry
from enms_core.events import Envelope

log = logging.getLogger(__name__)

GOING_AWAY, FAILED = 1001, 1011  # RFC 6455, 7.4.1


@dataclass(frozen=True)
class Message:
    """An envelope and its text, which all clients that get it share."""

    envelope: Envelope
    arrived: float = field(default_factory=time.monotonic)

    @cached_property
    def text(self) -> str:
        """The envelope as JSON."""
        return self.envelope.to_json()

    @property
    def machine_id(self) -> str | None:
        """Whose event it is, None where it is no machine's."""
        return getattr(self.envelope.event, "machine_id", None)


class Client(Protocol):
    """Somebody at the other end of a WebSocket."""

    name: ClassVar[str]  # of the stream

    def offer(self, message: Message) -> None:
        """Take a message without waiting for anything."""
        ...

    def cut(self, code: int, reason: str) -> None:
        """End the connection."""
        ...


class Audience:
    """Hands every envelope to every client; one client's fault is not the others'."""

    def __init__(self) -> None:
        self._clients: set[Client] = set()
        self._present: set[Client] = set()  # those that are still asking or are going, too
        self._is_over = False

    def push(self, envelope: Envelope) -> None:
        """Offer an envelope to all; a client that fails is cut."""
        message = Message(envelope)
        for client in list(self._clients):
            try:
                client.offer(message)
            except Exception:  # whatever it is: the others get theirs
                telemetry.ERRORS.labels("client").inc()
                log.exception("cut a client that failed on %s", envelope.channel)
                client.cut(FAILED, "this connection failed; connect again with since and epoch")

    def restored(self) -> None:
        """Let all clients come again: what they know is void."""
        for client in list(self._present):  # also those that still catch up
            client.cut(GOING_AWAY, "the store was restored; connect again")

    def dismiss(self) -> None:
        """Let all clients go, and who still comes: this process ends, the next goes on."""
        self._is_over = True
        for client in list(self._present):
            self._send_away(client)

    @property
    def is_empty(self) -> bool:
        """Whether nobody is connected."""
        return not self._present

    def enter(self, client: Client) -> None:
        """Note that a client is there."""
        self._present.add(client)
        if self._is_over:
            self._send_away(client)

    def leave(self, client: Client) -> None:
        """Note that its connection is closed."""
        self._present.discard(client)
        self.remove(client)

    def add(self, client: Client) -> None:
        """Offer everything to this client from now on."""
        self._clients.add(client)

    def remove(self, client: Client) -> None:
        """Offer nothing to this client any more."""
        self._clients.discard(client)

    def counts(self) -> dict[str, int]:
        """Return the number of clients by the name of their stream."""
        return dict(Counter(client.name for client in self._clients))

    def _send_away(self, client: Client) -> None:
        client.cut(GOING_AWAY, "the server ends; connect again with since and epoch")
