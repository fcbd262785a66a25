import numpy as np
import pandas as pd
import pytest

from enms_core.baseline import driver_frame
from enms_core.baseline.features import WINDOW

NOON = pd.Timestamp("2026-10-06 12:00", tz="Europe/Berlin")


def frame(freq, n, **metrics):
    return pd.DataFrame(metrics, pd.date_range(NOON, periods=n, freq=freq))


def test_rate_of_minutes_is_the_trailing_window_an_hour():
    n = WINDOW // pd.Timedelta("1min")
    counts = np.random.default_rng(0).integers(0, 20, 90).astype(float)
    rate = driver_frame(frame("60s", 90, production_count=counts)).production_per_h
    slow = [counts[i - n : i].sum() * 60 / n for i in range(n, 90)]  # each begins its minute
    np.testing.assert_allclose(rate.iloc[n:], slow)


@pytest.mark.parametrize(("freq", "per_hour"), [("15min", 4), ("30min", 2), ("1h", 1)])
def test_rate_of_coarse_counts_is_count_over_interval(freq, per_hour):
    rate = driver_frame(frame(freq, 5, production_count=[10.0, 20, 30, 40, 50])).production_per_h
    np.testing.assert_allclose(rate.iloc[1:], per_hour * np.array([20.0, 30, 40, 50]))


def test_drivers_are_held_at_the_rows_of_other_metrics():
    wide = frame("5s", 12 * 60, power_kw=9.0)
    wide.loc[wide.index[::180], "temperature_c"] = [20.0, 21.0, 22.0, 23.0]
    wide.loc[wide.index[::12], "production_count"] = 2.0
    drivers = driver_frame(wide)
    assert list(drivers) == ["temperature_c", "production_per_h"]
    assert drivers.temperature_c.iloc[[0, 179, 180, -1]].tolist() == [20, 20, 21, 23]
    assert drivers.production_per_h.iloc[-1] == pytest.approx(120.0)


def test_stale_drivers_are_missing():
    wide = frame("30min", 9, power_kw=9.0)
    wide.loc[NOON, "temperature_c"] = 20.0
    held = driver_frame(wide).temperature_c.notna()
    assert held.tolist() == [True] * 7 + [False] * 2


def test_rate_after_a_gap_is_not_diluted():
    wide = frame("60s", 240, production_count=2.0)
    rate = driver_frame(wide.drop(wide.index[60:180])).production_per_h.dropna()
    assert rate.between(60, 120.001).all()
    assert rate.iloc[-1] == pytest.approx(120.0)


def test_nothing_later_is_used():
    rng = np.random.default_rng(1)
    wide = frame(
        "60s", 200, production_count=rng.poisson(3.0, 200), temperature_c=rng.normal(size=200)
    )
    pd.testing.assert_frame_equal(driver_frame(wide.iloc[:77]), driver_frame(wide).iloc[:77])


def test_consequences_are_no_drivers():
    drivers = driver_frame(frame("60s", 3, power_kw=1.0, co2_t=1.0, pressure_bar=6.0))
    assert drivers.shape == (3, 0)
    assert drivers.index.tz is not None


def test_all_missing_gives_missing():
    drivers = driver_frame(frame("60s", 3, temperature_c=np.nan, production_count=np.nan))
    assert drivers.isna().all(axis=None)


def test_naive_index_is_refused():
    with pytest.raises(ValueError, match="naive index"):
        driver_frame(frame("60s", 3, power_kw=1.0).tz_localize(None))
