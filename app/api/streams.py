"""The four WebSockets: events as they happen, resumed where a client stopped reading."""

import asyncio
import json
import time
import uuid
from fnmatch import fnmatch
from typing import Any, ClassVar

from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from app import metrics, server
from app.api.base import FORBIDDEN, STREAMS_EACH, TOO_MANY, TRY_AGAIN, UNKNOWN, StreamGuard
from app.api.outbox import Full, Outbox
from app.audience import Message
from enms_core.events import CHANNELS, Envelope, chosen, utc_now
from enms_core.plant import Unknown
from enms_core.store import Store, Unavailable, events
from enms_core.store.machines import all_machines, find

LARGEST_IN = 64 * 1024  # bytes of a message from a client
MESSAGES_PER_S = 20
PING_S, PONG_WITHIN_S = 25.0, 4.0  # Tornado waits 5 s more: a dead line is noticed within 35 s
RECHECK_S = 60.0
LAST_WORDS_S = 1.0  # how long a cut client may still read why, before its socket is closed
BATCH = 200
WINDOW = "server_max_window_bits=12"  # 4 kB: the last events; zlib's 32 kB would cost 128 a client
NARROWING = ("channels", "machines")
REFUSALS = {
    UNKNOWN: "nobody known asks; send Authorization: Bearer TOKEN",
    FORBIDDEN: "the role of this token or login does not suffice for this stream",
    TOO_MANY: f"more than {STREAMS_EACH} streams of one token or login",
    TRY_AGAIN: "the store does not answer; try again",
}
ANSWERS = 40  # that wait for a client which talks and does not read
TOO_SLOW, NOT_UNDERSTOOD, FLOODING = 4008, 4400, 1008


