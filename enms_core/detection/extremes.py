"""How large the largest of a stretch of normal rows is, and so: how rare is a larger one?

Block maxima (Gnedenko, Ann. Math. 44, 1943) of sizes with a heavy tail: their logarithm has a
Gumbel distribution, fitted by its first two moments over sliding blocks, which waste less than
disjoint ones (Buecher and Segers, Extremes 21, 2018). What wanders slowly has unlike maxima, and
needs more to be surprising than what is merely noisy.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from enms_core.detection.sensors import Array

LEAST_SIZE, LEAST_SPREAD = 1e-2, 1e-2  # of a size; of its logarithm
QUARTILES = 1.5725  # between the quartiles of a Gumbel distribution of spread 1
FAR_OUT = 4.0  # spreads from the median; the maxima of a fault in training count as just there
HIGHEST = 100.0  # surprises end here


@dataclass(frozen=True)
class Extremes:
    """Location and spread (sensors,) of the logarithm of the largest size in a stretch."""

    location: Array
    spread: Array

    @classmethod
    def of(cls, sizes: Array, stretch: int) -> Self:
        """Learn from `sizes` (rows, sensors), none negative, in stretches of so many rows."""
        logs = pd.DataFrame(np.log(np.maximum(sizes, LEAST_SIZE)))
        largest = logs.rolling(stretch, min_periods=1).max().iloc[stretch - 1 :]
        low, middle, high = largest.quantile([0.25, 0.5, 0.75]).to_numpy()
        reach = FAR_OUT * (high - low) / QUARTILES
        largest = largest.clip(middle - reach, middle + reach, axis=1)
        spread = largest.std().to_numpy() * np.sqrt(6.0) / np.pi
        return cls(largest.mean().to_numpy() - np.euler_gamma * spread, spread + LEAST_SPREAD)

    @property
    def usual(self) -> Array:
        """The size (sensors,) that the largest of most stretches comes near to."""
        return np.asarray(np.exp(self.location))

    def surprise(self, sizes: Array) -> Array:
        """Return -log10 of the probability that a normal stretch reaches so far; NaN for NaN.

        >>> noise = np.random.default_rng(0).normal(size=(4000, 1))
        >>> extremes = Extremes.of(np.abs(noise), 100)
        >>> extremes.surprise(np.array([[1.0], [2.5], [10.0]])).round(1).tolist()
        [[0.0], [0.2], [4.8]]
        """
        logs = np.log(np.maximum(sizes, LEAST_SIZE))
        beyond = np.minimum(np.exp((self.location - logs) / self.spread), 1e3)
        return np.minimum(0.0 - np.log10(np.maximum(-np.expm1(-beyond), 1e-300)), HIGHEST)

    def size_at(self, surprise: float) -> Array:
        """Return the sizes (sensors,) whose surprise is this."""
        beyond = -np.log1p(-(10.0**-surprise))
        return np.asarray(np.exp(self.location - self.spread * np.log(beyond)))
