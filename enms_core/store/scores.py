"""What was expected of every reading that was judged: the band behind the measured line."""

import pandas as pd
import sqlalchemy as sa

from enms_core.store.dialect import records, upsert
from enms_core.store.schema import readings, scores, series
from enms_core.store.times import index_of

BAND = ("expected", "lower", "upper", "surprise")


def put(connection: sa.Connection, machine_id: str, metric: str, band: pd.DataFrame) -> None:
    """Keep a band: columns time (us), expected, lower, upper, surprise; a later judgement wins."""
    band = band.dropna()
    if band.empty:
        return
    query = sa.select(series.c.id).where(
        series.c.machine_id == machine_id, series.c.metric == metric
    )
    rows = band.assign(series_id=connection.execute(query).scalar_one())
    upsert(connection, scores, records(rows))


def frame(
    connection: sa.Connection, machine_id: str, metric: str, start_us: int, end_us: int
) -> pd.DataFrame:
    """Return value, expected, lower, upper, surprise of a metric in [start, end) by time (UTC)."""
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
    )
    rows = connection.execute(query).all()
    table = pd.DataFrame(rows, columns=["time", "value", *BAND])
    return table.set_index(index_of(table.pop("time")).rename("time")).astype(float)
