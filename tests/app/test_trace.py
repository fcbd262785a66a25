import numpy as np
import pandas as pd
import pytest

from app.models.trace import POINTS, Trace, _compared

S = 1_000_000
DAY = 1_795_000_000_000_000


def rows(start_us, step_s, count, value=10.0, expected=8.0):
    times = pd.to_datetime(start_us + np.arange(count) * step_s * S, unit="us", utc=True)
    return pd.DataFrame(
        {"value": value, "expected": expected, "lower": expected, "upper": expected}, index=times
    )


def test_in_parts_or_at_once_it_is_the_same():
    whole = rows(DAY, 5, 300)
    now = DAY + 300 * 5 * S
    at_once = Trace(metric="power_kw", day=DAY, until=DAY).with_rows(whole, now)
    parts = Trace(metric="power_kw", day=DAY, until=DAY)
    for i in range(0, 300, 37):
        parts = parts.with_rows(whole.iloc[i : i + 37], now)
    assert parts.measured == pytest.approx(at_once.measured)
    assert parts.ratio == pytest.approx(10 / 8) == at_once.ratio
    assert len(parts.hour) == len(at_once.hour)


def test_only_today_counts():
    before = rows(DAY - 600 * S, 5, 120, value=99.0)
    trace = Trace(metric="power_kw", day=DAY, until=0).with_rows(before, DAY)
    assert trace.ratio is None


def test_what_was_not_judged_is_not_compared():
    unknown = rows(DAY, 5, 100).assign(expected=np.nan)
    assert Trace(metric="power_kw", day=DAY, until=0).with_rows(unknown, DAY).ratio is None


def test_the_interval_follows_the_newest_readings():
    history = pd.concat([rows(DAY, 60, 30), rows(DAY + 30 * 60 * S, 5, 13)])
    trace = Trace(metric="power_kw", day=DAY, until=0).with_rows(history, DAY + 1900 * S)
    assert trace.interval_us == 5 * S
    assert Trace(metric="power_kw", day=DAY, until=0).interval_us == 60 * S


def test_the_curve_is_minutes_with_gaps():
    now = DAY + 3600 * S
    trace = Trace(metric="power_kw", day=DAY, until=0).with_rows(rows(DAY, 5, 120), now)
    curve = trace.curve(now)
    assert len(curve) == POINTS
    assert curve[:10] == [10.0] * 10
    assert np.isnan(curve[10:]).all()


def test_a_day_of_minutes_and_then_seconds_counts_all_of_both():
    times = np.concatenate([np.arange(0, 3600, 60), np.arange(3600, 7200, 5)])
    index = pd.to_datetime(times, unit="s", utc=True)
    rows = pd.DataFrame({"value": 40.0, "expected": 30.0}, index=index)
    measured, expected = _compared(rows, 0, 0)
    assert (round(measured), round(expected)) == (80, 60)
