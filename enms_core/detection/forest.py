"""Isolation forest: how few cuts at random set a row apart, and how rare is that?

The score of a forest has no unit; the share of held-out normal rows that score as high has one: a
conformal p-value (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005). The
forest grows on every other stretch of the reference and is held against the stretches between; the
rows it judges have no part in either.
"""

import json
from dataclasses import asdict
from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from enms_core.detection.isolation import Forest
from enms_core.detection.sensors import STRETCHES, Array, judgeable, values_of

FALSE_ALARM = 0.01  # probability of one in a normal row
ALARM = -float(np.log10(FALSE_ALARM))
LARGEST = 1e30  # trees hold single precision
LEAST_HELD_OUT = round(1 / FALSE_ALARM)  # rows; with fewer none could be so rare


class ForestDetector(BaseEstimator):
    """Finds rows unlike those of a reference time of normal operation, each row on its own.

    What lies apart in any combination of sensors is found; a small change of one among many is not.
    A row cannot be rarer than the reference is long: with m held-out rows no surprise is
    above log10(m + 1).

    >>> rng = np.random.default_rng(0)
    >>> frame = pd.DataFrame(rng.normal(50.0, 2.0, (2000, 2)), columns=["kw", "degc"])
    >>> detector = ForestDetector().fit(frame)
    >>> rows = pd.DataFrame({"kw": [50.0, 70.0], "degc": [50.0, 53.0]})
    >>> detector.surprise(rows).round(1).tolist()
    [0.0, 3.0]
    >>> detector.contributions(rows).iloc[1].idxmax()
    'kw'
    """

    def fit(self, frame: pd.DataFrame) -> Self:
        """Learn from rows of normal operation in order of time, a column for each sensor.

        ValueError, its first words naming the fault: too few rows, no sensor varies, sensors of one
        name, sensor not numeric, unordered rows.
        """
        self.sensors_ = judgeable(frame)
        self.unjudged_ = [name for name in frame.columns if name not in self.sensors_]
        values = values_of(frame, self.sensors_)
        self.usual_ = np.nanmedian(values, axis=0)
        values = values[np.isfinite(values).any(axis=1)]
        held_out = np.arange(len(values)) * STRETCHES // len(values) % 2 == 1
        if held_out.sum() < LEAST_HELD_OUT:
            raise ValueError(f"too few rows: {len(values)}, give {2 * LEAST_HELD_OUT} with values")
        self.forest_ = Forest.grow(self._filled(values[~held_out]))
        self.held_out_ = np.sort(self.forest_.score(self._filled(values[held_out])))
        return self

    def surprise(self, frame: pd.DataFrame) -> "pd.Series[float]":
        """Return -log10 of the share of normal rows that are as odd; NaN where all is missing.

        A missing value is taken for the usual one.
        """
        check_is_fitted(self)
        values = values_of(frame, self.sensors_)
        scores = self.forest_.score(self._filled(values))
        as_odd = len(self.held_out_) - np.searchsorted(self.held_out_, scores - 1e-12)
        surprise = -np.log10((1 + as_odd) / (1 + len(self.held_out_)))
        surprise[~np.isfinite(values).any(axis=1)] = np.nan
        return pd.Series(surprise, frame.index, name="surprise")

    def predict(self, frame: pd.DataFrame) -> Array:
        """Return 1 for each abnormal row, else 0 (rows,)."""
        return (self.surprise(frame) >= ALARM).to_numpy(dtype=int)

    def contributions(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return how much of the score (0 to 1) goes when a sensor is as usual (rows, sensors)."""
        check_is_fitted(self)
        values = values_of(frame, self.sensors_)
        filled = self._filled(values)
        scores, out = self.forest_.score(filled), np.empty_like(filled)
        for i, value in enumerate(self.usual_):
            without = filled.copy()
            without[:, i] = value
            out[:, i] = np.maximum(scores - self.forest_.score(without), 0.0)
        return pd.DataFrame(np.where(np.isfinite(values), out, np.nan), frame.index, self.sensors_)

    def to_json(self) -> str:
        """Return all that was learned; a detector read from it says the very same."""
        check_is_fitted(self)
        names = {"sensors": self.sensors_, "unjudged": self.unjudged_}
        arrays = {"usual": self.usual_, "held_out": self.held_out_, "forest": asdict(self.forest_)}
        return json.dumps(names | arrays, default=np.ndarray.tolist, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        detector = cls()
        detector.sensors_, detector.unjudged_ = raw["sensors"], raw["unjudged"]
        detector.usual_, detector.held_out_ = np.array(raw["usual"]), np.array(raw["held_out"])
        detector.forest_ = Forest(**{name: np.array(part) for name, part in raw["forest"].items()})
        return detector

    def _filled(self, values: Array) -> Array:
        return np.clip(np.where(np.isfinite(values), values, self.usual_), -LARGEST, LARGEST)
