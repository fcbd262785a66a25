"""What follows from cumulative registers: energy, derived power, repairs; late ones change it."""

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pandas as pd
import sqlalchemy as sa

from enms_core.meters import LONGEST_S, QUARTER_US, Course, Repair
from enms_core.plant import REGISTER, REGISTER_POWER, Machine
from enms_core.store import energy
from enms_core.store.dialect import as_frame, insert_new_rows
from enms_core.store.schema import meter_repairs, readings, series
from enms_core.store.times import index_of, now_us

REPAIRS = ["time", "since", "metric", "kind", "before", "after", "energy_kwh", "repaired_at"]
DAY_US, LONGEST_US = 86_400_000_000, int(LONGEST_S * 1e6)


def recompute(connection: sa.Connection, machine: Machine, touched_us: "np.ndarray") -> None:
    """Recompute what the registers at these times reach, from the registers alone.

    Whatever the order in which they come, the outcome is the same. A derived power that is another
    one now arrives anew.
    """
    number = _series_id(connection, machine.id, REGISTER)
    for first, last in _runs(np.unique(touched_us)):
        before = _time(connection, number, readings.c.time < first, newest=True)
        if before is None or first - before > LONGEST_US:
            before = first
        begin = _floor(before)
        after = _time(connection, number, readings.c.time >= _floor(last) + QUARTER_US)
        if after is not None and after - last > LONGEST_US:
            after = None
        end = _floor(last if after is None else after) + QUARTER_US
        course = _course(connection, number, begin, end, machine.rated_kw)
        _put_energy(connection, machine.id, course, begin, end)
        _put_repairs(connection, machine.id, course, begin)
        _put_power(connection, machine.id, course, begin, end if after is None else after)


def repairs(connection: sa.Connection, machine_id: str, start_us: int, end_us: int) -> pd.DataFrame:
    """Return the repairs of a machine's registers in [start, end): times in UTC, oldest first."""
    query = (
        sa.select(*(meter_repairs.c[name] for name in REPAIRS))
        .where(meter_repairs.c.machine_id == machine_id)
        .where(meter_repairs.c.time >= start_us, meter_repairs.c.time < end_us)
        .order_by(meter_repairs.c.time)
    )
    table = pd.DataFrame(connection.execute(query).all(), columns=REPAIRS)
    times = {n: index_of(table[n].astype("Int64")) for n in ("time", "since", "repaired_at")}
    return table.assign(**times)


def _put_energy(
    connection: sa.Connection, machine_id: str, course: Course, begin: int, end: int
) -> None:
    columns = course.quarters(begin, end)
    starts = range(begin, end, QUARTER_US)
    rows = zip(starts, *(column.tolist() for column in columns), strict=True)
    names = ("start", "energy_kwh", "covered_s", "spread_kwh")
    energy.put(connection, machine_id, begin, end, [dict(zip(names, r, strict=True)) for r in rows])


def _put_repairs(connection: sa.Connection, machine_id: str, course: Course, begin: int) -> None:
    """Keep the repairs from `begin` on; those that are known already stay as they are."""
    wanted = {r for r in course.repairs if r.time >= begin}
    where = (
        (meter_repairs.c.machine_id == machine_id)
        & (meter_repairs.c.metric == REGISTER)
        & meter_repairs.c.time.between(begin, int(course.times[-1]))
    )
    names = [meter_repairs.c[name] for name in Repair.__dataclass_fields__]
    known = {Repair(**row) for row in connection.execute(sa.select(*names).where(where)).mappings()}
    gone = [repair.time for repair in known - wanted]
    if gone:
        connection.execute(sa.delete(meter_repairs).where(where, meter_repairs.c.time.in_(gone)))
    fresh = {"machine_id": machine_id, "metric": REGISTER, "repaired_at": now_us()}
    rows = [{**asdict(repair), **fresh} for repair in wanted - known]
    if rows:
        connection.execute(sa.insert(meter_repairs), rows)


def _put_power(
    connection: sa.Connection, machine_id: str, course: Course, begin: int, end: int
) -> None:
    """Bring the derived powers that begin in [begin, end) up to the registers."""
    times, values = course.power()
    inside = (times >= begin) & (times < end)
    wanted = dict(zip(times[inside].tolist(), values[inside].tolist(), strict=True))
    if not wanted and not _series_ids(connection, machine_id, REGISTER_POWER):
        return
    number = _series_id(connection, machine_id, REGISTER_POWER)
    mine = (readings.c.series_id == number) & (readings.c.time >= begin) & (readings.c.time < end)
    query = sa.select(readings.c.time, readings.c.value).where(mine)
    known: dict[int, float] = dict(connection.execute(query).all())
    for at in [at for at, value in known.items() if wanted.get(at) != value]:
        connection.execute(sa.delete(readings).where(mine, readings.c.time == at))
    fresh = [(number, at, value) for at, value in wanted.items() if known.get(at) != value]
    insert_new_rows(connection, readings, ("series_id", "time", "value"), fresh)


def _course(
    connection: sa.Connection, number: int, begin: int, end: int, rated_kw: float | None
) -> Course:
    """Return the registers in [begin, end), and the one before and the one after."""
    before = _time(connection, number, readings.c.time < begin, newest=True)
    after = _time(connection, number, readings.c.time >= end)
    query = (
        sa.select(readings.c.time, readings.c.value)
        .where(readings.c.series_id == number)
        .where(readings.c.time >= (begin if before is None else before))
        .where(readings.c.time <= (end if after is None else after))
        .order_by(readings.c.time)
    )
    rows = as_frame(connection.execute(query), ["time", "value"])
    return Course(rows["time"].to_numpy(np.int64), rows["value"].to_numpy(float), rated_kw)


def _time(
    connection: sa.Connection, number: int, where: "sa.ColumnElement[bool]", newest: bool = False
) -> int | None:
    order = readings.c.time.desc() if newest else readings.c.time
    query = sa.select(readings.c.time).where(readings.c.series_id == number, where)
    return connection.execute(query.order_by(order).limit(1)).scalar()


def _series_id(connection: sa.Connection, machine_id: str, metric: str) -> int:
    """Return the id of a series, which is made where there is none."""
    known = _series_ids(connection, machine_id, metric)
    if not known:
        row = {"machine_id": machine_id, "metric": metric}
        connection.execute(sa.insert(series), row)
        known = _series_ids(connection, machine_id, metric)
    return known[0]


def _series_ids(connection: sa.Connection, machine_id: str, metric: str) -> list[int]:
    query = sa.select(series.c.id).where(
        series.c.machine_id == machine_id, series.c.metric == metric
    )
    return list(connection.execute(query).scalars())


def _floor(at: int) -> int:
    return at // QUARTER_US * QUARTER_US


def _runs(times: "np.ndarray") -> Iterator[tuple[int, int]]:
    """Yield the first and last of times that lie less than a day apart."""
    for run in np.split(times, np.flatnonzero(np.diff(times) > DAY_US) + 1):
        yield int(run[0]), int(run[-1])
