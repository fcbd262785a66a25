import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
import sqlalchemy as sa

from enms_core import triage
from enms_core.bus import Bell
from enms_core.engine import Engine
from enms_core.events import Envelope
from enms_core.findings import detect
from enms_core.ingest import ingest
from enms_core.plant import Factory, Machine, Unknown, weighed
from enms_core.sources.faults import Fault
from enms_core.sources.simulator import MACHINES, Simulator
from enms_core.store import anomalies, events, machines, schema, scores
from enms_core.store.times import from_us, to_us
from enms_core.triage import act
from enms_core.worker import train_all

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
LEAK = Fault("leak", "Compressor-1", START + timedelta(days=16), START + timedelta(days=16.25), 2.0)
SILENT = Bell(lambda: None)


def day(number):
    return START + timedelta(days=number)


def us(number):
    return to_us(day(number))


@pytest.fixture
def compressor(store) -> Machine:
    """Give a compressor with three weeks of a past, a leak in the third."""
    model = next(m for m in MACHINES if m.name == "Compressor-1")
    with store.write() as connection:
        machine = machines.add(connection, model)
    ten_minutes = timedelta(minutes=10)
    rows = Simulator(3, [LEAK]).readings(START, day(21), ten_minutes, machines=["Compressor-1"])
    ingest(store, SILENT, rows)
    return machine


def told(store, channel="anomaly.detected"):
    with store.read() as connection:
        found = [Envelope.from_json(text) for _, _, text in events.after(connection, 0, 10_000)]
    return [e.event for e in found if e.channel == channel]


def leaks(found):
    return [a for a in found if abs(a.started_at - to_us(LEAK.start)) < 1_800_000_000]


@pytest.mark.parametrize("model", [False, True])
def test_finds_the_fault_and_nothing_new_the_second_time(store, compressor, model, caplog):
    caplog.set_level(logging.CRITICAL)
    if model:
        list(train_all(store, SILENT, "test"))
    found = detect(store, compressor.id, us(14), us(21))
    [leak] = leaks(found)
    assert leak.model_version == (1 if model else None)
    assert leak.value > leak.upper
    assert leak.delta_kwh > 50
    assert leak.state == "resolved"
    assert LEAK.start + timedelta(hours=4) < from_us(leak.ended_at)
    assert from_us(leak.ended_at) < LEAK.end + timedelta(hours=1)
    assert leak.delta_cost == pytest.approx(leak.delta_kwh * compressor.factory.price_per_kwh)
    assert len(told(store)) == len(found)
    assert detect(store, compressor.id, us(14), us(21)) == []
    assert len(told(store)) == len(found)
    with store.read() as connection:
        known = anomalies.table(connection)
    assert set(known["state"]) == {"resolved"}


def test_what_the_engine_found_is_not_told_again(store, compressor):
    engine = Engine(store, SILENT)
    while engine.step():
        pass
    live = told(store)
    assert any(abs(datetime.fromisoformat(e.started_at) - LEAK.start) < timedelta(hours=1)
               for e in live)  # fmt: skip
    assert leaks(detect(store, compressor.id, us(14), us(21))) == []
    with store.read() as connection:
        spans = sorted(anomalies.spans(connection, compressor.id, "power_kw"))
    assert all(end < start for (_, end), (start, _) in pairwise(spans))


def test_only_what_begins_within_the_span_is_kept(store, compressor):
    assert leaks(detect(store, compressor.id, us(16.1), us(21))) == []
    with store.read() as connection:
        band = scores.frame(connection, compressor.id, "power_kw", us(0), us(21))
    assert band["expected"].first_valid_index() == day(16.1) + timedelta(minutes=6)


