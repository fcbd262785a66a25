"""The columns of the regression: what drives energy, and how its effect bends and varies.

Temperature acts along a line that bends at balance temperatures (change points: ASHRAE Guideline
14-2014, annex D), at once and by its means over the hours before; differently by time of day and in
busy hours (time of week and temperature: Mathieu et al., IEEE Trans. Smart Grid 2, 2011). Load by
season is a Fourier series. All other drivers are linear; one that is only ever 0 or 1, such as a
holiday or a mode of the operating calendar, acts by time of day.
"""

# ruff: noqa: N803 - X is what scikit-learn calls it

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from enms_core.baseline.calendar import HOUR, Week, day_of_year, harmonics

Array = npt.NDArray[Any]  # of floats
Ints = npt.NDArray[np.int64]
TEMPERATURES = ("temperature_c", "temperature")  # names of its column, in degC
HOURS_US = 3_600_000_000
REMEMBERED = (6, 24)  # hours: air and furniture, walls
SEASON_DAYS = 330  # of load, to tell season from chance
TIMES_OF_DAY = 3  # harmonics
YEAR = harmonics(2 * np.pi * np.arange(366) / 365.25, 4)  # by day of the year
SLOW = [0, 1, 4, 5]  # those of YEAR that turn once or twice


@dataclass(frozen=True)
class Rows:
    """Rows ready for columns; nothing is missing in them."""

    slot: Ints  # of the week
    day: Ints  # since 1970
    drivers: Array  # (drivers, n) without the temperature
    temperature: Array  # (n,) degC, or (0, n) where none is known
    recent: Array  # (2, n) degC; its means over the hours before, by what is usual at the time

    def __getitem__(self, at: "Ints | npt.NDArray[np.bool_]") -> "Rows":
        return Rows(*(part[..., at] for part in vars(self).values()))


@dataclass(frozen=True)
class Design:
    """How rows become columns, as learned in `fit`."""

    week: Week
    names: list[str]  # of the columns of X
    temperature: int  # which of them it is; -1 for none
    modes: list[int]  # which of the other drivers are only ever 0 or 1
    usual: Array  # (drivers, slots of a day): what a missing driver counts as
    busy: Array  # (slots,) usual load of the kind of slot, 0 on average, within -1 to 1
    knots: list[float]  # balance temperatures
    groups: list[str]

    def rows(self, index: pd.DatetimeIndex, X: Array) -> Rows:
        """Return the rows of X (n, drivers), missing values replaced by what is usual."""
        slot, day = self.week.place(index)
        usual = self.usual[:, slot % self.week.per_day]
        values = np.where(np.isfinite(X.T), X.T, usual)
        if self.temperature < 0:
            return Rows(slot, day, values, values[:0], values[:0])
        at, others = self.temperature, np.delete(values, self.temperature, axis=0)
        recent = _recent(index, values[at] - usual[at]) + self.usual[at].mean()
        return Rows(slot, day, others, values[at], recent)

    def blocks(self, rows: Rows) -> list[Array]:
        """Return the columns, all ones first and then by group, each (k, n)."""
        return [np.ones((1, len(rows.slot))), *(GROUPS[group](self, rows) for group in self.groups)]


def starting_design(names: list[str], week: Week, slot: Ints, X: Array) -> Design:
    """Return the design without knots and groups, for drivers X (n, drivers) in these slots."""
    at = next((names.index(name) for name in TEMPERATURES if name in names), -1)
    others = np.delete(X, at, axis=1) if at >= 0 else X
    modes = [i for i, c in enumerate(others.T) if set(np.unique(c[np.isfinite(c)])) == {0.0, 1.0}]
    means = np.array([c[np.isfinite(c)].mean() for c in X.T])
    usual = np.tile(means[:, None], week.per_day)
    if at >= 0:
        usual[at] = _by_time_of_day(slot % week.per_day, X[:, at], usual[at])
    return Design(week, names, at, modes, usual, np.zeros(week.slots), [], [])


def groups_of(design: Design, days: int) -> list[str]:
    """Return the groups that rows over so many days, with these drivers, can have."""
    groups = ["drivers"]
    if design.temperature >= 0:
        groups.append("temperature")
        if design.week.minutes == HOUR:  # rows of minutes are predicted a few at a time
            groups.append("hours before")
        if design.week.per_day > 1:
            groups.append("temperature by hour")
        groups.append("temperature in busy hours")
    return [*groups, "season"] if days >= SEASON_DAYS else groups


def _by_time_of_day(moment: Ints, value: Array, else_: Array) -> Array:
    known = np.isfinite(value)
    count = np.bincount(moment[known], minlength=len(else_))
    total = np.bincount(moment[known], value[known], len(else_))
    return np.where(count > 0, total / np.maximum(count, 1), else_)


