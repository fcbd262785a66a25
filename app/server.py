"""What one server process holds for all its sessions."""

import asyncio
import logging
import signal
import time
import uuid
from dataclasses import dataclass, field

from tornado.httpserver import HTTPServer

from app import metrics
from app.audience import Audience
from app.hub import Hub
from app.mailbox import Mailbox
from app.reader import Reader
from enms_core.bus import Follower
from enms_core.client import Plant
from enms_core.settings import Settings
from enms_core.store import Store, Unavailable

log = logging.getLogger(__name__)

BOOT = str(uuid.uuid4())  # names this process: pages of another one load again
STORE_PAUSE_S = 1.0
WIRE_WAITS_S = 0.25
IDLE_S = 75.0  # between requests, and until the headers of one are there
BODY_S = 300.0  # for the whole body: 1 MiB in less than 4 kB/s
FAREWELL_S, LONGEST_FAREWELL_S = 0.3, 1.0  # what is asked is answered, clients hear to go


@dataclass
class Server:
    """The plant, one hub and one reader; sessions register their mailbox.

    `wire` is the same plant for REST: it waits for a locked store a moment only.
    """

    plant: Plant
    wire: Plant
    hub: Hub
    reader: Reader
    audience: Audience
    mailboxes: list[Mailbox] = field(default_factory=list)

    def join(self, mailbox: Mailbox) -> None:
        """Deliver events and news of the store to this mailbox from now on."""
        if not self.mailboxes:  # nobody looked: the snapshot may be seconds old
            self.hub.register(self.reader)
            self.reader.ask()
        self.mailboxes.append(mailbox)
        self.hub.register(mailbox)
        mailbox.wake()

    def leave(self, mailbox: Mailbox) -> None:
        """Deliver nothing to this mailbox any more."""
        mailbox.close()
        self.hub.unregister(mailbox)
        if mailbox in self.mailboxes:
            self.mailboxes.remove(mailbox)
            if not self.mailboxes:
                self.hub.unregister(self.reader)


_servers: list[Server] = []


def current() -> Server:
    """Return this process's server; raise RuntimeError where `--setup` did not start it."""
    if not _servers:
        raise RuntimeError("the hub does not run; start with `panel serve --setup app/startup.py`")
    return _servers[0]


def start(settings: Settings) -> Server:
    """Make this process's server; what it does begins with the event loop."""
    plant = Plant(settings, Store(settings.database_url))
    wire = Plant(settings, Store(settings.database_url, patience_s=WIRE_WAITS_S))
    hub = Hub(lambda since: Follower(plant.store, plant.locate, since))
    server = Server(plant, wire, hub, Reader(plant.store, _wake_all), Audience())
    hub.register(server.audience)
    hub.register(metrics.Tally())
    _servers.append(server)
    return server


def limit_waiting() -> None:
    """Let this process's HTTP servers, made from now on, wait for nobody for ever.

    A connection that asks nothing is closed, and one whose body comes byte by byte. A WebSocket is
    neither: it has its own pings.
    """
    HTTPServer.configure(None, idle_connection_timeout=IDLE_S, body_timeout=BODY_S)


async def run(server: Server) -> None:
    """Bring the store up to date, then follow its events and what it holds until the end."""
    await asyncio.to_thread(_migrate, server.plant)
    log.info("following the events of %s", server.plant)
    await asyncio.gather(server.hub.run(), server.reader.run())


def end_politely(server: Server) -> None:
    """On SIGTERM let the clients go first; then stop the loop, which Bokeh would do at once."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, _leave, server, loop)


def _leave(server: Server, loop: asyncio.AbstractEventLoop) -> None:
    server.audience.dismiss()
    now = loop.time()
    loop.call_at(now + FAREWELL_S, _stop, server, loop, now + LONGEST_FAREWELL_S)


def _stop(server: Server, loop: asyncio.AbstractEventLoop, latest: float) -> None:
    """Stop the loop as soon as all clients are gone."""
    if server.audience.is_empty or loop.time() >= latest:
        loop.stop()
    else:
        loop.call_later(FAREWELL_S / 10, _stop, server, loop, latest)


def _migrate(plant: Plant) -> None:
    while True:
        try:
            plant.store.migrate()
        except Unavailable as error:
            log.warning("the store does not answer, trying again: %s", error)
            time.sleep(STORE_PAUSE_S)
        else:
            return


def _wake_all() -> None:
    for mailbox in list(current().mailboxes):
        mailbox.wake()
