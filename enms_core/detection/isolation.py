"""Trees of random cuts as plain arrays: fast, JSON both ways, and told what lies beyond the range.

Liu, Ting and Zhou, Isolation Forest, ICDM 2008, with their numbers of trees and rows; grown by
scikit-learn.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.tree._tree import Tree

from enms_core.detection.sensors import Array

TREES, SAMPLE, DEPTH = 100, 256, 8  # no tree is deeper than log2 of its rows
AT_ONCE = 8192  # rows scored together
TINY = 1e-300


@dataclass(frozen=True)
class Forest:
    """The nodes of all trees, one after the other, from `roots` (trees,); a leaf is its own child.

    `cuts` is how many cuts lead to a node, with those that would still set its rows apart; `unit`
    what it is on average (eq. 1 of the paper). `low` and `high` (sensors,): the range grown on.
    """

    low: Array
    high: Array
    unit: Array
    roots: Array
    left: Array
    right: Array
    sensor: Array
    threshold: Array
    cuts: Array

    @classmethod
    def grow(cls, values: Array) -> Self:
        """Grow on `values` (rows, sensors), none missing; always the same on the same."""
        sample = min(SAMPLE, len(values))
        grown = IsolationForest(n_estimators=TREES, max_samples=sample, random_state=0).fit(values)
        trees = [estimator.tree_ for estimator in grown.estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        nodes = [_nodes(tree, root) for tree, root in zip(trees, roots, strict=True)]
        columns = (np.concatenate(column) for column in zip(*nodes, strict=True))
        unit = _search(np.array(sample))
        return cls(values.min(axis=0), values.max(axis=0), unit, roots, *columns)

    def score(self, values: Array) -> Array:
        """Return 2 ** -(mean cuts / unit) of `values` (rows, sensors), between 0 and 1.

        Inside the range grown on it is scikit-learn's score. Outside no tree cuts; there a cut
        over the range with the row would set it apart with a probability p, and of c cuts
        (1 - (1 - p) ** c) / p are expected.

        >>> forest = Forest.grow(np.random.default_rng(0).normal(size=(500, 2)))
        >>> forest.score(np.array([[0.0, 0.0], [3.0, 0.0], [30.0, 0.0]])).round(2).tolist()
        [0.41, 0.65, 0.86]
        """
        parts = np.array_split(values, len(values) // AT_ONCE + 1)
        cuts = np.concatenate([self._expected(part) for part in parts])
        return np.asarray(2.0 ** -(cuts / self.unit))

    def _expected(self, values: Array) -> Array:
        """Return the mean over the trees (rows,)."""
        beyond = np.maximum(np.maximum(self.low - values, values - self.high), 0.0)
        widened = np.maximum(beyond + self.high - self.low, TINY)
        apart = (beyond / widened).mean(axis=1, keepdims=True)
        apart = np.clip(apart, 1e-12, 1.0 - 1e-12)
        cuts = self._cuts(np.clip(values, self.low, self.high).astype(np.float32))
        return np.asarray((-np.expm1(cuts * np.log1p(-apart)) / apart).mean(axis=1))

    def _cuts(self, values: Array) -> Array:
        """Lead each row to its leaf in each tree (rows, trees)."""
        rows = np.arange(len(values))[:, None]
        at = np.tile(self.roots, (len(values), 1))
        for _ in range(DEPTH):
            below = values[rows, self.sensor[at]] <= self.threshold[at]
            at = np.where(below, self.left[at], self.right[at])
        return np.asarray(self.cuts[at])


def _nodes(tree: Tree, root: int) -> tuple[Array, ...]:
    """Return left, right, sensor, threshold and cuts (nodes,) of a tree that begins at `root`."""
    leaf, own = tree.children_left < 0, np.arange(tree.node_count)
    cuts = np.zeros(tree.node_count)
    for parent in own[~leaf]:  # comes before its children
        cuts[[tree.children_left[parent], tree.children_right[parent]]] = cuts[parent] + 1
    return (
        np.where(leaf, own, tree.children_left) + root,
        np.where(leaf, own, tree.children_right) + root,
        np.where(leaf, 0, tree.feature),
        tree.threshold,
        np.where(leaf, cuts + _search(tree.n_node_samples), cuts),
    )


def _search(rows: Array) -> Array:
    """Return the mean number of cuts that a search fails after in a tree of so many rows."""
    many = np.maximum(rows, 3) - 1.0
    harmonic = 2.0 * (np.log(many) + np.euler_gamma) - 2.0 * many / (many + 1.0)
    return np.where(rows > 2, harmonic, np.maximum(rows - 1.0, 0.0))
