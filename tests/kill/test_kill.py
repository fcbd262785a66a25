"""Kill every part of a running plant with SIGKILL: nothing acknowledged is lost or told twice."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime

import pandas as pd
import psutil
import pytest

from enms_core import broker, supervise
from enms_core.bus import Bell, Follower, client
from enms_core.engine import Engine
from enms_core.events import Envelope
from enms_core.ingest import ingest
from enms_core.store import Store, anomalies, events, machines, progress
from enms_core.store import readings as stored
from tests.kill import writer
from tests.plants import GUARD_S, ROOT, RunningPlant, wait_until

pytestmark = [pytest.mark.kill, pytest.mark.slow, pytest.mark.timeout(900)]

RECOVERS_S = 30.0  # a guard on a busy machine; a quiet one needs less than 5
SILENT = Bell(lambda: None)


def processes_of(home):
    """Return the processes that have this home in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("ENMS_HOME") == str(home):
                found.append(process)
    return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


class Writer:
    """The writer's process, and what it was told to be stored."""

    def __init__(self, plant):
        site = plant.connect().machine("Compressor-1").factory
        for name in writer.MACHINES:
            plant.connect().add_machine(name, "motor", rated_kw=75.0, factory=site)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kill.writer"],
            env={**os.environ, **plant.settings.environment()},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.acknowledged = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with self.process.stdout as lines:
            for line in lines:
                machine, start = line.split()
                self.acknowledged.append((machine, datetime.fromisoformat(start)))

    def stop(self):
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)


