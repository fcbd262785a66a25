import numpy as np
import pandas as pd
import pytest

from app.models import snapshot
from app.reader import Reader
from enms_core.contributors import Contributor
from enms_core.plant import Factory, Machine
from enms_core.store import anomalies, energy, events, jobs, machines, readings
from enms_core.store.anomalies import Anomaly
from enms_core.store.times import now_us, to_us
from tests.plants import valid

S = 1_000_000


@pytest.fixture
def press(store):
    with store.write() as connection:
        return machines.add(
            connection, Machine("Press", "other", 20.0, Factory("Nord", "Europe/Berlin"))
        )


def kept(machine, start, **more):
    values = {
        "machine_id": machine.id,
        "metric": "power_kw",
        "state": "open",
        "severity": "warning",
        "score": 1.0,
        "value": 2.0,
        "expected": 1.0,
        "lower": 0.0,
        "upper": 1.5,
        "delta_kwh": 1.0,
        "delta_cost": 1.0,
        "started_at": start,
        "reason": "because",
    }
    return Anomaly(**{**values, **more})


def test_an_empty_store_is_an_empty_snapshot(store):
    found = Reader(store, lambda: None).read()
    assert (found.seq, found.machines, found.found, found.jobs) == (0, (), (), ())


def test_a_snapshot_holds_what_the_page_shows(store, press):
    now = now_us()
    times = [now - i * 5 * S for i in range(20)][::-1]
    rows = [("Press", "power_kw", int(at), 12.0) for at in times]
    with store.write() as connection:
        readings.add(connection, valid(rows))
        energy.recompute(connection, press.id, "power_kw", np.array(times))
        jobs.add(connection, press.id, "baseline", "ana")
        anomalies.add(connection, kept(press, now - S))
        anomalies.add(connection, kept(press, now - 9 * S, state="resolved", ended_at=now - S))
    reader = Reader(store, lambda: None)
    reader.snapshot = reader.read()
    again = reader.read()
    assert again.newest[press.id].values == {"power_kw": 12.0}
    assert len(again.traces[press.id].hour) == 20
    assert [job.state for job in again.jobs] == ["queued"]
    assert sorted((one.is_open, one.ended_at) for one in again.found) == [
        (False, now - S),
        (True, None),
    ]


def test_an_anomaly_keeps_what_it_costs_and_what_goes_with_it(store, press):
    bar = Contributor(name="pressure_bar", value=6.7, unit="bar", usual=7.2, deviations=-5.0)
    figures = {"cost_per_hour": 3.3, "confidence": 0.99, "contributors": (bar,)}
    with store.write() as connection:
        anomalies.add(connection, kept(press, 1, **figures))
        anomalies.add(connection, kept(press, 2))
    known = {one.started_at: one for one in Reader(store, lambda: None).read().found}
    assert {name: getattr(known[1], name) for name in figures} == figures
    assert (known[2].cost_per_hour, known[2].confidence, known[2].contributors) == (None, None, ())


def test_today_begins_at_the_sites_midnight(press):
    at = pd.Timestamp("2026-03-29T10:00", tz="Europe/Berlin")  # a day of 23 hours
    start = snapshot.midnight(press, to_us(at.to_pydatetime()))
    assert to_us(at.to_pydatetime()) - start == 9 * 3600 * S


def test_the_number_is_that_of_the_newest_event(store, press, anomaly):
    with store.write() as connection:
        events.record(connection, anomaly(1))
        events.record(connection, anomaly(2))
    assert Reader(store, lambda: None).read().seq == 2
