import numpy as np
import pandas as pd
import pytest

from enms_core.detection import surprise_of_load

TRAIN = 60 * 24


@pytest.fixture(scope="module")
def building():
    """A hundred days of a building that is heated by day, and the temperature outside."""
    rng = np.random.default_rng(11)
    times = pd.date_range("2026-01-05", periods=100 * 24, freq="1h", tz="UTC")
    outside = 5.0 + 5.0 * np.sin(np.arange(len(times)) / 300) + rng.normal(size=len(times))
    day = (times.hour >= 7) & (times.hour < 19) & (times.day_of_week < 5)
    load = 20.0 + 30.0 * day + 2.0 * np.maximum(0.0, 15.0 - outside)
    return pd.Series(load * rng.normal(1.0, 0.05, len(times)), times), pd.Series(outside, times)


def test_a_level_change_of_a_fifth_is_found_within_a_day(building):
    load, outside = building
    faulty = load.copy()
    faulty.iloc[-60:] *= 1.2
    surprise = surprise_of_load(faulty, outside, TRAIN)
    assert surprise[-60:-36].max() >= 3.0
    assert np.quantile(surprise_of_load(load, outside, TRAIN)[TRAIN:], 0.9) < 3.0


def test_nothing_depends_on_later_hours(building):
    load, outside = building
    whole = surprise_of_load(load, outside, TRAIN)
    part = surprise_of_load(load.iloc[:2000], outside.iloc[:2000], TRAIN)
    np.testing.assert_array_equal(part, whole[:2000])


def test_without_weather_the_calendar_explains(building):
    load, _ = building
    faulty = load.copy()
    faulty.iloc[-5:] = 0.0
    assert surprise_of_load(faulty, None, TRAIN)[-5] >= 3.0


def test_where_no_baseline_can_be_fitted_the_load_is_judged_by_itself(building):
    load, outside = building
    faulty = load.copy()
    faulty.iloc[-5:] *= 3.0
    surprise = surprise_of_load(faulty, outside, 24)
    assert len(surprise) == len(load)
    assert surprise[-5] >= 3.0
