"""Which balance temperatures, which columns, how much shrinkage: by error on unseen blocks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from enms_core.baseline.design import VARIED, Design, Rows
from enms_core.baseline.sums import Solution, Sums

Array = npt.NDArray[Any]  # of floats
Ints = npt.NDArray[np.int64]
TRIED, MOST_KNOTS = 5, 2  # balance temperatures, even between the 5 % and 95 % quantiles
LEAST_SPREAD = 2.0  # K between these, else temperature stays straight
ALPHAS = (
    16.0,
    4.0,
    64.0,
)  # rows of its kind that each slot is mixed with; the first while others are chosen
FREE, TIED = 1e-3, 100.0  # penalties: main effects; what only varies them
BETTER = 0.998  # a larger model must have at most so much of the error of a smaller one


@dataclass(frozen=True)
class Choice:
    """The design that predicts unseen blocks best, and its solutions."""

    design: Design
    alpha: float
    whole: Solution  # from all rows
    without: Solution  # (folds, ...) each from the rows outside of a fold


def choose(design: Design, rows: Rows, y: Array, cell: Ints, folds: int) -> Choice:
    """Choose from rows sorted by `cell`, which is fold * slots + slot."""
    slots, kind = design.week.slots, design.week.kind
    design = replace(design, knots=_knots(design, rows, y, cell, folds))
    blocks = design.blocks(rows)
    ends = list(accumulate(block.shape[1] for block in blocks))
    sums = Sums.of(np.hstack(blocks), cell, y, folds, slots)
    penalty = _penalty(design, blocks)
    best, picked, groups = np.inf, sums, design.groups
    for count in _prefixes(design.groups):
        part = sums.pick(np.arange(ends[count]))
        error = _error(part, ALPHAS[0], penalty[: ends[count]], kind)
        if error < best * BETTER:
            best, picked, groups = error, part, design.groups[:count]
    penalty = penalty[: picked.gram.shape[-1]]
    alpha = min(ALPHAS, key=lambda a: _error(picked, a, penalty, kind))
    whole = picked.total().solve(alpha, penalty, kind)
    without = picked.others().solve(alpha, penalty, kind)
    return Choice(
        replace(design, groups=groups), alpha, Solution(whole.levels[0], whole.columns[0]), without
    )


def _prefixes(groups: list[str]) -> list[int]:
    """Return how many of the first groups to try: main effects, then each that varies them."""
    return [i for i in range(len(groups) + 1) if i == len(groups) or groups[i] in VARIED]


def _penalty(design: Design, blocks: list[Array]) -> Array:
    each = [0.0, *(TIED if group in VARIED else FREE for group in design.groups)]
    return np.repeat(each, [block.shape[1] for block in blocks])


def _error(sums: Sums, alpha: float, penalty: Array, kind: Ints) -> float:
    """Return the squared error of every fold predicted from the others."""
    return float(sums.error(sums.others().solve(alpha, penalty, kind)).sum(axis=-1))


def _knots(design: Design, rows: Rows, y: Array, cell: Ints, folds: int) -> list[float]:
    """Return none, one or two balance temperatures."""
    low, high = np.quantile(rows.temperature, [0.05, 0.95]) if rows.temperature.size else (0, 0)
    if high - low < LEAST_SPREAD:
        return []
    tried = np.linspace(low, high, TRIED)
    straight = [np.ones(len(y)), rows.temperature, *rows.drivers.T]
    hinges = np.maximum(rows.temperature[:, None] - tried, 0.0)
    sums = Sums.of(np.column_stack([*straight, hinges]), cell, y, folds, design.week.slots)
    penalty = np.repeat([0.0, FREE], [1, len(straight) + MOST_KNOTS - 1])
    base = list(range(len(straight)))

    def error(knots: list[int]) -> float:
        at = base + [len(base) + i for i in knots]
        return _error(sums.pick(np.array(at)), ALPHAS[0], penalty[: len(at)], design.week.kind)

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
