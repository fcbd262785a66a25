"""Forecasts are issued once a day from what was measured, and kept."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from enms_core import outlook
from enms_core.plant import Factory, Machine, Unknown
from enms_core.store import energy, forecasts, machines
from enms_core.store.dialect import insert_new
from enms_core.store.schema import energy as quarters
from enms_core.store.times import to_us

NOW = datetime(2026, 6, 10, 7, 20, tzinfo=UTC)


def measured(store, name, days, until=NOW):
    """Add a machine that has drawn more by day than by night, for so many days."""
    with store.write() as connection:
        machine = machines.add(connection, Machine(name, "other", 90.0, Factory("W", "Asia/Tokyo")))
        until = until.replace(minute=15)
        times = pd.date_range(until - timedelta(days=days), until, freq="15min", inclusive="left")
        local = times.tz_convert("Asia/Tokyo")
        power = np.where((local.hour >= 6) & (local.hour < 22), 40.0, 8.0)
        rows = [
            {"machine_id": machine.id, "start": to_us(at), "energy_kwh": kw / 4, "covered_s": 900.0}
            for at, kw in zip(times.to_pydatetime(), power.tolist(), strict=True)
        ]
        insert_new(connection, quarters, rows)
    return machine


def test_hours_are_whole_and_gaps_stay_gaps(sqlite_store):
    press = measured(sqlite_store, "Press", 3)
    hole = to_us(NOW.replace(minute=0) - timedelta(hours=5))
    with sqlite_store.write() as connection:
        connection.execute(quarters.delete().where(quarters.c.start == hole))
    with sqlite_store.read() as connection:
        load = outlook.hourly(connection, press, NOW)
        assert energy.frame(connection, press.id, 0, to_us(NOW))["start"].size == 3 * 96 - 1
    assert load.index[-1] == pd.Timestamp("2026-06-10T06:00Z")  # the hour of now is not over
    assert str(load.index.tz) == "Asia/Tokyo"
    assert load[load.isna()].index == [pd.Timestamp("2026-06-10T02:00Z")]
    assert set(load.dropna()) == {8.0, 40.0}


def test_a_forecast_is_issued_once_a_day_and_read(sqlite_store):
    press, young = measured(sqlite_store, "Press", 70), measured(sqlite_store, "Young", 5)
    outlook.issue(sqlite_store, NOW)
    outlook.issue(sqlite_store, NOW + timedelta(hours=2))
    with sqlite_store.read() as connection:
        issued, _ = forecasts.newest(connection, press.id)
        ahead = outlook.coming(connection, press, 24, NOW + timedelta(hours=2))
        reason = r"Young has no forecast: 4 whole days .* takes 28; .* comes by 2026-07-04"
        with pytest.raises(Unknown, match=reason):
            outlook.coming(connection, young, 24, NOW)
    assert issued == to_us(NOW)
    assert len(ahead) == 24
    assert ahead.index[0] == pd.Timestamp("2026-06-10T18:00+09:00")
    assert list(ahead) == list(forecasts.FIGURES)
    assert ahead["mean"].round().tolist() == [
        40.0 if 6 <= at.hour < 22 else 8.0 for at in ahead.index
    ]
    assert (ahead["lower"] <= ahead["mean"]).all()


def test_another_is_issued_after_midnight_of_the_site(sqlite_store):
    press = measured(sqlite_store, "Press", 70)
    outlook.issue(sqlite_store, NOW)
    later = datetime(2026, 6, 10, 15, 5, tzinfo=UTC)  # 00:05 of the 11th in Tokyo
    outlook.issue(sqlite_store, later)
    with sqlite_store.read() as connection:
        assert forecasts.newest(connection, press.id)[0] == to_us(later)


def test_a_machine_that_is_silent_has_none(sqlite_store):
    press = measured(sqlite_store, "Press", 70, until=NOW - timedelta(days=3))
    outlook.issue(sqlite_store, NOW)
    with sqlite_store.read() as connection, pytest.raises(Unknown, match="within the last day"):
        outlook.coming(connection, press, 24, NOW)


def test_before_the_first_it_is_said_when(sqlite_store):
    press = measured(sqlite_store, "Press", 70)
    with sqlite_store.read() as connection, pytest.raises(Unknown, match="within an hour"):
        outlook.coming(connection, press, 24, NOW)


def test_four_weeks_are_enough(sqlite_store):
    press = measured(sqlite_store, "Press", 28.5)
    outlook.issue(sqlite_store, NOW)
    with sqlite_store.read() as connection:
        ahead = outlook.coming(connection, press, 168, NOW)
    assert ahead["mean"].round().tolist() == [
        40.0 if 6 <= at.hour < 22 else 8.0 for at in ahead.index
    ]


def past(begin, mean=8.0):
    """Forecast a week of the same load, within 16 and within 32 kW."""
    times = pd.date_range(begin, periods=168, freq="1h")
    bands = {"lower": mean - 32, "upper": mean + 32, "lower_80": mean - 16, "upper_80": mean + 16}
    return pd.DataFrame({"mean": mean, **bands}, times)


def judged(store, machine):
    with store.read() as connection:
        return forecasts.accuracy(connection, machine.id, 0, to_us(NOW))


def test_forecasts_are_held_against_what_came(sqlite_store):
    press = measured(sqlite_store, "Press", 70)
    begin = datetime(2026, 6, 8, 15, tzinfo=UTC)  # midnight of the 9th in Tokyo
    with sqlite_store.write() as connection:
        forecasts.put(connection, press.id, to_us(begin), past(begin))
    outlook.issue(sqlite_store, NOW)
    first, rest = judged(sqlite_store, press).to_dict("records")
    assert first["issued_at"] == rest["issued_at"] == to_us(begin)
    assert (first["horizon"], first["hours"]) == ("day 1", 24)
    assert first["mae"] == pytest.approx(32 * 16 / 24)  # 16 hours of 40 kW instead of 8
    assert first["nmbe"] == pytest.approx(32 * 16 / (40 * 16 + 8 * 8))
    assert (first["coverage_80"], first["coverage_95"]) == (8 / 24, 1.0)
    assert (rest["horizon"], rest["hours"]) == ("days 2-7", 16)  # until the last whole hour
    assert np.isnan(first["mase"])  # every day was like the one before


def test_late_readings_change_the_accuracy_and_nothing_is_counted_twice(sqlite_store):
    press = measured(sqlite_store, "Press", 70)
    begin = datetime(2026, 6, 8, 15, tzinfo=UTC)
    with sqlite_store.write() as connection:
        forecasts.put(connection, press.id, to_us(begin), past(begin))
        late = [{"machine_id": press.id, "start": to_us(begin), "energy_kwh": 0.0}]
        gone = quarters.c.start == to_us(begin)
        connection.execute(quarters.delete().where(gone))
    outlook.issue(sqlite_store, NOW)
    assert judged(sqlite_store, press)["hours"].tolist() == [23, 16]
    with sqlite_store.write() as connection:
        insert_new(connection, quarters, [row | {"covered_s": 900.0} for row in late])
    outlook.issue(sqlite_store, NOW + timedelta(days=1))
    again = judged(sqlite_store, press)
    assert again[again["issued_at"] == to_us(begin)]["hours"].tolist() == [24, 16]
    assert not again.duplicated(["issued_at", "horizon"]).any()


def test_the_accuracy_of_a_forgotten_forecast_stays(sqlite_store):
    press = measured(sqlite_store, "Press", 70)
    begin = NOW - outlook.KEEP - timedelta(hours=1)
    with sqlite_store.write() as connection:
        forecasts.put(connection, press.id, to_us(begin), past(begin.replace(minute=0)))
    outlook.issue(sqlite_store, NOW)
    with sqlite_store.read() as connection:
        assert to_us(begin) not in forecasts.kept(connection, press.id)
    assert judged(sqlite_store, press)["hours"].tolist() == [24, 144]