def test_one_that_lasts_at_the_end_of_the_span_ends_there(store, compressor):
    """Left open it would hide everything after it, for ever."""
    [leak] = leaks(detect(store, compressor.id, us(14), us(16.2)))
    with store.read() as connection:
        [row] = anomalies.table(connection, state="resolved").to_dict("records")
    assert (row["id"], row["state"]) == (leak.id, "resolved")
    assert LEAK.start < row["ended_at"] < day(16.2)
    ended = [e.anomaly_id for e in told(store, "anomaly.updated") if e.state == "resolved"]
    assert ended == [leak.id]
    again = Fault("leak", "Compressor-1", day(19), day(19.25), 2.0)
    rows = Simulator(3, [again]).readings(
        day(21), day(26), timedelta(minutes=10), machines=["Compressor-1"]
    )
    ingest(store, SILENT, rows.assign(value=rows["value"].where(rows["metric"] != "power_kw", 99)))
    assert detect(store, compressor.id, us(21), us(26)) != []


def test_one_that_grows_into_a_known_one_is_that_one(store, compressor):
    """Begun apart from it, it may not be left open when it turns out to be the same."""
    [leak] = leaks(detect(store, compressor.id, us(14), us(21)))
    later = replace(leak, started_at=to_us(LEAK.start + timedelta(hours=3)))
    with store.write() as connection:
        connection.execute(sa.delete(schema.anomalies))
        anomalies.add(connection, later)
    assert leaks(detect(store, compressor.id, us(14), us(21))) == []
    with store.read() as connection:
        known = anomalies.table(connection)
    assert later.id in set(known["id"])
    assert set(known["state"]) == {"resolved"}


def test_without_readings_there_is_nothing(store, compressor):
    assert detect(store, compressor.id, us(-50), us(-20)) == []
    assert detect(store, compressor.id, us(12), us(10)) == []
    with pytest.raises(Unknown, match="Compressor-1"):
        detect(store, "Compressor-7", us(0), us(1))


def test_without_energy_there_is_nothing(store):
    with store.write() as connection:
        tank = machines.add(connection, Machine("Tank", factory=Factory("Works")))
    times = pd.date_range(START, periods=100, freq="1h")
    ingest(
        store,
        SILENT,
        pd.DataFrame({"machine": "Tank", "metric": "temperature_c", "time": times, "value": 20.0}),
    )
    assert detect(store, tank.id, us(0), us(10)) == []


def test_a_meter_of_energy_is_judged_in_power(store):
    """12 kWh in a quarter of an hour are 48 kW: by what that costs a severity is measured."""
    with store.write() as connection:
        site = Factory("Works", price_per_kwh=0.5, critical_per_hour=20.0)
        meter = machines.add(connection, Machine("Meter", rated_kw=1000.0, factory=site))
    times = pd.date_range(START, periods=96 * 15, freq="15min")
    values = pd.Series([5.0 + 0.1 * (n % 7) for n in range(len(times))])
    values[96 * 14 : 96 * 14 + 8] = 17.0
    rows = pd.DataFrame({"machine": "Meter", "metric": "energy_kwh", "time": times})
    ingest(store, SILENT, rows.assign(value=values))
    [found] = detect(store, meter.id, us(13), us(15))
    assert from_us(found.started_at) == day(14)
    with store.read() as connection:
        [row] = anomalies.table(connection).to_dict("records")
    assert row["delta_kwh"] == pytest.approx(8 * 11.7, rel=0.05)
    assert row["delta_cost"] == pytest.approx(row["delta_kwh"] * 0.5)
    assert found.cost_per_hour == pytest.approx(4 * 0.5 * (row["value"] - row["expected"]))
    assert found.severity == "warning"  # 23.4 an hour for two hours: 19 in the next, as it seems


# -- what it costs, how sure it is, what goes with it --------------------------------------------


def steady(store, value_of, minutes, name="Fan", first=0, **machine):
    """Give a machine that takes 20 kW for two weeks, and then what `value_of` says by minute."""
    quiet = 14 * 24 * 60
    with store.write() as connection:
        if name not in machines.rated_kw(connection):
            machines.add(connection, Machine(name, factory=Factory("Works"), **machine))
    past = [20.0 + 0.1 * (n % 7) for n in range(first, quiet)] if first < quiet else []
    values = [*past, *(float(value_of(n)) for n in range(max(0, first - quiet), minutes))]
    times = pd.date_range(START + timedelta(minutes=first), periods=len(values), freq="1min")
    rows = pd.DataFrame({"machine": name, "metric": "power_kw", "time": times, "value": values})
    ingest(store, SILENT, rows)


