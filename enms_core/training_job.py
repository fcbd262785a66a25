"""A training as the one who asked for it sees it: progress, result, cancel; live in a notebook."""

import html
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from enms_core.store.jobs import ACTIVE, Job

if TYPE_CHECKING:
    from enms_core.baseline import EnergyBaseline


class Plant(Protocol):
    """The part of a plant, near or far, that a job needs."""

    def job(self, job_id: str) -> Job:
        """Return the job as it stands."""
        ...

    def cancel(self, job_id: str) -> bool:
        """Cancel it."""
        ...

    def model(self, machine: str, version: int | None = None) -> "EnergyBaseline":
        """Return what it learned."""
        ...


POLL_S = 0.2


class TrainingFailed(RuntimeError):
    """The training ended without a model; the message says why."""


class TrainingJob:
    """A job in the plant's queue. Shown in a notebook cell it moves there, without blocking it."""

    def __init__(self, plant: Plant, job_id: str, machine: str) -> None:
        self.plant, self.id, self.machine = plant, job_id, machine

    @property
    def row(self) -> Job:
        """The job as it stands."""
        return self.plant.job(self.id)

    @property
    def state(self) -> str:
        """One of queued, running, completed, failed, cancelled and interrupted."""
        return self.row.state

    def cancel(self) -> bool:
        """Cancel it; False if it had ended."""
        return self.plant.cancel(self.id)

    def result(self, timeout: float | None = None) -> "EnergyBaseline":
        """Wait for the model; raise TrainingFailed with the reason, or TimeoutError."""
        end = None if timeout is None else time.monotonic() + timeout
        while (row := self.row).state in ACTIVE:
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"job {self.id} is still {row.state}, at {row.progress_pct} %")
            time.sleep(POLL_S)
        if row.state != "completed":
            raise TrainingFailed(f"training of {self.machine} {row.state}: {row.error_message}")
        return self.plant.model(self.machine, row.model_version)

    def __repr__(self) -> str:
        return _line(self.machine, self.row)

    def _ipython_display_(self) -> None:
        """Show the job in the cell and keep it true until the job has ended."""
        from IPython.display import display

        row = self.row
        shown = display(_Shown(self.machine, row), display_id=True)
        if row.state in ACTIVE:
            threading.Thread(target=self._follow, args=(shown, row), daemon=True).start()

    def _follow(self, shown: Any, row: Job) -> None:
        while row.state in ACTIVE:
            time.sleep(POLL_S)
            newer = self.row
            if newer != row:
                shown.update(_Shown(self.machine, newer))
            row = newer


class _Shown:
    """A job as HTML where there is a browser, as a line of text elsewhere."""

    def __init__(self, machine: str, row: Job) -> None:
        self.machine, self.row = machine, row

    def __repr__(self) -> str:
        return _line(self.machine, self.row)

    def _repr_html_(self) -> str:
        percent = self.row.progress_pct
        return (
            f"<div><b>{html.escape(self.machine)}</b> {html.escape(self.row.model_type)}: "
            f"{html.escape(_status(self.row))}<br>"
            f'<progress max="100" value="{percent}"></progress> {percent} %</div>'
        )


def _line(machine: str, row: Job) -> str:
    return f"{machine} {row.model_type}: {row.progress_pct} % {_status(row)}"


def _status(row: Job) -> str:
    if row.state == "completed":
        return f"completed, version {row.model_version}"
    return f"{row.state}, {row.error_message or row.message or row.step}".removesuffix(", queued")
