import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
import sqlalchemy as sa

from enms_core.bus import Bell
from enms_core.engine import Engine
from enms_core.events import Envelope
from enms_core.findings import detect
from enms_core.ingest import ingest
from enms_core.plant import Factory, Machine, Unknown
from enms_core.sources.faults import Fault
from enms_core.sources.simulator import MACHINES, Simulator
from enms_core.store import anomalies, events, machines, schema, scores
from enms_core.store.times import from_us, to_us
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
    ended = [e.anomaly_id for e in told(store, "anomaly.updated")]
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
    """12 kWh in a quarter of an hour are 48 kW: by that a severity is measured."""
    with store.write() as connection:
        site = Factory("Works", price_per_kwh=0.5)
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
    assert found.severity != "critical"  # 48 kW of 1000
