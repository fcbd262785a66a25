"""Which balance temperatures, which columns, how much shrinkage: by error on unseen blocks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

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
    seen: Array  # (n,) predicted by all rows
    unseen: Array  # (n,) predicted by the rows outside of their fold


@dataclass(frozen=True)
class _Blocks:
    """Sums of the folds, and the penalties of their columns."""

    sums: Sums
    others: Sums
    penalty: Array  # (p,)
    kind: Ints  # (slots,)

    def error(self, equations: Reduced, at: Ints) -> float:
        """Return the squared error of every fold predicted by these columns of the others."""
        return self.sums.error(equations.solve(self.penalty, at))

    def reduced(self, alpha: float) -> Reduced:
        return self.others.reduce(alpha, self.kind)


def choose(design: Design, rows: Rows, y: Array, fold: Ints, folds: int) -> Choice:
    """Choose from rows sorted by fold and slot; `fold` (n,) is that of every row."""
    cell = fold * design.week.slots + rows.slot
    design = replace(design, knots=_knots(design, rows, y, cell, folds))
    groups = design.blocks(rows)
    ends = np.cumsum([len(group) for group in groups])
    penalty = np.repeat([0.0, *map(_penalty, design.groups)], np.diff(ends, prepend=0))
    columns = np.vstack(groups)
    blocks = _blocks(columns, cell, y, folds, penalty, design)
    count = _groups(blocks, design.groups, ends)
    at = np.arange(ends[count])
    equations = {alpha: blocks.reduced(alpha) for alpha in ALPHAS}
    alpha = min(ALPHAS, key=lambda alpha: blocks.error(equations[alpha], at))
    without = equations[alpha].solve(penalty, at)
    found = blocks.sums.total().reduce(alpha, blocks.kind).solve(penalty, at)[0]
    seen = found.levels[rows.slot] + found.columns @ columns
    unseen = without.levels.ravel()[cell] + (without.columns @ columns)[fold, np.arange(len(y))]
    design = replace(design, groups=design.groups[:count])
    return Choice(design, alpha, Solution(found.levels, found.columns[at]), seen, unseen)


def _blocks(
    columns: Array, cell: Ints, y: Array, folds: int, penalty: Array, design: Design
) -> _Blocks:
    sums = Sums.of(columns, cell, y, folds, design.week.slots)
    return _Blocks(sums, sums.others(), penalty, design.week.kind)


def _penalty(group: str) -> float:
    return TIED if group in VARIED else FREE


def _groups(blocks: _Blocks, groups: list[str], ends: Ints) -> int:
    """Return how many of the groups to keep: the main effects, and each next one that helps."""
    equations = blocks.reduced(ALPHA)
    first = sum(group not in VARIED for group in groups)
    best, kept = np.inf, first
    for count in range(first, len(groups) + 1):
        error = blocks.error(equations, np.arange(ends[count]))
        if error < best * BETTER:
            best, kept = error, count
    return kept


def _knots(design: Design, rows: Rows, y: Array, cell: Ints, folds: int) -> list[float]:
    """Return none, one or two balance temperatures."""
    low, high = np.quantile(rows.temperature, [0.05, 0.95]) if rows.temperature.size else (0, 0)
    if high - low < LEAST_SPREAD:
        return []
    tried = np.linspace(low, high, TRIED)
    straight = np.vstack([np.ones(len(y)), rows.temperature, rows.drivers])
    columns = np.vstack([straight, np.maximum(rows.temperature - tried[:, None], 0.0)])
    penalty = np.repeat([0.0, FREE], [1, len(columns) - 1])
    blocks = _blocks(columns, cell, y, folds, penalty, design)
    equations = blocks.reduced(ALPHA)
    base = np.arange(len(straight))

    def error(knots: list[int]) -> float:
        return blocks.error(equations, np.append(base, np.array(knots, dtype=int) + len(base)))

    return [float(tried[i]) for i in sorted(_forward(error))]


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