def judged(store):
    engine = Engine(store, SILENT)
    while engine.step():
        pass
    with store.read() as connection:
        return anomalies.table(connection)


def rises(store):
    return [e for e in told(store, "anomaly.updated") if e.severity]


def test_severity_rises_with_time_and_is_told_once_a_level(sqlite_store):
    """8 kW: too little for a warning at once; 27 kW: critical when it has lasted."""
    steady(sqlite_store, lambda n: 28.0 if n < 120 else 20.1, 180)
    [row] = judged(sqlite_store).to_dict("records")
    [opened] = told(sqlite_store)
    assert (opened.severity, row["severity"]) == ("info", "warning")
    [risen] = rises(sqlite_store)
    assert (risen.severity, risen.state, risen.by) == ("warning", "open", "engine")
    assert risen.anomaly_id == row["id"]
    assert "Fan is warning now: 7." in risen.note
    assert "EUR an hour" in risen.note
    since = datetime.fromisoformat(risen.at) - row["started_at"]
    assert timedelta(minutes=20) < since < timedelta(minutes=60)


def test_restarts_in_between_tell_a_rise_neither_twice_nor_never(sqlite_store):
    quiet, value_of = 14 * 24 * 60, lambda n: 50.0 if n < 100 else 20.1
    steady(sqlite_store, value_of, 1)
    judged(sqlite_store)
    for minute in range(1, 130, 7):
        steady(sqlite_store, value_of, minute + 7, first=quiet + minute)
        judged(sqlite_store)  # by a new engine each time
    levels = [told(sqlite_store)[0].severity, *(e.severity for e in rises(sqlite_store))]
    assert levels == sorted(set(levels), key=["info", "warning", "critical"].index)
    assert levels[-1] == "critical"
    assert set(judged(sqlite_store)["severity"]) == {"critical"}


def test_what_a_person_did_stays_when_it_rises(sqlite_store):
    quiet, value_of = 14 * 24 * 60, lambda _: 28.0
    for number, (action, state) in enumerate(
        [("acknowledge", "acknowledged"), ("resolve", "resolved")]
    ):
        name = f"Fan-{number}"
        steady(sqlite_store, value_of, 6, name=name)
        judged(sqlite_store)
        [found] = [e for e in told(sqlite_store) if e.machine == name]
        with sqlite_store.write() as connection:
            act(connection, found.anomaly_id, action, "ana")
        steady(sqlite_store, value_of, 120, name=name, first=quiet + 6)
        known = judged(sqlite_store).set_index("id").loc[found.anomaly_id]
        assert (known["state"], known["severity"]) == (state, "warning")
    assert [e.state for e in rises(sqlite_store)] == ["acknowledged"]


def test_too_little_is_at_most_a_warning(sqlite_store):
    steady(sqlite_store, lambda n: 3.0 if n < 90 else 20.1, 120, criticality="A")
    [row] = judged(sqlite_store).to_dict("records")
    assert row["cost_per_hour"] == pytest.approx((row["value"] - row["expected"]) * 0.18)
    assert (row["cost_per_hour"] < -2.0, row["severity"]) == (True, "warning")
    assert "kW less than expected" in rises(sqlite_store)[0].note


@pytest.mark.parametrize(("criticality", "severity"), [("A", "critical"), ("C", "warning")])
def test_a_machine_that_matters_more_is_more_severe(sqlite_store, criticality, severity):
    steady(sqlite_store, lambda n: 35.0 if n < 60 else 20.1, 90, criticality=criticality)
    [row] = judged(sqlite_store).to_dict("records")
    assert row["severity"] == severity
    assert row["cost_per_hour"] == pytest.approx(14.7 * 0.18, rel=0.05)
    assert 0.85 < row["confidence"] <= 1.0


