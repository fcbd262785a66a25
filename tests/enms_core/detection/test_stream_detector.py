import numpy as np
import pandas as pd
import pytest

from enms_core.detection import EpisodeTracker, Opened, Score, StreamDetector

ZONE = "Europe/Berlin"


def plant(days, seconds, seed, *, noise=0.04, memory=300.0):
    """Shifts, a daily wave, slow weather and AR(1) noise: power (kW) every so many seconds."""
    rng = np.random.default_rng(seed)
    times = pd.date_range(
        "2026-03-02", periods=days * 86400 // seconds, freq=f"{seconds}s", tz=ZONE
    )
    hour = (times.hour + times.minute / 60).to_numpy()
    working = (times.day_of_week.to_numpy() < 5) & (hour >= 6) & (hour < 22)
    keep = np.exp(-seconds / memory)
    shocks = rng.normal(size=len(times)) * np.sqrt(1 - keep**2)
    wobble = np.empty(len(times))
    last = 0.0
    for i, shock in enumerate(shocks.tolist()):
        wobble[i] = last = keep * last + shock
    weather = np.interp(np.arange(len(times)) * seconds / 86400, np.arange(days + 1),
                        0.4 * rng.normal(size=days + 1).cumsum())  # fmt: skip
    level = np.where(working, 50.0, 20.0) + 4 * np.sin(2 * np.pi * hour / 24) + weather
    return pd.Series(level * (1 + noise * wobble), times)


def opened(series, scores):
    tracker = EpisodeTracker()
    rows = zip(series.index, series, scores.itertuples(index=False, name=None), strict=True)
    steps = [tracker.take(at, value, Score(*score)) for at, value, score in rows]
    return [step.episode for step in steps if isinstance(step, Opened)]


@pytest.fixture(scope="module")
def clean():
    return plant(60, 60, seed=2)


def test_clean_machine_is_quiet_and_the_band_holds_99_percent(clean):
    scores = StreamDetector(ZONE).score(clean)
    outside = ((clean < scores.lower) | (clean > scores.upper))[scores.expected.notna()]
    assert outside.mean() == pytest.approx(0.01, abs=0.004)
    assert len(opened(clean, scores)) < 4  # two machine-months


def test_spike_is_found_at_once_and_leak_within_five_minutes(clean):
    faulty = clean.copy()
    spike, leak = (pd.Timestamp(f"2026-04-{day} 10:00", tz=ZONE) for day in (27, 28))
    faulty[spike] *= 3
    faulty[leak : leak + pd.Timedelta("6h")] *= 1.3
    found = [e.started_at for e in opened(faulty, StreamDetector(ZONE).score(faulty))]
    assert spike in found
    assert any(leak <= start <= leak + pd.Timedelta("5min") for start in found)


def test_five_second_readings_go_on_where_sixty_second_history_ended():
    fine = plant(15, 5, seed=3)
    history, live = fine.iloc[:241920:12], fine.iloc[241920:]
    detector = StreamDetector(ZONE)
    detector.score(history)
    scores = detector.score(live)
    assert (scores.surprise > 4).mean() < 0.002
    off = (scores.expected - live).abs().mean() / live.mean()
    assert off < 0.06


def test_level_change_is_normal_after_two_weeks_but_not_after_hours():
    load = plant(56, 900, seed=4)
    change = len(load) // 2
    load.iloc[change:] *= 1.5
    surprise = StreamDetector(ZONE).score(load).surprise
    assert surprise.iloc[change + 32 : change + 68].min() > 2.5  # nine hours of the first shift
    assert surprise.iloc[change + 14 * 96 :].median() < 1


def test_residual_of_an_expected_value_is_judged():
    load = plant(28, 900, seed=5)
    rng = np.random.default_rng(0)
    expected = load * rng.normal(1.0, 0.02, len(load))
    load.iloc[-10] += 10
    plain, given = StreamDetector(ZONE), StreamDetector(ZONE)
    assert given.score(load, expected).surprise.iloc[-10] > plain.score(load).surprise.iloc[-10]
    one = StreamDetector(ZONE)
    rows = [one.update(at, v, e) for at, v, e in zip(load.index, load, expected, strict=True)]
    np.testing.assert_array_equal(
        np.array(rows), StreamDetector(ZONE).score(load, expected).to_numpy()
    )


def test_values_and_residuals_are_learned_apart():
    load = plant(28, 900, seed=6)
    expected = load.copy()
    expected.iloc[1500:1600] = np.nan
    scores = StreamDetector(ZONE).score(load, expected)
    assert (scores.surprise.iloc[1500:1600] == 0).sum() >= 96  # a day of its own to warm up
    assert scores.surprise.iloc[1600:].max() < 4


def test_shift_that_starts_early_or_late_seldom_alarms():
    rng = np.random.default_rng(8)
    times = pd.date_range("2026-03-02", periods=42 * 1440, freq="60s", tz="UTC")
    start = 360 + np.repeat(rng.integers(-10, 11, 42), 1440)
    minute = np.tile(np.arange(1440), 42)
    working = (minute >= start) & (minute < 1320) & (times.day_of_week < 5)
    load = pd.Series(np.where(working, 50.0, 8.0) * rng.normal(1, 0.04, len(times)), times)
    assert len(opened(load, StreamDetector().score(load))) <= 3  # of 30 mornings


def test_two_modes_in_every_hour_are_normal():
    rng = np.random.default_rng(9)
    times = pd.date_range("2026-03-02", periods=28 * 1440, freq="60s", tz=ZONE)
    loaded = (np.arange(len(times)) // 4 + rng.integers(0, 2, len(times))) % 2 == 0
    load = pd.Series(np.where(loaded, 40.0, 12.0) * rng.normal(1, 0.02, len(times)), times)
    assert StreamDetector(ZONE).score(load).surprise.iloc[1440:].max() < 4


def test_readings_out_of_order_are_scored_but_teach_nothing():
    load = plant(14, 900, seed=10)
    detector = StreamDetector(ZONE)
    detector.score(load)
    before = detector.to_json()
    late = detector.update(load.index[-3], float(load.iloc[-3]))
    assert late.surprise < 4
    assert detector.to_json() == before


def test_infinite_and_absurd_values_are_survived():
    load = plant(14, 900, seed=11)
    load.iloc[500], load.iloc[600] = np.inf, 1e300
    scores = StreamDetector(ZONE).score(load)
    assert scores.iloc[500].isna().all()
    assert scores.surprise.iloc[600] > 8
    assert scores.surprise.iloc[601:].median() < 1
