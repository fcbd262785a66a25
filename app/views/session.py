"""A session's link to the hub: its mailbox, its clock, and the rules of writing to its browser."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import panel as pn
from bokeh.document import Document
from panel.io import unlocked
from panel.io.state import set_curdoc
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from app.mailbox import Delivery, Mailbox
from app.server import Server

log = logging.getLogger(__name__)

TICK_MS = 1000
LOST_PINGS = 2  # one every 25 s; a browser that answers none is let go, awake again it loads again


class Session:
    """Delivers to one page; `deliver` and `tick` run where the page may be changed."""

    def __init__(
        self, server: Server, deliver: Callable[[Delivery], None], tick: Callable[[], None]
    ) -> None:
        self._server, self._tick = server, tick
        self._tasks: set[asyncio.Task[None]] = set()
        self._document = _document()
        loop = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
        self._mailbox = Mailbox(loop, lambda mail: self._deliver(deliver, mail), self._stalled)
        pn.state.onload(self._start)
        pn.state.on_session_destroyed(lambda _context: self._server.leave(self._mailbox))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Change the page from outside its callbacks: what changed is sent at the end."""
        with set_curdoc(self._document), unlocked():
            yield

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run work beside the page's callbacks; what it did not expect is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("work of a page failed", exc_info=task.exception())

    def _start(self) -> None:
        self._server.join(self._mailbox)
        pn.state.add_periodic_callback(self._on_tick, period=TICK_MS)  # type: ignore[arg-type]

    async def _on_tick(self) -> None:
        for connection in self._connections():
            stream = _stream(connection)
            if stream is not None and _unanswered(connection) >= LOST_PINGS:
                stream.close()
        if not self._stalled():
            self._tick()

    def _deliver(self, deliver: Callable[[Delivery], None], mail: Delivery) -> None:
        with self.writing():
            deliver(mail)

    def _stalled(self) -> bool:
        """Whether the browser is away, or has not yet taken what was last sent to it."""
        streams = [_stream(connection) for connection in self._connections()]
        is_open = [stream for stream in streams if stream is not None and not stream.closed()]
        return not is_open or any(stream.writing() for stream in is_open)

    def _connections(self) -> list[Any]:
        session = getattr(self._document.session_context, "session", None)
        return list(getattr(session, "_subscribed_connections", ()))


def _document() -> Document:
    document = pn.state.curdoc
    assert document is not None, "a session is made while its page is built"
    return document


def _stream(connection: object) -> IOStream | None:
    handler = getattr(connection, "_socket", None)
    return getattr(getattr(handler, "ws_connection", None), "stream", None)


def _unanswered(connection: Any) -> int:
    """Return how many of Bokeh's pings wait for their pong; Bokeh itself never looks."""
    sent = getattr(connection, "_ping_count", 0)
    return int(sent - 1 - getattr(connection._socket, "latest_pong", sent - 1))
