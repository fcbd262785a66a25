"""Isolation forest: how few cuts at random set a row apart, and how rare is that?

Liu, Ting and Zhou, Isolation Forest, ICDM 2008, grown by scikit-learn. The score has no unit; the
share of held-out normal rows that score as high does: a conformal p-value (Vovk, Gammerman and
Shafer, Algorithmic Learning in a Random World, 2005). The forest grows on every other stretch of
the reference and is held against the stretches between, never against the rows it judges.
"""

import json
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.ensemble import IsolationForest
from sklearn.tree._tree import Tree
from sklearn.utils.validation import check_is_fitted

from enms_core.detection.sensors import STRETCHES, Array, judgeable, values_of

TREES, SAMPLE = 100, 256  # after Liu, Ting and Zhou
FALSE_ALARM = 0.01  # probability of one in a normal row
ALARM = -float(np.log10(FALSE_ALARM))


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
        self.forest_ = _Forest.grow(self._filled(values[~held_out]))
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
        detector.forest_ = _Forest(**{name: np.array(part) for name, part in raw["forest"].items()})
        return detector

    def _filled(self, values: Array) -> Array:
        return np.where(np.isfinite(values), values, self.usual_)


@dataclass(frozen=True)
class _Forest:
    """The nodes of all trees in one row of arrays; a leaf is its own child.

    `length` is how many cuts to a node, with those that would still set its rows apart; `unit` what
    it is on average (Liu, Ting and Zhou, eq. 1). `low` and `high` (sensors,): the range grown on.
    """

    low: Array
    high: Array

    roots: Array
    left: Array
    right: Array
    sensor: Array
    cut: Array
    length: Array
    unit: Array

    @classmethod
    def grow(cls, values: Array) -> Self:
        sample = min(SAMPLE, len(values))
        grown = IsolationForest(n_estimators=TREES, max_samples=sample, random_state=0).fit(values)
        trees = [estimator.tree_ for estimator in grown.estimators_]
        starts = np.cumsum([0, *(tree.node_count for tree in trees)])
        own = [np.arange(tree.node_count) for tree in trees]
        child = [
            [
                np.where(side < 0, me, side) + start
                for side in (tree.children_left, tree.children_right)
            ]
            for tree, me, start in zip(trees, own, starts[:-1], strict=True)
        ]
        left, right = (np.concatenate(side) for side in zip(*child, strict=True))
        return cls(
            values.min(axis=0),
            values.max(axis=0),
            starts[:-1],
            left,
            right,
            np.maximum(np.concatenate([tree.feature for tree in trees]), 0),
            np.concatenate([tree.threshold for tree in trees]),
            np.concatenate([_lengths(tree) for tree in trees]),
            _unsuccessful(np.array(sample)),
        )

    def score(self, values: Array) -> Array:
        """Return 2 ** -(mean length / unit) of `values` (rows, sensors).

        Inside the range grown on it is scikit-learn's score. Outside, where no tree ever cuts, each
        cut isolates a row with the probability that it falls between the row and the range: of L
        cuts at most, (1 - (1 - p) ** L) / p are then expected.
        """
        at = np.tile(self.roots, (len(values), 1))
        seen = np.clip(values, self.low, self.high).astype(np.float32)
        rows = np.arange(len(values))[:, None]
        while True:
            below = seen[rows, self.sensor[at]] <= self.cut[at]
            after = np.where(below, self.left[at], self.right[at])
            if (after == at).all():
                break
            at = after
        gap = np.clip(self._gap(values), 1e-12, 1.0 - 1e-12)[:, None]
        length = -np.expm1(self.length[at] * np.log1p(-gap)) / gap
        return np.asarray(2.0 ** -(length.mean(axis=1) / self.unit))

    def _gap(self, values: Array) -> Array:
        """Return the probability that a cut falls between a row and the range, mostly 0 (rows,)."""
        beyond = np.maximum(np.maximum(self.low - values, values - self.high), 0.0)
        return np.asarray((beyond / (beyond + self.high - self.low)).mean(axis=1))


def _lengths(tree: Tree) -> Array:
    """Return the depth of each node, and at a leaf what its rows would still need."""
    depth = np.zeros(tree.node_count)
    for parent in np.flatnonzero(tree.children_left >= 0):  # each before its children
        depth[[tree.children_left[parent], tree.children_right[parent]]] = depth[parent] + 1
    return np.where(tree.children_left < 0, depth + _unsuccessful(tree.n_node_samples), depth)


def _unsuccessful(rows: Array) -> Array:
    """Return the mean length of a search that fails in a tree of so many rows."""
    rows = rows.astype(float)
    many = np.maximum(rows, 3.0) - 1.0
    harmonic = 2.0 * (np.log(many) + np.euler_gamma) - 2.0 * many / (many + 1.0)
    return np.where(rows > 2, harmonic, np.maximum(rows - 1.0, 0.0))
