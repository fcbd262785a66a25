import numpy as np
import pytest
from scipy import stats

from enms_core.detection.tails import EDGES, Tails


def surprise(tails, row, size):
    return float(np.interp(size, EDGES, tails.table[row]))


@pytest.mark.parametrize(
    "law", [stats.halfnorm(), stats.expon(), stats.gamma(2.0)], ids=lambda law: law.dist.name
)
def test_the_tail_of_a_known_law_is_found(law):
    tails = Tails([1], [0.0])
    tails.learn([law.rvs(size=50_000, random_state=1)], keep=0.0)
    for share in (0.1, 0.01, 0.001, 0.0001):
        true = -np.log10(2.0 * share)
        assert 0.75 * true - 0.1 < surprise(tails, 0, law.ppf(1.0 - share)) < true + 0.35


def test_maxima_of_groups_say_the_same_of_one_reading():
    values = stats.expon.rvs(size=120_000, random_state=2)
    tails = Tails([1, 12], [0.0, 0.0])
    tails.learn([values, values.reshape(-1, 12).max(axis=1)], keep=0.0)
    for size in (3.0, 5.0, 7.0):
        assert surprise(tails, 0, size) == pytest.approx(surprise(tails, 1, size), abs=0.2)


def test_clusters_of_one_alarm_count_once():
    clustered = np.repeat(stats.expon.rvs(size=10_000, random_state=3), 12)
    tails = Tails([1, 12], [0.0, 0.0])
    tails.learn([clustered, clustered.reshape(-1, 12).max(axis=1)], keep=0.0)
    assert surprise(tails, 1, 6.0) == pytest.approx(surprise(tails, 0, 6.0) + 1.08, abs=0.3)


def test_surprise_rises_with_size_whatever_was_learned():
    tails = Tails([1, 12], [0.0, 1.0])
    tails.learn([np.zeros(500), np.full(500, 1e300)], keep=0.5)
    assert (np.diff(tails.table, axis=1) >= 0.0).all()
    assert np.isfinite(tails.table).all()


def test_what_was_forgotten_is_as_new():
    tails, new = Tails([1, 1], [0.0, 0.0]), Tails([1, 1], [0.0, 0.0])
    tails.learn([np.full(99, 7.0), np.full(99, 7.0)], keep=1.0)
    tails.forget(slice(1, None))
    np.testing.assert_array_equal(tails.table[1], new.table[1])
    assert surprise(tails, 0, 7.0) < surprise(new, 0, 7.0)
