"""Ridge regression with a level for every slot of the week, from sums over rows.

Slots shrink towards their kind (time of day, weekday or weekend), kinds towards the mean. Both are
eliminated from the normal equations first, where their blocks are diagonal; what remains is as
small as there are columns. Sums add and subtract, so that every fold is predicted from the others
without passing over the rows again.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]  # of floats
Ints = npt.NDArray[np.int64]
KIND_SHARE = 1 / 16  # how much of a slot's penalty its kind gets
TINY = 1e-9


@dataclass(frozen=True)
class Solution:
    """Levels of the slots and coefficients of the columns; leading axes as in the sums."""

    levels: Array  # (..., slots)
    columns: Array  # (..., p)


@dataclass(frozen=True)
class Sums:
    """Sums over rows by fold: all that a solution and its error need. Column 0 is all ones."""

    weight: Array  # (..., slots)
    target: Array  # (..., slots)
    columns: Array  # (..., slots, p)
    gram: Array  # (..., p, p)
    cross: Array  # (..., p)
    squares: Array  # (...)

    @classmethod
    def of(cls, columns: Array, cell: Ints, y: Array, folds: int, slots: int) -> Self:
        """Sum rows that are sorted by `cell`, which is fold * slots + slot."""
        edges = np.searchsorted(cell, np.arange(folds + 1) * slots)
        parts = [slice(a, b) for a, b in pairwise(edges)]
        starts = np.flatnonzero(np.diff(cell, prepend=-1))
        by_cell = np.zeros((folds * slots, columns.shape[1]))
        if len(starts):
            by_cell[cell[starts]] = np.add.reduceat(columns, starts, axis=0)
        return cls(
            np.bincount(cell, minlength=folds * slots).reshape(folds, slots).astype(float),
            np.bincount(cell, y, folds * slots).reshape(folds, slots),
            by_cell.reshape(folds, slots, -1),
            np.array([columns[part].T @ columns[part] for part in parts]),
            np.array([y[part] @ columns[part] for part in parts]),
            np.array([y[part] @ y[part] for part in parts]),
        )

    def total(self) -> "Sums":
        """Return the sums over all folds, with a leading axis of one."""
        return Sums(*(part.sum(axis=0, keepdims=True) for part in vars(self).values()))

    def others(self) -> "Sums":
        """Return, for every fold, the sums over the other folds."""
        return Sums(*(part.sum(axis=0) - part for part in vars(self).values()))

    def pick(self, at: Ints) -> "Sums":
        """Return the sums with these columns only."""
        return Sums(
            self.weight,
            self.target,
            self.columns[..., at],
            self.gram[..., at[:, None], at],
            self.cross[..., at],
            self.squares,
        )

    def solve(self, alpha: float, penalty: Array, kind: Ints) -> Solution:
        """Solve with `alpha` on slots and `penalty` (p,) on columns, as if of variance 1.

        `kind` (slots,) is the kind of every slot, numbered from 0 on.
        """
        member = np.eye(int(kind.max()) + 1)[kind]  # (slots, kinds)
        shrink = 1 / (self.weight + alpha)
        rest = alpha * shrink  # what elimination of the slots leaves of a slot's sums
        kinds = 1 / ((self.weight * rest) @ member + alpha * KIND_SHARE)
        target = (self.target * rest) @ member
        columns = member.T @ (self.columns * rest[..., None])  # (..., kinds, p)
        gram = self.gram - _square(self.columns, shrink) - _square(columns, kinds)
        right = self.cross - _times(self.columns, shrink * self.target)
        right = right - _times(columns, kinds * target)
        gram = gram + np.eye(gram.shape[-1]) * self._ridge(penalty)[..., None, :]
        found = np.linalg.solve(gram, right[..., None])[..., 0]
        kind_levels = kinds * (target - _apply(columns, found))
        base = kind_levels @ member.T
        slots = shrink * (self.target - _apply(self.columns, found) - self.weight * base)
        return Solution(base + slots, found)

    def error(self, found: Solution) -> Array:
        """Return the sum of squared errors of a solution on these rows."""
        level, b = found.levels, found.columns
        fit = (self.target * level).sum(axis=-1) + (self.cross * b).sum(axis=-1)
        own = (self.weight * level**2 + 2 * level * _apply(self.columns, b)).sum(axis=-1)
        error: Array = self.squares - 2 * fit + own + (_apply(self.gram, b) * b).sum(axis=-1)
        return error

    def _ridge(self, penalty: Array) -> Array:
        rows = self.gram[..., :1, 0]
        mean = self.gram[..., 0, :] / np.maximum(rows, 1)
        variance = np.diagonal(self.gram, axis1=-2, axis2=-1) / np.maximum(rows, 1) - mean**2
        ridge: Array = penalty * np.maximum(variance, 0) + TINY * (1 + rows)
        return ridge


def blocked_error(sums: Sums, alpha: float, penalty: Array, kind: Ints) -> float:
    """Return the sum of squared errors of every fold predicted from the others."""
    return float(sums.error(sums.others().solve(alpha, penalty, kind)).sum())


def _square(columns: Array, weight: Array) -> Array:
    squared: Array = np.swapaxes(columns, -1, -2) @ (columns * weight[..., None])
    return squared


def _times(columns: Array, weight: Array) -> Array:
    product: Array = (np.swapaxes(columns, -1, -2) @ weight[..., None])[..., 0]
    return product


def _apply(columns: Array, found: Array) -> Array:
    applied: Array = (columns @ found[..., None])[..., 0]
    return applied
