import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pandas as pd
import psutil
import pytest
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from enms_core import jobs, worker
from enms_core.bus import Bell
from enms_core.events import Envelope
from enms_core.ingest import ingest
from enms_core.plant import Factory, Machine
from enms_core.settings import Settings
from enms_core.sources.simulator import MACHINES, Simulator
from enms_core.store import Unavailable, events, machines, models
from enms_core.store import jobs as stored
from enms_core.store.times import now_us
from enms_core.training import STEPS

START = datetime(2026, 3, 2, tzinfo=UTC)
SILENT = Bell(lambda: None)
BURST = """
import sys
from enms_core import worker
worker.work(lambda: sys.argv[1], "WARNING", burst=True)
"""


class Shop:
    """A store with machines to train, a Redis, and workers as processes."""

    def __init__(self, settings, store, valkey):
        self.settings, self.store, self.valkey = settings, store, valkey
        self.bell = Bell(valkey.locate)
        self.machines = {}

    def machine(self, name="Compressor-1", days=10, interval=timedelta(minutes=15)):
        model = next(m for m in MACHINES if m.name == name)
        with self.store.write() as connection:
            self.machines[name] = machines.add(connection, model)
        if days:
            rows = Simulator(3).readings(START, START + timedelta(days=days), interval, [name])
            ingest(self.store, SILENT, rows)
        return self.machines[name]

    def submit(self, machine):
        return jobs.submit(self.store, self.bell, self.valkey.locate, machine.id, "baseline", "me")

    def job(self, job_id):
        with self.store.read() as connection:
            return stored.get(connection, job_id)

    def told(self, *channels):
        with self.store.read() as connection:
            found = [Envelope.from_json(e) for _, _, e in events.after(connection, 0, 1000)]
        return [e.event for e in found if e.channel in channels]

    def ends(self, job_id):
        return [e.status for e in self.told("training.completed") if e.job_id == job_id]

    def queued(self):
        with Redis.from_url(self.valkey.url) as connection:
            queue = Queue(jobs.QUEUE, connection=connection, serializer=JSONSerializer)
            return queue.job_ids

    def environment(self):
        return {**os.environ, **self.settings.environment(), "SUPERVISED_BY": str(os.getpid())}

    def burst(self):
        """Let a worker do what is in the queue, and end."""
        command = [sys.executable, "-c", BURST, self.valkey.url]
        done = subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr

    def start(self):
        """Start a worker that goes on."""
        return subprocess.Popen(
            [sys.executable, "-m", "enms_core", "worker"],
            env=self.environment(),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def care(self):
        jobs.Care(self.store, self.bell, self.valkey.locate).look()


@pytest.fixture
def shop(tmp_path, store, database_url, valkey) -> Shop:
    """Give a shop, once on SQLite and once on PostgreSQL."""
    return Shop(_settings(tmp_path, database_url, valkey), store, valkey)


@pytest.fixture
def lite(tmp_path, sqlite_store, sqlite_url, valkey) -> Shop:
    """Give a shop on SQLite, where the database does not matter."""
    return Shop(_settings(tmp_path, sqlite_url, valkey), sqlite_store, valkey)


def _settings(folder, database_url, valkey):
    return Settings.from_env(
        {
            "ENMS_HOME": str(folder / "home"),
            "ENMS_DATABASE_URL": database_url,
            "ENMS_REDIS_URL": valkey.url,
            "ENMS_SOURCE": "none",
        }
    )


@pytest.fixture
def working(lite):
    """Give a shop with a machine that takes a second to train, and a worker that runs."""
    lite.machine(days=90, interval=timedelta(minutes=1))
    running = [lite.start()]
    lite.workers = running
    yield lite
    for process in running:
        process.kill()
        process.wait(10)


# -- a training from its beginning to its end ----------------------------------------------------


def test_trains_from_queue_to_model(shop):
    machine = shop.machine()
    job = shop.submit(machine)
    assert (job.state, shop.queued()) == ("queued", [job.id])
    shop.burst()
    done = shop.job(job.id)
    assert (done.state, done.progress_pct, done.model_version) == ("completed", 100, 1)
    assert done.created_at <= done.started_at <= done.ended_at
    [started] = shop.told("training.started")
    assert (started.job_id, started.machine, started.requested_by) == (job.id, machine.name, "me")
    steps = shop.told("training.progress")
    assert [s.status for s in steps] == list(STEPS)
    assert [s.progress_pct for s in steps] == sorted(STEPS.values())
    assert all(s.message for s in steps)
    [end] = shop.told("training.completed")
    assert (end.status, end.model_version, end.metrics) == ("completed", 1, done.metrics)
    assert 0.5 < end.metrics["r2"] <= 1.0
    assert 0.0 < end.metrics["cv_rmse"] < 0.5
    with shop.store.read() as connection:
        assert models.active(connection)[machine.id].job_id == job.id
    assert shop.queued() == []


def test_the_order_of_events_is_that_of_the_training(lite):
    job = lite.submit(lite.machine())
    lite.burst()
    with lite.store.read() as connection:
        log = [Envelope.from_json(e) for _, _, e in events.after(connection, 0, 100)]
    assert [e.channel for e in log] == [
        "training.started",
        *["training.progress"] * len(STEPS),
        "training.completed",
    ]
    assert {e.event.job_id for e in log} == {job.id}


@pytest.mark.parametrize(
    ("days", "reason"), [(1, "weeks|days|rows|hours"), (0, "power_kw or energy_kwh")]
)
def test_too_little_to_learn_from_fails_with_a_reason(shop, days, reason, faults):
    job = shop.submit(shop.machine(days=days))
    worker._perform(shop.store, SILENT, job.id)
    failed = shop.job(job.id)
    assert (failed.state, faults()) == ("failed", {"job": 1})
    [end] = shop.told("training.completed")
    assert (end.status, end.error_message) == ("failed", failed.error_message)
    assert pd.Series([failed.error_message]).str.contains(reason).all()
    with shop.store.read() as connection:
        assert models.versions(connection) == []


def test_a_job_is_done_once(lite):
    job = lite.submit(lite.machine())
    for _ in range(2):
        worker._perform(lite.store, SILENT, job.id)
    assert lite.ends(job.id) == ["completed"]
    with lite.store.read() as connection:
        assert [v.version for v in models.versions(connection)] == [1]


def test_all_are_trained_without_a_worker(lite):
    for name in ("Compressor-1", "Boiler-1"):
        lite.machine(name)
    assert list(worker.train_all(lite.store, SILENT, "setup")) == [0.5, 1.0]
    with lite.store.read() as connection:
        assert len(models.active(connection)) == 2


def test_who_works_shows_signs_of_life(lite, monkeypatch, eventually):
    monkeypatch.setattr(worker, "BEAT_S", 0.02)
    job = lite.submit(lite.machine(days=0))
    with lite.store.write() as connection:
        stored.change(connection, job.id, only_in=("queued",), state="running", alive_at=0)
    with worker._beating(lite.store, job.id):
        eventually(lambda: lite.job(job.id).alive_at > 0)


def test_a_beat_survives_a_store_that_is_away(lite, monkeypatch, eventually, caplog):
    monkeypatch.setattr(worker, "BEAT_S", 0.02)
    job = lite.submit(lite.machine(days=0))
    with lite.store.write() as connection:
        stored.change(connection, job.id, only_in=("queued",), state="running", alive_at=0)
    real = stored.change

    def away(*args, **values):
        monkeypatch.setattr(worker.jobs, "change", real)
        raise Unavailable("UPDATE", {}, OSError("locked"))

    monkeypatch.setattr(worker.jobs, "change", away)
    with worker._beating(lite.store, job.id):
        eventually(lambda: lite.job(job.id).alive_at > 0)


# -- cancelled -----------------------------------------------------------------------------------


def test_cancelled_in_the_queue_it_never_runs(lite):
    job = lite.submit(lite.machine())
    assert jobs.cancel(lite.store, lite.bell, lite.valkey.locate, job.id)
    assert not jobs.cancel(lite.store, lite.bell, lite.valkey.locate, job.id)
    lite.burst()
    assert lite.job(job.id).state == "cancelled"
    assert lite.told("training.started") == []
    assert lite.ends(job.id) == ["cancelled"]


def test_cancelled_while_it_runs_it_stops(working, eventually):
    job = working.submit(working.machines["Compressor-1"])
    eventually(lambda: working.job(job.id).state == "running", 60)
    horses = psutil.Process(working.workers[0].pid).children()
    assert jobs.cancel(working.store, working.bell, working.valkey.locate, job.id)
    assert psutil.wait_procs(horses, timeout=10)[1] == []
    assert working.job(job.id).state == "cancelled"
    again = working.submit(working.machines["Compressor-1"])
    eventually(lambda: working.job(again.id).state == "completed", 120)
    assert working.ends(job.id) == ["cancelled"]
    with working.store.read() as connection:
        assert [v.job_id for v in models.versions(connection)] == [again.id]


@pytest.mark.parametrize("step", list(STEPS))
def test_cancelled_while_redis_is_away_it_stops_at_the_next_step(lite, monkeypatch, step):
    machine = lite.machine()
    job = lite.submit(machine)
    lite.valkey.stop()
    real = worker._report

    def report(store, bell, told, now, message):
        if now == step:
            assert jobs.cancel(lite.store, lite.bell, lite.valkey.locate, job.id)
        real(store, bell, told, now, message)

    monkeypatch.setattr(worker, "_report", report)
    worker._perform(lite.store, SILENT, job.id)
    assert lite.job(job.id).state == "cancelled"
    assert lite.ends(job.id) == ["cancelled"]
    with lite.store.read() as connection:
        assert models.versions(connection) == []


def test_cancelled_while_it_is_kept_there_is_no_version(lite, monkeypatch):
    job = lite.submit(lite.machine())
    real = worker._complete

    def complete(*args):
        assert jobs.cancel(lite.store, lite.bell, lambda: None, job.id)
        real(*args)

    monkeypatch.setattr(worker, "_complete", complete)
    worker._perform(lite.store, SILENT, job.id)
    assert lite.ends(job.id) == ["cancelled"]
    with lite.store.read() as connection:
        assert models.versions(connection) == []


# -- killed --------------------------------------------------------------------------------------


def test_killed_in_a_training_it_is_interrupted_once(working, eventually, monkeypatch):
    job = working.submit(working.machines["Compressor-1"])
    eventually(lambda: working.job(job.id).state == "running", 60)
    [horse] = psutil.Process(working.workers[0].pid).children()
    os.kill(working.workers[0].pid, signal.SIGKILL)
    horse.wait(10)  # it does not outlive its worker
    working.care()
    assert working.job(job.id).state == "running"  # within its lease

    monkeypatch.setattr(jobs, "LEASE_S", 0.0)
    cares = [threading.Thread(target=working.care) for _ in range(3)]
    for thread in cares:
        thread.start()
    for thread in cares:
        thread.join(30)
    assert working.job(job.id).state == "interrupted"
    assert "train again" in working.job(job.id).error_message
    assert working.ends(job.id) == ["interrupted"]

    monkeypatch.undo()
    working.workers.append(working.start())
    again = working.submit(working.machines["Compressor-1"])
    assert again.id != job.id
    eventually(lambda: working.job(again.id).state == "completed", 120)
    assert working.ends(job.id) == ["interrupted"]


def test_one_that_shows_life_is_left_alone(lite):
    job = lite.submit(lite.machine(days=0))
    with lite.store.write() as connection:
        stored.change(connection, job.id, only_in=("queued",), state="running", alive_at=now_us())
    now = 0.0
    care = jobs.Care(lite.store, SILENT, lite.valkey.locate, clock=lambda: now)
    for sign in (0, 3_600_000_000, -3_600_000_000):  # its wall clock may jump, and so may ours
        with lite.store.write() as connection:
            stored.change(connection, job.id, only_in=("running",), alive_at=now_us() + sign)
        care.look()
        now += jobs.LEASE_S - 0.1
        care.look()
        assert lite.job(job.id).state == "running"
    now += 0.1
    care.look()
    assert lite.job(job.id).state == "interrupted"


def test_interrupted_it_does_not_complete_any_more(lite, monkeypatch):
    """A worker that was only frozen wakes up after its job was given up."""
    job = lite.submit(lite.machine())
    real = worker._complete

    def complete(*args):
        monkeypatch.setattr(jobs, "LEASE_S", 0.0)
        lite.care()
        real(*args)

    monkeypatch.setattr(worker, "_complete", complete)
    worker._perform(lite.store, SILENT, job.id)
    assert lite.ends(job.id) == ["interrupted"]
    with lite.store.read() as connection:
        assert models.versions(connection) == []


# -- what else -----------------------------------------------------------------------------------


def test_a_machine_of_another_kind_of_meter_trains(lite):
    with lite.store.write() as connection:
        meter = machines.add(connection, Machine("Meter", factory=Factory("Works")))
    times = pd.date_range(START, periods=96 * 21, freq="15min")
    kwh = [5.0 + 2.0 * (8 <= t.hour < 18) + 0.01 * (n % 11) for n, t in enumerate(times)]
    rows = pd.DataFrame({"machine": "Meter", "metric": "energy_kwh", "time": times, "value": kwh})
    ingest(lite.store, SILENT, rows)
    job = lite.submit(meter)
    worker._perform(lite.store, SILENT, job.id)
    assert lite.job(job.id).state == "completed"
    assert lite.job(job.id).metrics["r2"] > 0.9


def test_a_worker_waits_for_redis(lite, eventually):
    job = lite.submit(lite.machine())
    lite.valkey.stop()
    process = lite.start()
    try:
        lite.valkey.start()
        eventually(lambda: lite.job(job.id).state == "completed" or lite.care(), 120)
    finally:
        process.kill()
        process.wait(10)
