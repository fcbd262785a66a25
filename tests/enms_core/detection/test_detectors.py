"""What every detector promises, checked on every member of DETECTORS."""

import math
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from enms_core.detection import DETECTORS

FAULT = slice("2026-10-28 10:00", "2026-10-28 14:45")


@pytest.fixture(scope="module")
def load():
    """Four weeks of 15-minute power (kW) over the end of summer time, with a fault in the last."""
    rng = np.random.default_rng(7)
    times = pd.date_range("2026-10-05", "2026-11-02", freq="15min", tz="Europe/Berlin")
    working = (times.day_of_week < 5) & (times.hour >= 6) & (times.hour < 22)
    load = pd.Series(np.where(working, 50.0, 8.0) * rng.normal(1, 0.04, len(times)), times)
    load[FAULT] *= 1.8
    return load


def rows(detector, load):
    return [detector.update(at, value) for at, value in load.items()]


def stream_equals_batch(make, load):
    batch = make().score(load)
    np.testing.assert_allclose(np.array(rows(make(), load)), batch.to_numpy(), atol=1e-9, rtol=0)


def batch_leaves_the_state_of_a_stream(make, load):
    batch, stream = make(), make()
    batch.score(load)
    rows(stream, load)
    assert batch.to_json() == stream.to_json()


def truncation_changes_nothing(make, load):
    whole = make().score(load)
    pd.testing.assert_frame_equal(make().score(load.iloc[:1500]), whole.iloc[:1500])


def nan_scores_nan_and_teaches_nothing(make, load):
    detector = make()
    detector.score(load.iloc[:1500])
    before = detector.to_json()
    assert all(math.isnan(part) for part in detector.update(load.index[1500], math.nan))
    assert detector.to_json() == before


def clone_is_untrained(make, load):
    trained = make()
    trained.score(load)
    assert clone(trained).get_params() == trained.get_params()
    pd.testing.assert_frame_equal(clone(trained).score(load), make().score(load))


def json_round_trip_goes_on_exactly(make, load):
    detector = make()
    detector.score(load.iloc[:1777])
    again = type(detector).from_json(detector.to_json())
    pd.testing.assert_frame_equal(
        again.score(load.iloc[1777:]), detector.score(load.iloc[1777:]), check_exact=True
    )
    assert again.to_json() == detector.to_json()


def same_input_same_output(make, load):
    pd.testing.assert_frame_equal(make().score(load), make().score(load), check_exact=True)


def batches_and_single_readings_mix(make, load):
    mixed, whole = make(), make().score(load)
    parts = [
        mixed.score(load.iloc[:1000]).to_numpy(),
        np.array(rows(mixed, load.iloc[1000:1400])),
        mixed.score(load.iloc[1400:]).to_numpy(),
    ]
    np.testing.assert_allclose(np.vstack(parts), whole.to_numpy(), atol=1e-9, rtol=0)


def state_does_not_grow(make, load):
    detector = make()
    sizes = []
    for month in range(4):
        detector.score(pd.Series(load.to_numpy(), load.index + month * pd.Timedelta("28D")))
        sizes.append(len(detector.to_json()))
    assert max(sizes) < 100_000
    assert sizes[-1] < 1.5 * sizes[0]


def constant_series_is_not_surprising(make, load):
    for level in (0.0, 20.0):
        scores = make().score(pd.Series(level, load.index))
        assert scores.surprise.max() < 1
        assert np.isfinite(scores.dropna().to_numpy()).all()


def says_nothing_before_it_knows(make, load):
    first = make().score(load.iloc[:50])
    assert (first.surprise == 0).all()
    assert first[["expected", "lower", "upper"]].isna().all(axis=None)


def the_clock_change_does_not_alarm(make, load):
    assert make().score(load).loc["2026-10-25 00:00":"2026-10-26 23:00"].surprise.max() < 4


def times_in_any_zone_are_the_same(make, load):
    local, utc = make().score(load), make().score(load.tz_convert("UTC"))
    np.testing.assert_array_equal(local.to_numpy(), utc.to_numpy())


def seconds_and_datetimes_are_the_same(make, load):
    part = load.iloc[:300]
    seconds = [detector_at.timestamp() for detector_at in part.index]
    detector = make()
    by_seconds = [detector.update(at, value) for at, value in zip(seconds, part, strict=True)]
    np.testing.assert_array_equal(np.array(rows(make(), part)), np.array(by_seconds))


def a_fault_surprises(make, load):
    scores = make().score(load)
    assert scores.surprise[FAULT].min() > 3
    assert scores.surprise[FAULT].iloc[0] > 4


def naive_times_are_refused(make, load):
    with pytest.raises(ValueError, match="time zone"):
        make().score(load.tz_localize(None))
    with pytest.raises(ValueError, match="has no zone"):
        make().update(datetime(2026, 10, 5), 1.0)  # noqa: DTZ001 - the fault under test


CHECKS = (
    stream_equals_batch,
    batch_leaves_the_state_of_a_stream,
    truncation_changes_nothing,
    nan_scores_nan_and_teaches_nothing,
    clone_is_untrained,
    json_round_trip_goes_on_exactly,
    same_input_same_output,
    batches_and_single_readings_mix,
    state_does_not_grow,
    constant_series_is_not_surprising,
    says_nothing_before_it_knows,
    the_clock_change_does_not_alarm,
    times_in_any_zone_are_the_same,
    seconds_and_datetimes_are_the_same,
    a_fault_surprises,
    naive_times_are_refused,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_detector(name, check, load):
    check(lambda: DETECTORS[name](zone="Europe/Berlin"), load)
