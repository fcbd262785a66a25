"""Training jobs: the row is the truth, the queue only carries its id."""

import json
import uuid
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from enms_core.plant import Unknown
from enms_core.store.schema import jobs
from enms_core.store.times import now_us

ACTIVE = ("queued", "running")
MODEL_TYPES = ("baseline",)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training as it stands; times in microseconds UTC."""

    id: str
    machine_id: str
    model_type: str
    state: str
    requested_by: str
    progress_pct: int
    step: str
    message: str
    created_at: int
    started_at: int | None
    ended_at: int | None
    alive_at: int | None
    metrics: dict[str, float]
    error_message: str
    model_version: int | None


def add(connection: sa.Connection, machine_id: str, model_type: str, requested_by: str) -> Job:
    """Queue a training, or return the one of this machine and type that waits or runs already."""
    query = sa.select(jobs.c.id).where(
        jobs.c.machine_id == machine_id,
        jobs.c.model_type == model_type,
        jobs.c.state.in_(ACTIVE),
    )
    known = connection.execute(query).scalars().first()
    if known:
        return get(connection, known)
    job_id = str(uuid.uuid4())
    connection.execute(
        sa.insert(jobs).values(
            id=job_id,
            machine_id=machine_id,
            model_type=model_type,
            state="queued",
            requested_by=requested_by,
            progress_pct=0,
            step="queued",
            message="",
            created_at=now_us(),
            error_message="",
        )
    )
    return get(connection, job_id)


def get(connection: sa.Connection, job_id: str) -> Job:
    """Return a job; raise Unknown where there is none."""
    row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().first()
    if row is None:
        raise Unknown(f"job {job_id!r} is unknown")
    return _job(row)


def listed(connection: sa.Connection, states: tuple[str, ...] = (), limit: int = 50) -> list[Job]:
    """Return jobs, newest first, all or only those in one of the states."""
    query = sa.select(jobs).order_by(jobs.c.created_at.desc()).limit(limit)
    if states:
        query = query.where(jobs.c.state.in_(states))
    return [_job(row) for row in connection.execute(query).mappings()]


def change(
    connection: sa.Connection, job_id: str, *, only_in: tuple[str, ...], **values: Any
) -> bool:
    """Change a job that is in one of the states; False if it is in none of them."""
    if "metrics" in values:
        values["metrics"] = json.dumps(values["metrics"], allow_nan=False)
    query = sa.update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(only_in)).values(**values)
    return connection.execute(query).rowcount == 1


def counts(connection: sa.Connection) -> dict[str, int]:
    """Return the number of jobs by state."""
    query = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
    return dict(connection.execute(query).all())


def _job(row: sa.RowMapping) -> Job:
    return Job(**{**row, "metrics": json.loads(row["metrics"] or "{}")})
