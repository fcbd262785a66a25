import itertools
import json
import shutil
import threading
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from enms_core import engine as engines
from enms_core.bus import Bell
from enms_core.detection.monitor import Monitor
from enms_core.engine import Engine, Pulse, catch_up
from enms_core.events import Envelope, MetricUpdated
from enms_core.ingest import ingest
from enms_core.plant import Factory, Machine
from enms_core.sources.faults import Fault
from enms_core.sources.simulator import MACHINES, Simulator
from enms_core.store import Store, Unavailable, events, machines, models, progress, schema
from enms_core.store import jobs as stored_jobs
from enms_core.store.times import now_us, to_us
from enms_core.training import train

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
DAYS = 12
FIVE_MINUTES = timedelta(minutes=5)
SILENT = Bell(lambda: None)
LEAK = Fault("leak", "Compressor-1", START + timedelta(days=10), START + timedelta(days=10.25), 2.0)
NAMES = ("Compressor-1", "Boiler-1")
ODD_SIZES = (211, 1000, 4096)


def day(number):
    return START + timedelta(days=number)


def simulated(first=0, last=DAYS, faults=(LEAK,), names=NAMES, interval=FIVE_MINUTES):
    return Simulator(3, faults).readings(day(first), day(last), interval, machines=list(names))


def settle(store, names=NAMES):
    with store.write() as connection:
        return {
            m.name: machines.add(connection, m) for m in MACHINES if m.name in (names or m.name)
        }


def learn(store, machine, first=0, last=7):
    """Train a baseline of a machine as a worker does, without one."""
    wide = simulated(first, last, names=[machine.name]).pivot_table(
        index="time", columns="metric", values="value"
    )
    wide.index = wide.index.as_unit("us")
    trained = train(machine, "baseline", lambda: wide, lambda *_: None)
    with store.write() as connection:
        return models.register(
            connection,
            machine_id=machine.id,
            model_type="baseline",
            job_id=_ended_job(connection, machine.id),
            span=(to_us(trained.start), to_us(trained.end)),
            metrics=trained.metrics,
            model=trained.model.to_json(),
        )


def _ended_job(connection, machine_id):
    job = stored_jobs.add(connection, machine_id, "baseline", "test")
    stored_jobs.change(connection, job.id, only_in=stored_jobs.ACTIVE, state="completed")
    return job.id


def rows_of(store, table, *columns, order=None):
    with store.read() as connection:
        query = sa.select(*(table.c[name] for name in columns)).order_by(
            *(table.c[name] for name in order or columns)
        )
        return [tuple(row) for row in connection.execute(query)]


def outcome(store):
    """Return all that judging leaves behind, but for the times at which it did."""
    with store.read() as connection:
        told = [Envelope.from_json(text) for _, _, text in events.after(connection, 0, 10_000)]
    return {
        "anomalies": rows_of(store, schema.anomalies, *schema.anomalies.c.keys()),
        "energy": rows_of(store, schema.energy, *schema.energy.c.keys()),
        "scores": rows_of(store, schema.scores, *schema.scores.c.keys()),
        "told": sorted((e.event_id, str(e.event)) for e in told if e.channel[:8] == "anomaly."),
        "holes": [e.seq for e in told] != list(range(1, len(told) + 1)),
    }


def judge(store, limit=engines.LIVE_BATCH):
    engine = Engine(store, SILENT)
    while engine.step(limit):
        pass
    return engine


def monitors(engine):
    return {m: json.loads(watch.monitor.to_json()) for m, watch in engine._watches.items()}


def detected(store):
    with store.read() as connection:
        told = [Envelope.from_json(text) for _, _, text in events.after(connection, 0, 10_000)]
    return [e.event for e in told if e.channel == "anomaly.detected"]


# -- a store of twelve days, judged by nobody yet ------------------------------------------------


@pytest.fixture(scope="module")
def unjudged(tmp_path_factory):
    """Fill a store once: a compressor with a leak on its eleventh day, and a boiler."""
    file = tmp_path_factory.mktemp("unjudged") / "enms.db"
    store = Store(f"sqlite:///{file}").migrate()
    learnt = settle(store)
    ingest(store, SILENT, simulated())
    learn(store, learnt["Compressor-1"])
    store.dispose()
    return file


@pytest.fixture
def copies(unjudged, tmp_path):
    """Open copies of that store, as many as one likes."""
    opened = []

    def copy():
        file = tmp_path / f"{len(opened)}.db"
        shutil.copy(unjudged, file)
        opened.append(Store(f"sqlite:///{file}"))
        return opened[-1]

    yield copy
    for store in opened:
        store.dispose()


