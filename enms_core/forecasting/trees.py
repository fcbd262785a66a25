"""Boosted trees that correct the ridge regression, and that know how large errors get."""

# ruff: noqa: N806 - X is what scikit-learn calls it

from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from enms_core.forecasting.ridge import before, knows_season, level_before
from enms_core.forecasting.wall import (
    DAY,
    LEAST_SIZE,
    WEEK,
    Array,
    Ints,
    Wall,
    day_of_year,
    weekday,
)

TREES = {
    "max_iter": 200,
    "learning_rate": 0.06,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 30,
    "max_features": 0.4,
    "l2_regularization": 1.0,
    "early_stopping": False,
    "random_state": 0,
}


@dataclass(frozen=True)
class Blocks:
    """Days to forecast: each the 24 hours that lie `lead` days after its origin."""

    origin: Ints  # (n,) wall hours
    lead: Ints  # (n,) days
    ridge: Array  # (n, 24) kW, what the regression says

    @property
    def hours(self) -> Ints:
        """The wall hours of the days (n, 24)."""
        return (self.origin + DAY * self.lead)[:, None] + np.arange(DAY)

    def __getitem__(self, rows: slice) -> "Blocks":
        return Blocks(self.origin[rows], self.lead[rows], self.ridge[rows])


@dataclass(frozen=True)
class Trees:
    """Median load, and size of its error, of every hour of a block."""

    middle: HistGradientBoostingRegressor
    size: HistGradientBoostingRegressor
    least: float  # kW

    @classmethod
    def fit(cls, wall: Wall, blocks: Blocks) -> Self:
        """Learn from blocks whose load was measured."""
        X, level = _features(wall, blocks)
        actual = wall.at(blocks.hours).ravel()
        off = np.abs(actual - blocks.ridge.ravel())
        middle = HistGradientBoostingRegressor(loss="absolute_error", **TREES)
        size = HistGradientBoostingRegressor(**TREES | {"max_iter": 60})
        least = max(LEAST_SIZE * float(off.mean()), 1e-9)
        with _one_thread():
            return cls(middle.fit(X, actual - level), size.fit(X, off), least)

    def predict(self, wall: Wall, blocks: Blocks) -> tuple[Array, Array]:
        """Return the forecast and the size of its error (n, 24), in kW."""
        X, level = _features(wall, blocks)
        with _one_thread():
            middle, size = self.middle.predict(X) + level, self.size.predict(X)
        mean = (middle.reshape(-1, DAY) + blocks.ridge) / 2
        return mean, np.maximum(size, self.least).reshape(-1, DAY)

    def scores(self, wall: Wall, blocks: Blocks) -> Array:
        """Return errors as multiples of their size (n, 24)."""
        if not len(blocks.origin):
            return np.empty((0, DAY))
        mean, size = self.predict(wall, blocks)
        scores: Array = np.abs(wall.at(blocks.hours) - mean) / size
        return scores


def _one_thread() -> threadpool_limits:
    """Beside other work on the same cores threads wait for each other: ten times slower."""
    return threadpool_limits(limits=1, user_api="openmp")


def _features(wall: Wall, blocks: Blocks) -> tuple[Array, Array]:
    """Return the columns (24 n, k), loads less the level before the origin, and that level."""
    hours, level = blocks.hours, _by_hour(level_before(wall, blocks.origin))
    calendar = [hours % DAY, weekday(hours), _by_hour(blocks.lead)]
    if knows_season(wall):
        calendar.append(day_of_year(hours))
    loads = [part - level for part in _loads(wall, blocks)]
    columns = [*calendar, *loads, level]
    return np.column_stack([c.ravel() for c in columns]), level.ravel()


def _loads(wall: Wall, blocks: Blocks) -> list[Array]:
    """Return what is known of a block at its origin, each (n, 24), in kW."""
    week = before(wall, blocks.origin, WEEK).reshape(-1, 7, DAY)
    weeks = [wall.at(blocks.hours - k * WEEK) for k in (1, 2, 3, 4)]
    yesterday = week[:, -1]
    facts = [*week.mean(axis=2).T, yesterday.max(axis=1), yesterday.min(axis=1)]
    facts += [yesterday[:, -6:].mean(axis=1), yesterday[:, -1]]
    same = [yesterday, week[:, -2], *weeks[:2], np.mean(weeks, axis=0), blocks.ridge]
    return [*same, *(_by_hour(fact) for fact in facts)]


def _by_hour(value: Array) -> Array:
    return np.repeat(value[:, None], DAY, axis=1)
