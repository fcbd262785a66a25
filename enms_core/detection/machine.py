"""Judging several sensors of one machine together: does any leave what it and the others teach?

Each sensor is predicted from the others; what is left is measured from a reference that follows
slowly, and smoothed: an EWMA chart (Roberts, Technometrics 1, 1959) of regression-adjusted sensors
(Hawkins, Technometrics 33, 1991). The extremes of held-out training rows say how far each normally
goes. The machine is as surprising as its most surprising sensor, times the number of sensors that
could have been (Bonferroni), so that more sensors bring no more false alarms.
"""

import json
from dataclasses import asdict
from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from enms_core.detection.extremes import Extremes
from enms_core.detection.relations import Relations
from enms_core.detection.sensors import CLIP, STRETCHES, Array, judgeable, values_of

SMOOTHING = 0.1  # weight of a row
SPAN = 20  # rows that this smooths over: 2 / SMOOTHING
FARTHEST = 10.0  # times its noise; a row with a sensor farther out counts as just there
FALSE_ALARM = 0.01  # probability of one in a stretch of normal rows
ALARM = -float(np.log10(FALSE_ALARM))
ODD_WEIGHT = 0.1  # what a row teaches the reference while its sensor alarms


class MachineDetector(BaseEstimator):
    """Finds the rows where the sensors of a machine leave their usual levels or relations.

    One false alarm is expected in 100 stretches, each a tenth of the training rows. Rows are taken
    as evenly spaced, and a state that lasts some of them is judged rather than a single one. What
    lasts ten times as long as the training becomes usual. The rows given to `surprise`, `predict`
    and `contributions` follow the training rows; what is said of a row depends on none after it.

    >>> rng = np.random.default_rng(0)
    >>> load = np.sin(np.arange(900) / 20) + 2
    >>> frame = pd.DataFrame({"kw": 10 * load, "m3_per_h": 3 * load, "bar": load})
    >>> frame = frame + 0.1 * rng.normal(size=frame.shape)
    >>> frame.loc[800:, "m3_per_h"] -= 0.5  # each value on its own is still a usual one
    >>> detector = MachineDetector().fit(frame[:600])
    >>> flags = detector.predict(frame[600:])
    >>> int(flags[:200].sum()), int(flags[220:].sum())
    (0, 80)
    >>> detector.contributions(frame[600:]).iloc[-1].idxmax()
    'm3_per_h'
    """

    def fit(self, frame: pd.DataFrame) -> Self:
        """Learn from rows of normal operation in order of time, a column for each sensor.

        Some missing values and some faulty rows are survived. Sensors that are constant or nearly
        always missing are named in `unjudged_`. ValueError, its first words naming the fault: too
        few rows, no sensor varies, sensors of one name, sensor not numeric, unordered rows.
        """
        self.sensors_ = judgeable(frame)
        self.unjudged_ = [name for name in frame.columns if name not in self.sensors_]
        self.rows_ = len(frame)
        self.relations_, residuals = Relations.learn(values_of(frame, self.sensors_))
        self.noise_ = np.sqrt(np.nanmean(np.clip(residuals, -CLIP, CLIP) ** 2, axis=0)) + 1e-6
        self.level_ = np.zeros(len(self.sensors_))
        memory = np.minimum(np.arange(self.rows_) + SPAN, self.rows_)
        never = np.full(len(self.sensors_), np.inf)
        sizes, self.level_ = _follow(residuals / self.noise_, self.level_, memory, never)
        self.extremes_ = Extremes.of(sizes[SPAN:], self.rows_ // STRETCHES)
        return self

    def contributions(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return how far off each sensor is (rows, sensors), for `blame`; NaN where not judged.

        1 is as far as the farthest in most stretches of normal rows.
        """
        check_is_fitted(self)
        sizes = self._sizes(frame)
        return pd.DataFrame(sizes / self.extremes_.usual, frame.index, self.sensors_)

    def surprise(self, frame: pd.DataFrame) -> "pd.Series[float]":
        """Return the surprise of the machine in each row; NaN where all sensors are missing.

        It is -log10 of the probability that any sensor gets so far in a stretch of normal rows.
        """
        check_is_fitted(self)
        sensors = self.extremes_.surprise(self._sizes(frame)) - np.log10(len(self.sensors_))
        surprise: pd.Series[float] = pd.DataFrame(sensors, frame.index).max(axis=1).clip(lower=0.0)
        return surprise.rename("surprise")

    def predict(self, frame: pd.DataFrame) -> Array:
        """Return 1 for each abnormal row, else 0 (rows,)."""
        return (self.surprise(frame) >= ALARM).to_numpy(dtype=int)

    def to_json(self) -> str:
        """Return all that was learned; a detector read from it says the very same."""
        check_is_fitted(self)
        parts = {"relations": asdict(self.relations_), "extremes": asdict(self.extremes_)}
        arrays = {"noise": self.noise_, "level": self.level_}
        names = {"sensors": self.sensors_, "unjudged": self.unjudged_, "rows": self.rows_}
        return json.dumps(names | arrays | parts, default=np.ndarray.tolist, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        detector = cls()
        detector.sensors_, detector.unjudged_ = raw["sensors"], raw["unjudged"]
        detector.rows_ = raw["rows"]
        detector.noise_, detector.level_ = np.array(raw["noise"]), np.array(raw["level"])
        detector.relations_ = Relations(**_arrays(raw["relations"]))
        detector.extremes_ = Extremes(**_arrays(raw["extremes"]))
        return detector

    def _sizes(self, frame: pd.DataFrame) -> Array:
        residuals = self.relations_.residuals(values_of(frame, self.sensors_))
        memory = np.full(len(frame), self.rows_)
        alarm = self.extremes_.size_at(ALARM + np.log10(len(self.sensors_)))
        return _follow(residuals / self.noise_, self.level_, memory, alarm)[0]


def _arrays(raw: dict[str, list[float]]) -> dict[str, Array]:
    return {name: np.array(value) for name, value in raw.items()}


def _follow(rows: Array, level: Array, memory: Array, alarm: Array) -> tuple[Array, Array]:
    """Return the smoothed distance of `rows` from a reference, and the reference at their end.

    The reference starts at `level` and follows as a mean of the last `memory` rows (one number a
    row) would, slower where the distance is beyond `alarm`. A missing value moves nothing.
    """
    known = np.isfinite(rows)
    smooth, sizes = np.zeros_like(level), np.empty_like(rows)
    for i, gain in enumerate(1.0 / memory):
        step = np.where(known[i], rows[i] - level, 0.0)
        step = step / max(1.0, np.abs(step).max() / FARTHEST)
        smooth = smooth + SMOOTHING * known[i] * (step - smooth)
        sizes[i] = np.abs(smooth)
        level = level + gain * known[i] * np.where(sizes[i] > alarm, ODD_WEIGHT, 1.0) * step
    return np.where(known, sizes, np.nan), level
