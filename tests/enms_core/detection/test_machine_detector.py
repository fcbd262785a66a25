import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from sklearn.linear_model import Ridge

from enms_core.detection import MachineDetector, blame
from enms_core.detection.relations import Relations
from tests.enms_core.detection.test_machine_detectors import compressor

TRAIN, START = 1000, 1500
RELATED = {"kw": 3.0, "m3_per_h": 1.0, "bar": 0.1}  # each value stays a usual one


@pytest.fixture(scope="module")
def normal():
    return compressor()


@pytest.fixture(scope="module")
def detector(normal):
    return MachineDetector().fit(normal[:TRAIN])


def wandering(rows, sensors, memory, seed):
    """Noise with a memory of so many rows, mixed over the sensors, and noise on each."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-1 / memory)
    sources = lfilter([1.0], [1.0, -keep], rng.normal(size=(rows + 500, sensors)), axis=0)[500:]
    mixed = sources @ rng.normal(size=(sensors, sensors))
    return pd.DataFrame(mixed + rng.normal(size=mixed.shape)).rename(columns="s{}".format)


@pytest.mark.parametrize(("rows", "sensors"), [(400, 1), (400, 8), (1000, 4)])
@pytest.mark.parametrize("memory", [0.1, 10.0])
def test_one_stretch_in_a_hundred_alarms_by_chance(rows, sensors, memory):
    stretches = []
    for seed in range(15):
        frame = wandering(3 * rows, sensors, memory, seed)
        flags = MachineDetector().fit(frame[:rows]).predict(frame[rows:])
        stretches.append(flags.reshape(-1, rows // 10).max(axis=1))
    assert np.mean(stretches) <= 0.02  # of 300, where 0.01 is promised


@pytest.mark.parametrize("sensor", sorted(RELATED))
def test_a_broken_relation_is_found_where_each_value_is_a_usual_one(normal, detector, sensor):
    faulty = normal.copy()
    faulty.loc[faulty.index[START:], sensor] -= RELATED[sensor]
    inside = faulty[sensor].between(normal[sensor].min(), normal[sensor].max())
    assert inside.mean() > 0.9
    flags = detector.predict(faulty[TRAIN:])
    assert flags[: START - TRAIN].mean() < 0.01
    assert flags[START - TRAIN + 30 :].mean() > 0.8
    assert blame(detector.contributions(faulty[TRAIN:])[START - TRAIN :]).index[0] == sensor


@pytest.mark.parametrize("sensor", ["kw", "m3_per_h"])
def test_a_stuck_sensor_is_found_by_the_others(normal, detector, sensor):
    faulty = normal.copy()
    faulty.loc[faulty.index[START:], sensor] = normal[sensor].iloc[START]
    flags = detector.predict(faulty[TRAIN:])[START - TRAIN :]
    assert flags[:60].any()
    assert flags.mean() > 0.7
    assert blame(detector.contributions(faulty[TRAIN:])[START - TRAIN :]).index[0] == sensor


def test_a_slow_drift_is_found(normal, detector):
    faulty = normal.copy()
    faulty.loc[faulty.index[START:], "degc"] += np.arange(len(faulty) - START) * 0.01
    flags = detector.predict(faulty[TRAIN:])[START - TRAIN :]
    assert flags[150:].mean() > 0.9  # by then it is 1.5 degC off, of a noise of 0.5
    assert blame(detector.contributions(faulty[START:])[150:]).index[0] == "degc"


def test_a_sensor_that_reads_nonsense_is_blamed_alone(normal, detector):
    faulty = normal.copy()
    faulty.loc[faulty.index[START:], "bar"] = 65535.0
    shares = blame(detector.contributions(faulty[TRAIN:])[START - TRAIN + 5 :])
    assert shares.index[0] == "bar"
    assert shares["bar"] > 0.8


def test_it_is_quiet_again_after_a_fault(normal, detector):
    faulty = normal.copy()
    faulty.loc[faulty.index[1400:1500], "m3_per_h"] *= 1.5
    flags = detector.predict(faulty[TRAIN:])
    assert flags[420:500].all()
    assert flags[560:].mean() < 0.01


def test_where_one_is_missing_the_others_still_judge_each_other(normal, detector):
    faulty = normal.copy()
    faulty.loc[faulty.index[1200:], "kw"] = np.nan
    faulty.loc[faulty.index[START:], "m3_per_h"] -= 1.5
    flags = detector.predict(faulty[TRAIN:])
    assert flags[: START - TRAIN].mean() < 0.01
    assert flags[START - TRAIN + 30 :].mean() > 0.9
    assert blame(detector.contributions(faulty[TRAIN:])[START - TRAIN :]).index[0] == "m3_per_h"


def test_what_nothing_is_left_to_predict_from_is_not_judged(normal, detector):
    alone = normal[TRAIN:].copy()
    alone[["kw", "bar"]] = np.nan
    assert detector.contributions(alone)["m3_per_h"].isna().all()
    assert detector.predict(alone).mean() < 0.01


@pytest.mark.parametrize(("sensor", "rows", "factor"), [(0, 20, 3.0), (1, 10, 1e4), (3, 50, 0.0)])
def test_a_fault_in_training_is_survived(normal, sensor, rows, factor):
    train = normal[:TRAIN].copy()
    train.iloc[700 : 700 + rows, sensor] *= factor
    faulty = normal[TRAIN:].copy()
    faulty.iloc[500:, 2] += 0.2
    flags = MachineDetector().fit(train).predict(faulty)
    assert flags[:500].mean() < 0.01
    assert flags[530:].mean() > 0.9


def test_a_wandering_sensor_needs_more_to_alarm_than_a_steady_one():
    rng = np.random.default_rng(5)
    steady = rng.normal(size=1200)
    wander = 0.05 * rng.normal(size=1200).cumsum() + 0.2 * rng.normal(size=1200)
    frame = pd.DataFrame({"steady": steady, "wander": wander})
    detector = MachineDetector().fit(frame[:600])
    needed = detector.extremes_.size_at(3.0)
    assert needed[1] > 1.5 * needed[0]


def test_sensors_that_are_never_there_together_are_judged(normal):
    turn = np.arange(len(normal)) % 2 == 0
    frame = normal.assign(even=normal["kw"].where(turn), odd=normal["kw"].where(~turn))
    detector = MachineDetector().fit(frame[:TRAIN])
    assert detector.unjudged_ == []
    assert detector.predict(frame[TRAIN:]).mean() < 0.01
    faulty = frame[TRAIN:].copy()
    faulty.iloc[500:, 5] += 8.0
    there = faulty["odd"].notna().to_numpy()[540:]
    assert detector.predict(faulty)[540:][there].mean() > 0.6
    assert blame(detector.contributions(faulty)[540:][there]).index[0] == "odd"


def test_relations_are_what_ridge_regression_finds():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 4)) + 0.3 * rng.normal(size=(500, 4))
    relations, _ = Relations.learn(values)
    scaled = (values - relations.centre) / relations.scale
    assert np.abs(scaled).max() < 5  # nothing is clipped
    for j, alpha in enumerate(relations.ridge):
        others = np.delete(scaled, j, axis=1)
        ridge = Ridge(alpha * len(values), fit_intercept=False).fit(others, scaled[:, j])
        left = scaled[:, j] - ridge.predict(others)
        np.testing.assert_allclose(relations.residuals(values)[:, j], left, atol=1e-10)


def test_held_out_residuals_are_those_of_models_without_their_stretch():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(400, 1)) + 0.2 * rng.normal(size=(400, 3))
    relations, held_out = Relations.learn(values)
    scaled = (values - relations.centre) / relations.scale
    rest, stretch = scaled[40:], scaled[:40]
    for j, alpha in enumerate(relations.ridge):
        ridge = Ridge(alpha * 360, fit_intercept=False).fit(np.delete(rest, j, 1), rest[:, j])
        left = stretch[:, j] - ridge.predict(np.delete(stretch, j, 1))
        np.testing.assert_allclose(held_out[:40, j], left, atol=1e-10)