def test_a_change_of_what_it_weighs_counts_from_the_next_reading(sqlite_store):
    steady(sqlite_store, lambda _: 28.0, 20)
    engine = Engine(sqlite_store, SILENT)
    while engine.step():
        pass
    assert rises(sqlite_store) == []
    with sqlite_store.write() as connection:
        fan = machines.find(connection, "Fan")
        machines.weigh(connection, weighed(fan, "A", 0.1, 0.2))
    steady(sqlite_store, lambda _: 28.0, 22, first=14 * 24 * 60 + 20)
    engine.step()
    [risen] = rises(sqlite_store)
    assert risen.severity == "critical"


def test_a_rise_is_told_though_the_engine_was_started_anew_meanwhile(sqlite_store):
    steady(sqlite_store, lambda _: 28.0, 20)
    judged(sqlite_store)
    with sqlite_store.write() as connection:
        fan = machines.find(connection, "Fan")
        machines.weigh(connection, weighed(fan, "A", 0.1, 0.2))
    steady(sqlite_store, lambda _: 28.0, 22, first=14 * 24 * 60 + 20)
    judged(sqlite_store)  # by a new engine
    assert [e.severity for e in rises(sqlite_store)] == ["critical"]
    judged(sqlite_store)
    assert len(rises(sqlite_store)) == 1


def test_what_is_labelled_a_false_alarm_does_not_rise(sqlite_store):
    steady(sqlite_store, lambda _: 28.0, 20)
    [row] = judged(sqlite_store).to_dict("records")
    with sqlite_store.write() as connection:
        triage.label(connection, row["id"], "false", "ana")
        machines.weigh(connection, weighed(machines.find(connection, "Fan"), "A", 0.1, 0.2))
    steady(sqlite_store, lambda _: 28.0, 22, first=14 * 24 * 60 + 20)
    judged(sqlite_store)
    assert rises(sqlite_store) == []


def test_without_price_and_rated_power_nothing_breaks(sqlite_store):
    with sqlite_store.write() as connection:
        machines.add(connection, Machine("Fan", factory=Factory("Works", price_per_kwh=0.0)))
    steady(sqlite_store, lambda n: 60.0 if n < 90 else 20.1, 120)
    [row] = judged(sqlite_store).to_dict("records")
    assert (row["severity"], row["cost_per_hour"], row["delta_cost"]) == ("critical", 0.0, 0.0)
    assert all("EUR" not in e.note for e in rises(sqlite_store))


def test_drivers_and_what_is_unusual_are_told_and_kept(store, compressor):
    list(train_all(store, SILENT, "test"))
    [leak] = leaks(detect(store, compressor.id, us(14), us(21)))
    names = [one.name for one in leak.contributors]
    assert set(names) == {"temperature_c", "production_per_h", "pressure_bar"}
    by_name = {one.name: one for one in leak.contributors}
    assert by_name["pressure_bar"].value < by_name["pressure_bar"].usual - 0.5
    assert by_name["pressure_bar"].effect_kw is None
    effects = [abs(one.effect_kw) for one in leak.contributors if one.effect_kw is not None]
    assert effects == sorted(effects, reverse=True)
    assert "parts/h; pressure" in leak.reason
    with store.read() as connection:
        assert anomalies.get(connection, leak.id).contributors == leak.contributors
        [row] = [r for r in anomalies.table(connection).to_dict("records") if r["id"] == leak.id]
    assert [one["name"] for one in row["contributors"]] == names
    [event] = [e for e in told(store) if e.anomaly_id == leak.id]
    assert event.confidence is not None
    assert event.cost_per_hour > 0


def test_a_driver_that_stops_being_measured_counts_as_usual(store, compressor):
    """Its sensor is broken, not the machine: judging goes on."""
    list(train_all(store, SILENT, "test"))
    rows = Simulator(3, [Fault("leak", "Compressor-1", day(22), day(22.2), 3.0)]).readings(
        day(21.5), day(23), timedelta(minutes=10), machines=["Compressor-1"]
    )
    ingest(store, SILENT, rows[rows["metric"] == "power_kw"])
    found = detect(store, compressor.id, us(21.5), us(23))
    assert "temperature_c" not in {one.name for a in found for one in a.contributors}
    engine = Engine(store, SILENT)
    while engine.step():
        pass
