# ruff: noqa: N806 - X and Y are what scikit-learn calls them
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import enms_core as enms
from enms_core.forecast import LoadForecaster, accuracy
from enms_core.forecasting.ridge import _solve
from enms_core.forecasting.wall import wall_clock
from enms_core.forecasting.young import TooLittleHistory

ZONE = "Europe/Berlin"
COLUMNS = ["mean", "lower", "upper", "lower_80", "upper_80"]


def shop(days=120, start="2026-01-05", noise=0.05, seed=0, zone=ZONE):
    """Hourly load (kW) of a shop with two shifts on weekdays, and noise that grows with load."""
    end = pd.Timestamp(start) + pd.Timedelta(days=days)
    times = pd.date_range(start, end, freq="1h", tz=zone, inclusive="left")
    working = (times.day_of_week < 5) & (times.hour >= 6) & (times.hour < 22)
    mean = np.where(working, 80.0 + 2 * times.hour, 12.0)
    return pd.Series(mean * np.random.default_rng(seed).normal(1, noise, len(times)), times)


@pytest.fixture(scope="module")
def load():
    return shop()


@pytest.fixture(scope="module")
def fitted(load):
    return LoadForecaster().fit(load[:"2026-04-05"])


def test_day_ahead_is_near_what_came(fitted, load):
    ahead = fitted.forecast(load[:"2026-04-05"], 24)
    assert list(ahead) == COLUMNS
    assert ahead.index[0] == pd.Timestamp("2026-04-06", tz=ZONE)
    assert len(ahead) == 24
    came = load[ahead.index]
    assert (ahead["mean"] - came).abs().mean() < 0.06 * came.mean()


def test_week_ahead_knows_the_weekend(fitted, load):
    ahead = fitted.forecast(load[:"2026-04-05"], 168)
    came = load[ahead.index]
    assert ahead.index.equals(pd.date_range("2026-04-06", periods=168, freq="1h", tz=ZONE))
    assert (ahead["mean"] - came).abs().mean() < 0.1 * came.mean()
    assert ahead["mean"]["2026-04-11":"2026-04-12"].max() < 30 < ahead["mean"]["2026-04-10 12:00"]


def test_bands_nest(fitted, load):
    ahead = fitted.forecast(load[:"2026-04-05"], 168)
    order = ahead[["lower", "lower_80", "mean", "upper_80", "upper"]].to_numpy()
    assert (np.diff(order, axis=1) >= 0).all()
    assert (order >= 0).all()


def test_bands_hold_what_they_promise(load):
    model, inside = LoadForecaster().fit(load[:"2026-03-15"]), []
    for day in pd.date_range("2026-03-16", "2026-05-03", tz=ZONE):
        ahead = model.forecast(load[load.index < day], 24)
        inside.append(accuracy(ahead, load))
    assert np.mean([a.coverage_95 for a in inside]) == pytest.approx(0.95, abs=0.03)
    assert np.mean([a.coverage_80 for a in inside]) == pytest.approx(0.80, abs=0.05)


def test_bands_widen_after_the_load_became_wild(load):
    model = LoadForecaster().fit(load[:"2026-03-15"])
    wild = load[:"2026-05-03"].copy()
    late = wild.index >= "2026-03-16"
    wild[late] *= np.random.default_rng(1).normal(1, 0.4, late.sum())
    width = [f["upper"].mean() - f["lower"].mean() for f in
             (model.forecast(load[:"2026-05-03"], 24), model.forecast(wild, 24))]  # fmt: skip
    assert width[1] > 2 * width[0]


def test_nothing_later_is_used(fitted, load):
    known = load[:"2026-04-05"]
    later = fitted.forecast(known, 24)
    fitted.forecast(load, 24)
    pd.testing.assert_frame_equal(fitted.forecast(known.copy(), 24), later)


def test_same_data_same_forecast(load):
    known = load[:"2026-04-05"]
    first, second = (LoadForecaster().fit(known).forecast(known, 48) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_forecast_from_another_hour_of_the_day(fitted, load):
    known = load[:"2026-04-06 09:00"]
    ahead = fitted.forecast(known, 24)
    assert ahead.index[0] == pd.Timestamp("2026-04-06 10:00", tz=ZONE)
    assert (ahead["mean"] - load[ahead.index]).abs().mean() < 0.08 * known.mean()


def test_shifts_keep_their_hours_over_the_clock_change():
    load = shop(days=84, noise=0.01)
    known = load[:"2026-03-28"]
    ahead = LoadForecaster().fit(known).forecast(known, 72)["mean"]
    assert len(ahead["2026-03-29"]) == 23
    working = ahead["2026-03-30"] > 40
    assert working.index[working].hour.tolist() == list(range(6, 22))


def test_doubled_hour_of_autumn():
    load = shop(days=84, start="2026-08-10", noise=0.01)
    known = load[:"2026-10-24"]
    ahead = LoadForecaster().fit(known).forecast(known, 49)
    assert len(ahead.loc["2026-10-25"]) == 25
    assert ahead["mean"]["2026-10-26 06:00"] > 40 > ahead["mean"]["2026-10-26 05:00"]
    assert ahead.index.is_unique


def test_gaps_are_not_zeros(load):
    gappy = load[:"2026-04-05"].copy()
    gappy["2026-02-02":"2026-02-06"] = np.nan
    gappy[np.random.default_rng(2).random(len(gappy)) < 0.02] = np.nan
    gappy.iloc[-2:] = np.nan
    gappy.iloc[1000] = np.inf
    ahead = LoadForecaster().fit(gappy).forecast(gappy, 24)
    came = load[ahead.index]
    assert (ahead["mean"] - came).abs().mean() < 0.08 * came.mean()
    dropped = gappy.dropna()
    assert dropped.index[-1] < gappy.index[-1]
    assert np.isfinite(LoadForecaster().fit(dropped).forecast(dropped, 24)).all(axis=None)


def test_flat_load_is_forecast_flat():
    load = shop() * 0 + 7.0
    ahead = LoadForecaster().fit(load).forecast(load, 24)
    np.testing.assert_allclose(ahead, 7.0, atol=1e-6)


def test_load_that_feeds_back_may_be_negative():
    load = shop() - 60.0
    assert LoadForecaster().fit(load).forecast(load, 24)["mean"].min() < -40


def test_left_out_predictions_are_those_of_leaving_out():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 3)), rng.normal(size=(30, 2))
    X -= X.mean(axis=0)
    past, _ = _solve(X, Y, X[:1])
    for alpha in np.logspace(-1, 4, 11):
        rest = np.arange(30) != 4
        design = np.hstack([np.ones((29, 1)), X[rest]])
        gram = design.T @ design + alpha * np.diag([0, 1, 1, 1])
        slow = np.r_[1, X[4]] @ np.linalg.solve(gram, design.T @ Y[rest])
        if np.isclose(past[4, 0], slow[0]):
            break
    else:
        pytest.fail("no penalty gives the prediction of the row left out")