def bent(temperature: Array, knots: list[float]) -> Array:
    """Return degrees below the first knot, between knots and above the last (knots + 1, n).

    >>> bent(np.array([5.0, 15.0, 30.0]), [12.0, 20.0]).tolist()
    [[7.0, 0.0, 0.0], [0.0, 3.0, 8.0], [0.0, 0.0, 10.0]]
    """
    if not knots or temperature.ndim == 2:
        return np.atleast_2d(temperature)
    below = np.maximum(knots[0] - temperature, 0.0)
    ends = [*knots[1:], np.inf]
    above = [np.clip(temperature, a, b) - a for a, b in zip(knots, ends, strict=True)]
    return np.vstack([below, *above])


def main_terms(design: Design) -> list[tuple[str, int]]:
    """Return the drivers as a person writes them, and where each stands among the columns."""
    others = [n for i, n in enumerate(design.names) if i != design.temperature]
    terms = [(name, 1 + i) for i, name in enumerate(others)]
    if design.temperature < 0:
        return terms
    first = 1 + len(others) + len(design.modes) * (1 + 2 * _times_of_day(design.week))
    bends = _bends(design.names[design.temperature], design.knots)
    return terms + [(bend, first + i) for i, bend in enumerate(bends)]


def _bends(name: str, knots: list[float]) -> list[str]:
    """Return the columns of `bent` in words.

    >>> _bends("temperature_c", [12.0, 20.0])
    ['max(0, 12.0 - temperature_c)', 'min(8.0, max(0, temperature_c - 12.0))',
     'max(0, temperature_c - 20.0)']
    """
    if not knots:
        return [name]
    middle = [f"min({b - a:.1f}, max(0, {name} - {a:.1f}))" for a, b in pairwise(knots)]
    return [f"max(0, {knots[0]:.1f} - {name})", *middle, f"max(0, {name} - {knots[-1]:.1f})"]


def busyness(week: Week, slot: Ints, y: Array) -> Array:
    """Return the usual load of the kind of each slot (slots,), less the mean, over its range."""
    count = np.bincount(week.kind[slot], minlength=int(week.kind.max()) + 1)
    total = np.bincount(week.kind[slot], y, len(count))
    usual = np.where(count > 0, total / np.maximum(count, 1), y.mean())
    busy: Array = ((usual - y.mean()) / max(np.ptp(usual), 1e-9))[week.kind]
    return busy


def _recent(index: pd.DatetimeIndex, value: Array) -> Array:
    """Return the means of the rows in the hours up to each row (2, n), in whatever order."""
    time = index.as_unit("us").asi8
    order = np.argsort(time, kind="stable")
    time = time[order]
    run = np.concatenate([[0.0], np.cumsum(value[order])])
    last = np.arange(1, len(time) + 1)
    means = np.empty((len(REMEMBERED), len(time)))
    for mean, hours in zip(means, REMEMBERED, strict=True):
        first = np.searchsorted(time, time - hours * HOURS_US, side="right")
        mean[order] = (run[last] - run[first]) / (last - first)
    return means


def _times(left: Array, right: Array) -> Array:
    """Return all products of a row of each (k m, n)."""
    shape = (len(left) * len(right), left.shape[-1])
    return np.reshape(left[:, None] * right, shape)


def _drivers(design: Design, rows: Rows) -> Array:
    of_day = np.vstack([_busy(design, rows), _hour(design, rows)])
    return np.vstack([rows.drivers, _times(rows.drivers[design.modes], of_day)])


def _temperature(design: Design, rows: Rows) -> Array:
    return bent(rows.temperature, design.knots)


def _hours_before(design: Design, rows: Rows) -> Array:
    return np.vstack([bent(recent, design.knots) for recent in rows.recent])


def _by_hour(design: Design, rows: Rows) -> Array:
    return _times(_temperature(design, rows), _hour(design, rows))


def _by_busy(design: Design, rows: Rows) -> Array:
    return _times(_temperature(design, rows), _busy(design, rows))


def _season(design: Design, rows: Rows) -> Array:
    year = YEAR[:, day_of_year(rows.day)]
    by_hour = _times(year[SLOW], _hour(design, rows, most=2))
    return np.vstack([year, _times(year, _busy(design, rows)), by_hour])


def _busy(design: Design, rows: Rows) -> Array:
    return design.busy[None, rows.slot]


def _hour(design: Design, rows: Rows, most: int = TIMES_OF_DAY) -> Array:
    per_day = design.week.per_day
    angle = 2 * np.pi * np.arange(per_day) / per_day
    return harmonics(angle, _times_of_day(design.week, most))[:, rows.slot % per_day]


def _times_of_day(week: Week, most: int = TIMES_OF_DAY) -> int:
    return min(most, (week.per_day - 1) // 2)


GROUPS: dict[str, Callable[[Design, Rows], Array]] = {
    "drivers": _drivers,
    "temperature": _temperature,
    "hours before": _hours_before,
    "temperature by hour": _by_hour,
    "temperature in busy hours": _by_busy,
    "season": _season,
}
VARIED = tuple(GROUPS)[2:]  # groups that only vary the effect of the others