def test_finds_a_fault_once(store):
    settle(store)
    ingest(store, SILENT, simulated())
    judge(store)
    leaks = [e for e in detected(store) if LEAK.start <= datetime.fromisoformat(e.started_at)]
    assert [e.machine for e in leaks][:1] == ["Compressor-1"]
    began = datetime.fromisoformat(leaks[0].started_at)
    assert began - LEAK.start < timedelta(minutes=30)
    assert leaks[0].value > leaks[0].upper > leaks[0].expected
    judge(store)
    assert len(detected(store)) == len({e.anomaly_id for e in detected(store)})
    assert not outcome(store)["holes"]


def test_the_end_of_a_fault_is_told(copies):
    store = copies()
    judge(store)
    told = [text for _, text in outcome(store)["told"] if "AnomalyUpdated" in text]
    assert sum("state='resolved'" in text for text in told) == len(detected(store))
    assert {row[0] for row in rows_of(store, schema.anomalies, "state")} == {"resolved"}


@pytest.mark.parametrize("size", ODD_SIZES)
def test_the_size_of_batches_changes_nothing(copies, size):
    whole, parts = copies(), copies()
    judge(whole, 1_000_000)
    judge(parts, size)
    expected, found = outcome(whole), outcome(parts)
    assert found["told"] == expected["told"]
    assert found == expected
    assert len(found["told"]) >= 2


def test_a_model_is_used_from_the_first_reading_on(copies):
    store = copies()
    judge(store, 1_000_000)
    assert {e.model_version for e in detected(store) if e.machine == "Compressor-1"} == {1}


@pytest.mark.parametrize("kept_every", [1, 2_500, 1_000_000])
def test_killed_between_any_two_steps_it_goes_on_as_if_it_had_not_been(
    copies, monkeypatch, kept_every
):
    monkeypatch.setattr(engines, "SNAPSHOT_READINGS", kept_every)
    never, always = copies(), copies()
    expected = monitors(judge(never, 1501))
    while (engine := Engine(always, SILENT)).step(1501):
        pass
    assert monitors(engine) == expected
    assert outcome(always) == outcome(never)


def test_killed_around_a_new_model_it_goes_on_as_if_it_had_not_been(copies, monkeypatch):
    """What an old model judged is learned again by the old one, or an anomaly stays open."""
    stores = copies(), copies()
    for store, restarts in zip(stores, (False, True), strict=True):
        engine = Engine(store, SILENT)
        for number in itertools.count():
            if number == 10:
                _train_again(store)
            engine = Engine(store, SILENT) if restarts else engine
            if not engine.step(1501):
                break
    never, always = map(outcome, stores)
    assert always["told"] == never["told"]
    assert always == never
    assert {row[0] for row in rows_of(stores[1], schema.anomalies, "state")} == {"resolved"}


def _train_again(store):
    with store.read() as connection:
        [old] = models.versions(connection)
    with store.write() as connection:
        return models.register(
            connection,
            machine_id=old.machine_id,
            model_type=old.model_type,
            job_id=_ended_job(connection, old.machine_id),
            span=(old.train_start, old.train_end),
            metrics=old.metrics,
            model=old.model,
        )


# -- when a write fails --------------------------------------------------------------------------


def _broken():
    return Unavailable("COMMIT", {}, OSError("the disk is full"))


@pytest.mark.parametrize("place", ["scores.put", "energy.recompute", "progress.put"])
def test_a_failing_write_loses_and_doubles_nothing(copies, monkeypatch, place):
    healthy, failing = copies(), copies()
    judge(healthy, 2000)
    module, name = place.split(".")
    real, calls = getattr(getattr(engines, module), name), itertools.count(1)

    def sometimes(*args):
        result = real(*args)
        if next(calls) % 3 == 0:
            raise _broken()
        return result

    monkeypatch.setattr(getattr(engines, module), name, sometimes)
    engine = Engine(failing, SILENT)
    while _stepped(engine, 2000):
        pass
    assert next(calls) > 10
    assert outcome(failing) == outcome(healthy)


