"""Trainings: those that run, with their progress, and those that ended last."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import param

from app.models.snapshot import Snapshot
from enms_core.events import Envelope, TrainingCompleted, TrainingProgress, TrainingStarted
from enms_core.store.jobs import ACTIVE
from enms_core.store.times import now_us

SHOWN = 6
RUNNING_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class JobNow:
    """A training as it is shown."""

    id: str
    machine_id: str
    machine: str
    model_type: str = "baseline"
    requested_by: str = ""
    state: str = "running"
    progress: int = 0
    message: str = ""
    error: str = ""
    version: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    created_at: int = 0
    ended_at: int | None = None

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE


class RunningJobs(param.Parameterized):
    """Trainings by id; an event moves one at once, the store has the last word."""

    machine_ids = param.ClassSelector(class_=frozenset, default=None, doc="Shown; None is all.")

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        self._jobs: dict[str, JobNow] = {}
        self._names: dict[str, str] = {}
        self._seq = -1

    def take_snapshot(self, snapshot: Snapshot) -> None:
        """Take what the store holds, unless an event newer than that was seen already."""
        self._names = {machine.id: machine.name for machine in snapshot.machines}
        if snapshot.seq < self._seq:
            return
        self._jobs = {
            job.id: JobNow(
                id=job.id,
                machine_id=job.machine_id,
                machine=self._name(job.machine_id),
                model_type=job.model_type,
                requested_by=job.requested_by,
                state=job.state,
                progress=job.progress_pct,
                message=job.message,
                error=job.error_message,
                version=job.model_version,
                metrics=job.metrics,
                created_at=job.created_at,
                ended_at=job.ended_at,
            )
            for job in snapshot.jobs
        }

    def take(self, envelopes: Iterable[Envelope]) -> None:
        """Take events as they come."""
        for envelope in envelopes:
            self._seq = max(self._seq, envelope.seq or -1)
            event = envelope.event
            if isinstance(event, TrainingStarted):
                self._started(event)
            elif isinstance(event, TrainingProgress):
                self._moved(event)
            elif isinstance(event, TrainingCompleted):
                self._ended(event)

    def name_of(self, job_id: str) -> str:
        """Return the name of a job's machine, empty for an unknown job."""
        return self._jobs[job_id].machine if job_id in self._jobs else ""

    @property
    def running(self) -> list[JobNow]:
        """Those that wait or run, the oldest first."""
        active = [job for job in self._jobs.values() if job.is_active and self._is_shown(job)]
        return sorted(active, key=lambda job: job.created_at)

    @property
    def rows(self) -> list[JobNow]:
        """What the list shows: what runs, filled up with what ended last."""
        running = self.running[:RUNNING_SHOWN]
        ended = [j for j in self._jobs.values() if not j.is_active and self._is_shown(j)]
        ended.sort(key=lambda job: job.ended_at or 0, reverse=True)
        return [*running, *ended][:SHOWN]

    def _is_shown(self, job: JobNow) -> bool:
        return self.machine_ids is None or job.machine_id in self.machine_ids

    def _name(self, machine_id: str) -> str:
        return self._names.get(machine_id, machine_id)

    def _started(self, event: TrainingStarted) -> None:
        known = self._jobs.get(event.job_id)
        if known and not known.is_active:
            return
        self._jobs[event.job_id] = JobNow(
            id=event.job_id,
            machine_id=event.machine_id,
            machine=event.machine,
            model_type=event.model_type,
            requested_by=event.requested_by,
            created_at=known.created_at if known else now_us(),
        )

    def _moved(self, event: TrainingProgress) -> None:
        known = self._jobs.get(event.job_id) or JobNow(
            id=event.job_id, machine_id=event.machine_id, machine=self._name(event.machine_id)
        )
        if known.is_active:
            self._jobs[event.job_id] = replace(
                known, state="running", progress=event.progress_pct, message=event.message
            )

    def _ended(self, event: TrainingCompleted) -> None:
        known = self._jobs.get(event.job_id) or JobNow(
            id=event.job_id, machine_id=event.machine_id, machine=self._name(event.machine_id)
        )
        self._jobs[event.job_id] = replace(
            known,
            state=event.status,
            progress=100 if event.status == "completed" else known.progress,
            error=event.error_message,
            version=event.model_version,
            metrics=event.metrics,
            ended_at=known.ended_at or now_us(),
        )
