"""Anomalies: intervals in which a machine used more or less than it should."""

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
import sqlalchemy as sa

from enms_core.contributors import Contributor
from enms_core.plant import Unknown
from enms_core.store.dialect import insert_new, upsert
from enms_core.store.schema import anomalies, labels, machines
from enms_core.store.times import index_of

_NAMES = uuid.UUID("6b2f5b3e-5d0b-4c39-8a2e-0f6f1f0c7a11")
FOREVER = 2**62
STATES = ("open", "acknowledged", "resolved")
LABELS = ("true", "false", "expected")
SETTLING = ("false", "expected")  # nobody needs to see to these any more


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """An interval of a metric that was not as expected; times in microseconds UTC.

    `cost_per_hour` is negative where too little was used. `confidence` is the probability that a
    day of normal operation shows no such thing; None where a person saw it.
    """

    machine_id: str
    metric: str
    state: str
    severity: str
    score: float
    value: float
    expected: float
    lower: float
    upper: float
    delta_kwh: float
    delta_cost: float
    started_at: int
    reason: str
    ended_at: int | None = None
    model_version: int | None = None
    cost_per_hour: float | None = None
    confidence: float | None = None
    contributors: tuple[Contributor, ...] = ()

    @property
    def id(self) -> str:
        """The same for the same machine, metric and start, whoever found it."""
        return id_of(self.machine_id, self.metric, self.started_at)

    @property
    def is_reported(self) -> bool:
        """Whether a person saw it and no detector, which would have given it a score."""
        return self.score == 0.0

    def ended(self, at: int) -> "Anomaly":
        """Return the anomaly as it is over."""
        return replace(self, state="resolved", ended_at=at)


def id_of(machine_id: str, metric: str, started_at: int) -> str:
    """Return the id of the anomaly of a metric that began then (us)."""
    return str(uuid.uuid5(_NAMES, f"{machine_id}/{metric}/{started_at}"))


def add(connection: sa.Connection, anomaly: Anomaly) -> bool:
    """Keep a new anomaly; False if it was found before."""
    return insert_new(connection, anomalies, [{"id": anomaly.id, **_values(anomaly)}]) == 1


def update(connection: sa.Connection, anomaly: Anomaly) -> bool:
    """Bring a kept anomaly that lasts to its newest size; return False for one that is over.

    What a person did to its state stays.
    """
    values = _values(anomaly)
    if anomaly.ended_at is None:
        del values["state"], values["ended_at"]
    query = sa.update(anomalies).where(anomalies.c.id == anomaly.id)
    return (
        connection.execute(query.where(anomalies.c.ended_at.is_(None)).values(**values)).rowcount
        > 0
    )


def is_over(connection: sa.Connection, anomaly_id: str) -> bool:
    """Return whether an anomaly is known to be over."""
    query = sa.select(anomalies.c.ended_at).where(anomalies.c.id == anomaly_id)
    return connection.execute(query).scalar() is not None


def end(connection: sa.Connection, anomaly_id: str, at_us: int) -> None:
    """Let an anomaly be over at that time."""
    query = sa.update(anomalies).where(anomalies.c.id == anomaly_id)
    connection.execute(query.values(state="resolved", ended_at=at_us))


def within(
    connection: sa.Connection, machine_id: str, metrics: Collection[str], start_us: int, end_us: int
) -> list[tuple[Anomaly, bool]]:
    """Return the anomalies that reach into [start, end), and whether each has a label."""
    columns = [*anomalies.c, labels.c.label]
    query = (
        sa.select(*columns)
        .outerjoin_from(anomalies, labels)
        .where(anomalies.c.machine_id == machine_id, anomalies.c.metric.in_(metrics))
        .where(anomalies.c.started_at < end_us)
        .where(sa.or_(anomalies.c.ended_at.is_(None), anomalies.c.ended_at >= start_us))
    )
    return [(_of(row), bool(row["label"])) for row in connection.execute(query).mappings()]