def test_a_store_that_stays_away_loses_nothing(copies, monkeypatch):
    """The reload after a failing write fails as well."""
    healthy, failing = copies(), copies()
    judge(healthy, 2000)
    engine = Engine(failing, SILENT)
    for _ in range(5):
        engine.step(2000)
    with monkeypatch.context() as away:
        away.setattr(engines.scores, "put", _raise)
        away.setattr(engines.progress, "get", _raise)
        for _ in range(3):
            _stepped(engine, 2000)
        engine.save()  # what it does not know it does not keep
    while engine.step(2000):
        pass
    assert outcome(failing) == outcome(healthy)


def _raise(*_):
    raise _broken()


def _stepped(engine, limit):
    try:
        return engine.step(limit)
    except Unavailable:
        return limit


# -- late readings -------------------------------------------------------------------------------


def test_late_readings_are_swept_once(store):
    plant = settle(store, ["Compressor-1"])
    rows = simulated(names=["Compressor-1"])
    gap = rows["time"].between(day(10) - timedelta(hours=2), day(10.5), inclusive="left")
    ingest(store, SILENT, rows[~gap])
    engine = judge(store)
    assert not [e for e in detected(store) if e.started_at >= LEAK.start.isoformat()]
    assert engine.sweep() == []
    before = len(detected(store))

    ingest(store, SILENT, rows[gap].sample(frac=1.0, random_state=1))
    judge(store, 50)
    with store.read() as connection:
        late = progress.get(connection, f"late:{plant['Compressor-1'].id}")
    assert int(late) == to_us(day(10) - timedelta(hours=2))
    engine = judge(store)
    found = engine.sweep()
    assert len(found) == len(detected(store)) - before >= 1
    assert any(abs(a.started_at - to_us(LEAK.start)) < 1_800_000_000 for a in found)
    assert engine.sweep() == []

    with store.write() as connection:  # killed before it could say that it was done
        progress.put(connection, f"late:{plant['Compressor-1'].id}", late)
    assert Engine(store, SILENT).sweep() == []
    assert len(detected(store)) == before + len(found)


def test_late_readings_change_the_energy_they_touch(store):
    settle(store, ["Boiler-1"])
    rows = simulated(0, 2, names=["Boiler-1"])
    late = rows["time"].between(day(0.5), day(0.6))
    ingest(store, SILENT, rows[~late])
    judge(store)
    ingest(store, SILENT, rows[late])
    judge(store)
    kwh = sum(row[0] for row in rows_of(store, schema.energy, "energy_kwh"))
    power = rows[rows["metric"] == "power_kw"]["value"]
    assert kwh == pytest.approx(power.mean() * 48, rel=1e-3)


# -- what it watches -----------------------------------------------------------------------------


def measured(machine, metric, values, first=0.0, minutes=15):
    times = pd.date_range(day(first), periods=len(values), freq=f"{minutes}min")
    return pd.DataFrame({"machine": machine, "metric": metric, "time": times, "value": values})


def test_a_machine_without_energy_is_passed_over(store):
    with store.write() as connection:
        machines.add(connection, Machine("Tank", factory=Factory("Works")))
    ingest(store, SILENT, measured("Tank", "temperature_c", [20.0] * 300))
    engine = judge(store)
    assert (engine.cursor, monitors(engine)) == (300, {})
    assert rows_of(store, schema.energy, "energy_kwh") == []


def test_a_machine_that_comes_later_is_watched(store):
    settle(store, ["Boiler-1"])
    engine = judge(store)
    with store.write() as connection:
        late = machines.add(connection, Machine("Late", factory=Factory("Works")))
    ingest(store, SILENT, measured("Late", "power_kw", [20.0] * 200))
    assert engine.step() == 200
    assert set(monitors(engine)) == {late.id}


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_of_two_metrics_the_power_is_judged_whatever_the_batches(store, size):
    with store.write() as connection:
        machine = machines.add(connection, Machine("Both", factory=Factory("Works")))
    for metric, value in (("energy_kwh", 5.0), ("power_kw", 20.0)):
        ingest(store, SILENT, measured("Both", metric, [value] * 100))
    engine = judge(store, size)
    assert {m: s["metric"] for m, s in monitors(engine).items()} == {machine.id: "power_kw"}
    assert sum(row[0] for row in rows_of(store, schema.energy, "energy_kwh")) == pytest.approx(500)


