"""Readings as (series, time, value), and the quarantine of those that were none."""

from collections.abc import Collection, Sequence
from itertools import repeat

import pandas as pd
import sqlalchemy as sa

from enms_core.plant import ENERGY_METRICS
from enms_core.readings import Checked
from enms_core.store.dialect import as_frame, insert_new_rows
from enms_core.store.schema import machines, quarantine, readings, series
from enms_core.store.times import index_of, iso, now_us


def add(connection: sa.Connection, checked: Checked) -> int:
    """Store the valid readings and quarantine the refused; return how many were new."""
    _refuse(connection, checked.refusals)
    if not checked:
        return 0
    names, metrics, times, values = checked.columns
    owners = set(zip(names, metrics, strict=True))
    ids = _series_ids(connection, owners)
    numbers = (
        repeat(ids[owners.pop()], len(names))
        if len(owners) == 1
        else map(ids.__getitem__, zip(names, metrics, strict=True))
    )
    rows = list(zip(numbers, times, values, strict=True))
    return insert_new_rows(connection, readings, ("series_id", "time", "value"), rows)


def after(connection: sa.Connection, cursor: int, limit: int) -> pd.DataFrame:
    """Return the readings that arrived after `cursor`: id, series_id, time (us), value."""
    columns = [readings.c.id, readings.c.series_id, readings.c.time, readings.c.value]
    query = sa.select(*columns).where(readings.c.id > cursor).order_by(readings.c.id).limit(limit)
    return as_frame(connection.execute(query), [c.name for c in columns])


def all_series(connection: sa.Connection) -> dict[int, tuple[str, str]]:
    """Return machine id and metric of every series."""
    query = sa.select(series.c.id, series.c.machine_id, series.c.metric)
    return {row[0]: (row[1], row[2]) for row in connection.execute(query)}


def energy_metric(connection: sa.Connection, machine_id: str) -> str:
    """Return the metric that carries a machine's energy."""
    measured = [m for owner, m in all_series(connection).values() if owner == machine_id]
    return next((m for m in ENERGY_METRICS if m in measured), ENERGY_METRICS[0])


def has_since(
    connection: sa.Connection, machine_id: str, metrics: Collection[str], start_us: int
) -> bool:
    """Return whether a machine has readings of one of the metrics from a time on."""
    query = (
        sa.select(readings.c.id)
        .join_from(series, readings)
        .where(series.c.machine_id == machine_id, series.c.metric.in_(metrics))
        .where(readings.c.time >= start_us)
        .limit(1)
    )
    return connection.execute(query).first() is not None


def last_id(connection: sa.Connection) -> int:
    """Return the id of the newest arrival, 0 where there is none."""
    return connection.execute(sa.select(sa.func.max(readings.c.id))).scalar() or 0


def frame(
    connection: sa.Connection,
    machine_id: str,
    start_us: int,
    end_us: int,
    metrics: Collection[str] = (),
) -> pd.DataFrame:
    """Return a machine's readings in [start, end): index time (UTC), a column per metric.

    With `metrics` only those.
    """
    ids = {
        number: metric
        for number, (owner, metric) in all_series(connection).items()
        if owner == machine_id and (not metrics or metric in metrics)
    }
    query = sa.select(readings.c.series_id, readings.c.time, readings.c.value).where(
        readings.c.series_id.in_(ids), readings.c.time >= start_us, readings.c.time < end_us
    )
    rows = as_frame(connection.execute(query), ["series_id", "time", "value"])
    columns = {
        ids[int(str(number))]: pd.Series(
            group["value"].to_numpy(float), index=index_of(group["time"].to_numpy())
        )
        for number, group in rows.groupby("series_id")
    }
    wide = pd.DataFrame(columns).sort_index()
    wide.index = index_of([]) if wide.empty else wide.index
    wide.index.name = "time"
    return wide


def nth_time(
    connection: sa.Connection, machine_id: str, metrics: Collection[str], start_us: int, n: int
) -> int | None:
    """Return when the first of these metrics has had `n` readings from the start on and one more.

    None where none has so many.
    """
    found = []
    for number, (owner, metric) in all_series(connection).items():
        if owner == machine_id and metric in metrics:
            query = (
                sa.select(readings.c.time)
                .where(readings.c.series_id == number, readings.c.time >= start_us)
                .order_by(readings.c.time)
                .limit(1)
                .offset(n)
            )
            found.append(connection.execute(query).scalar())
    return min((at for at in found if at is not None), default=None)