class Following:
    """A follower in a thread that runs the whole time."""

    def __init__(self, store, locate, since):
        self.seen = []
        self._follower, self._loop = Follower(store, locate, since=since), asyncio.new_event_loop()
        self._task = self._loop.create_task(self._follow())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    async def _follow(self):
        async for envelope in self._follower.follow():
            if envelope.seq is not None:
                self.seen.append(envelope)

    def stop(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(30)


def last_seq(store):
    with store.read() as connection:
        return events.last_seq(connection)


def told(store):
    with store.read() as connection:
        return [Envelope.from_json(text) for _, _, text in events.after(connection, 0, 100_000)]


def judged(store):
    with store.read() as connection:
        return int(progress.get(connection, "engine:cursor", "0"))


def arrived(store):
    with store.read() as connection:
        return stored.last_id(connection)


def newest_of(store, machine):
    with store.read() as connection:
        return max(row[2] for row in stored.latest(connection) if row[0] == machine.id)


def pid_of(plant, part):
    if part == "broker":
        found = broker.locate(plant.settings)
        return found.pid if found else None
    return supervise.parts(plant.settings)[part]


def answers(plant):
    found = broker.locate(plant.settings)
    try:
        return found is not None and client(found.url).ping()
    except OSError:
        return False


def works_again(plant, store, part):
    """Return a check of whether a part does again what it is there for."""
    if part == "engine":
        before = arrived(store)
        return lambda: judged(store) > before
    if part == "source":
        simulated = plant.connect().machine("Boiler-1")
        before = newest_of(store, simulated)
        return lambda: newest_of(store, simulated) > before
    return {"broker": lambda: answers(plant), "server": plant.answers}.get(part, lambda: True)


def kill(plant, store, part):
    """Kill a part; return after how many seconds it is there, and works, again."""
    pid = wait_until(lambda: pid_of(plant, part), f"{part} before it is killed")
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    wait_until(lambda: pid_of(plant, part) not in (None, pid), f"{part} again")
    back = time.monotonic() - began
    wait_until(works_again(plant, store, part), f"{part} to work again")
    return back, time.monotonic() - began


def restarts(store):
    alerts = [e.event for e in told(store) if e.channel == "system.alert"]
    parts = [a for a in alerts if a.alert_type == "part_restarted"]
    return [a.details["part"] for a in parts if a.details["state"] == "open"]


def completions(store, job_id):
    ends = [e.event for e in told(store) if e.channel == "training.completed"]
    return [e.status for e in ends if e.job_id == job_id]


def killed_in_training(plant, store):
    """Ask for a training and kill the worker in it; return the job and the seconds to a new one."""
    job = plant.connect().train("Compressor-1")
    wait_until(lambda: job.row.state == "running", "the training to start", every=0.005)
    figures = kill(plant, store, "worker")
    return job, figures


def as_text(figures):
    lines = [f"{'part':8} {'there':>6} {'works':>6}  seconds after kill -9"]
    return "\n".join([*lines, *(f"{p:8} {a:6.1f} {b:6.1f}" for p, (a, b) in figures.items())])


def test_nothing_is_lost_or_told_twice(running, capsys):
    plant = running.connect()
    store = plant.store
    began = last_seq(store)
    with contextlib.ExitStack() as ends:
        ends.callback(store.dispose)
        followed = Following(store, plant.locate, began)
        ends.callback(followed.stop)
        writes = Writer(running)
        ends.callback(writes.stop)

        wait_until(lambda: len(writes.acknowledged) > 200, "the writer")
        figures = {}
        for part in ("broker", "engine", "source", "server"):
            figures[part] = kill(running, store, part)
            wait_until(lambda p=part: p in restarts(store), f"the alert about {part}")
        job, figures["worker"] = killed_in_training(running, store)
        wait_until(lambda: "worker" in restarts(store), "the alert about worker")
        wait_until(lambda: completions(store, job.id), "the end of the interrupted training")
        again = plant.train("Boiler-1")
        assert again.result(GUARD_S).report_.n_rows > 1000
        assert running.answers()
        with capsys.disabled():
            sys.stdout.write(f"\n{as_text(figures)}\n")

        writes.stop()
        written = arrived(store)
        wait_until(lambda: judged(store) >= written, "the engine to be done")
        running.stop()
        assert processes_of(running.home) == []
        wait_until(lambda: followed.seen[-1].seq == last_seq(store), "the follower")

        nothing_acknowledged_is_lost(store, writes.acknowledged)
        log = told(store)
        assert [e.seq for e in log] == list(range(1, len(log) + 1))
        assert [e.to_json() for e in followed.seen] == [e.to_json() for e in log if e.seq > began]
        ids = [e.event_id for e in log]
        assert len(ids) == len(set(ids))
        assert completions(store, job.id) in (["interrupted"], ["completed"])
        assert completions(store, again.id) == ["completed"]
        found = as_without_kills(store, writes.acknowledged, running.home / "calm.db")
        assert set(found["machine"]) == set(writer.MACHINES)
        assert max(works for _, works in figures.values()) < RECOVERS_S


def nothing_acknowledged_is_lost(store, acknowledged):
    """Every minute of every acknowledged hour is in the store."""
    assert len(acknowledged) > 200
    with store.read() as connection:
        series = {names: n for n, names in stored.all_series(connection).items()}
        owners = {m.name: m.id for m in machines.all_machines(connection)}
        everything = stored.after(connection, 0, 10_000_000)
    for machine in writer.MACHINES:
        number = series[owners[machine], "power_kw"]
        there = set(everything.loc[everything["series_id"] == number, "time"])
        assert len(there) == (everything["series_id"] == number).sum()
        for name, start in acknowledged:
            if name == machine:
                minutes = pd.date_range(start, periods=60, freq="1min").as_unit("us").asi8
                assert set(minutes.tolist()) <= there, f"{machine} {start}"


def as_without_kills(store, acknowledged, file):
    """Judge the same hours in a store that nobody disturbs; both find the same anomalies."""
    with store.read() as connection:
        known = {name: machines.find(connection, name) for name in writer.MACHINES}
        live = anomalies.table(connection, limit=100_000)
    calm = Store(f"sqlite:///{file}").migrate()
    with calm.write() as connection:
        for machine in known.values():
            machines.add(connection, machine)
    for name, start in acknowledged:
        ingest(calm, SILENT, writer.batch(name, start))
    engine = Engine(calm, SILENT)
    while engine.step():
        pass
    with calm.read() as connection:
        expected = anomalies.table(connection, limit=100_000)
    calm.dispose()
    columns = ["machine", "started_at", "ended_at", "delta_kwh", "state"]
    mine = live[live["machine"].isin(known)]
    last = min(max(at for name, at in acknowledged if name == m) for m in known)
    frames = [
        f.loc[f["started_at"] < last, columns].sort_values(columns[:2]).reset_index(drop=True)
        for f in (mine, expected)
    ]
    pd.testing.assert_frame_equal(*frames, check_dtype=False)
    return frames[0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux ends orphans")
def test_killed_itself_the_supervisor_leaves_nothing(running):
    running.process.send_signal(signal.SIGKILL)
    running.process.wait(10)
    try:
        wait_until(lambda: not processes_of(running.home), "all parts to end", seconds=5)
    finally:
        for left in processes_of(running.home):
            left.kill()
    again = RunningPlant(running.home)
    try:
        assert again.start().answers()
    finally:
        again.stop()
    assert processes_of(running.home) == []


def test_a_second_plant_in_one_home_says_why_it_will_not_start(running):
    done = subprocess.run(
        [str(ROOT / "panel_serve.sh"), "--port", "0"],
        env={**os.environ, **running.settings.environment()},
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )
    assert done.returncode == 1
    assert f"A plant runs in {running.home} already (pid {running.process.pid})." in done.stderr
    assert "ENMS_HOME" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert running.answers()
