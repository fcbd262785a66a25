"""Load forecasts, a day or a week ahead, with intervals that hold what they promise.

Two models of different kinds are averaged. A ridge regression, one row per day and one target per
hour ahead, is solved anew at every forecast from all that is known by then; its leave-one-out
predictions come from the same decomposition (Allen's PRESS, Technometrics 16, 1974). Boosted trees,
fitted once, correct it: they see its prediction beside lags and calendar. A second ensemble learns
how large errors get; the band around the forecast is that size times a quantile taken from
origins held out of fitting (Lei et al., "Distribution-free predictive inference for regression",
J. Am. Stat. Assoc. 113, 2018).

Of a load that is known for less than eight weeks (for less than nine, beyond the next day) too
little can be learned: there the last two weeks are repeated, in a wider band; see
`enms_core.forecasting.young`.

All of it works on the wall clock of the site, so that a shift begins at six in summer and winter.
"""

from dataclasses import dataclass
from math import ceil
from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from enms_core.forecasting import young
from enms_core.forecasting.accuracy import Accuracy, accuracy
from enms_core.forecasting.ridge import Ridge, is_enough, ridge_ahead
from enms_core.forecasting.trees import Blocks, Trees
from enms_core.forecasting.wall import DAY, WEEK, Array, Ints, Wall, wall_clock, wall_hours

__all__ = ["Accuracy", "LoadForecaster", "accuracy"]

HORIZON = WEEK
HELD_OUT = (7, 91)  # days at least and at most; a fifth of the history between
RECENT = 120  # days whose errors make the band
LEVELS = {"": 0.95, "_80": 0.80}  # column ending -> probability of the band
COLUMNS = ["mean", *(side + end for end in LEVELS for side in ("lower", "upper"))]


class LoadForecaster(BaseEstimator):
    """Hourly load of the next day, or week, from the hours before.

    `fit` takes the history; `forecast` takes all load up to now, which may reach further than what
    was fitted, and never looks beyond it. Gaps (NaN) are neither learned nor judged. The forecast
    is close to a median: load is above it about as often as below.

    >>> times = pd.date_range("2026-01-05", periods=70 * 24, freq="1h", tz="Europe/Berlin")
    >>> shift = (times.hour >= 6) & (times.hour < 22) & (times.day_of_week < 5)
    >>> y = pd.Series(np.where(shift, 80.0, 12.0), times)
    >>> ahead = LoadForecaster().fit(y).forecast(y, 24)
    >>> ahead["mean"].iloc[[0, 12]].round().tolist()  # a Monday, 00:00 and 12:00
    [12.0, 80.0]
    """

    def fit(self, y: "pd.Series[float]") -> Self:
        """Learn from hourly mean load y (kW), tz-aware and in rising order.

        ValueError, its first words naming the fault: no series, naive index, unordered index, not
        hourly, no load, too little history (young.TooLittleHistory, for less than 28 days).
        """
        history = wall_clock(y)
        young.check(history)
        self.history_ = history
        self.learned_: dict[_Task, _Learned] = {}
        if is_enough(history, DAY):
            self._learned(_Task(history.now % DAY, far=False))
        return self

    def forecast(self, y: "pd.Series[float]", hours: int) -> pd.DataFrame:
        """Return the `hours` (1 to 168) that follow the last row of y (kW).

        Columns `mean`, `lower` and `upper` (95 % interval), `lower_80` and `upper_80`. What it
        takes to forecast beyond a day, or at another hour of the day than y ended in `fit`, is
        learned from the history given to `fit` when it is first asked for. ValueError as in `fit`,
        and for hours out of range.
        """
        if not 1 <= hours <= HORIZON:
            raise ValueError(f"hours out of range: {hours}; a forecast is of 1 to {HORIZON} hours")
        wall = wall_clock(y)
        index = pd.date_range(y.index[-1], periods=hours + 1, freq="h")[1:]
        steps = np.clip(wall_hours(index) - wall.now, 0, HORIZON - 1)
        kinds = [False] if steps.max() < DAY else [False, True]
        table = np.concatenate([self._ahead(wall, far) for far in kinds])
        return pd.DataFrame(table[steps], index, COLUMNS)

    def _ahead(self, wall: Wall, far: bool) -> Array:
        """Return mean and bands (hours, 5) of the first day, or of the six days after it."""
        task = _Task(wall.now % DAY, far)
        if not (is_enough(wall, _hours(far)) and self._can_learn(task)):
            mean, size, scores, days = young.ahead(wall, _leads(far))
            return _bands(mean.ravel(), size.ravel(), scores, wall.floor, days)
        learned = self._learned(task)
        ridge = ridge_ahead(wall, _hours(far))
        since = _blocks(ridge, far)[np.searchsorted(ridge.origins, self.history_.now) :]
        scores = np.concatenate([learned.held_out, learned.trees.scores(wall, since)])
        mean, size = learned.trees.predict(wall, _next(wall, ridge, far))
        return _bands(mean.ravel(), size.ravel(), scores[-RECENT:], wall.floor)

    def _can_learn(self, task: "_Task") -> bool:
        return is_enough(_until(self.history_, task.hour), _hours(task.far))

    def _learned(self, task: "_Task") -> "_Learned":
        if task not in self.learned_:
            self.learned_[task] = _learn(_until(self.history_, task.hour), task.far)
        return self.learned_[task]


