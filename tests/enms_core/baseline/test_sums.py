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


ALL = np.arange(3)


def sums_of(columns, slot, fold, y):
    parts = [fold == k for k in range(3)]
    return Sums.join([Sums.of(columns[at].T, slot[at], y[at], 7) for at in parts])


def test_solution_is_that_of_the_full_design():
    columns, slot, fold, y = sample()
    penalty = np.array([0.0, 1.0, 5.0])
    sums = sums_of(columns, slot, fold, y).total()
    found = sums.reduce(4.0, WEEK.kind).solve(penalty, ALL)[0]
    levels, b = slow(columns, slot, y, 4.0, penalty)
    np.testing.assert_allclose(found.columns, b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.levels, levels, rtol=1e-5, atol=1e-5)


def test_error_is_that_of_predicting_each_fold_from_the_others():
    columns, slot, fold, y = sample()
    sums = sums_of(columns, slot, fold, y)
    penalty, slowly = np.array([0.0, 1.0, 1.0]), 0.0
    error = sums.error(sums.others().reduce(4.0, WEEK.kind).solve(penalty, ALL))
    for k in range(3):
        rest, own = fold != k, fold == k
        levels, b = slow(columns[rest], slot[rest], y[rest], 4.0, penalty)
        slowly += np.sum((y[own] - levels[slot[own]] - columns[own] @ b) ** 2)
    assert error == pytest.approx(slowly, rel=1e-4)


def test_part_of_the_columns_needs_no_other_sums():
    columns, slot, fold, y = sample()
    at, penalty = np.array([0, 2]), np.array([0.0, 1.0, 5.0])
    part = sums_of(columns, slot, fold, y).reduce(4.0, WEEK.kind).solve(penalty, at)
    own = sums_of(columns[:, at], slot, fold, y).reduce(4.0, WEEK.kind).solve(penalty[at], ALL[:2])
    np.testing.assert_allclose(part.columns[:, at], own.columns, atol=1e-9)
    np.testing.assert_allclose(part.levels, own.levels, atol=1e-9)
    assert (part.columns[:, 1] == 0).all()


def test_empty_fold():
    columns, slot, fold, y = sample()
    sums = sums_of(columns[fold != 1], slot[fold != 1], fold[fold != 1], y[fold != 1])
    assert sums.weight[1].sum() == 0
    assert sums.squares[1] == 0
