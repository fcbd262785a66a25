"""KPIs beside a slow, plain calculation over the readings themselves."""

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from enms_core import kpi
from enms_core.plant import Factory, Machine
from enms_core.readings import check
from enms_core.store import energy, machines, readings
from enms_core.store.times import to_us

BERLIN = ZoneInfo("Europe/Berlin")
SITE = Factory("Works", "Europe/Berlin", "EUR", price_per_kwh=0.25, carbon_kg_per_kwh=0.4)
START = datetime(2026, 10, 24, tzinfo=BERLIN)
END = datetime(2026, 10, 27, tzinfo=BERLIN)  # 73 hours: the night of the 25th has one more


@pytest.fixture
def press(sqlite_store):
    """A machine with three days of minutes, a gap of three hours in them, and its pieces."""
    with sqlite_store.write() as connection:
        machine = machines.add(connection, Machine("Press", "other", 90.0, SITE))
        times = pd.date_range(START, END, freq="1min", inclusive="left")
        times = times[(times < times[0] + timedelta(hours=30)) | (times >= times[1980])]
        rng = np.random.default_rng(3)
        power = 20.0 + 30.0 * rng.random(len(times))
        rows = pd.DataFrame({"machine": "Press", "metric": "power_kw", "time": times})
        made = rows.assign(metric="production_count", value=rng.integers(0, 3, len(times)))
        rows = pd.concat([rows.assign(value=power), made], ignore_index=True)
        checked = check(rows, {"Press": None}, datetime(2026, 11, 1, tzinfo=UTC))
        assert readings.add(connection, checked) == len(rows)
        us = np.array([to_us(at) for at in times.to_pydatetime()])
        energy.recompute(connection, machine.id, "power_kw", us)
    return machine, pd.Series(power, times), pd.Series(made["value"].to_numpy(), times)


def found(store, machine, start=START, end=END, freq=None):
    with store.read() as connection:
        return list(kpi.of_machine(connection, machine, start, end, freq))


def test_figures_are_those_of_a_plain_calculation(sqlite_store, press):
    machine, power, made = press
    [row] = found(sqlite_store, machine)
    hours, kwh = len(power) / 60, power.sum() / 60  # every minute stands for a minute
    assert math.isclose(row.energy_kwh, kwh, rel_tol=1e-12)
    assert math.isclose(row.mean_kw, kwh / hours, rel_tol=1e-12)
    assert math.isclose(row.coverage, hours / 73, rel_tol=1e-12)
    quarters = power.resample("15min").mean().dropna()
    assert math.isclose(row.peak_kw, quarters.max(), rel_tol=1e-12)
    assert row.peak_at == quarters.idxmax()
    assert math.isclose(row.base_kw, quarters.quantile(0.05), rel_tol=1e-9)
    assert math.isclose(row.load_factor, row.mean_kw / row.peak_kw)
    assert (row.cost, row.carbon_kg) == (row.energy_kwh * 0.25, row.energy_kwh * 0.4)
    assert row.production_count == made.sum()
    assert math.isclose(row.sec_kwh_per_unit, kwh / made.sum(), rel_tol=1e-12)


@pytest.mark.parametrize("freq", ["15min", "1h", "1D", "1W", "1MS"])
def test_the_parts_add_up_to_the_whole(sqlite_store, press, freq):
    machine, *_ = press
    [whole] = found(sqlite_store, machine)
    parts = found(sqlite_store, machine, freq=freq)
    assert [a.end for a in parts[:-1]] == [b.start for b in parts[1:]]
    for name in ("energy_kwh", "cost", "carbon_kg", "production_count"):
        total = math.fsum(getattr(part, name) or 0.0 for part in parts)
        assert math.isclose(total, getattr(whole, name), rel_tol=1e-12)
    assert max(part.peak_kw for part in parts if part.peak_kw is not None) == whole.peak_kw


def test_a_day_is_as_long_as_the_site_s_clock_makes_it(sqlite_store, press):
    days = found(sqlite_store, press[0], freq="1D")
    assert [(d.end.astimezone(UTC) - d.start.astimezone(UTC)) for d in days] == [
        timedelta(hours=h) for h in (24, 25, 24)
    ]
    assert [d.start.hour for d in days] == [0, 0, 0]
    assert days[1].coverage == pytest.approx(22 / 25)


def test_what_was_not_measured_is_not_zero(sqlite_store, press):
    gap = START + timedelta(hours=31)
    [row] = found(sqlite_store, press[0], gap, gap + timedelta(hours=1))
    assert (row.energy_kwh, row.peak_kw, row.cost, row.load_factor) == (None, None, None, None)
    assert row.coverage == 0.0


def test_a_quarter_that_was_hardly_measured_is_no_demand():
    quarters = pd.DataFrame(
        {
            "start": pd.date_range(START, periods=3, freq="15min"),
            "energy_kwh": [5.0, 3.0, 5.5],
            "covered_s": [900.0, 60.0, 900.0],
        }
    )
    row = kpi.kpis(Machine("Press"), START, START + timedelta(minutes=45), quarters)
    assert row.peak_kw == 22.0  # not 180
    assert row.energy_kwh == 13.5


@pytest.mark.parametrize(
    ("freq", "first"),
    [("1h", 14), ("1D", 0), ("1W", 0), ("1MS", 0)],
)
def test_buckets_follow_the_site_s_calendar(freq, first):
    start = datetime(2026, 10, 21, 14, 20, tzinfo=BERLIN)  # a Wednesday
    edges = list(kpi.buckets(start, END + timedelta(days=40), freq, BERLIN))
    assert edges[0][0] == start
    assert edges[-1][1] == END + timedelta(days=40)
    inner = [a for a, _ in edges[1:]]
    if freq != "1h":
        assert {at.hour for at in inner} == {first}
    if freq == "1W":
        assert {at.weekday() for at in inner} == {0}
    if freq == "1MS":
        assert {at.day for at in inner} == {1}


def test_no_specific_consumption_of_half_a_span():
    """The energy of half an hour over the pieces of a whole one would be half the truth."""
    start = pd.date_range(START, periods=2, freq="15min")
    half = pd.DataFrame({"start": start, "energy_kwh": 5.0, "covered_s": 900.0})
    row = kpi.kpis(Machine("Press"), START, START + timedelta(hours=1), half, 80.0)
    assert (row.coverage, row.production_count, row.sec_kwh_per_unit) == (0.5, 80.0, None)


def test_energy_whose_time_is_not_known_is_energy_and_no_more():
    """A register that advanced by 30 kWh over an hour and a half that was not watched."""
    begin = datetime(2026, 11, 22, 13, tzinfo=UTC)
    quarters = pd.DataFrame(
        {
            "start": pd.date_range(begin, periods=8, freq="15min"),
            "energy_kwh": [10.0, *[5.0] * 6, 14.0],
            "covered_s": [900.0, *[0.0] * 6, 900.0],
            "spread_kwh": [0.0, *[5.0] * 6, 0.0],
        }
    )
    row = kpi.kpis(Machine("Press"), begin, begin + timedelta(hours=2), quarters, 80.0)
    assert (row.energy_kwh, row.coverage, row.mean_kw) == (54.0, 0.25, 48.0)
    assert (row.peak_kw, row.base_kw) == (56.0, pytest.approx(40.8))
    assert row.sec_kwh_per_unit is None
    vague = quarters.iloc[1:7]
    row = kpi.kpis(Machine("Press"), begin, begin + timedelta(hours=2), vague)
    assert (row.energy_kwh, row.coverage) == (30.0, 0.0)
    assert (row.mean_kw, row.peak_kw, row.load_factor) == (None, None, None)
