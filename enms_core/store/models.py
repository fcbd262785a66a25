"""Model versions: what was learned, from when to when, and how good it is on unseen data."""

import json
import uuid
from dataclasses import dataclass, replace

import sqlalchemy as sa

from enms_core.plant import Unknown
from enms_core.store.schema import models
from enms_core.store.times import now_us


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A trained model of a machine; `model` is its JSON, times are microseconds UTC."""

    id: str
    machine_id: str
    model_type: str
    version: int
    state: str
    created_at: int
    job_id: str | None
    train_start: int
    train_end: int
    metrics: dict[str, float]
    model: str
    activated_at: int | None


def register(
    connection: sa.Connection,
    *,
    machine_id: str,
    model_type: str,
    job_id: str,
    span: tuple[int, int],
    metrics: dict[str, float],
    model: str,
) -> ModelVersion:
    """Add the next version and make it the active one; the one before is retired."""
    mine = (models.c.machine_id == machine_id, models.c.model_type == model_type)
    newest = connection.execute(sa.select(sa.func.max(models.c.version)).where(*mine)).scalar()
    connection.execute(
        sa.update(models).where(*mine, models.c.state == "active").values(state="retired")
    )
    version = ModelVersion(
        id=str(uuid.uuid4()),
        machine_id=machine_id,
        model_type=model_type,
        version=(newest or 0) + 1,
        state="active",
        created_at=now_us(),
        job_id=job_id,
        train_start=span[0],
        train_end=span[1],
        metrics=metrics,
        model=model,
        activated_at=now_us(),
    )
    row = {**vars(version), "metrics": json.dumps(metrics, allow_nan=False)}
    connection.execute(sa.insert(models).values(**row))
    return version


def active(connection: sa.Connection) -> dict[str, ModelVersion]:
    """Return the active model of every machine that has one, by machine id."""
    query = sa.select(models).where(models.c.state == "active")
    return {row["machine_id"]: _version(row) for row in connection.execute(query).mappings()}


def versions(connection: sa.Connection, machine_id: str | None = None) -> list[ModelVersion]:
    """Return the versions, newest first."""
    query = sa.select(models).order_by(models.c.created_at.desc())
    if machine_id is not None:
        query = query.where(models.c.machine_id == machine_id)
    return [_version(row) for row in connection.execute(query).mappings()]


def newest_change(connection: sa.Connection) -> int:
    """Return when a model was last made active (us), 0 before the first."""
    return connection.execute(sa.select(sa.func.max(models.c.activated_at))).scalar() or 0


def get(connection: sa.Connection, version_id: str) -> ModelVersion:
    """Return a version; raise Unknown where there is none."""
    row = connection.execute(sa.select(models).where(models.c.id == version_id)).mappings().first()
    if row is None:
        raise Unknown(f"model {version_id!r} is unknown")
    return _version(row)


def activate(connection: sa.Connection, version_id: str) -> ModelVersion:
    """Make a version the active one of its machine; raise Unknown where there is none."""
    version = get(connection, version_id)
    mine = (models.c.machine_id == version.machine_id, models.c.model_type == version.model_type)
    connection.execute(
        sa.update(models).where(*mine, models.c.state == "active").values(state="retired")
    )
    at = now_us()
    connection.execute(
        sa.update(models).where(models.c.id == version_id).values(state="active", activated_at=at)
    )
    return replace(version, state="active", activated_at=at)


def _version(row: sa.RowMapping) -> ModelVersion:
    return ModelVersion(**{**row, "metrics": json.loads(row["metrics"])})
