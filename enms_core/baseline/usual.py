"""What drivers usually are, by time of day on weekdays and at weekends, and how far they stray."""

# ruff: noqa: N803 - X is what scikit-learn calls it

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from enms_core.baseline.calendar import Week

Array = npt.NDArray[Any]  # of floats
Ints = npt.NDArray[np.int64]
DIGITS = 4


@dataclass(frozen=True)
class Usual:
    """Mean and standard deviation of every driver in every kind of slot (drivers, kinds)."""

    mean: Array
    spread: Array


def usual_of(week: Week, slot: Ints, X: Array) -> Usual:
    """Return what drivers X (n, drivers) are in rows of these slots of the week.

    A kind of slot without rows has the mean and the spread of all.
    """
    kinds = week.kind[slot]
    places = int(week.kind.max()) + 1
    mean, spread = np.empty((2, X.shape[1], places))
    for i, column in enumerate(X.T):
        known = np.isfinite(column)
        mean[i], spread[i] = _moments(kinds[known], column[known], places)
    return Usual(mean.round(DIGITS), spread.round(DIGITS))


def _moments(kinds: Ints, values: Array, places: int) -> tuple[Array, Array]:
    count = np.bincount(kinds, minlength=places)
    whole = values.mean(), values.std()
    seen = np.maximum(count, 1)
    mean = np.where(count > 0, np.bincount(kinds, values, places) / seen, whole[0])
    variance = np.bincount(kinds, (values - mean[kinds]) ** 2, places) / seen
    return mean, np.where(count > 0, np.sqrt(variance), whole[1])
