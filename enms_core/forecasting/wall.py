"""Hourly load on the wall clock of the site: a grid without holes, and what of it was measured."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[Any]  # of floats
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

DAY, WEEK = 24, 168  # hours
LONGEST = 3 * 366 * DAY  # older load says little about the next day
LEAST_SIZE = 0.1  # of the mean error: no hour is more certain
SHORT_GAP = 3  # hours that are bridged by a straight line
THURSDAY = 3  # 1970-01-01


@dataclass(frozen=True)
class Wall:
    """Load by wall hour, the number of hours since 1970 on the site's clock."""

    start: int
    load: Array  # kW; where nothing was measured, that of a week before or after
    known: Bools  # measured, or in a gap of at most three hours

    @property
    def now(self) -> int:
        """The wall hour that follows the last one."""
        return self.start + len(self.load)

    @property
    def floor(self) -> float:
        """What load never falls below: zero, unless it did."""
        return 0.0 if self.load.min() >= 0.0 else -np.inf

    def at(self, hours: Ints) -> Array:
        """Return the load at these wall hours, in their shape."""
        return self.load[hours - self.start]

    def knows(self, hours: Ints) -> Bools:
        """Return where load was measured at these wall hours."""
        return self.known[hours - self.start]


def wall_clock(y: "pd.Series[float]") -> Wall:
    """Return the latest three years of y (kW, tz-aware, hourly) on the wall clock.

    The hour that a clock change doubles is the mean of both, the one that it skips is a short gap.
    Infinite values are missing. ValueError, its first words naming the fault: no series, naive
    index, unordered index, not hourly, no load.
    """
    hours = wall_hours(_checked(y))
    start = max(int(hours[0]), int(hours[-1]) + 1 - LONGEST)
    values = pd.Series(y.to_numpy(dtype=float, na_value=np.nan))
    grid = values.where(np.isfinite(values)).groupby(hours).mean()
    grid = grid.reindex(range(start, int(hours[-1]) + 1))
    load = _bridged(grid)
    if load.isna().all():
        raise ValueError("no load: every value is missing")
    return Wall(start, _filled(load.to_numpy()), load.notna().to_numpy())


def wall_hours(index: pd.DatetimeIndex) -> Ints:
    """Return the number of hours since 1970 on the wall clock.

    >>> wall_hours(pd.DatetimeIndex(["1970-01-02 01:00+01:00"]))
    array([25])
    """
    hours: Ints = index.tz_localize(None).as_unit("s").asi8 // 3600
    return hours


def weekday(hours: Ints) -> Ints:
    """Return the day of the week, Monday 0, of wall hours."""
    return np.asarray((hours // DAY + THURSDAY) % 7)


def day_of_year(hours: Ints) -> Ints:
    """Return the day of the year, from 0 on, of wall hours."""
    days = hours.astype("datetime64[h]").astype("datetime64[D]")
    return np.asarray(days - days.astype("datetime64[Y]"), dtype=np.int64)


def _checked(y: "pd.Series[float]") -> pd.DatetimeIndex:
    if not isinstance(y, pd.Series) or not pd.api.types.is_numeric_dtype(y):
        raise ValueError("no series: load is a pandas Series of numbers, indexed by time")
    index = y.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise ValueError(
            "naive index: load needs a DatetimeIndex with a time zone; see tz_localize, tz_convert"
        )
    if not len(index):
        raise ValueError("no load: the series has no rows")
    steps = np.diff(index.as_unit("s").asi8)
    if (steps <= 0).any():
        raise ValueError("unordered index: sort the rows by time, one row per hour")
    if (steps % 3600).any():
        raise ValueError("not hourly: rows lie between full hours; use y.resample('1h').mean()")
    return index


def _bridged(load: "pd.Series[float]") -> "pd.Series[float]":
    """Return the load with its short gaps, and only these, interpolated."""
    gap = load.isna()
    length = gap.groupby((~gap).cumsum()).transform("sum")
    return load.where(~gap | (length > SHORT_GAP), load.interpolate(limit_area="inside"))


def _filled(load: Array) -> Array:
    """Return load without a hole: that of a week before, or after, else the mean."""
    weeks = np.full(-(-len(load) // WEEK) * WEEK, np.nan)
    weeks[-len(load) :] = load
    table = pd.DataFrame(weeks.reshape(-1, WEEK)).ffill().bfill()
    filled: Array = table.fillna(np.nanmean(load)).to_numpy().ravel()[-len(load) :]
    return filled
