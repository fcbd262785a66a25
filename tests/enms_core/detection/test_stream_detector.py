import json

import numpy as np
import pandas as pd
import pytest

from enms_core.detection import (
    EpisodeTracker,
    Opened,
    Score,
    StreamDetector,
    false_alarms_per_month,
    surprise_for,
)

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
    assert 0.005 < outside.mean() < 0.02  # it wanders, and the band learns that only afterwards
    assert len(opened(clean, scores)) < 6  # two machine-months
    steady = noise(60, 60)
    scores = StreamDetector().score(steady)
    outside = ((steady < scores.lower) | (steady > scores.upper))[scores.expected.notna()]
    assert outside.mean() == pytest.approx(0.01, abs=0.002)


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
    surprise = StreamDetector(ZONE).score(load).surprise
    assert (surprise > 4).sum() <= 4  # of 40,000: what a surprise of 4 means


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


# -- the mechanisms, each on a fault that only it can see --------------------------------------


def noise(days, seconds=900, seed=20, *, mean=20.0, deviation=1.0, start="2026-03-02"):
    times = pd.date_range(start, periods=days * 86400 // seconds, freq=f"{seconds}s", tz="UTC")
    return pd.Series(np.random.default_rng(seed).normal(mean, deviation, len(times)), times)


def surprise_of(load):
    return StreamDetector().score(load).surprise.to_numpy()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("shift", "within"), [(8.0, 1), (2.5, 6), (1.5, 24)])
def test_a_small_shift_is_found_by_the_scale_it_needs(shift, within, sign):
    load = noise(30)
    load.iloc[-96:] += sign * shift
    surprise = surprise_of(load)
    assert surprise[-96 : -96 + within].max() >= 3.5
    assert surprise[-500:-96].max() < 4.5


def test_a_drift_too_slow_for_any_single_reading_is_found():
    load = noise(30)
    load.iloc[-192:] += np.linspace(0.0, 2.0, 192)
    assert surprise_of(load)[-120:].max() >= 3.5


@pytest.mark.parametrize("factor", [3.0, 0.1])
def test_a_change_of_variance_is_found(factor):
    load = noise(60)
    load.iloc[-144:] = 20.0 + factor * (load.iloc[-144:] - 20.0)
    assert surprise_of(load)[-144:].max() >= 3.0


def test_a_stuck_value_is_found_though_it_is_an_ordinary_one():
    load = noise(30)
    load.iloc[-24:] = load.iloc[-25]
    assert surprise_of(load)[-20:].max() >= 3.5


def test_outage_and_dip_are_found_at_once():
    for share in (0.0, 0.6):
        load = noise(30)
        load.iloc[-10:] *= share
        assert surprise_of(load)[-10] >= 3.5


def test_a_machine_that_stays_on_through_its_pause_is_found():
    times = pd.date_range("2026-03-02", periods=40 * 96, freq="15min", tz="UTC")
    on = np.arange(len(times)) % 12 < 8  # two hours on, one hour off, whatever the time of day
    on[-48:] = True
    load = pd.Series(np.where(on, 30.0, 5.0), times)
    load += np.random.default_rng(3).normal(0.0, 0.5, len(load))
    assert surprise_of(load)[-36:].max() >= 3.0


def test_a_value_never_seen_before_is_news_and_the_next_like_it_is_less():
    rng = np.random.default_rng(4)
    load = noise(30) + 30.0 * (rng.random(30 * 96) < 0.02)  # spikes are usual
    load.iloc[-20] = load.max() + 25.0
    load.iloc[-10] = load.iloc[-20]
    surprise = surprise_of(load)
    assert surprise[-20] > 4.5 > surprise[-10]


def test_an_episode_is_told_once_and_again_after_recovery_or_when_it_grows():
    load = noise(40)
    load.iloc[-200:-190] += 12.0
    load.iloc[-100:-90] += 12.0
    load.iloc[-95] += 60.0
    surprise = surprise_of(load)
    told = np.flatnonzero(surprise > 4.0) - len(load)
    assert -200 in told
    assert any(-100 <= n < -95 for n in told)
    assert -95 in told
    assert sum(-200 <= n < -150 for n in told) <= 2
    assert (surprise[-199:-190] >= 2.0).all()


def test_a_gap_is_not_zero_and_alarms_nobody():
    load = noise(30)
    holes = load.drop(load.index[-300:-200])
    nan = load.copy()
    nan.iloc[-300:-200] = np.nan
    for broken in (holes, nan):
        assert np.nanmax(surprise_of(broken)[-200:]) < 4.0


@pytest.mark.parametrize(
    ("seconds", "days"), [(60, 28), (300, 60), (900, 180), (3600, 365)], ids=str
)
@pytest.mark.parametrize("kind", ["normal", "skewed", "heavy"])
def test_false_alarms_a_month_are_what_was_asked_for(kind, seconds, days):
    """Episodes at the threshold of ten a month, of clean noise: within a factor of three."""
    rng = np.random.default_rng(seconds)
    count = days * 86400 // seconds
    values = {
        "normal": rng.normal(size=count),
        "skewed": rng.gamma(2.0, size=count),
        "heavy": rng.standard_t(4, size=count),
    }[kind]
    times = pd.date_range("2026-01-05", periods=count, freq=f"{seconds}s", tz="UTC")
    threshold = surprise_for(10.0, seconds)
    surprise = surprise_of(pd.Series(values, times))
    alarms = np.flatnonzero(surprise[count // 10 :] >= threshold)
    episodes = 1 + int((np.diff(alarms) > 6).sum()) if len(alarms) else 0
    asked = false_alarms_per_month(threshold, seconds) * 0.9 * days / 30
    assert asked / 3 - 3 <= episodes <= 3 * asked + 3


def test_the_last_state_of_a_stream_goes_on_in_a_batch():
    load = plant(20, 900, seed=12)
    mixed, batch = StreamDetector(ZONE), StreamDetector(ZONE)
    whole = batch.score(load)
    parts = [mixed.score(load.iloc[:1000]).to_numpy()]
    parts.append(np.array([mixed.update(at, v) for at, v in load.iloc[1000:1333].items()]))
    mixed = StreamDetector.from_json(mixed.to_json())
    parts.append(np.array([mixed.update(at, v) for at, v in load.iloc[1333:1500].items()]))
    parts.append(mixed.score(load.iloc[1500:]).to_numpy())
    np.testing.assert_allclose(np.vstack(parts), whole.to_numpy(), atol=1e-9, rtol=0)
    assert mixed.to_json() == batch.to_json()


def test_a_state_of_an_older_format_is_learned_anew():
    load = plant(3, 900, seed=13)
    old = json.dumps({"zone": ZONE, "memories": {"values": {"level": [0.0] * 168}}})
    again = StreamDetector.from_json(old)
    assert again.zone == ZONE
    pd.testing.assert_frame_equal(again.score(load), StreamDetector(ZONE).score(load))


def test_at_a_new_pace_smoothed_signals_keep_silent_for_two_days():
    fine = plant(20, 5, seed=12)
    history, live = fine.iloc[: 16 * 17280 : 12], fine.iloc[16 * 17280 :]
    detector = StreamDetector(ZONE)
    detector.score(history)
    known = json.loads(detector.to_json())["memories"]["values"]
    assert known["paced"] == 0.0
    detector.score(live.iloc[:17280])
    memory = detector.memories_["values"]
    assert memory.paced > 15 * 86400
    assert np.isinf(memory.above[2:6]).all()  # means of 6, 24 and 72, and variance
    detector.score(live.iloc[17280:])
    assert np.isfinite(memory.above[2:6]).all()
