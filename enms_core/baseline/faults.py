"""Days of the training that no load explains: a meter that stuck, jumped or died."""

from typing import Any

import numpy as np
import numpy.typing as npt

from enms_core.baseline.calendar import Week
from enms_core.baseline.design import Rows, bent
from enms_core.baseline.sums import Solution, Sums

Array = npt.NDArray[Any]  # of floats
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
FAR, LONG = 6.0, 3.5  # times the usual distance: of one day; on average over a week
USUAL = 0.4  # quantile: low, so that faults do not make themselves usual
ONE_A_DAY = 3.0  # so much wider do single readings stray than days of many
NEAREST = 0.8
LEAST = 0.1  # of the usual range of load
MOST = 0.25  # of the days; more are no fault but another use
STUCK_DAYS, STUCK_MOST = 3, 0.2  # of the days; more, and standing still is how it runs
PASSES = 2
ALPHA = 4.0  # rows that each slot is mixed with


def faulty_days(rows: Rows, y: Array, week: Week) -> Bools:
    """Return which rows (n,) lie on a faulty day.

    A day is faulty where its load is far from what each day of the week has in this weather: a
    closed plant looks like a Sunday and is no fault. So is a day on which a load that varies on
    others stands still. What is far is judged by a model of the nearest four fifths of
    the days (concentration: Rousseeuw and van Driessen, Technometrics 41, 1999).
    """
    day = np.cumsum(np.diff(rows.day, prepend=rows.day[0]) != 0)
    low, middle, high = np.quantile(y, [0.05, 0.5, 0.95])
    reach = high - low or np.inf  # where most load is the same, none can be far from usual
    tamed = np.clip(y, middle - 5 * reach, middle + 5 * reach)
    columns = np.vstack([np.ones(len(y)), _weather(rows), rows.drivers])
    stuck = _stuck(day, y)
    near = ~stuck
    for used in (1, *[len(columns)] * PASSES):  # the first without weather
        found = _explained(columns[:used], rows.slot, tamed, near[day], week)
        base = found.columns @ columns[:used]
        off = _distance(y - base, found.levels.reshape(7, -1), rows.slot, day)
        usual = _usual(off, _by_day(base + found.levels[rows.slot], day))
        far = off / (usual if week.per_day > 1 else ONE_A_DAY * usual)
        near = ~stuck & (far <= _quantile(far, NEAREST))
    least = np.where(_unusual_weather(rows, day), reach, LEAST * reach)
    bad = stuck | (_too_far(far) & (off > least))
    return bad[day] if bad.mean() <= MOST else np.zeros(len(y), bool)


def _weather(rows: Rows) -> Array:
    if not rows.temperature.size:
        return np.empty((0, len(rows.slot)))
    return bent(rows.temperature, [float(q) for q in np.quantile(rows.temperature, [0.3, 0.7])])


def _stuck(day: Ints, y: Array) -> Bools:
    """Return days that stand at one value for three days or more, at zero only if load never is."""
    starts = np.flatnonzero(np.diff(day, prepend=-1))
    low, high = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    still = (np.bincount(day) > 1) & (low == high) & ((low != 0.0) | (np.median(low) > 0.0))
    run = np.cumsum(np.diff(low, prepend=np.nan) != 0.0)
    still &= (np.bincount(run, still) >= STUCK_DAYS)[run]
    return still if still.mean() <= STUCK_MOST else np.zeros_like(still)


def _explained(columns: Array, slot: Ints, y: Array, keep: Bools, week: Week) -> Solution:
    at = np.flatnonzero(keep)
    at = at[np.argsort(slot[at], kind="stable")]
    sums = Sums.of(columns[:, at], slot[at], y[at], week.slots)
    penalty = np.ones(len(columns))
    return sums.reduce(ALPHA, week.kind).solve(penalty, np.arange(len(columns)))[0]


def _distance(left: Array, levels: Array, slot: Ints, day: Ints) -> Array:
    """Return the mean distance of each day from the nearest of the days of the week."""
    levels = levels[:, slot % levels.shape[1]]
    nearest: Array = np.min([_by_day(np.abs(left - level), day) for level in levels], axis=0)
    return nearest


def _usual(off: Array, load: Array) -> Array:
    """Return the distance that is usual among days of low, of middle and of high load."""
    usual = np.empty(len(off))
    for third in np.array_split(np.argsort(load), 3):
        usual[third] = _quantile(off[third], USUAL)
    return np.maximum(usual, 1e-9)


def _quantile(value: Array, q: float) -> float:
    at = int(q * (len(value) - 1))
    return float(np.partition(value, at)[at])


def _too_far(far: Array) -> Bools:
    """Return which days are far off, or less far in a week of such days."""
    week = np.convolve(np.minimum(far, FAR), np.full(7, 1 / 7), "same")
    return (far > FAR) | ((week > LONG) & (far > LONG))


def _by_day(value: Array, day: Ints) -> Array:
    mean: Array = np.bincount(day, value) / np.bincount(day)
    return mean


def _unusual_weather(rows: Rows, day: Ints) -> Bools:
    """Return the coldest and hottest days, on which the straight lines may not hold."""
    if not rows.temperature.size:
        return np.zeros(int(day.max()) + 1, bool)
    mean = _by_day(rows.temperature, day)
    low, high = np.quantile(mean, [0.03, 0.97])
    return np.asarray((mean < low) | (mean > high))
