"""What was expected of every reading that was judged: the band behind the measured line."""

import pandas as pd
import sqlalchemy as sa

from enms_core.store.dialect import as_frame, upsert_rows
from enms_core.store.schema import readings, scores, series
from enms_core.store.times import index_of

MOST_AT_ONCE = 500  # values that a statement takes
BAND = ("expected", "lower", "upper", "surprise")


def put(connection: sa.Connection, machine_id: str, metric: str, band: pd.DataFrame) -> None:
    """Keep a band: columns time (us), expected, lower, upper, surprise; a later judgement wins."""
    band = band.dropna()
    if band.empty:
        return
    query = sa.select(series.c.id).where(
        series.c.machine_id == machine_id, series.c.metric == metric
    )
    number = connection.execute(query).scalar_one()
    rows = zip(*(band[name].tolist() for name in ("time", *BAND)), strict=True)
    columns = ("series_id", "time", *BAND)
    upsert_rows(connection, scores, columns, [(number, *row) for row in rows])


def forget(connection: sa.Connection, machine_id: str, metric: str, times_us: list[int]) -> None:
    """Forget what was said of readings that are not to be judged."""
    own = sa.select(series.c.id).where(series.c.machine_id == machine_id, series.c.metric == metric)
    number = own.scalar_subquery()
    for first in range(0, len(times_us), MOST_AT_ONCE):
        some = times_us[first : first + MOST_AT_ONCE]
        query = sa.delete(scores).where(scores.c.series_id == number, scores.c.time.in_(some))
        connection.execute(query)


def frame(
    connection: sa.Connection,
    machine_id: str,
    metric: str,
    start_us: int,
    end_us: int,
    *,
    limit: int | None = None,
) -> pd.DataFrame:
    """Return value, expected, lower, upper, surprise of a metric in [start, end) by time (UTC).

    With `limit` at most so many rows, the oldest.
    """
    query = (
        sa.select(readings.c.time, readings.c.value, *(scores.c[name] for name in BAND))
        .join_from(series, readings)
        .outerjoin(
            scores,
            sa.and_(scores.c.series_id == readings.c.series_id, scores.c.time == readings.c.time),
        )
        .where(series.c.machine_id == machine_id, series.c.metric == metric)
        .where(readings.c.time >= start_us, readings.c.time < end_us)
        .order_by(readings.c.time)
        .limit(limit)
    )
    table = as_frame(connection.execute(query), ["time", "value", *BAND])
    return table.set_index(index_of(table.pop("time")).rename("time")).astype(float)
