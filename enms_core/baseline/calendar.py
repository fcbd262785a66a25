"""Where a row lies in the week, the year and the folds, by the clock of the site."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[Any]  # of floats
Ints = npt.NDArray[np.int64]

DAY_MINUTES = 24 * 60
THURSDAY = 3  # 1970-01-01
FOLDS = 4
FOLD_DAYS = 14  # a fold's blocks; less where there are not eight of them
HOUR, HALF_HOUR = 60, 30  # minutes


@dataclass(frozen=True)
class Week:
    """The slots of a week: half hours, hours or days, from Monday 00:00 on, in a zone."""

    zone: str
    minutes: int  # of a slot

    @property
    def per_day(self) -> int:
        """Slots in a day."""
        return DAY_MINUTES // self.minutes

    @property
    def slots(self) -> int:
        """Slots in a week."""
        return 7 * self.per_day

    @property
    def kind(self) -> Ints:
        """The kind of each slot: its time of day, on a weekday or on the weekend."""
        slot = np.arange(self.slots)
        return slot % self.per_day + self.per_day * (slot // self.per_day >= 5)

    def place(self, index: pd.DatetimeIndex) -> tuple[Ints, Ints]:
        """Return slot and number of the day since 1970 of every row."""
        local = index if str(index.tz) == self.zone else index.tz_convert(self.zone)
        clock = local.tz_localize(None).as_unit("s").asi8 // 60
        day, minute = clock // DAY_MINUTES, clock % DAY_MINUTES
        return (day + THURSDAY) % 7 * self.per_day + minute // self.minutes, day


def week_of(index: pd.DatetimeIndex) -> Week:
    """Return the week whose slots suit the spacing of the rows."""
    minutes = spacing_hours(index) * 60
    slot = HALF_HOUR if minutes <= HALF_HOUR else HOUR if minutes <= 6 * HOUR else DAY_MINUTES
    return Week(str(index.tz), slot)


def spacing_hours(index: pd.DatetimeIndex) -> float:
    """Return the usual time between rows."""
    steps = np.sort(np.diff(index.as_unit("us").asi8), kind="stable")  # most are the same: fast
    return float(steps[len(steps) // 2]) / 3.6e9


def folds_of(day: Ints) -> Ints:
    """Deal blocks of fourteen days, or an eighth of a shorter span, to four folds in turn.

    >>> folds_of(np.arange(0, 126, 14)).tolist()
    [0, 1, 2, 3, 0, 1, 2, 3, 0]
    """
    since = day - day.min()
    block = int(np.clip((since.max() + 1) // (2 * FOLDS), 1, FOLD_DAYS))
    folds: Ints = since // block % FOLDS
    return folds


def day_of_year(day: Ints) -> Ints:
    """Return the day of the year, from 0 on, of days since 1970."""
    date = day.astype("datetime64[D]")
    return np.asarray(date - date.astype("datetime64[Y]"), dtype=np.int64)


def harmonics(angle: Array, count: int) -> Array:
    """Return sine, then cosine, of 1 to `count` times the angle (2 count, n)."""
    turns = np.arange(1, count + 1)[:, None] * angle
    return np.vstack([np.sin(turns), np.cos(turns)])


def holiday(index: pd.DatetimeIndex, place: str) -> Array:
    """Return 1.0 on the public holidays of a country, or of a part of it, else 0.0.

    `place` is an ISO 3166 code such as "DE" or "DE-BY". ValueError for an unknown place, or where
    the package holidays is not installed.
    """
    country, _, part = place.partition("-")
    try:
        holidays = import_module("holidays")
    except ModuleNotFoundError:
        raise ValueError(f"holidays unknown: {place!r} takes the package holidays") from None
    years = range(index[0].year, index[-1].year + 1)
    try:
        known = holidays.country_holidays(country, subdiv=part or None, years=years)
    except NotImplementedError as unknown:
        raise ValueError(f"holidays unknown: {unknown}") from None
    days = pd.DatetimeIndex(sorted(known)).as_unit("s").asi8 // 86400
    return np.isin(index.tz_localize(None).as_unit("s").asi8 // 86400, days).astype(float)
