"""From a committed reading to the screen: how long an anomaly takes through a running plant.

Every event is real: a plainly wrong reading of a machine is written, the engine judges it, the
relay tells it, a plain Redis subscriber and a Chromium get it. Beside it stand the floors of the
same disk and the same Redis in the same minutes.

Run it by `python -m tests.benchmarks.latency [--events 300]`.
"""

import argparse
import contextlib
import itertools
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import redis

from enms_core import broker
from enms_core.bus import Bell
from enms_core.client import Plant
from enms_core.plant import Factory
from tests.browser.steady import CALMING, EVERY, Steady
from tests.browser.visit import Visit, chromium
from tests.plants import ROOT, RunningPlant, settings_of, wait_until

MACHINES = 12
PAUSE_S = 0.2  # between one anomaly's end and the next, as readings come: one after the other
FLOORS = 300
LIMITS_MS = {
    ("subscriber", 95): 100.0,
    ("painted", 95): 500.0,
    ("painted", 99): 1000.0,
}
TITLES = {
    "subscriber": "commit -> Redis subscriber",
    "painted": "commit -> painted in Chromium",
    "publish": "floor: PUBLISH -> receive",
    "commit": "floor: SQLite commit, synchronous=FULL",
}


class NotingBell(Bell):
    """Rings as ever, and notes when: ingest rings as soon as its commit has returned."""

    rang = 0.0

    def ring(self, topic: str) -> None:
        """Note the time and ring."""
        self.rang = time.time()
        super().ring(topic)


class Subscriber:
    """A plain subscriber of one channel; notes when each message came."""

    def __init__(self, url: str, channel: str) -> None:
        self._pubsub = redis.Redis.from_url(url).pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(channel)
        self.came: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            message = self._pubsub.get_message(timeout=0.2)
            if message:
                at = time.time()
                self.came[_key(message["data"])] = at

    def close(self) -> None:
        """Listen no more."""
        self._stop.set()
        self._thread.join()
        self._pubsub.close()


@dataclass
class Measured:
    """Milliseconds by what was measured."""

    ms: dict[str, list[float]] = field(default_factory=dict)

    def note(self, what: str, seconds: float) -> None:
        """Note a duration."""
        self.ms.setdefault(what, []).append(1000.0 * seconds)

    def table(self) -> str:
        """Return a line for each thing: its percentiles, and the limits where there are any."""
        lines = [f"{'ms':40} {'n':>4} {'p50':>8} {'p95':>8} {'p99':>8}   limit"]
        for what, title in TITLES.items():
            found = self.ms[what]
            numbers = " ".join(f"{np.percentile(found, p):8.2f}" for p in (50, 95, 99))
            limits = ", ".join(
                f"p{p} < {limit:.0f}" for (name, p), limit in LIMITS_MS.items() if name == what
            )
            lines.append(f"{title:40} {len(found):4} {numbers}   {limits or '-'}")
        return "\n".join(lines)

    def misses(self) -> list[str]:
        """Return the limits that were not kept."""
        return [
            f"{TITLES[what]}: p{p} is not below {limit:.0f} ms"
            for (what, p), limit in LIMITS_MS.items()
            if np.percentile(self.ms[what], p) >= limit
        ]


