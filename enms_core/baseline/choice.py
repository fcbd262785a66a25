"""Which balance temperatures, which columns, how much shrinkage: by error on unseen blocks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from enms_core.baseline.calendar import Week
from enms_core.baseline.design import VARIED, Design, Rows
from enms_core.baseline.sums import Reduced, Solution, Sums

Array = npt.NDArray[Any]  # of floats
Ints = npt.NDArray[np.int64]
TRIED, MOST_KNOTS = 7, 2  # balance temperatures, even between the 5 % and 95 % quantiles
LEAST_SPREAD = 2.0  # K between these, else temperature stays straight
ALPHA, ALPHAS = 16.0, (4.0, 16.0, 64.0)  # rows of its kind that each slot is mixed with
FREE, TIED = 1e-3, 300.0  # penalties: main effects; what only varies them
BETTER = 0.999  # a larger model must have at most so much of the error of a smaller one


@dataclass(frozen=True)
class Choice:
    """The design that predicts unseen blocks best, and what it predicts."""

    design: Design
    alpha: float
    found: Solution
    seen: Array  # (n,) fold by fold, predicted by all rows
    unseen: Array  # (n,) predicted by the rows of the other folds


@dataclass(frozen=True)
class Fold:
    """The rows of a fold, sorted by slot, and their load."""

    rows: Rows
    y: Array  # (n,)


@dataclass(frozen=True)
class _Blocks:
    """Sums of the folds, and the penalties of their columns."""

    sums: Sums
    others: Sums
    penalty: Array  # (p,)
    kind: Ints  # (slots,)

    @classmethod
    def of(cls, folds: list[Fold], columns: list[Array], penalty: Array, week: Week) -> Self:
        parts = zip(folds, columns, strict=True)
        sums = Sums.join([Sums.of(c, fold.rows.slot, fold.y, week.slots) for fold, c in parts])
        return cls(sums, sums.others(), penalty, week.kind)

    def error(self, equations: Reduced, at: Ints) -> float:
        """Return the squared error of every fold predicted by these columns of the others."""
        return self.sums.error(equations.solve(self.penalty, at))

    def reduced(self, alpha: float) -> Reduced:
        return self.others.reduce(alpha, self.kind)


def choose(design: Design, folds: list[Fold]) -> Choice:
    """Choose the design for rows dealt to folds."""
    design = replace(design, knots=_knots(design, folds))
    groups = [design.blocks(fold.rows) for fold in folds]
    ends = np.cumsum([len(group) for group in groups[0]])
    penalty = np.repeat([0.0, *map(_penalty, design.groups)], np.diff(ends, prepend=0))
    columns = [np.vstack(group) for group in groups]
    blocks = _Blocks.of(folds, columns, penalty, design.week)
    equations = {alpha: blocks.reduced(alpha) for alpha in ALPHAS}
    count = _groups(blocks, equations[ALPHA], design.groups, ends)
    at = np.arange(ends[count])
    alpha = min(ALPHAS, key=lambda alpha: blocks.error(equations[alpha], at))
    without = equations[alpha].solve(penalty, at)
    found = blocks.sums.total().reduce(alpha, blocks.kind).solve(penalty, at)[0]
    parts = list(enumerate(zip(folds, columns, strict=True)))
    seen = [found.predict(fold.rows.slot, c) for _, (fold, c) in parts]
    unseen = [without[k].predict(fold.rows.slot, c) for k, (fold, c) in parts]
    return Choice(
        replace(design, groups=design.groups[:count]),
        alpha,
        Solution(found.levels, found.columns[at]),
        np.concatenate(seen),
        np.concatenate(unseen),
    )


def _penalty(group: str) -> float:
    return TIED if group in VARIED else FREE


def _groups(blocks: _Blocks, equations: Reduced, groups: list[str], ends: Ints) -> int:
    """Return how many of the groups to keep: the main effects, and each next one that helps."""
    first = sum(group not in VARIED for group in groups)
    best, kept = np.inf, first
    for count in range(first, len(groups) + 1):
        error = blocks.error(equations, np.arange(ends[count]))
        if error < best * BETTER:
            best, kept = error, count
    return kept


def _knots(design: Design, folds: list[Fold]) -> list[float]:
    """Return none, one or two balance temperatures."""
    temperature = np.concatenate([fold.rows.temperature for fold in folds], axis=-1)
    low, high = np.quantile(temperature, [0.05, 0.95]) if temperature.size else (0, 0)
    if high - low < LEAST_SPREAD:
        return []
    tried = np.linspace(low, high, TRIED)
    columns = [_hinged(fold.rows, tried) for fold in folds]
    penalty = np.repeat([0.0, FREE], [1, len(columns[0]) - 1])
    blocks = _Blocks.of(folds, columns, penalty, design.week)
    equations = blocks.reduced(ALPHA)
    base = np.arange(len(columns[0]) - TRIED)

    def error(knots: list[int]) -> float:
        return blocks.error(equations, np.append(base, np.array(knots, dtype=int) + len(base)))

    return [float(tried[i]) for i in sorted(_forward(error))]


def _hinged(rows: Rows, tried: Array) -> Array:
    """Return ones, the drivers, and degrees above each balance temperature (p, n)."""
    hinges = np.maximum(rows.temperature - tried[:, None], 0.0)
    return np.vstack([np.ones(len(rows.slot)), rows.temperature, rows.drivers, hinges])


def _forward(error: Callable[[list[int]], float]) -> list[int]:
    """Add the knot that helps most, as long as one helps."""
    found: list[int] = []
    least = error(found)
    while len(found) < MOST_KNOTS:
        more = [[*found, i] for i in range(TRIED) if i not in found]
        errors = [error(knots) for knots in more]
        if min(errors) >= least * BETTER:
            break
        found, least = more[int(np.argmin(errors))], min(errors)
    return found