def moments(
    connection: sa.Connection, numbers: Collection[int], spans: Sequence[tuple[int, int]]
) -> dict[int, tuple[int, float, float]]:
    """Return count, mean and standard deviation of each of these series over [start, end) spans."""
    parts = [  # one search of the index each; SQLite reads a whole series for an OR
        sa.select(readings.c.series_id, readings.c.value).where(
            readings.c.series_id.in_(numbers), readings.c.time >= start, readings.c.time < end
        )
        for start, end in spans
    ]
    rows = sa.union_all(*parts).subquery()
    mean = sa.func.avg(rows.c.value)
    square = sa.func.avg(rows.c.value * rows.c.value)
    query = sa.select(rows.c.series_id, sa.func.count(), mean, square).group_by(rows.c.series_id)
    return {
        number: (count, mean, max(square - mean * mean, 0.0) ** 0.5)
        for number, count, mean, square in connection.execute(query)
    }


def value_at(connection: sa.Connection, machine_id: str, metric: str, at_us: int) -> float | None:
    """Return the newest value at that time, at most an hour old; None where there is none."""
    query = (
        sa.select(readings.c.value)
        .join_from(series, readings)
        .where(series.c.machine_id == machine_id, series.c.metric == metric)
        .where(readings.c.time <= at_us, readings.c.time > at_us - 3_600_000_000)
        .order_by(readings.c.time.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


def latest(connection: sa.Connection) -> list[tuple[str, str, int, float]]:
    """Return (machine_id, metric, time, value) of the newest reading of every series."""
    every = readings.alias()
    newest = (  # an id, not a time: SQLite would look at every reading to find the times
        sa.select(every.c.id)
        .where(every.c.series_id == series.c.id)
        .order_by(every.c.time.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = sa.select(
        series.c.machine_id, series.c.metric, readings.c.time, readings.c.value
    ).join_from(series, readings, readings.c.id == newest)
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]


def newest(connection: sa.Connection) -> int | None:
    """Return the time (us) of the newest reading."""
    at = [row[2] for row in latest(connection)]
    return max(at, default=None)


def lag_s(connection: sa.Connection, cursor: int) -> float:
    """Return how many seconds of readings arrived after `cursor`, in their own time."""
    query = sa.select(sa.func.min(readings.c.time), sa.func.max(readings.c.time)).where(
        readings.c.id > cursor
    )
    first, last = connection.execute(query).one()
    return 0.0 if first is None else (last - first) / 1e6


def quarantined(connection: sa.Connection, limit: int = 100) -> pd.DataFrame:
    """Return the newest refused readings: machine, metric, time, value, reason, received_at."""
    query = sa.select(quarantine).order_by(quarantine.c.id.desc()).limit(limit)
    rows = connection.execute(query).mappings().all()
    return pd.DataFrame(rows, columns=list(quarantine.c.keys())).assign(
        received_at=lambda f: [iso(us) for us in f["received_at"]]
    )


def last_refused_id(connection: sa.Connection) -> int:
    """Return the id of the newest refused reading, 0 where there is none."""
    return connection.execute(sa.select(sa.func.max(quarantine.c.id))).scalar() or 0


def top_reason(connection: sa.Connection, after_id: int) -> str:
    """Return the most frequent reason of what was refused after that id."""
    query = (
        sa.select(quarantine.c.reason)
        .where(quarantine.c.id > after_id)
        .group_by(quarantine.c.reason)
        .order_by(sa.func.count().desc(), quarantine.c.reason)
        .limit(1)
    )
    return connection.execute(query).scalar() or ""


def quarantined_count(connection: sa.Connection) -> int:
    """Return how many readings were refused so far."""
    return connection.execute(sa.select(sa.func.count()).select_from(quarantine)).scalar_one()


def _series_ids(
    connection: sa.Connection, pairs: set[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    query = sa.select(machines.c.name, series.c.metric, series.c.id).join_from(machines, series)
    known = {(name, metric): number for name, metric, number in connection.execute(query)}
    missing = pairs - known.keys()
    if not missing:
        return known
    ids = dict(connection.execute(sa.select(machines.c.name, machines.c.id)).all())
    rows = [{"machine_id": ids[name], "metric": metric} for name, metric in sorted(missing)]
    connection.execute(sa.insert(series), rows)
    return {(name, metric): number for name, metric, number in connection.execute(query)}


def _refuse(connection: sa.Connection, refusals: list[dict[str, str]]) -> None:
    if refusals:
        at = now_us()
        rows = [{**refusal, "received_at": at} for refusal in refusals]
        connection.execute(sa.insert(quarantine), rows)