@contextlib.contextmanager
def running() -> Iterator[RunningPlant]:
    """Give a plant of our own: the simulated one, live, as it is shipped."""
    with tempfile.TemporaryDirectory(prefix="enms-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        env = {k: v for k, v in os.environ.items() if not k.startswith("ENMS_")}
        subprocess.run(
            [sys.executable, "-m", "enms_core", "setup"],
            env=env | settings_of(home).environment(),
            cwd=ROOT,
            check=True,
        )
        plant = RunningPlant(home)
        try:
            yield plant.start()
        finally:
            plant.stop()


def measure(running_plant: RunningPlant, count: int) -> Measured:
    """Send so many wrong readings, one after the other, and note how long each took."""
    measured = Measured()
    plant = running_plant.connect()
    plant.bell = bell = NotingBell(plant.locate)
    url = broker.locate(running_plant.settings).url
    told = Subscriber(url, "anomaly.detected")
    machines = _machines(plant, count)
    with chromium() as browser:
        page = Visit(browser, running_plant.url).live()
        for machine in itertools.islice(itertools.cycle(machines), count):
            _one(plant, bell, machine, told, page, measured)
        assert page.loads == 1, "the page was loaded again"
        page.close()
    told.close()
    plant.store.dispose()
    for seconds in _publish_floor(url):
        measured.note("publish", seconds)
    for seconds in _commit_floor(running_plant.home):
        measured.note("commit", seconds)
    return measured


def _machines(plant: Plant, count: int) -> list[Steady]:
    rounds = -(-count // MACHINES)
    until = datetime.now(UTC) - (rounds * (CALMING + 1) + 1) * EVERY.to_pytimedelta()
    site = Factory("Bench")
    return [Steady(plant, f"Bench-{i + 1}", until, site) for i in range(MACHINES)]


def _one(
    plant: Plant,
    bell: NotingBell,
    machine: Steady,
    told: Subscriber,
    page: Visit,
    measured: Measured,
) -> None:
    known, name = set(told.came), machine.machine.name
    assert plant.write(machine.wrong()).stored == 1
    committed = bell.rang
    wait_until(lambda: [k for k in set(told.came) - known if k.endswith(name)], name, every=0.005)
    key = next(k for k in set(told.came) - known if k.endswith(name))
    measured.note("subscriber", told.came[key] - committed)
    row = f"^row:{key.split()[0]}$"
    measured.note("painted", page.when(row, after=committed - 1.0) - committed)
    plant.write(machine.calm())
    page.page.wait_for_timeout(1000 * PAUSE_S)


def _publish_floor(url: str) -> Iterator[float]:
    told, sender = Subscriber(url, "floor"), redis.Redis.from_url(url)
    for number in range(FLOORS + 1):
        time.sleep(0.01)
        sent = time.time()
        sender.publish("floor", str(number))
        came = wait_until(lambda key=str(number): told.came.get(key), "a message", every=0.001)
        if number:  # the first also makes the connection
            yield came - sent
    told.close()
    sender.close()


def _commit_floor(folder: Path) -> Iterator[float]:
    with contextlib.closing(sqlite3.connect(folder / "floor.db", isolation_level=None)) as floor:
        floor.execute("PRAGMA journal_mode=WAL")
        floor.execute("PRAGMA synchronous=FULL")
        floor.execute("CREATE TABLE readings (value REAL)")
        for _ in range(FLOORS):
            time.sleep(0.01)
            begun = time.perf_counter()
            floor.execute("BEGIN IMMEDIATE")
            floor.execute("INSERT INTO readings VALUES (1.0)")
            floor.execute("COMMIT")
            yield time.perf_counter() - begun


def _key(data: bytes) -> str:
    """Return what names a message: the anomaly and its machine, or the text itself."""
    text = data.decode()
    if not text.startswith("{"):
        return text
    event = json.loads(text)["data"]
    return f"{event['anomaly_id']} {event['machine']}"


def _where() -> str:
    """Return the processor, its cores and how busy they are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{(names or [platform.processor()])[0]}, {os.cpu_count()} cores, load {load}"


def main() -> None:
    """Measure, print, and fail where a limit was not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=300, help="readings to send (default 300)")
    count = parser.parse_args().events
    before = _where()
    begun = datetime.now(UTC)
    with running() as plant:
        measured = measure(plant, count)
    print(f"before: {before}\nafter:  {_where()}")
    print(f"{count} anomalies in {(datetime.now(UTC) - begun) / timedelta(minutes=1):.1f} min\n")
    print(measured.table())
    sys.exit("\n".join(measured.misses()) or 0)


if __name__ == "__main__":
    main()
