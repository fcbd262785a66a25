import numpy as np
import pytest

from enms_core.baseline.calendar import Week
from enms_core.baseline.sums import KIND_SHARE, Sums

WEEK = Week("UTC", 1440)


def sample(folds=3, n=200):
    rng = np.random.default_rng(0)
    columns = np.hstack([np.ones((n, 1)), rng.normal(size=(n, 2))])
    slot, fold = rng.integers(0, 7, n), np.sort(rng.integers(0, folds, n))
    order = np.argsort(fold * 7 + slot, kind="stable")
    y = rng.normal(5, 2, n) + slot
    return columns[order], slot[order], fold[order], y[order]


def slow(columns, slot, y, alpha, penalty):
    """Ridge on the full design: columns, a dummy for every slot and for every kind of slot."""
    kinds = WEEK.kind
    design = np.hstack([columns, np.eye(7)[slot], np.eye(kinds.max() + 1)[kinds[slot]]])
    ridge = np.concatenate(
        [
            penalty * columns.var(axis=0),
            np.full(7, alpha),
            np.full(kinds.max() + 1, alpha * KIND_SHARE),
        ]
    )
    b = np.linalg.solve(design.T @ design + np.diag(ridge), design.T @ y)
    p = columns.shape[1]
    return b[p : p + 7] + b[p + 7 :][kinds], b[:p]


def test_solution_is_that_of_the_full_design():
    columns, slot, fold, y = sample()
    penalty = np.array([0.0, 1.0, 5.0])
    found = Sums.of(columns, fold * 7 + slot, y, 3, 7).total().solve(4.0, penalty, WEEK.kind)
    levels, b = slow(columns, slot, y, 4.0, penalty)
    np.testing.assert_allclose(found.columns[0], b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.levels[0], levels, rtol=1e-5, atol=1e-5)


def test_error_is_that_of_predicting_each_fold_from_the_others():
    columns, slot, fold, y = sample()
    sums = Sums.of(columns, fold * 7 + slot, y, 3, 7)
    penalty = np.array([0.0, 1.0, 1.0])
    errors = sums.error(sums.others().solve(4.0, penalty, WEEK.kind))
    for k in range(3):
        rest, own = fold != k, fold == k
        levels, b = slow(columns[rest], slot[rest], y[rest], 4.0, penalty)
        off = y[own] - levels[slot[own]] - columns[own] @ b
        assert errors[k] == pytest.approx(off @ off, rel=1e-4)


def test_fewer_columns_are_picked_from_the_sums():
    columns, slot, fold, y = sample()
    at, cell = np.array([0, 2]), fold * 7 + slot
    picked, direct = (
        Sums.of(columns, cell, y, 3, 7).pick(at),
        Sums.of(columns[:, at], cell, y, 3, 7),
    )
    for a, b in zip(vars(picked).values(), vars(direct).values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_empty_fold():
    columns, slot, fold, y = sample()
    sums = Sums.of(columns, np.where(fold == 1, 2, fold) * 7 + slot, y, 3, 7)
    assert sums.weight[1].sum() == 0
    assert sums.squares[1] == 0
