import numpy as np
import pandas as pd
import pytest

from app.models.plant_now import PlantNow
from app.models.snapshot import Found, Newest, Snapshot
from app.models.trace import Trace
from enms_core.events import MetricUpdated
from enms_core.store.times import iso

NOW = 1_795_000_000_000_000
S = 1_000_000


def trace(interval_s=5, value=20.0, expected=16.0, metric="power_kw"):
    times = pd.to_datetime(np.arange(NOW - 600 * S, NOW + 1, interval_s * S), unit="us", utc=True)
    rows = pd.DataFrame(
        {"value": value, "expected": expected, "lower": expected - 2, "upper": expected + 2},
        index=times,
    )
    return Trace(metric=metric, day=NOW - 900 * S, until=0).with_rows(rows, NOW)


def newest(ago_s=0, **values):
    return Newest(at=NOW - ago_s * S, values=values)


@pytest.fixture
def snapshot(machines):
    return Snapshot(
        seq=1,
        machines=machines,
        newest={
            "m1": newest(power_kw=20.0),
            "m2": newest(power_kw=20.0),
            "m3": newest(power_kw=9.0),
        },
        kwh_today={"m1": 100.0, "m2": 50.0, "m3": 10.0},
        traces={"m1": trace(), "m2": trace(), "m3": trace(value=9.0, expected=9.0)},
        models={"m1": 2},
    )


@pytest.fixture
def plant(snapshot):
    plant = PlantNow()
    plant.take_snapshot(snapshot)
    plant.refresh(NOW)
    return plant


def update(ago_s=0, machine="m1", **values):
    return MetricUpdated(
        machine_id=machine, machine=machine, values=values, time=iso(NOW - ago_s * S)
    )


def row(plant, machine="m1"):
    plant.refresh(NOW)
    return plant.row(machine)


def test_before_the_store_was_read_nothing_is_known():
    plant = PlantNow()
    plant.refresh(NOW)
    assert (plant.is_known, plant.rows, plant.totals.power) == (False, [], None)


def test_totals_of_all_sites_keep_the_currencies_apart(plant):
    totals = plant.totals
    assert (totals.power, totals.expected, totals.live) == (49.0, 41.0, 3)
    assert totals.costs == (("EUR", pytest.approx(30.0)), ("USD", pytest.approx(1.0)))
    assert totals.co2_kg == pytest.approx(150 * 0.4 + 10 * 0.5)
    assert totals.kwh == 160.0
    assert totals.kwh_expected == pytest.approx(150 * 16 / 20 + 10)
    assert totals.costs_expected == pytest.approx(30.0 * 16 / 20)
    assert totals.models == 1


def test_a_site_shows_its_own_machines_and_currency(plant):
    plant.site = "Plant Ohio"
    plant.refresh(NOW)
    assert [r.machine.name for r in plant.rows] == ["HVAC-Ohio"]
    assert plant.totals.costs == (("USD", pytest.approx(1.0)),)
    assert plant.factory.timezone == "America/New_York"


def test_a_live_value_replaces_what_the_store_held(plant):
    band = {"expected_power_kw": 17.0, "lower_power_kw": 15.0, "upper_power_kw": 19.0}
    plant.take_updates([update(power_kw=30.0, **band)])
    shown = row(plant)
    assert (shown.power, shown.expected, shown.lower, shown.upper) == (30.0, 17.0, 15.0, 19.0)


def test_an_older_value_does_not(plant):
    plant.take_updates([update(ago_s=60, power_kw=30.0)])
    assert row(plant).power == 20.0


def test_an_update_without_the_energy_metric_is_no_power(plant):
    plant.take_updates([update(pressure_bar=6.0)])
    assert row(plant).power == 20.0


def test_the_last_expectation_stands_for_three_intervals(plant, snapshot):
    later = NOW + 10 * S
    plant.take_updates([update(ago_s=-10, power_kw=30.0)])
    plant.refresh(later)
    assert plant.row("m1").expected == 16.0
    plant.take_updates([update(ago_s=-20, power_kw=30.0)])
    plant.refresh(NOW + 20 * S)
    assert plant.row("m1").expected is None


def test_a_silent_machine_is_never_shown_as_live(plant):
    plant.refresh(NOW + 16 * S)
    shown = plant.row("m1")
    assert (shown.is_stale, shown.mode, shown.state, shown.load) == (
        True,
        "no data",
        "no data",
        None,
    )
    assert (plant.totals.power, plant.totals.live) == (None, 0)


def test_a_machine_that_reports_seldom_is_live_for_longer(plant, snapshot, machines):
    seldom = Snapshot(
        seq=2,
        machines=machines[:1],
        newest={"m1": newest(ago_s=150, power_kw=20.0)},
        traces={"m1": trace(interval_s=60)},
    )
    other = PlantNow()
    other.take_snapshot(seldom)
    assert row(other).is_stale is False


@pytest.mark.parametrize(("power", "mode"), [(75 * 0.16, "running"), (75 * 0.14, "idle")])
def test_idle_is_below_fifteen_percent_of_the_rated_power(plant, power, mode):
    plant.take_updates([update(power_kw=power)])
    assert row(plant).mode == mode


def test_energy_of_an_interval_becomes_power(machines):
    plant = PlantNow()
    plant.take_snapshot(
        Snapshot(
            seq=1,
            machines=machines[:1],
            newest={"m1": newest(energy_kwh=0.1)},
            traces={"m1": trace(interval_s=60, value=0.1, expected=0.05, metric="energy_kwh")},
        )
    )
    assert row(plant).power == pytest.approx(6.0)
    assert row(plant).expected == pytest.approx(3.0)


def test_the_worst_open_anomaly_gives_the_state(plant):
    def found(severity, state="open", label=None):
        return Found(
            id=severity + state,
            machine_id="m1",
            machine="",
            metric="power_kw",
            severity=severity,
            state=state,
            value=1,
            expected=1,
            lower=1,
            upper=1,
            delta_kwh=0,
            delta_cost=0,
            started_at=0,
            ended_at=None,
            reason="",
            label=label,
        )

    settled = found("critical", label="expected")
    plant.take_anomalies([found("warning"), found("critical", "resolved"), found("info"), settled])
    assert row(plant).state == "warning"
    assert row(plant, "m2").state == "normal"
    plant.take_anomalies([found("critical")])
    plant.refresh(NOW + 60 * S)
    assert plant.row("m1").state == "critical"