@dataclass(frozen=True)
class _Task:
    """What trees are learned for: forecasts at an hour of the day, of the first day or the rest."""

    hour: int
    far: bool


@dataclass(frozen=True)
class _Learned:
    trees: Trees
    held_out: Array  # (days, 24) scores of origins that other trees did not see


def _learn(wall: Wall, far: bool) -> _Learned:
    hours = _hours(far)
    blocks = _blocks(ridge_ahead(wall, hours), far)
    count = len(blocks.origin)
    held = int(np.clip(count // 5, *HELD_OUT))
    early = Trees.fit(wall, blocks[: count - held - hours // DAY + 1])
    return _Learned(Trees.fit(wall, blocks), early.scores(wall, blocks[count - held :]))


def _until(wall: Wall, hour: int) -> Wall:
    """Return the wall as it was when the clock last showed `hour`."""
    keep = len(wall.load) - (wall.now - hour) % DAY
    return Wall(wall.start, wall.load[:keep], wall.known[:keep])


def _hours(far: bool) -> int:
    return HORIZON if far else DAY


def _blocks(ridge: Ridge, far: bool) -> Blocks:
    """Return a block per origin: the first day, or in turn one of the six after it."""
    rows = np.arange(len(ridge.origins))
    lead = 1 + rows % 6 if far else np.zeros_like(rows)
    return Blocks(ridge.origins, lead, ridge.past.reshape(len(rows), -1, DAY)[rows, lead])


def _leads(far: bool) -> Ints:
    return np.arange(1, 7) if far else np.zeros(1, dtype=np.int64)


def _next(wall: Wall, ridge: Ridge, far: bool) -> Blocks:
    lead = _leads(far)
    return Blocks(np.full(len(lead), wall.now), lead, ridge.ahead.reshape(-1, DAY)[lead])


def _bands(mean: Array, size: Array, scores: Array, floor: float, days: int = 0) -> Array:
    """Return mean (n,) and the lower and upper end of each band, as columns (n, 5).

    With `days` the scores are of so few days that these are counted, not their hours: errors of
    one day are alike.
    """
    columns = [mean]
    for level in LEVELS.values():
        few = level * (1 + 1 / days) if days else level
        wide = _quantile(scores.ravel(), min(few, 1.0)) * size
        columns += [mean - wide, mean + wide]
    table: Array = np.maximum(np.column_stack(columns), floor)
    return table


def _quantile(scores: Array, level: float) -> float:
    """Return the score that a new one stays under with this probability (split conformal)."""
    rank = min(ceil((len(scores) + 1) * level), len(scores))
    return float(np.sort(scores)[rank - 1])
