"""What can happen to the store: killed in the middle of a write, its disk full."""

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import SimpleQueue as Queue
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import sqlalchemy as sa

from enms_core import jobs, worker
from enms_core.bus import Bell
from enms_core.engine import Engine
from enms_core.ingest import ingest
from enms_core.plant import Factory, Machine
from enms_core.store import Store, machines
from tests.chaos.lab import MACHINES, Fault, Figure, Lab, stored_readings, until_state, worst
from tests.chaos.plant import Plant
from tests.kill import writer

SILENT = Bell(lambda: None)
START = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 8  # a training takes seven
FULL_MB = 48
OUTCOME = (
    "SELECT series_id, time, value FROM readings ORDER BY series_id, time",
    "SELECT machine, metric, time, value, reason FROM quarantine ORDER BY id",
    "SELECT started_at, ended_at, severity, state, delta_kwh FROM anomalies ORDER BY started_at",
    "SELECT * FROM scores ORDER BY 1, 2, 3",
    "SELECT * FROM energy ORDER BY 1, 2, 3",
    "SELECT channel, count(*) FROM events WHERE channel LIKE 'anomaly%' GROUP BY channel",
    "SELECT machine_id, count(*) FROM models WHERE state = 'active' GROUP BY machine_id",
    "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')",
    "SELECT id FROM jobs EXCEPT SELECT json_extract(envelope, '$.data.job_id') FROM events"
    " WHERE channel = 'training.completed'",
    "SELECT job_id FROM models EXCEPT SELECT id FROM jobs WHERE state = 'completed'",
)
Step = Callable[[Store], None]
Counts = tuple[tuple[str, int], ...]  # how many rows every table has


# -- killed at the Nth write -----------------------------------------------------------------------


def store_readings(store: Store) -> None:
    """Take in readings, some of them of nobody."""
    rows = writer.batch("Kill-1", START + timedelta(days=DAYS))
    nobodys = rows.head(5).assign(machine="Nobody")
    ingest(store, SILENT, pd.concat([rows, nobodys], ignore_index=True))


def judge_readings(store: Store) -> None:
    """Judge all readings, batch by batch, and keep what was learned."""
    engine = Engine(store, SILENT)
    while engine.step(4000):
        pass
    engine.save()


def train_machines(store: Store) -> None:
    """Train a model of every machine; what was interrupted is ended first."""
    fast = itertools.count(0.0, jobs.LEASE_S).__next__  # whenever it looks, a lease is over
    with contextlib.suppress(ConnectionError):  # there is no queue to put the others into
        jobs.Care(store, SILENT, lambda: None, clock=fast).look()
    for _ in worker.train_all(store, SILENT, "chaos"):
        pass


STEPS: dict[str, Step] = {
    "ingest": store_readings,
    "detect": judge_readings,
    "train": train_machines,
}


def prepare(file: Path) -> None:
    """Make a store with a machine and eight days of readings."""
    store = Store(f"sqlite:///{file}").migrate()
    with store.write() as connection:
        site = Factory("Works", "Europe/Berlin")
        machines.add(connection, Machine("Kill-1", "motor", rated_kw=75.0, factory=site))
    for hour in range(24 * DAYS):
        ingest(store, SILENT, writer.batch("Kill-1", START + timedelta(hours=hour)))
    store.dispose()


@dataclass(frozen=True)
class Done:
    """A step that was done to its end: its statements and commits, and the states in between."""

    writes: int
    states: list[Counts]


def do(step: str, file: Path, die_at: int, told: "Queue[Done]") -> None:
    """Do a step in this process; kill it before its `die_at`-th statement or commit, if any."""
    store, states, count = Store(f"sqlite:///{file}"), [counts(file)], 0

    def step_on(*_: object) -> None:
        nonlocal count
        count += 1
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(store.engine, "before_cursor_execute", step_on)
    sa.event.listen(store.engine, "commit", step_on)
    sa.event.listen(store.engine, "begin", lambda _: states.append(counts(file)))
    STEPS[step](store)
    store.dispose()
    told.put(Done(count, [*states, counts(file)]))


def counts(file: Path) -> Counts:
    """Return how many rows every table has, by a connection of its own."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return tuple(
            (name, connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0])
            for (name,) in sorted(names)
        )


def is_sound(file: Path) -> bool:
    """Whether the file is whole, and its events are numbered without a hole."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        [(said,)] = connection.execute("PRAGMA integrity_check")
        orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
        numbers = [seq for (seq,) in connection.execute("SELECT seq FROM events ORDER BY seq")]
        [(last,)] = connection.execute("SELECT value FROM counters WHERE name = 'events'")
    return said == "ok" and not orphans and numbers == list(range(1, last + 1))


