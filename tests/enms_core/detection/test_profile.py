import numpy as np
import pytest

from enms_core.detection.profile import HOUR, SLOTS, Block, Profile

rng = np.random.default_rng(6)


def block(hours, y):
    """Return hourly readings, the first on a Monday at midnight."""
    slot = np.asarray(hours) % SLOTS
    return Block(np.asarray(hours) * HOUR, y, y, slot, np.zeros(len(y)))


def learn(profile, readings):
    tables = profile.tables()
    profile.learn(readings, tables, *tables.at(readings), HOUR)


def learned(level_at, weeks, *, seasonal=True, noise=0.5):
    profile = Profile(seasonal)
    hours = np.arange(weeks * SLOTS)
    y = np.array([level_at(h % 24, h // 24 % 7) for h in hours]) + rng.normal(0, noise, len(hours))
    profile.start(y[:12])
    for day in hours.reshape(-1, 24):
        learn(profile, block(day, y[day]))
    return profile


def work(hour, weekday):
    return 50.0 if weekday < 5 and 6 <= hour < 22 else 8.0


def test_the_week_is_learned_in_two_visits():
    tables = learned(work, 2).tables()
    expected = [work(h % 24, h // 24) for h in range(SLOTS)]
    assert np.abs(tables.centre - expected).mean() < 4.0
    assert np.abs(learned(work, 4).tables().centre - expected).mean() < 2.0


def test_the_guess_with_the_smaller_error_is_believed():
    flat = learned(lambda *_: 20.0, 4)
    daily = learned(lambda hour, _: 20.0 + 10.0 * (hour > 12), 4)
    weekly = learned(work, 4)
    assert np.abs(flat.tables().centre - 20.0).max() < 1.0
    assert daily._weights()[0] < 0.01
    assert weekly._weights()[2] > 0.9


def test_a_quiet_hour_has_a_narrow_scale():
    profile, hours = Profile(seasonal=True), np.arange(6 * SLOTS)
    loud = (hours % 24 >= 6) & (hours % 24 < 22)
    y = 20.0 + rng.normal(size=len(hours)) * np.where(loud, 5.0, 0.5)
    profile.start(y[:12])
    for day in hours.reshape(-1, 24):
        learn(profile, block(day, y[day]))
    scale = profile.tables().scale.reshape(7, 24)
    assert scale[:, 10].mean() > 3.0 * scale[:, 2].mean()


def test_the_first_weekend_is_met_with_doubt():
    profile, hours = Profile(seasonal=True), np.arange(5 * 24)
    y = np.array([work(h % 24, h // 24) for h in hours]) + rng.normal(0, 0.5, len(hours))
    profile.start(y[:12])
    for day in hours.reshape(-1, 24):
        learn(profile, block(day, y[day]))
    scale = profile.tables().scale
    assert scale[5 * 24 + 10] > 3.0 * scale[4 * 24 + 10]


def test_a_wild_reading_moves_little_but_the_first_day_is_believed():
    profile = learned(lambda *_: 20.0, 4)
    before = profile.tables().centre
    wild = np.full(24, 20.0)
    wild[5] = 1e9
    learn(profile, block(np.arange(24), wild))
    assert np.abs(profile.tables().centre - before).max() < 3.0


def test_residuals_have_one_level():
    profile = learned(work, 4, seasonal=False)
    assert np.ptp(profile.tables().centre) == pytest.approx(0.0)


def test_json_round_trip():
    profile = learned(work, 1)
    again = Profile.from_dict(profile.to_dict())
    np.testing.assert_array_equal(again.tables().centre, profile.tables().centre)
    np.testing.assert_array_equal(again.tables().scale, profile.tables().scale)