def test_a_machine_that_is_measured_better_later_is_judged_by_that(store):
    with store.write() as connection:
        machine = machines.add(connection, Machine("Meter", factory=Factory("Works")))
    values = [5.0 + 0.1 * (n % 7) for n in range(96 * 9)]
    ingest(store, SILENT, measured("Meter", "energy_kwh", [*values, *[14.0] * 8]))
    engine = judge(store)
    assert len(detected(store)) == 1
    power = measured("Meter", "power_kw", [20.0] * 960, first=9.2, minutes=1)
    ingest(store, SILENT, power)
    while engine.step():
        pass
    assert {m: s["metric"] for m, s in monitors(engine).items()} == {machine.id: "power_kw"}
    [(state, ended)] = rows_of(store, schema.anomalies, "state", "ended_at")
    assert (state, ended is not None) == ("resolved", True)
    later = [
        row[0]
        for row in rows_of(store, schema.energy, "energy_kwh", "start")
        if row[1] > to_us(day(9.3))
    ]
    assert sum(later) == pytest.approx(20.0 * 13.5, rel=0.05)


def test_energy_readings_are_judged_where_there_is_no_power(store):
    with store.write() as connection:
        machines.add(connection, Machine("Meter", rated_kw=60.0, factory=Factory("Works")))
    values = [5.0 + 0.1 * (n % 7) for n in range(96 * 9)]
    values[-8:] = [14.0] * 8
    ingest(store, SILENT, measured("Meter", "energy_kwh", values))
    judge(store)
    [event] = detected(store)
    assert (event.metric, event.machine) == ("energy_kwh", "Meter")
    total = sum(row[0] for row in rows_of(store, schema.energy, "energy_kwh"))
    assert total == pytest.approx(sum(values))


def test_a_new_model_is_used_at_once(copies):
    store = copies()
    engine = Engine(store, SILENT)
    for _ in range(10):
        engine.step(1000)
    second = _train_again(store)
    engine.step(1000)
    assert engine._watches[second.machine_id].monitor.model_id == second.id


# -- what people ask for -------------------------------------------------------------------------


def alerts(store):
    with store.read() as connection:
        told = [Envelope.from_json(text) for _, _, text in events.after(connection, 0, 10_000)]
    return [e.event for e in told if e.channel == "system.alert"]


def ask(store, machine_id="", start=9, end=DAYS, name="detect:1"):
    request = {"machine_id": machine_id, "start": to_us(day(start)), "end": to_us(day(end))}
    with store.write() as connection:
        progress.put(connection, name, json.dumps(request | {"by": "somebody"}))


def test_a_request_is_answered_by_one_alert(copies):
    store = copies()
    engine = judge(store)
    with store.write() as connection:
        for table in (schema.anomalies, schema.events):  # as if they had not been found
            connection.execute(sa.delete(table))
    ask(store)
    engine.answer_requests()
    engine.answer_requests()
    [alert] = alerts(store)
    assert alert.alert_type == "detection_completed"
    assert "all machines" in alert.message
    assert alert.details["new"] == len(rows_of(store, schema.anomalies, "id"))
    assert alert.details["by"] == "somebody"


def test_of_what_is_known_nothing_is_new(copies):
    store = copies()
    engine = judge(store)
    before = outcome(store)["told"]
    [compressor] = {row[0] for row in rows_of(store, schema.models, "machine_id")}
    ask(store, compressor)
    engine.answer_requests()
    assert [a.message for a in alerts(store)] == ["Detection over Compressor-1: nothing new."]
    assert outcome(store)["told"] == before


@pytest.mark.parametrize("span", [(-400, -300), (20, 30), (5, 4)])
def test_a_request_over_nothing_is_answered_too(copies, span):
    store = copies()
    engine = judge(store)
    ask(store, "", *span)
    engine.answer_requests()
    assert [a.details["new"] for a in alerts(store)] == [0]


def test_a_request_where_only_the_weather_was_measured(store):
    """One bad request may not keep the engine from starting, for ever."""
    with store.write() as connection:
        machines.add(connection, Machine("Meter", factory=Factory("Works")))
    ingest(store, SILENT, measured("Meter", "temperature_c", [20.0] * 200))
    ingest(store, SILENT, measured("Meter", "power_kw", [20.0] * 200, first=100))
    engine = judge(store)
    ask(store, "", 0, 2)
    engine.answer_requests()
    assert [a.details["new"] for a in alerts(store)] == [0]


# -- the newest values ---------------------------------------------------------------------------


def update(machine="m", **values):
    return MetricUpdated(machine_id=machine, machine=machine, values=values, time="t")


