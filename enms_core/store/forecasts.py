"""What was forecast: every issue with its time, and how good it was against what came."""

from collections.abc import Mapping

import pandas as pd
import sqlalchemy as sa

from enms_core.forecasting.accuracy import Accuracy
from enms_core.store.dialect import insert_new_rows, upsert
from enms_core.store.schema import forecast_accuracy, forecasts
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
    return int(issued), _issue(connection, machine_id, issued)


def kept(connection: sa.Connection, machine_id: str) -> dict[int, pd.DataFrame]:
    """Return all forecasts of a machine that are kept, by when they were issued (us)."""
    mine = forecasts.c.machine_id == machine_id
    issued = connection.execute(sa.select(forecasts.c.issued_at).where(mine).distinct()).scalars()
    return {int(at): _issue(connection, machine_id, at) for at in sorted(issued)}


def judge(
    connection: sa.Connection, machine_id: str, issued_us: int, found: Mapping[str, Accuracy]
) -> None:
    """Keep how good a forecast was, by horizon, in place of what was known of it before."""
    key = {"machine_id": machine_id, "issued_at": issued_us}
    rows = [{**key, "horizon": horizon, **vars(each)} for horizon, each in found.items()]
    upsert(connection, forecast_accuracy, rows)


def accuracy(
    connection: sa.Connection, machine_id: str, start_us: int, end_us: int
) -> pd.DataFrame:
    """Return how good the forecasts issued in [start, end) were, oldest first.

    Columns issued_at (us), horizon, hours, mae (kW), mase, nmbe, coverage_80 and coverage_95.
    """
    columns = [column for column in forecast_accuracy.c if column.name != "machine_id"]
    issued = forecast_accuracy.c.issued_at
    rows = connection.execute(
        sa.select(*columns)
        .where(forecast_accuracy.c.machine_id == machine_id)
        .where(issued >= start_us, issued < end_us)
        .order_by(issued, forecast_accuracy.c.horizon)
    ).all()
    frame = pd.DataFrame(rows, columns=[column.name for column in columns])
    return frame.astype({"mase": float, "nmbe": float})


def forget(connection: sa.Connection, before_us: int) -> None:
    """Forget what was issued before that time."""
    connection.execute(sa.delete(forecasts).where(forecasts.c.issued_at < before_us))


def _issue(connection: sa.Connection, machine_id: str, issued_us: int) -> pd.DataFrame:
    columns = [forecasts.c.time, *(forecasts.c[name] for name in FIGURES)]
    mine = (forecasts.c.machine_id == machine_id, forecasts.c.issued_at == issued_us)
    query = sa.select(*columns).where(*mine).order_by(forecasts.c.time)
    frame = pd.DataFrame(connection.execute(query).all(), columns=["time", *FIGURES])
    return frame.set_index(index_of(frame.pop("time")))
