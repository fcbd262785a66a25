"""A labelled past tells how good a detector is there."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from enms_core.backtest import backtest, compare
from enms_core.plant import Factory, Machine
from enms_core.readings import check
from enms_core.store import machines, readings
from enms_core.store.anomalies import Anomaly, add, put_label
from enms_core.store.times import to_us

START = pd.Timestamp("2026-09-07T00:00Z")
DAY = pd.Timedelta("1D")
WRONG = [(30, 12.0), (36, -0.0), (41, 15.0)]  # day of a fault, and the kW that it adds for 6 hours


def frame(rows, **more):
    columns = ["started_at", "ended_at", "score", "delta_kwh"]
    return pd.DataFrame([(*row, 5.0, 1.0) for row in rows], columns=columns).assign(**more)


def at(hour):
    return START + pd.Timedelta(hours=hour)


def test_labels_decide_what_counts():
    told = frame([(at(1), at(2)), (at(10), at(12)), (at(20), at(21)), (at(30), at(31))])
    known = frame(
        [(at(0), at(3)), (at(11), at(13)), (at(40), at(44)), (at(20), pd.NaT)],
        label=["true", "false", "true", "expected"],
    )
    found = compare(told, known, 30 * 86_400.0)
    assert found.episodes["label"].tolist() == ["true", "false", "expected", "expected"]
    assert found.recall == 0.5
    assert found.precision == 0.25
    assert found.false_alarms_per_month == 3.0
    assert found.delay_s == 3600.0
    assert found.kwh_found == 1.0


def test_nothing_labelled_is_nothing_known():
    found = compare(frame([(at(1), at(2))]), frame([]).assign(label=[]), 15 * 86_400.0)
    assert (found.precision, found.recall, found.delay_s) == (None, None, None)
    assert (found.false_alarms_per_month, found.kwh_found) == (2.0, 0.0)


@pytest.fixture
def press(sqlite_store):
    """Seven weeks of quarter hours; two faults that a person called true, and a quiet day."""
    times = pd.date_range(START, periods=49 * 96, freq="15min")
    busy = (times.hour >= 6) & (times.hour < 22)
    power = np.where(busy, 40.0, 10.0) + np.random.default_rng(5).normal(0, 0.5, len(times))
    with sqlite_store.write() as connection:
        machine = machines.add(connection, Machine("Press", "other", 60.0, Factory("Works")))
        for day, kw in WRONG:
            first = START + day * DAY + pd.Timedelta("9h")
            power[(times >= first) & (times < first + pd.Timedelta("6h"))] += kw
            found = anomaly(machine, first)
            add(connection, found)
            put_label(connection, found.id, "true" if kw else "false", "", "anna", 0)
        rows = pd.DataFrame({"machine": "Press", "metric": "power_kw", "time": times})
        now = datetime(2026, 11, 1, tzinfo=UTC)
        readings.add(connection, check(rows.assign(value=power), {"Press"}, now))
    return machine


def anomaly(machine, first):
    values = dict.fromkeys(("value", "expected", "lower", "upper"), 40.0)
    return Anomaly(
        machine_id=machine.id,
        metric="power_kw",
        state="resolved",
        severity="warning",
        score=5.0,
        **values,
        delta_kwh=70.0,
        delta_cost=12.0,
        started_at=to_us(first.to_pydatetime()),
        ended_at=to_us((first + pd.Timedelta("6h")).to_pydatetime()),
        reason="made",
    )


def test_the_past_is_judged_again(sqlite_store, press):
    span = to_us((START + 28 * DAY).to_pydatetime()), to_us((START + 49 * DAY).to_pydatetime())
    found = backtest(sqlite_store, press, *span)
    assert found.recall == 1.0
    assert found.delay_s <= timedelta(hours=2).total_seconds()
    assert found.kwh_found == 140.0
    assert found.episodes["label"].tolist().count("true") >= 2
    assert (found.episodes["started_at"] >= START + 28 * DAY).all()
    deaf = backtest(sqlite_store, press, *span, surprise=99.0)
    assert len(deaf.episodes) < len(found.episodes)


def test_a_machine_without_energy_is_refused(sqlite_store):
    with sqlite_store.write() as connection:
        tank = machines.add(connection, Machine("Tank", "other", None, Factory("Works")))
    with pytest.raises(ValueError, match="no readings of power_kw or energy_kwh"):
        backtest(sqlite_store, tank, 0, 10)
