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
        with pytest.raises(Unknown, match=r"Young has no forecast: too little history"):
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
