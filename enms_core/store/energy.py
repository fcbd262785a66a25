"""Energy per quarter of an hour, kept as readings come: late ones change what they touch."""

from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from enms_core.store.dialect import as_frame, insert_new
from enms_core.store.schema import energy, readings, series

QUARTER_US = 900_000_000
HOLD_US = 3_600_000_000  # a power reading never stands for longer than an hour


def recompute(
    connection: sa.Connection, machine_id: str, metric: str, touched_us: "np.ndarray"
) -> None:
    """Recompute the quarters that these times reach, from the readings of the energy metric.

    A quarter follows from the readings within `HOLD_US` of it alone: whatever the order in which
    they come, the energy is the same.
    """
    near = HOLD_US // QUARTER_US if metric == "power_kw" else 0
    quarters = np.unique(touched_us // QUARTER_US)[:, None] + np.arange(-near, near + 1)
    for first, last in _runs(np.unique(quarters) * QUARTER_US):
        times, values = _readings(connection, machine_id, metric, first - HOLD_US, last + HOLD_US)
        rows = _quarters(times, values, metric, first, last)
        put(connection, machine_id, first, last, rows)


def put(
    connection: sa.Connection, machine_id: str, first: int, last: int, rows: list[dict[str, Any]]
) -> None:
    """Replace the quarters of a machine in [first, last) by those of the rows that know any."""
    connection.execute(
        sa.delete(energy)
        .where(energy.c.machine_id == machine_id)
        .where(energy.c.start >= first, energy.c.start < last)
    )
    known = [
        {"machine_id": machine_id, "spread_kwh": 0.0, **row}
        for row in rows
        if row["covered_s"] or row.get("spread_kwh")
    ]
    insert_new(connection, energy, known)


def totals(connection: sa.Connection, start_us: int, end_us: int | None = None) -> dict[str, float]:
    """Return the kWh of every machine in the quarters that start in [start, end)."""
    query = (
        sa.select(energy.c.machine_id, sa.func.sum(energy.c.energy_kwh))
        .where(energy.c.start >= start_us)
        .group_by(energy.c.machine_id)
    )
    if end_us is not None:
        query = query.where(energy.c.start < end_us)
    return dict(connection.execute(query).all())


def frame(connection: sa.Connection, machine_id: str, start_us: int, end_us: int) -> pd.DataFrame:
    """Return start (us), energy_kwh, covered_s, spread_kwh of the quarters in [start, end)."""
    columns = ["start", "energy_kwh", "covered_s", "spread_kwh"]
    query = (
        sa.select(*(energy.c[name] for name in columns))
        .where(energy.c.machine_id == machine_id)
        .where(energy.c.start >= start_us, energy.c.start < end_us)
        .order_by(energy.c.start)
    )
    return pd.DataFrame(connection.execute(query).all(), columns=columns)


def integrate(
    times_us: "np.ndarray", values: "np.ndarray", first: int, last: int
) -> "tuple[np.ndarray, np.ndarray]":
    """Return kWh and covered seconds per quarter in [first, last) of power readings in kW.

    A reading stands until the next one, for three usual intervals at most; the newest stands for
    one. The usual interval is the median of the five around a reading, so that a history of minutes
    and the seconds that follow it each keep their own.

    >>> minutes = np.array([0, 60_000_000, 120_000_000])
    >>> kwh, covered = integrate(minutes, np.array([60.0, 30.0, 60.0]), 0, QUARTER_US)
    >>> kwh.round(3).tolist(), covered.tolist()
    ([2.5], [180.0])
    """
    edges = np.arange(first, last + QUARTER_US, QUARTER_US)
    if not len(times_us):
        return np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    gaps = np.diff(times_us) if len(times_us) > 1 else np.array([60_000_000])
    usual = _around(gaps)[: len(times_us)]
    following = np.append(np.diff(times_us), usual[-1:])
    hold = np.minimum(following, np.minimum(3 * usual, HOLD_US))
    # Both sums are piecewise linear between the points where a reading starts or ends to stand.
    points = np.column_stack([times_us, times_us + hold]).ravel()
    kwh = _cumulative(points, values * hold / 3.6e9, edges)
    return np.diff(kwh), np.diff(_cumulative(points, hold / 1e6, edges))


def _around(gaps: "np.ndarray") -> "np.ndarray":
    """Return the median of the five gaps around each reading; the outermost count for those beyond.

    >>> _around(np.array([60, 60, 60, 5, 5, 5])).tolist()
    [60, 60, 60, 5, 5, 5, 5]
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(gaps, (2, 3), mode="edge"), 5)
    return np.asarray(np.median(windows, axis=1).astype(np.int64))


def _cumulative(points: "np.ndarray", steps: "np.ndarray", edges: "np.ndarray") -> "np.ndarray":
    total = np.cumsum(steps)
    levels = np.column_stack([total - steps, total]).ravel()
    return np.asarray(np.interp(edges, points, levels))


def _quarters(
    times: "np.ndarray", values: "np.ndarray", metric: str, first: int, last: int
) -> list[dict[str, float | int]]:
    starts = np.arange(first, last, QUARTER_US)
    if metric == "energy_kwh":
        slot = (times - first) // QUARTER_US
        inside = (slot >= 0) & (times < last)
        kwh = np.bincount(slot[inside], values[inside], minlength=len(starts))
        covered = np.bincount(slot[inside], minlength=len(starts)).clip(max=1) * 900.0
    else:
        near = zip(
            np.searchsorted(times, starts - HOLD_US),
            np.searchsorted(times, starts + (QUARTER_US + HOLD_US)),
            strict=True,
        )
        each = [
            integrate(times[a:b], values[a:b], int(start), int(start) + QUARTER_US)
            for start, (a, b) in zip(starts, near, strict=True)
        ]
        kwh, covered = np.concatenate(each, axis=1)
    return [
        {"start": int(start), "energy_kwh": float(k), "covered_s": float(c)}
        for start, k, c in zip(starts, kwh, covered, strict=True)
    ]


def _runs(starts: "np.ndarray") -> list[tuple[int, int]]:
    breaks = np.flatnonzero(np.diff(starts) > QUARTER_US) + 1
    return [(int(r[0]), int(r[-1]) + QUARTER_US) for r in np.split(starts, breaks) if len(r)]


def _readings(
    connection: sa.Connection, machine_id: str, metric: str, start: int, end: int
) -> "tuple[np.ndarray, np.ndarray]":
    query = (
        sa.select(readings.c.time, readings.c.value)
        .join_from(series, readings)
        .where(series.c.machine_id == machine_id, series.c.metric == metric)
        .where(readings.c.time >= start, readings.c.time < end)
        .order_by(readings.c.time)
    )
    rows = as_frame(connection.execute(query), ["time", "value"])
    return rows["time"].to_numpy(np.int64), rows["value"].to_numpy(float)
