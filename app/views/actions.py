"""What a person can start from the page: a training, a detection."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import panel as pn

from app.api.base import Stranger, person_of
from app.models.toasts import Toast
from app.server import Server
from app.views.session import Session
from enms_core.people import Forbidden
from enms_core.store import Unavailable

log = logging.getLogger(__name__)


class Actions:
    """Runs what was asked for in a thread, and says at once when it could not be started."""

    def __init__(self, server: Server, session: Session, tell: Callable[[Toast], None]) -> None:
        self._server, self._session, self._tell = server, session, tell
        self._login = pn.state.user

    def train(self, machine: str | None) -> None:
        """Ask for a training of the machine's baseline."""
        if not machine:
            text = "Choose a machine first."
            self._tell(Toast(kind="warning", title="Nothing to train", text=text))
            return
        plant = self._server.plant
        self._session.start(self._run(partial(plant.train, machine, model="baseline")))

    def detect(self, machine: str | None) -> None:
        """Ask for a detection over the last day, of one machine or of all."""
        plant = self._server.plant
        self._session.start(self._run(partial(plant.request_detection, machine)))
        title = f"Detection over {machine or 'all machines'} asked for"
        self._tell(Toast(kind="info", title=title, text="What it finds appears here."))

    async def _run(self, work: Callable[..., Any]) -> None:
        try:
            await asyncio.to_thread(self._as_analyst, work)
        except (Forbidden, Stranger) as error:
            self._failed(f"{error}.")
        except (ValueError, LookupError) as error:
            self._failed(str(error.args[0] if error.args else error))
        except Unavailable:
            log.warning("the store does not answer", exc_info=True)
            self._failed("The store does not answer; try again when it does.")
        self._server.reader.ask()

    def _as_analyst(self, work: Callable[..., Any]) -> None:
        person = person_of(self._login)
        person.require("analyst")
        work(requested_by=person.name)

    def _failed(self, text: str) -> None:
        with self._session.writing():
            self._tell(Toast(kind="danger", title="Not started", text=text))
