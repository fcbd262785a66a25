import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest

from enms_core.detection import ForestDetector, rarity
from enms_core.detection.isolation import SAMPLE, TREES, Forest


@pytest.fixture(scope="module")
def ring():
    """Two sensors on a circle with noise: the middle is unusual, though each value there is not."""
    rng = np.random.default_rng(0)
    turn = rng.uniform(0, 2 * np.pi, 6000)
    radius = rng.normal(10.0, 0.4, 6000)
    return pd.DataFrame({"x": radius * np.cos(turn), "y": radius * np.sin(turn)})


@pytest.fixture(scope="module")
def detector(ring):
    return ForestDetector().fit(ring[:4000])


def test_inside_the_range_the_score_is_scikit_learns():
    values = np.random.default_rng(1).normal(size=(700, 3))
    theirs = IsolationForest(n_estimators=TREES, max_samples=SAMPLE, random_state=0).fit(values)
    ours = Forest.grow(values)
    np.testing.assert_allclose(ours.score(values), -theirs.score_samples(values), atol=1e-9)


def test_beyond_the_range_the_score_rises_with_distance():
    forest = Forest.grow(np.random.default_rng(1).normal(size=(700, 2)))
    far = np.column_stack([np.array([3.5, 5.0, 10.0, 100.0, 1e6]), np.zeros(5)])
    assert (np.diff(forest.score(far)) > 0).all()


@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_surprise_is_the_share_of_normal_rows(ring, detector, rate):
    rare = detector.surprise(ring[4000:]) >= -np.log10(rate)
    assert rare.mean() == pytest.approx(rate, rel=0.6)


def test_an_unusual_combination_of_usual_values_is_found(detector):
    middle = pd.DataFrame({"x": [0.0], "y": [0.0]})
    assert detector.surprise(middle)[0] > 1.5  # one normal row in thirty


def test_no_row_is_rarer_than_the_reference_can_tell(ring, detector):
    absurd = pd.DataFrame({"x": [1e6], "y": [-1e6]})
    assert detector.surprise(absurd)[0] == pytest.approx(np.log10(2001))
    short = ForestDetector().fit(ring[:400])
    assert rarity(detector.surprise(absurd)[0]) == "warning"
    assert rarity(short.surprise(absurd)[0]) == "info"


def test_a_reference_too_short_for_an_alarm_is_refused(ring):
    assert ForestDetector().fit(ring[:200]).held_out_.shape == (100,)
    with pytest.raises(ValueError, match=r"^too few rows: 199, give 200"):
        ForestDetector().fit(ring[:199])


def test_a_sensor_may_stand_still_in_the_half_it_grows_on(ring):
    step = ring[:400].assign(step=(np.arange(400) >= 360) * 1.0)
    assert ForestDetector().fit(step).predict(step.assign(step=3.0)).shape == (400,)


def test_many_rows_are_scored_as_few(ring, detector):
    many = pd.concat([ring] * 3, ignore_index=True)
    assert (detector.surprise(many)[:6000] == detector.surprise(ring)).all()


def test_the_window_it_judges_is_not_learned(ring, detector):
    changed = ring[4000:].assign(x=ring["x"] + 30.0)
    assert detector.predict(changed).mean() > 0.99
    assert detector.predict(ring[4000:]).mean() < 0.02
