"""What a person can do from the page: train, detect, and say what is to be said of an anomaly."""

import asyncio
import logging
from collections.abc import Callable

import panel as pn

from app.api.base import Stranger, person_of
from app.models.toasts import Toast
from app.server import Server
from app.views.session import Session
from enms_core.people import Forbidden
from enms_core.store import Unavailable

log = logging.getLogger(__name__)

NEEDED = "analyst"  # the role that may


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
        self._do(lambda by: plant.train(machine, model="baseline", requested_by=by))

    def detect(self, machine: str | None) -> None:
        """Ask for a detection over the last day, of one machine or of all."""
        plant = self._server.plant
        self._do(lambda by: plant.request_detection(machine, requested_by=by))
        title = f"Detection over {machine or 'all machines'} asked for"
        self._tell(Toast(kind="info", title=title, text="What it finds appears here."))

    def act(self, anomaly_id: str, action: str) -> None:
        """Acknowledge, resolve or reopen an anomaly."""
        plant = self._server.plant
        self._do(lambda by: plant.act(anomaly_id, action, by=by), "Not done")

    def label(self, anomaly_id: str, label: str, note: str) -> None:
        """Say what an anomaly was, and why."""
        plant, text = self._server.plant, note.replace("\0", "").strip()
        self._do(lambda by: plant.label(anomaly_id, label, note=text, by=by), "Not labelled")

    def may(self) -> bool:
        """Return whether this person may do all this; it reads the store: ask in a thread."""
        try:
            return person_of(self._login).may(NEEDED)
        except Stranger:
            return False

    def _do(self, work: Callable[[str], object], failure: str = "Not started") -> None:
        self._session.start(self._run(work, failure))

    async def _run(self, work: Callable[[str], object], failure: str) -> None:
        try:
            await asyncio.to_thread(self._with_right, work)
        except (Forbidden, Stranger) as error:
            self._failed(failure, f"{error}.")
        except (ValueError, LookupError) as error:
            self._failed(failure, str(error.args[0] if error.args else error))
        except Unavailable:
            log.warning("the store does not answer", exc_info=True)
            self._failed(failure, "The store does not answer; try again when it does.")
        self._server.reader.ask()

    def _with_right(self, work: Callable[[str], object]) -> None:
        person = person_of(self._login)
        person.require(NEEDED)
        work(person.name)

    def _failed(self, title: str, text: str) -> None:
        with self._session.writing():
            self._tell(Toast(kind="danger", title=title, text=text))