def get(connection: sa.Connection, anomaly_id: str) -> Anomaly:
    """Return an anomaly; raise Unknown where there is none."""
    query = sa.select(anomalies).where(anomalies.c.id == anomaly_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise Unknown(f"anomaly {anomaly_id!r} is unknown")
    return _of(row)


def contributors(connection: sa.Connection, anomaly_id: str) -> tuple[Contributor, ...]:
    """Return what is known to go with an anomaly; nothing where there is none."""
    query = sa.select(anomalies.c.contributors).where(anomalies.c.id == anomaly_id)
    return _read(connection.execute(query).scalar())


def standing(connection: sa.Connection, anomaly_id: str) -> tuple[str, str, str | None] | None:
    """Return state, severity and label of an anomaly; None where there is none."""
    query = (
        sa.select(anomalies.c.state, anomalies.c.severity, labels.c.label)
        .outerjoin_from(anomalies, labels)
        .where(anomalies.c.id == anomaly_id)
    )
    row = connection.execute(query).first()
    return None if row is None else (row.state, row.severity, row.label)


def put_state(connection: sa.Connection, anomaly_id: str, state: str, ended_at: int | None) -> None:
    """Change the state of an anomaly, and its end."""
    changed = sa.update(anomalies).where(anomalies.c.id == anomaly_id)
    connection.execute(changed.values(state=state, ended_at=ended_at))


def put_label(
    connection: sa.Connection, anomaly_id: str, label: str, note: str, by: str, at_us: int
) -> None:
    """Keep what a person knows of an anomaly; what was said before is replaced."""
    row = {
        "anomaly_id": anomaly_id,
        "label": label,
        "note": note,
        "labelled_by": by,
        "labelled_at": at_us,
    }
    upsert(connection, labels, [row])


def labelled(
    connection: sa.Connection, machine_id: str, start_us: int, end_us: int
) -> pd.DataFrame:
    """Return the labelled anomalies of a machine that began in [start, end), oldest first.

    Columns id, metric, started_at, ended_at (us; an open one has none), delta_kwh, label.
    """
    names = ("id", "metric", "started_at", "ended_at", "delta_kwh")
    query = (
        sa.select(*(anomalies.c[name] for name in names), labels.c.label)
        .join_from(anomalies, labels)
        .where(anomalies.c.machine_id == machine_id)
        .where(anomalies.c.started_at >= start_us, anomalies.c.started_at < end_us)
        .order_by(anomalies.c.started_at)
    )
    return pd.DataFrame(connection.execute(query).all(), columns=[*names, "label"])


def table(
    connection: sa.Connection,
    *,
    state: str | None = None,
    severity: str | None = None,
    machine_id: str | None = None,
    anomaly_id: str | None = None,
    limit: int = 1000,
) -> pd.DataFrame:
    """Return anomalies, newest first, a row each with the machine's name; times in UTC."""
    said = (labels.c.label, labels.c.note.label("label_note"), labels.c.labelled_by)
    columns = [machines.c.name.label("machine"), *anomalies.c, *said]
    query = (
        sa.select(*columns)
        .join_from(anomalies, machines)
        .outerjoin(labels)
        .order_by(anomalies.c.started_at.desc())
        .limit(limit)
    )
    for column, wanted in (
        (anomalies.c.state, state),
        (anomalies.c.severity, severity),
        (anomalies.c.machine_id, machine_id),
        (anomalies.c.id, anomaly_id),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    frame = pd.DataFrame(
        connection.execute(query).mappings().all(), columns=[c.name for c in columns]
    )
    for name in ("started_at", "ended_at"):
        frame[name] = index_of(frame[name].astype("Int64"))
    known = [json.loads(text or "[]") for text in frame["contributors"]]
    figures = dict.fromkeys(("cost_per_hour", "confidence"), float)
    return frame.astype(figures).assign(contributors=pd.Series(known, frame.index, dtype=object))


def spans(connection: sa.Connection, machine_id: str, metric: str) -> list[tuple[int, int]]:
    """Return start and end (us) of the known anomalies of a metric; an open one has no end yet."""
    query = sa.select(anomalies.c.started_at, anomalies.c.ended_at).where(
        anomalies.c.machine_id == machine_id, anomalies.c.metric == metric
    )
    return [(start, end or FOREVER) for start, end in connection.execute(query)]


def open_counts(connection: sa.Connection) -> dict[str, int]:
    """Return how many anomalies are not resolved, by severity."""
    query = (
        sa.select(anomalies.c.severity, sa.func.count())
        .where(anomalies.c.state != "resolved")
        .group_by(anomalies.c.severity)
    )
    return dict(connection.execute(query).all())


def _of(row: Mapping[Any, Any]) -> Anomaly:
    plain = {name: row[name] for name in Anomaly.__dataclass_fields__}
    return Anomaly(**{**plain, "contributors": _read(row["contributors"])})


def _read(contributors: str | None) -> tuple[Contributor, ...]:
    return tuple(Contributor(**one) for one in json.loads(contributors or "[]"))


def _values(anomaly: Anomaly) -> dict[str, Any]:
    values = asdict(anomaly)
    return {**values, "contributors": json.dumps(values["contributors"], allow_nan=False)}
