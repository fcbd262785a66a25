"""Ridge regression with a level for every slot of the week, from sums over rows.

Slots shrink towards their kind (time of day, weekday or weekend), kinds towards the mean. Both are
eliminated from the normal equations first, where their blocks are diagonal; what remains is as
small as there are columns, and a part of it is the equations of a part of the columns. Sums add and
subtract, so that every fold is predicted from the others without passing over the rows again.
"""

from dataclasses import dataclass
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

    def __getitem__(self, fold: int) -> "Solution":
        return Solution(self.levels[fold], self.columns[fold])

    def predict(self, slot: Ints, columns: Array) -> Array:
        """Return what this, of one fold, expects of rows with these columns (p, n)."""
        expected: Array = self.levels[slot] + self.columns @ columns
        return expected


@dataclass(frozen=True)
class Sums:
    """Sums over rows by fold: all that a solution and its error need. Column 0 is all ones."""

    weight: Array  # (folds, slots)
    target: Array  # (folds, slots)
    columns: Array  # (folds, slots, p)
    gram: Array  # (folds, p, p)
    cross: Array  # (folds, p)
    squares: Array  # (folds,)

    @classmethod
    def of(cls, columns: Array, slot: Ints, y: Array, slots: int) -> Self:
        """Sum columns (p, n) and y (n,) of the rows of one fold, sorted by slot."""
        starts = np.flatnonzero(np.diff(slot, prepend=-1))
        by_slot = np.zeros((slots, len(columns)))
        by_slot[slot[starts]] = np.add.reduceat(columns, starts, axis=1).T
        target = np.bincount(slot, y, slots)
        parts = (by_slot[:, 0], target, by_slot, columns @ columns.T, columns @ y, np.dot(y, y))
        return cls(*(np.asarray(part)[None] for part in parts))

    @classmethod
    def join(cls, folds: "list[Sums]") -> Self:
        """Join the sums of folds along their first axis."""
        parts = zip(*(vars(fold).values() for fold in folds), strict=True)
        return cls(*(np.concatenate(part) for part in parts))

    def total(self) -> "Sums":
        """Return the sums over all folds, as of one."""
        return Sums(*(part.sum(axis=0, keepdims=True) for part in vars(self).values()))

    def others(self) -> "Sums":
        """Return, for every fold, the sums over the other folds."""
        return Sums(*(part.sum(axis=0) - part for part in vars(self).values()))

    def error(self, found: Solution) -> float:
        """Return the sum of squared errors of a solution on these rows."""
        level, b = found.levels, found.columns
        own = self.weight * level + 2 * (_apply(self.columns, b) - self.target)
        rest = _apply(self.gram, b) - 2 * self.cross
        return float(self.squares.sum() + (level * own).sum() + (b * rest).sum())

    def reduce(self, alpha: float, kind: Ints) -> "Reduced":
        """Eliminate the slots under the penalty `alpha`, and their kinds.

        `kind` (slots,) is the kind of every slot, numbered from 0 on.
        """
        member = np.eye(int(kind.max()) + 1)[kind]  # (slots, kinds)
        shrink = 1 / (self.weight + alpha)
        rest = alpha * shrink  # what elimination of the slots leaves of a slot's sums
        kinds = 1 / ((self.weight * rest) @ member + alpha * KIND_SHARE)
        target = (self.target * rest) @ member
        columns = member.T @ (self.columns * rest[..., None])  # (folds, kinds, p)
        gram = self.gram - _square(self.columns, shrink) - _square(columns, kinds)
        right = self.cross - _times(self.columns, shrink * self.target)
        right = right - _times(columns, kinds * target)
        return Reduced(
            self, member, shrink, kinds, target, columns, gram, right, *_spread(self.gram)
        )


@dataclass(frozen=True)
class Reduced:
    """Normal equations of the columns alone, and how to find the levels again."""

    sums: Sums
    member: Array
    shrink: Array
    kinds: Array
    target: Array
    columns: Array
    gram: Array
    right: Array
    variance: Array  # of every column (folds, p)
    least: Array  # penalty of every column: only against what is constant or collinear

    def solve(self, penalty: Array, at: Ints) -> Solution:
        """Solve for the columns `at`, the others being zero.

        `penalty` (p,) is on columns as if of variance 1. What is constant goes to column 0.
        """
        gram = self.gram[:, at[:, None], at]
        diagonal = np.arange(len(at))
        gram[:, diagonal, diagonal] += (penalty * self.variance + self.least)[:, at]
        found = np.zeros_like(self.right)
        found[:, at] = np.linalg.solve(gram, self.right[:, at, None])[..., 0]
        kinds = self.kinds * (self.target - _apply(self.columns, found))
        base = kinds @ self.member.T
        left = self.sums.target - _apply(self.sums.columns, found) - self.sums.weight * base
        return Solution(base + self.shrink * left, found)


def _spread(gram: Array) -> tuple[Array, Array]:
    """Return the variances, and least penalties, of columns with these products."""
    rows = np.maximum(gram[:, :1, 0], 1)
    squares = np.diagonal(gram, axis1=-2, axis2=-1)
    least = TINY * (1 + squares)
    least[:, 0] *= TINY
    return np.maximum(squares / rows - (gram[:, 0] / rows) ** 2, 0.0), least


def _square(columns: Array, weight: Array) -> Array:
    squared: Array = np.swapaxes(columns, -1, -2) @ (columns * weight[..., None])
    return squared


def _times(columns: Array, weight: Array) -> Array:
    product: Array = (np.swapaxes(columns, -1, -2) @ weight[..., None])[..., 0]
    return product


def _apply(columns: Array, found: Array) -> Array:
    applied: Array = (columns @ found[..., None])[..., 0]
    return applied