def test_values_are_told_at_most_once_a_second():
    pulse = Pulse()
    pulse.offer(update(power_kw=1.0))
    assert [u.values for u in pulse.due(10.0)] == [{"power_kw": 1.0}]
    pulse.offer(update(power_kw=2.0))
    pulse.offer(update(power_kw=3.0, temperature_c=20.0))
    pulse.offer(update("other", power_kw=9.0))
    assert [u.machine_id for u in pulse.due(10.5)] == ["other"]
    assert [u.values for u in pulse.due(11.0)] == [{"power_kw": 3.0, "temperature_c": 20.0}]
    assert pulse.due(20.0) == []


class Overheard(Bell):
    """A bell that keeps what is published."""

    def __init__(self):
        super().__init__(lambda: None)
        self.told = []

    def publish(self, envelope):
        self.told.append(envelope)


def test_the_newest_values_come_with_their_band(copies):
    bell = Overheard()
    engine = Engine(copies(), bell)
    while engine.step():
        pass
    engine.tell_newest()
    by_name = {e.event.machine: e.event for e in bell.told}
    assert set(by_name) == set(NAMES)
    values = by_name["Compressor-1"].values
    assert values["lower_power_kw"] < values["expected_power_kw"] < values["upper_power_kw"]
    assert by_name["Compressor-1"].time == (day(DAYS) - FIVE_MINUTES).isoformat()
    assert {e.seq for e in bell.told} == {None}


def test_late_readings_are_no_newest_values(store):
    settle(store, ["Boiler-1"])
    bell = Overheard()
    engine = Engine(store, bell)
    for first in (1.0, 0.0, 1.5):
        ingest(store, SILENT, measured("Boiler-1", "power_kw", [20.0 + first] * 10, first))
        engine.step()
        engine.tell_newest()
        engine.pulse.told.clear()
    assert [e.event.values["power_kw"] for e in bell.told] == [21.0, 21.5]


# -- the process ---------------------------------------------------------------------------------


def test_catching_up_says_how_far_it_is(copies):
    shares = list(catch_up(copies(), SILENT))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_running_engine_finds_and_tells(sqlite_store, valkey, eventually):
    settle(sqlite_store, ["Compressor-1"])
    stop = threading.Event()
    thread = threading.Thread(target=engines.run, args=(sqlite_store, valkey.locate, stop))
    thread.start()
    try:
        with valkey.client() as client, client.pubsub() as heard:
            heard.subscribe("anomaly.detected", "metric.updated")
            began = now_us()
            ingest(sqlite_store, Bell(valkey.locate), simulated(names=["Compressor-1"]))
            kinds = set()
            while kinds != {"anomaly_detected", "metric_updated"}:
                assert now_us() - began < 60_000_000
                message = heard.get_message(timeout=1.0)
                if message and message["type"] == "message":
                    kinds.add(json.loads(message["data"])["type"])
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
    kept = Engine(sqlite_store, SILENT)
    assert {m["metric"] for m in monitors(kept).values()} == {"power_kw"}


def test_a_snapshot_of_a_machine_that_is_gone_is_passed_over(sqlite_store):
    state = {"cursor": 0, "monitors": {"gone": Monitor("power_kw", "UTC").to_json()}}
    with sqlite_store.write() as connection:
        progress.put(connection, "engine:snapshot", json.dumps(state))
    assert monitors(Engine(sqlite_store, SILENT)) == {}


@pytest.mark.parametrize(
    ("now", "due"),
    [("2026-03-02T10:04:59+00:00", "10:05"), ("2026-03-02T23:05:00+00:00", "00:05")],
)
def test_sweeps_are_at_five_past(now, due):
    at = engines._next_sweep(datetime.fromisoformat(now))
    assert f"{at:%H:%M}" == due
    assert at > datetime.fromisoformat(now)


def test_a_detection_that_fails_is_told_and_does_not_stop_the_next(
    sqlite_store, monkeypatch, faults
):
    running = Engine(sqlite_store, Bell(lambda: None))
    request = json.dumps({"machine_id": "", "start": 0, "end": 1, "by": "ann"})
    with sqlite_store.write() as connection:
        progress.put(connection, "detect:1", request)
    monkeypatch.setattr(running, "_detect", lambda _request: 1 / 0)
    running.answer_requests()
    monkeypatch.undo()
    with sqlite_store.write() as connection:
        progress.put(connection, "detect:2", request)
    running.answer_requests()
    with sqlite_store.read() as connection:
        told = [envelope.event.alert_type for envelope in events.since(connection, 0)]
    assert told == ["detection_failed", "detection_completed"]
    assert faults() == {"detection": 1}