class Stream(StreamGuard, WebSocketHandler):
    """One client: gets what it asked for, in order and each once, as fast as it reads."""

    name: ClassVar[str]
    channels: ClassVar[frozenset[str]]
    ping_interval, ping_timeout, max_message_size = PING_S, PONG_WITHIN_S, LARGEST_IN

    def initialize(self) -> None:
        """Start with nothing sent and nothing received."""
        self._outbox = Outbox()
        self._sent = 0  # the number of the newest event that was sent or passed over
        self._machines: frozenset[str] | None = None
        self._listened = self.channels
        self._credit, self._credit_at = float(MESSAGES_PER_S), time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_cut = False

    async def prepare(self) -> None:
        """Deflate in a small window: Tornado takes its size from what the client asks for."""
        offered = self.request.headers.get("Sec-WebSocket-Extensions", "")
        ours = f"permessage-deflate; {WINDOW}" if "permessage-deflate" in offered else ""
        self.request.headers["Sec-WebSocket-Extensions"] = ours  # Tornado fails on odd offers
        await super().prepare()

    def get_compression_options(self) -> dict[str, Any]:
        """Offer permessage-deflate."""
        return {"compression_level": 6, "mem_level": 5}

    # -- the beginning --------------------------------------------------------------------------

    async def open(self, *_args: str, **_kwargs: str) -> None:
        """Say who is there, send what was missed, then what happens."""
        refused = self.enter()
        if refused is not None:
            self.close(refused, REFUSALS[refused])
            return
        server.current().audience.enter(self)
        if self._is_cut:
            return
        try:
            since = self._number("since")
            await self._choose(*(_names(self.get_query_argument(n, "")) for n in NARROWING))
        except (ValueError, Unknown, HTTPError) as error:
            said = error.log_message if isinstance(error, HTTPError) else str(error.args[0])
            await self.write_message({"type": "error", "message": said})
            self.close(NOT_UNDERSTOOD, "a parameter is wrong")
            return
        except Unavailable:
            self.close(TRY_AGAIN, "the store does not answer; try again")
            return
        self._start(self._join(since))
        self._start(self._keep_checking())

    async def _join(self, since: int | None) -> None:
        hub = server.current().hub
        if hub.seq is None:
            self.close(TRY_AGAIN, "the server is starting; try again")
            return
        try:
            await self._greet(since)
            while self._sent < (hub.seq or 0):
                await self._catch_up()
        except Unavailable:
            self.cut(TRY_AGAIN, "the store does not answer; try again")
        if not self._is_cut:
            server.current().audience.add(self)  # nothing can come between: this is one step

    async def _greet(self, since: int | None) -> None:
        hub = server.current().hub
        assert hub.seq is not None
        known = self.get_query_argument("epoch", "") == hub.epoch
        recovered = since is not None and known and since <= hub.seq
        self._sent = since if recovered and since is not None else hub.seq
        await self.write_message(
            {
                "type": "connection",
                "status": "connected",
                "client_id": self.get_query_argument("client_id", "") or str(uuid.uuid4()),
                "connection_type": self.name,
                "epoch": hub.epoch,
                "seq": hub.seq,
                "recovered": recovered,
            }
        )

    async def _catch_up(self) -> None:
        for message in await self._missed():
            self._sent = message.envelope.seq or self._sent
            if self._wants(message):
                await self.write_message(message.text)

    async def _missed(self) -> list[Message]:
        """Return the events after the last one sent: from the hub's log, else from the store."""
        current = server.current()
        found = current.hub.after(self._sent)
        if found is None:
            found = await asyncio.to_thread(_stored, current.plant.store, self._sent)
        return [Message(envelope) for envelope in found[:BATCH]]

    def _number(self, name: str) -> int | None:
        text = self.get_query_argument(name, "")
        if text and not (text.isascii() and text.isdigit() and len(text) < 19):
            raise ValueError(f"{name} is {text[:60]!r}; it must be the number of an event")
        return int(text) if text else None

    # -- to the client --------------------------------------------------------------------------

    def offer(self, message: Message) -> None:
        """Take a message for this client if it wants it; never waits."""
        seq = message.envelope.seq
        if self._is_cut or (seq is not None and seq <= self._sent):
            return
        self._sent = self._sent if seq is None else seq
        if not self._wants(message):
            return
        try:
            self._outbox.put(message)
        except Full:
            self.cut(TOO_SLOW, "too slow; connect again with since and epoch")
            return
        self._send()

    def _wants(self, message: Message) -> bool:
        if message.envelope.channel not in self._listened:
            return False
        machine_id = message.machine_id
        return self._machines is None or machine_id is None or machine_id in self._machines

    def _send(self) -> None:
        """Write what waits, as long as the socket takes it; the rest when it has."""
        while not self._is_blocked() and (message := self._outbox.take()) is not None:
            written = self.write_message(message.text)
            metrics.SENT.observe(time.monotonic() - message.arrived)
            if self._is_blocked():
                written.add_done_callback(self._go_on)

    def _is_blocked(self) -> bool:
        connection = self.ws_connection
        if connection is None or connection.is_closing() or connection.stream is None:
            return True
        return connection.stream.writing()

    def _go_on(self, written: "asyncio.Future[None]") -> None:
        if written.cancelled() or written.exception() is not None:
            return  # the client is gone; what it missed it asks for when it comes again
        self._send()

    def cut(self, code: int, reason: str) -> None:
        """End the connection; its last words are not waited for longer than a moment."""
        if self._is_cut:
            return
        self._is_cut = True
        metrics.CUT.labels(code).inc()
        server.current().audience.remove(self)
        self._outbox.clear()
        self.close(code, reason)
        IOLoop.current().call_later(LAST_WORDS_S, self._close_socket)

    def _close_socket(self) -> None:
        stream = getattr(self.ws_connection, "stream", None)
        if stream is not None:
            stream.close()

    # -- from the client ------------------------------------------------------------------------

    async def on_message(self, message: str | bytes) -> None:
        """Answer a ping, change the subscription, or say what would be right."""
        if not self._in_time():
            self._tell_error(f"more than {MESSAGES_PER_S} messages a second; the connection ends")
            self.cut(FLOODING, "too many messages")
            return
        try:
            await self._obey(_command(message))
        except (ValueError, Unknown) as error:
            self._tell_error(str(error.args[0]))
        except Unavailable:
            self._tell_error("the store does not answer; try again")

    async def _obey(self, command: dict[str, Any]) -> None:
        if command["type"] == "ping":
            self._say({"type": "pong", "timestamp": utc_now()})
            return
        patterns = _texts(command, "channels", "training.*") if "channels" in command else None
        names = None
        if "machines" in command or patterns is None:
            names = _texts(command, "machines", "Pump")
        await self._choose(patterns, names)
        machines = sorted(self._machines) if self._machines is not None else None
        self._say({"type": "subscribed", "machines": machines, "channels": sorted(self._listened)})

    async def _choose(self, patterns: list[str] | None, names: list[str] | None) -> None:
        """Narrow this stream to channels and machines; none means all, None leaves it as it is.

        All of it or nothing: where a part is wrong, nothing changes.
        """
        listened = self._listened if patterns is None else chosen(patterns or ["*"], self.channels)
        if names is not None:
            store = server.current().plant.store
            self._machines = await asyncio.to_thread(_ids, store, names) if names else None
        self._listened = listened

    def _in_time(self) -> bool:
        """Whether the client keeps to its number of messages a second."""
        now = time.monotonic()
        self._credit += (now - self._credit_at) * MESSAGES_PER_S
        self._credit, self._credit_at = min(self._credit, float(MESSAGES_PER_S)) - 1.0, now
        return self._credit >= 0.0

    # -- the end --------------------------------------------------------------------------------

    def on_close(self) -> None:
        """Forget this client."""
        self._is_cut = True
        self.leave()
        server.current().audience.leave(self)
        self._outbox.clear()
        for task in self._tasks:
            task.cancel()

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_S)
            refused = await self.recheck()
            if refused is not None:
                self.cut(refused, "the right to this stream has ended")

    def _tell_error(self, text: str) -> None:
        self._say({"type": "error", "message": text})

    def _say(self, answer: dict[str, Any]) -> None:
        if len(self._tasks) > ANSWERS:
            self.cut(TOO_SLOW, "too slow; connect again with since and epoch")
            return
        self._start(self._write(json.dumps(answer)))

    async def _write(self, text: str) -> None:
        await self.write_message(text)
        self._send()  # events that came meanwhile wait for this

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(_until_closed(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # one that was cancelled before it began


class Dashboard(Stream):
    """All channels."""

    name = "dashboard"
    channels = frozenset(CHANNELS)


class Anomalies(Stream):
    """The channels of anomalies."""

    name = "anomalies"
    channels = frozenset(c for c in CHANNELS if fnmatch(c, "anomaly.*"))


class Training(Stream):
    """The channels of trainings."""

    name = "training"
    channels = frozenset(c for c in CHANNELS if fnmatch(c, "training.*"))


class Events(Stream):
    """All that happens but the newest values: for who keeps the books."""

    name = "events"
    role = "analyst"
    channels = frozenset(CHANNELS) - {"metric.updated"}


STREAMS = {stream.name: stream for stream in (Dashboard, Anomalies, Training, Events)}
ROUTES = [(rf"/api/v1/ws/{name}", stream) for name, stream in STREAMS.items()]


async def _until_closed(work: Any) -> None:
    try:
        await work
    except (WebSocketClosedError, StreamClosedError):
        return  # the client is gone; what it missed it asks for when it comes again


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _texts(command: dict[str, Any], name: str, example: str) -> list[str]:
    texts = command.get(name)
    if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
        return texts
    raise ValueError(f'{name} must be a list of names, as in {{"{name}": ["{example}"]}}')


def _ids(store: Store, names: list[str]) -> frozenset[str]:
    with store.read() as connection:
        known = {key: m.id for m in all_machines(connection) for key in (m.id, m.name)}
        for name in names:
            if name not in known:
                find(connection, name)  # which says what is known
    return frozenset(known[name] for name in names)


def _stored(store: Store, seq: int) -> list[Envelope]:
    with store.read() as connection:
        return [Envelope.from_json(text) for _, _, text in events.after(connection, seq, BATCH)]


def _command(message: str | bytes) -> dict[str, Any]:
    """Return what a client says; raise ValueError with an example where it is nothing known."""
    if message == "ping":
        return {"type": "ping"}
    try:
        command = json.loads(message)
    except (ValueError, RecursionError):
        command = None
    if isinstance(command, dict) and command.get("type") in ("ping", "subscribe"):
        return command
    raise ValueError(
        'not understood; send {"type": "ping"} or {"type": "subscribe", "machines": [...]}'
    )