def test_only_three_years_are_kept():
    times = pd.date_range("2019-01-01", periods=5 * 8766, freq="1h", tz="UTC")
    assert len(wall_clock(pd.Series(1.0, times)).load) == 3 * 366 * 24


def test_long_gaps_are_filled_from_the_weeks_beside():
    load = shop(days=21, noise=0.0)
    gappy = load.copy()
    gappy.iloc[30:60] = np.nan
    wall = wall_clock(gappy)
    np.testing.assert_allclose(wall.load, load)
    assert wall.known.tolist() == gappy.notna().tolist()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda y: y.to_numpy(), "no series"),
        (lambda y: y.to_frame(), "no series"),
        (lambda y: y.astype(str), "no series"),
        (lambda y: y.tz_localize(None), "naive index"),
        (lambda y: y.iloc[::-1], "unordered index"),
        (lambda y: y.resample("15min").ffill(), "not hourly"),
        (lambda y: y.iloc[:0], "no load"),
        (lambda y: y * np.nan, "no load"),
        (lambda y: y.iloc[: 27 * 24], "too little history: 27 days .* takes 28"),
    ],
)
def test_faults_are_named(load, fitted, fault, reason):
    with pytest.raises(ValueError, match=reason):
        LoadForecaster().fit(fault(load))
    with pytest.raises(ValueError, match=reason):
        fitted.forecast(fault(load), 24)


@pytest.mark.parametrize("hours", [0, 169])
def test_hours_out_of_range(fitted, load, hours):
    with pytest.raises(ValueError, match="hours out of range"):
        fitted.forecast(load, hours)


def test_least_history_is_what_the_reason_says(load):
    known = load.iloc[: 28 * 24]
    assert len(LoadForecaster().fit(known).forecast(known, 168)) == 168
    with pytest.raises(TooLittleHistory) as short:
        LoadForecaster().fit(load.iloc[: 28 * 24 - 1])
    assert (short.value.days, short.value.missing) == (27, 1)


def test_days_with_a_long_gap_are_no_history(load):
    known = load.iloc[: 28 * 24].copy()
    known.iloc[100:110] = np.nan
    with pytest.raises(TooLittleHistory, match="27 days"):
        LoadForecaster().fit(known)


def test_from_eight_weeks_on_the_next_day_is_learned(load):
    short, whole = (LoadForecaster().fit(load.iloc[: days * 24]) for days in (55, 56))
    assert (len(short.learned_), len(whole.learned_)) == (0, 1)
    assert len(whole.forecast(load.iloc[: 56 * 24], 168)) == 168


def test_young_load_repeats_what_was_usual(load):
    known = load.iloc[: 28 * 24]
    ahead = LoadForecaster().fit(known).forecast(known, 168)
    came = load[ahead.index]
    assert (ahead["mean"] - came).abs().mean() < 0.06 * came.mean()
    order = ahead[["lower", "lower_80", "mean", "upper_80", "upper"]].to_numpy()
    assert (np.diff(order, axis=1) >= 0).all()
    weekend = ahead.index.day_of_week >= 5
    assert ahead["mean"][weekend].max() < 15


def test_young_bands_hold_what_they_promise():
    inside = []
    for seed in range(20):
        load = shop(days=29, noise=0.15, seed=seed)
        known = load.iloc[: 28 * 24]
        inside.append(accuracy(LoadForecaster().fit(known).forecast(known, 24), load))
    assert 0.93 < np.mean([a.coverage_95 for a in inside]) < 0.995
    assert 0.78 < np.mean([a.coverage_80 for a in inside]) < 0.90


def test_young_load_looks_at_nothing_later(load):
    known, longer = load.iloc[: 28 * 24], load.iloc[: 29 * 24]
    model = LoadForecaster().fit(known)
    first = model.forecast(known, 24)
    model.forecast(longer, 24)
    pd.testing.assert_frame_equal(model.forecast(known, 24), first)


def test_contract(fitted):
    assert enms.LoadForecaster is LoadForecaster
    assert not hasattr(clone(fitted), "learned_")
