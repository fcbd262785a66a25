import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from enms_core.detection.episode import Closed, EpisodeTracker, Opened
from enms_core.detection.monitor import Monitor
from enms_core.detection.score import Score
from enms_core.modes import Modes

MINUTE = 60_000_000
DAY = 24 * 60


@pytest.fixture(scope="module")
def week():
    """Return times (us) and powers of nine days, with an hour of too much on the last."""
    times = np.arange(9 * DAY, dtype=np.int64) * MINUTE
    random = np.random.default_rng(5)
    values = 20.0 + 5.0 * np.sin(times / DAY / MINUTE * 2 * np.pi) + random.normal(0, 0.4, 9 * DAY)
    values[-3 * 60 : -2 * 60] += 25.0
    return times, values


def run(monitor, times, values, sizes, expected=None):
    edges = [0, *np.cumsum(sizes)]
    return [
        monitor.take(times[a:b], values[a:b], None if expected is None else expected[a:b])
        for a, b in pairwise(edges)
    ]


@pytest.mark.parametrize("size", [1, 13, 1000, 9 * DAY])
@pytest.mark.parametrize("model", [False, True])
def test_the_size_of_batches_changes_nothing(week, size, model):
    times, values = week
    first = 8 * DAY
    expected = np.full(len(times), 20.0) if model else None
    one, other = Monitor("power_kw", "UTC"), Monitor("power_kw", "UTC")
    [whole] = run(one, times, values, [len(times)], expected)
    sizes = [first, *[size] * -(-(len(times) - first) // size)]
    parts = run(other, times, values, sizes, expected)
    assert [s for part in parts for s in part.steps] == whole.steps
    assert np.concatenate([p.band["surprise"] for p in parts]).tolist() == pytest.approx(
        whole.band["surprise"].tolist(), abs=0
    )
    assert other.to_json() == one.to_json()
    assert [type(s) for s in whole.steps][:1] == [Opened]
    assert [type(s) for s in whole.steps][-1:] == [Closed]


@pytest.mark.parametrize("cut", [100, 8 * DAY, 9 * DAY - 150, 9 * DAY - 1])
def test_read_again_it_goes_on_as_the_one_that_wrote(week, cut):
    times, values = week
    one = Monitor("power_kw", "Europe/Berlin")
    one.adopt("model-1")
    one.take(times[:cut], values[:cut])
    other = Monitor.from_json(one.to_json())
    assert (other.metric, other.last, other.model_id) == ("power_kw", one.last, "model-1")
    assert other.episode == one.episode
    rest = times[cut:], values[cut:]
    assert other.take(*rest).steps == one.take(*rest).steps
    assert json.loads(other.to_json()) == json.loads(one.to_json())


def test_late_readings_are_noted_and_teach_nothing(week):
    times, values = week
    monitor = Monitor("power_kw", "UTC")
    monitor.take(times, values)
    before = monitor.to_json()
    judged = monitor.take(times[[50, 7, 90]], np.array([1e6, 1e6, 1e6]))
    assert (judged.late, len(judged.band), judged.steps) == (times[7], 0, [])
    assert monitor.to_json() == before


def test_within_a_batch_only_what_rises_is_judged(week):
    times, values = week
    order = [0, 1, 2, 5, 3, 4, 6, 6]
    judged = Monitor("power_kw", "UTC").take(times[order], values[order])
    assert judged.band["time"].tolist() == times[[0, 1, 2, 5, 6]].tolist()
    assert judged.late == times[3]


def test_an_empty_batch_changes_nothing(week):
    monitor = Monitor("power_kw", "UTC")
    monitor.take(week[0][:10], week[1][:10])
    before = monitor.to_json()
    judged = monitor.take(week[0][:0], week[1][:0], week[1][:0])
    assert (len(judged.band), judged.steps, judged.late) == (0, [], None)
    assert monitor.to_json() == before


def test_another_model_forgets_the_residuals_only(week):
    times, values = week
    monitor = Monitor("power_kw", "UTC")
    monitor.take(times[:DAY], values[:DAY])
    monitor.take(times[DAY : 2 * DAY], values[DAY : 2 * DAY], np.full(DAY, 20.0))
    assert set(monitor.detector.memories_) == {"values", "residuals"}
    monitor.adopt("next")
    assert (monitor.model_id, set(monitor.detector.memories_)) == ("next", {"values"})


def test_a_leak_within_the_band_is_told_with_its_second_reading():
    random = np.random.default_rng(8)
    step = 5_000_000
    times = np.arange(3 * 17_280, dtype=np.int64) * step
    slow = 3.0 * np.sin(2 * np.pi * times / 1e6 / 21_600)  # what the model does not know
    values = 40.0 + slow + random.normal(0.0, 0.1, len(times))
    monitor, expected = Monitor("power_kw", "UTC"), np.full(len(times), 40.0)
    assert monitor.take(times, values, expected).steps == []
    leak = values[-1] + 2.5
    at = times[-1] + step * np.arange(1, 3)
    first = monitor.take(at[:1], np.array([leak]), expected[:1])
    assert first.steps == []
    assert leak < first.band["upper"].iloc[0]
    again = Monitor.from_json(monitor.to_json())
    for it in (monitor, again):
        (opened,) = it.take(at[1:], np.array([leak]), expected[:1]).steps
        assert isinstance(opened, Opened)
        assert opened.episode.delta == pytest.approx(2.5, abs=0.4)


def test_with_another_model_jumps_are_learned_by_what_it_expects():
    """Power that leaps every two hours, as the model knows; by habit such leaps are usual."""
    random, step = np.random.default_rng(6), 5_000_000
    times = np.arange(4 * 17_280, dtype=np.int64) * step
    expected = np.where(times // 7_200_000_000 % 2, 55.0, 40.0)
    values = expected + np.cumsum(random.normal(0.0, 0.01, len(times)))
    monitor, index = Monitor("power_kw", "UTC"), pd.to_datetime(times, unit="us", utc=True)
    monitor.take(times, values)
    monitor.adopt("model-1")
    judged_as = monitor.judged_as(times, Modes.of())
    monitor.learn(pd.Series(values, index), pd.Series(expected, index), judged_as)
    at = times[-1] + step * np.arange(1, 3)
    leak = np.full(2, values[-1] + 8.0)
    [opened] = monitor.take(at, leak, expected[-2:]).steps
    assert opened.episode.delta == pytest.approx(8.0, abs=1.0)


def test_a_suspicion_outlives_short_dips():
    """5-s readings plainly above for six minutes, but for a dip of half a minute."""
    tracker = EpisodeTracker()
    band = {"expected": 20.0, "lower": 15.0, "upper": 25.0}
    for i in range(100):
        tracker.take(5.0 * i, 20.0, Score(0.3, **band))
    steps = []
    for i in range(100, 172):
        surprise = 3.2 if 130 <= i < 136 else 4.5
        steps.append(tracker.take(5.0 * i, 26.0, Score(surprise, **band)))
    [opened] = [step for step in steps if step]
    assert (opened.episode.started_at.timestamp(), opened.episode.sign) == (500.0, 1)
