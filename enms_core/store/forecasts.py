"""What was forecast: every issue with its time, so that it can be held against what came."""

import pandas as pd
import sqlalchemy as sa

from enms_core.store.dialect import insert_new_rows
from enms_core.store.schema import forecasts
from enms_core.store.times import index_of

FIGURES = ("mean", "lower", "upper", "lower_80", "upper_80")


def put(connection: sa.Connection, machine_id: str, issued_us: int, ahead: pd.DataFrame) -> None:
    """Keep a forecast: index time (UTC), columns mean, lower, upper, lower_80, upper_80 (kW)."""
    times = pd.DatetimeIndex(ahead.index).as_unit("us").asi8.tolist()
    rows = [
        (machine_id, issued_us, at, *figures)
        for at, figures in zip(times, ahead[list(FIGURES)].to_numpy().tolist(), strict=True)
    ]
    insert_new_rows(connection, forecasts, ("machine_id", "issued_at", "time", *FIGURES), rows)


def newest(connection: sa.Connection, machine_id: str) -> tuple[int, pd.DataFrame] | None:
    """Return the newest forecast of a machine and when it was issued (us); None before the first.

    Its index is the time (UTC).
    """
    mine = forecasts.c.machine_id == machine_id
    query = sa.select(sa.func.max(forecasts.c.issued_at)).where(mine)
    issued = connection.execute(query).scalar()
    if issued is None:
        return None
    columns = [forecasts.c.time, *(forecasts.c[name] for name in FIGURES)]
    rows = connection.execute(
        sa.select(*columns).where(mine, forecasts.c.issued_at == issued).order_by(forecasts.c.time)
    ).all()
    frame = pd.DataFrame(rows, columns=["time", *FIGURES])
    return int(issued), frame.set_index(index_of(frame.pop("time")))


def forget(connection: sa.Connection, before_us: int) -> None:
    """Forget what was issued before that time."""
    connection.execute(sa.delete(forecasts).where(forecasts.c.issued_at < before_us))