def outcome(file: Path) -> list[list[Any]]:
    """Return what a step leaves, however often it was begun."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return [connection.execute(query).fetchall() for query in OUTCOME]


async def killed_while_writing(lab: Lab, n: int = 10_000) -> list[Figure]:
    """SIGKILL before every statement and commit of ingest, detection, training (n each at most)."""
    return await asyncio.to_thread(_killed_everywhere, lab, n)


def _killed_everywhere(lab: Lab, n: int) -> list[Figure]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    prepare(lab.folder / "before.db")
    kills = [_killed_in(step, lab, n, context) for step in STEPS]
    return [
        *(
            Figure(f"kills in {step}", len(found), least=min(n, 5))
            for step, found in zip(STEPS, kills, strict=True)
        ),
        Figure("half-written", sum(k.is_half for found in kills for k in found), 0),
        Figure("not sound", sum(not k.is_sound for found in kills for k in found), 0),
        Figure("other than undisturbed", sum(k.is_other for found in kills for k in found), 0),
    ]


@dataclass(frozen=True)
class Kill:
    """What a kill left behind, and what came of it when the step was done again."""

    is_half: bool
    is_sound: bool
    is_other: bool


def _killed_in(step: str, lab: Lab, n: int, context: Any) -> list[Kill]:
    calm = _copy(lab, f"{step}-calm.db")
    undisturbed = _done(step, calm, 0, context)
    assert undisturbed
    points = range(1, undisturbed.writes + 1)
    chosen = points if n >= len(points) else sorted(lab.rng.sample(points, n))
    found = []
    for point in chosen:
        file = _copy(lab, f"{step}.db")
        assert _done(step, file, point, context) is None, f"{step} outlived its kill at {point}"
        is_half = counts(file) not in undisturbed.states
        sound = is_sound(file)
        assert _done(step, file, 0, context)
        found.append(Kill(is_half, sound and is_sound(file), outcome(file) != outcome(calm)))
    return found


def _done(step: str, file: Path, die_at: int, context: Any) -> Done | None:
    """Do a step in a process of its own; None if it was killed."""
    told = context.SimpleQueue()
    process = context.Process(target=do, args=(step, file, die_at, told))
    process.start()
    process.join()
    return told.get() if process.exitcode == 0 else None


def _copy(lab: Lab, name: str) -> Path:
    for old in lab.folder.glob(f"{name}*"):
        old.unlink()
    return Path(shutil.copy(lab.folder / "before.db", lab.folder / name))


# -- its disk is full ------------------------------------------------------------------------------


async def disk_full(lab: Lab, n: int = 1) -> list[Figure]:
    """The disk with the plant's home is full while readings are sent, n times; then it is freed."""
    home = lab.folder / "home"
    home.mkdir()
    with _small_disk(home):
        plant = lab.plant
        fills = [await _fill_and_free(plant) for _ in range(n)]
        plant.stop()
        sound = is_sound(plant.home / "enms.db")
    return [
        Figure("refusals with 503 or 507 and a sentence", min(f.refused for f in fills), least=1),
        Figure("other errors", sum(f.wrong for f in fills), 0),
        Figure("readings and lists that were read meanwhile", min(f.read for f in fills), least=2),
        Figure("acknowledged readings lost", sum(f.lost for f in fills), 0),
        Figure("alerts about it", min(f.alerts for f in fills), least=1),
        worst("taken again after it was freed", [f.back_s for f in fills], 5.0),
        worst("events live again", [f.live_s for f in fills], 10.0),
        Figure("parts that had to be restarted", sum(f.restarted for f in fills), 0),
        Figure("file is sound at the end", float(sound), least=1),
    ]


@dataclass
class Fill:
    """What happened while the disk was full."""

    acknowledged: int = 0
    refused: int = 0
    wrong: int = 0
    read: int = 0
    lost: int = 0
    alerts: int = 0
    restarted: int = 0
    back_s: float = 0.0
    live_s: float = 0.0


async def _fill_and_free(plant: Plant) -> Fill:
    fill, ballast, pids = Fill(), plant.home / "ballast", plant.pids()
    sent: list[int] = []
    async with httpx.AsyncClient(base_url=f"{plant.url}/api/v1", timeout=30.0) as rest:

        async def send() -> httpx.Response:
            sent.append(1)
            answer = await rest.post("/readings", json=_rows(len(sent)))
            if answer.status_code == 200:
                fill.acknowledged += answer.json()["accepted"]
            return answer

        stored = await stored_readings(rest)
        assert (await send()).status_code == 200
        await asyncio.to_thread(_fill, ballast)
        for _ in range(20):
            answer = await send()
            is_told = answer.status_code in (503, 507) and "full" in answer.json()["message"]
            fill.refused += is_told
            fill.wrong += answer.status_code != 200 and not is_told
            await asyncio.sleep(0.1)
        for path in ("/readings?machine=Pump&limit=10", "/machines"):
            fill.read += (await rest.get(path)).status_code == 200
        ballast.unlink()
        began = time.monotonic()
        while (await send()).status_code != 200:
            assert time.monotonic() < began + 60.0, "it is not taken again"
            await asyncio.sleep(0.05)
        fill.back_s = time.monotonic() - began
        fill.live_s = await until_state(plant, "live")
        fill.lost = stored + fill.acknowledged - await stored_readings(rest)
        await asyncio.sleep(4.0)  # two rounds of the watchdog
        told = (await rest.get("/events?channels=system.alert&limit=1000")).json()["items"]
        fill.alerts = sum(e["data"]["alert_type"] == "store_full" for e in told)
    fill.restarted = sum(plant.pids()[name] != pid for name, pid in pids.items())
    return fill


def _rows(number: int) -> list[dict[str, Any]]:
    """Return some hundred readings of a day of their own."""
    day = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number)
    return [
        {
            "machine": MACHINES[number % len(MACHINES)],
            "metric": "power_kw",
            "time": (day + timedelta(minutes=minute)).isoformat(),
            "value": 20.0,
        }
        for minute in range(0, 24 * 60, 5)
    ]


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """Mount a disk of few megabytes in memory; only root may."""
    options = f"size={FULL_MB}m,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "enms-chaos", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


FAULTS: dict[str, Fault] = {"D2": killed_while_writing, "D3": disk_full}
