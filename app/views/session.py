"""A session's link to the hub: its mailbox, its clock, and the rules of writing to its browser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import panel as pn
from bokeh.document import Document
from panel.io import unlocked
from panel.io.state import set_curdoc
from tornado.ioloop import IOLoop

from app.mailbox import Delivery, Mailbox
from app.server import Server

TICK_MS = 1000


class Session:
    """Delivers to one page; `deliver` and `tick` run where the page may be changed."""

    def __init__(
        self, server: Server, deliver: Callable[[Delivery], None], tick: Callable[[], None]
    ) -> None:
        self._server, self._tick = server, tick
        self._document: Document = pn.state.curdoc
        loop = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
        self._mailbox = Mailbox(loop, lambda mail: self._deliver(deliver, mail), self._stalled)
        pn.state.onload(self._start)
        pn.state.on_session_destroyed(lambda _context: self._server.leave(self._mailbox))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Change the page from outside its callbacks: what changed is sent at the end."""
        with set_curdoc(self._document), unlocked():
            yield

    def _start(self) -> None:
        self._server.join(self._mailbox)
        pn.state.add_periodic_callback(self._on_tick, period=TICK_MS)

    async def _on_tick(self) -> None:
        if not self._stalled():
            self._tick()

    def _deliver(self, deliver: Callable[[Delivery], None], mail: Delivery) -> None:
        with self.writing():
            deliver(mail)

    def _stalled(self) -> bool:
        """Whether the browser has not yet taken what was last sent to it."""
        context = self._document.session_context
        session = getattr(context, "session", None)
        return any(_is_full(connection) for connection in _connections(session))


def _connections(session: object) -> list[object]:
    return list(getattr(session, "_subscribed_connections", ()))


def _is_full(connection: object) -> bool:
    socket = getattr(getattr(connection, "_socket", None), "ws_connection", None)
    stream = getattr(socket, "stream", None)
    return stream is not None and not stream.closed() and stream.writing()
