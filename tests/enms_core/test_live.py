import threading
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from enms_core.bus import Bell
from enms_core.client import connect
from enms_core.sources import live
from enms_core.sources.faults import Fault
from enms_core.sources.simulator import MACHINES, Simulator
from enms_core.store import Unavailable, machines, modes, progress, readings, schema
from enms_core.store.times import to_us

SILENT = Bell(lambda: None)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Make a past of two days, a reading every ten minutes."""
    monkeypatch.setattr(live, "HISTORY", timedelta(days=2))
    monkeypatch.setattr(live, "PAST_INTERVAL", timedelta(minutes=10))


def now():
    return datetime.now(UTC)


def count(store):
    with store.read() as connection:
        query = sa.select(sa.func.count()).select_from(schema.readings)
        return connection.execute(query).scalar_one()


def newest(store):
    with store.read() as connection:
        names = {m.id: m.name for m in machines.all_machines(connection)}
        known = readings.latest(connection)
    return {names[m]: at for m, metric, at, _ in known if metric == "power_kw"}


def filled(store):
    return list(live.fill(store, SILENT, now()))


def test_an_empty_store_gets_the_plant_and_its_past(store):
    assert not live.is_filled(store)
    assert filled(store) == [0.5, 1.0]
    assert not live.is_filled(store)  # it is there, but nobody has learned from it yet
    live.finish(store)
    assert live.is_filled(store)
    assert set(newest(store)) == {machine.name for machine in MACHINES}
    assert {fault.machine for fault in live.faults(store)} <= set(newest(store))
    assert live.faults(store) != []


def test_one_stop_of_its_past_was_maintenance_and_told(sqlite_store):
    filled(sqlite_store)
    [serviced] = [f for f in live.faults(sqlite_store) if f.machine == "Compressor-2"]
    with sqlite_store.read() as connection:
        known = machines.find(connection, "Compressor-2")
        told = modes.frame(connection, known.id, 0, 2**60)
    assert told["mode"].tolist() == ["maintenance", "running"]
    assert told["start"].tolist() == [serviced.start, serviced.end]


def test_begun_and_not_finished_it_goes_on(sqlite_store):
    parts = live.fill(sqlite_store, SILENT, now())
    next(parts)
    parts.close()
    assert not live.is_filled(sqlite_store)
    assert list(live.fill(sqlite_store, SILENT, now() + timedelta(hours=5))) == [0.5, 1.0]
    whole = count(sqlite_store)
    with sqlite_store.write() as connection:  # from its beginning once more: the very same
        progress.put(connection, "simulator:filled", _end(sqlite_store).isoformat())
    assert list(live.fill(sqlite_store, SILENT, now())) == [0.5, 1.0]
    assert count(sqlite_store) == whole


def _end(store):
    at = max(newest(store).values()) / 1e6
    return datetime.fromtimestamp(at, UTC) + timedelta(minutes=10)


def test_a_fault_that_cannot_be_is_refused(sqlite_store):
    """Kept, it would stop the source at every start."""
    span = now(), now() + timedelta(minutes=5)
    with pytest.raises(ValueError, match="'Compressor-9' is not simulated"):
        live.inject(sqlite_store, Fault("leak", "Compressor-9", *span))
    assert live.faults(sqlite_store) == []
    leak = Fault("leak", "Compressor-1", *span)
    live.inject(sqlite_store, leak)
    live.inject(sqlite_store, leak, leak)
    assert live.faults(sqlite_store) == [leak] * 3


class Running:
    """The source in a thread."""

    def __init__(self, store):
        self.stop = threading.Event()
        self.thread = threading.Thread(target=live.run, args=(store, SILENT, self.stop))
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def test_it_sends_every_machine_within_five_seconds(store, eventually):
    filled(store)
    began = now()
    with Running(store):
        eventually(lambda: min(newest(store).values()) > began.timestamp() * 1e6 - 1e6)
    assert now() - began < timedelta(seconds=25)
    assert max(newest(store).values()) <= now().timestamp() * 1e6


def test_what_was_measured_while_it_was_away_is_sent(sqlite_store, eventually):
    end = now() - timedelta(hours=3)
    list(live.fill(sqlite_store, SILENT, end))
    began = now()
    with Running(sqlite_store):
        eventually(lambda: max(newest(sqlite_store).values()) > began.timestamp() * 1e6 - 1e6)
    plant_of = {m.name: m for m in MACHINES}
    with sqlite_store.read() as connection:
        for machine in machines.all_machines(connection):
            assert machine.name in plant_of
            power = readings.frame(connection, machine.id, 0, 2**60, ["power_kw"]).index
            assert power.to_series().diff().max() <= timedelta(minutes=11)


@pytest.mark.parametrize("away", [timedelta(minutes=30), timedelta(hours=3)])
def test_pieces_made_while_it_was_away_are_counted_once(sqlite_store, away):
    """Counted twice, what the pieces explain would be expected twice: a false alarm a start."""
    end = (now() - away).replace(second=0, microsecond=0)
    list(live.fill(sqlite_store, SILENT, end))
    for _ in range(2):
        live._catch_up(sqlite_store, SILENT)
        with sqlite_store.read() as connection:
            belt = machines.find(connection, "Conveyor-A")
            counts = readings.frame(connection, belt.id, to_us(end), 2**60, ["production_count"])[
                "production_count"
            ]
        last = counts.index[-1].to_pydatetime() + live.LIVE_INTERVAL
        simulator = Simulator(live.SEED, live.faults(sqlite_store))
        made = simulator.readings(end, last, last - end, ["Conveyor-A"]).set_index("metric")
        assert counts.sum() == pytest.approx(made.loc["production_count", "value"], abs=1)
        assert abs(now() - last) < timedelta(seconds=30)


def test_a_store_that_is_away_gets_its_readings_later(sqlite_store, monkeypatch, eventually):
    filled(sqlite_store)
    real, failures = live.ingest, iter(range(3))

    def sometimes(*args):
        if next(failures, None) is not None:
            raise Unavailable("INSERT", {}, OSError("locked"))
        return real(*args)

    before = count(sqlite_store)
    stop = threading.Event()
    monkeypatch.setattr(live, "ingest", sometimes)
    at = now().replace(microsecond=0)
    live._send(sqlite_store, SILENT, "Boiler-1", at, stop)
    assert count(sqlite_store) == before + 3
    assert newest(sqlite_store)["Boiler-1"] == at.timestamp() * 1e6


def test_told_to_stop_it_does_not_wait_for_the_store(sqlite_store, monkeypatch):
    def away(*_):
        stop.set()
        raise Unavailable("INSERT", {}, OSError("locked"))

    stop = threading.Event()
    monkeypatch.setattr(live, "ingest", away)
    live._send(sqlite_store, SILENT, "Boiler-1", now(), stop)


def test_what_it_sends_is_what_the_simulator_says(settings):
    at = datetime(2026, 3, 3, 12, tzinfo=UTC)
    plant = connect(settings)
    plant.add_machine("Boiler-1", "boiler")
    live._send(plant.store, SILENT, "Boiler-1", at, threading.Event())
    rows = Simulator(live.SEED).readings(
        at, at + live.LIVE_INTERVAL, live.LIVE_INTERVAL, ["Boiler-1"]
    )
    sent = plant.readings("Boiler-1", at)
    plant.store.dispose()
    assert sent.iloc[0].to_dict() == pytest.approx(
        dict(zip(rows["metric"], rows["value"], strict=True))
    )
    assert sent.index[0] == pd.Timestamp(at)
