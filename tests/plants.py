"""Real plants for tests: `panel_serve.sh` on a home of its own, filled once and copied."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from enms_core.client import Plant, connect
from enms_core.readings import Checked
from enms_core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
GUARD_S = 90.0  # against hanging; no promise


def settings_of(
    home: Path, source: str = "simulator", env: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    """Return the settings of a plant in that home, and what else is given, and nothing else."""
    return Settings.from_env({"ENMS_HOME": str(home), "ENMS_SOURCE": source, **env})


def valid(rows: Sequence[tuple[str, str, int, float]]) -> Checked:
    """Return readings (machine, metric, time in us, value) as they are when they were checked."""
    machines, metrics, times, values = map(list, zip(*rows, strict=True)) if rows else ([],) * 4
    return Checked((machines, metrics, times, values), [])


def wait_until(
    check: Callable[[], Any], what: str, seconds: float = GUARD_S, every: float = 0.05
) -> Any:
    """Return what `check` returns as soon as it is true; fail saying what was waited for."""
    end = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(every)
    return value


class RunningPlant:
    """A plant started by `panel_serve.sh`: server, engine, worker, source and broker."""

    def __init__(
        self,
        home: Path,
        source: str = "simulator",
        words: Sequence[str] = (),
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.home, self.settings = home, settings_of(home, source, env)
        self._words, self._env = words, env
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RunningPlant":
        """Start it and wait until the page is served and the parts run."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("ENMS_")}
        with (self.home / "panel_serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(ROOT / "panel_serve.sh"), "--port", str(self.port), *self._words],
                env={**env, **self._env, **self.settings.environment()},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self.answers, f"the page; {self.home}/panel_serve.log")
        wait_until(lambda: all(self.pids().values()), f"all parts; {self.home}/logs")
        return self

    def answers(self) -> bool:
        """Return whether the server answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def pids(self) -> dict[str, int | None]:
        """Return the pid of every part that runs, as `enms status` tells them."""
        report = self.status()
        names = ("broker", "engine", "worker", "server")
        return {name: report[name]["pid"] for name in names}

    def status(self) -> dict[str, Any]:
        """Return what `enms status --json` says."""
        report: dict[str, Any] = json.loads(self.enms("status", "--json"))
        return report

    def metric(self, name: str) -> float:
        """Return a figure that `/metrics` shows: with these labels, or summed over all of them."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=GUARD_S) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if re.match(rf"{re.escape(name)}(\{{.*\}})? ", line)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def enms(self, *words: str) -> str:
        """Run a command of the command line and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "enms_core", *words],
            env={**os.environ, **self.settings.environment()},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=GUARD_S,
            check=False,
        )
        assert done.returncode == 0, f"enms {' '.join(words)}: {done.stderr}"
        return done.stdout

    def kill(self, part: str) -> int:
        """Kill a part with SIGKILL; return the pid it had."""
        pid = self.pids()[part]
        assert pid, f"{part} does not run"
        os.kill(pid, signal.SIGKILL)
        return pid

    def connect(self) -> Plant:
        """Return the analyst's side of it."""
        return connect(self.settings)

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def filled_home() -> Iterator[Path]:
    """Fill a home from the simulator once; copy it, do not run in it."""
    with tempfile.TemporaryDirectory(prefix="enms-") as folder:
        home = Path(folder) / "filled"
        subprocess.run(
            [sys.executable, "-m", "enms_core", "setup"],
            env={**os.environ, **settings_of(home).environment()},
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        yield home


@pytest.fixture
def plant_home(filled_home: Path) -> Iterator[Path]:
    """Give a filled home of one's own, on a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="enms-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        shutil.copytree(filled_home, home)
        yield home


@pytest.fixture
def running(plant_home: Path) -> Iterator[RunningPlant]:
    """Give a running plant of one's own."""
    plant = RunningPlant(plant_home)
    try:
        yield plant.start()
    finally:
        plant.stop()


@pytest.fixture(scope="module")
def shared(filled_home: Path) -> Iterator[RunningPlant]:
    """Give a running plant that the tests of a module share."""
    with tempfile.TemporaryDirectory(prefix="enms-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        shutil.copytree(filled_home, home)
        plant = RunningPlant(home)
        try:
            yield plant.start()
        finally:
            plant.stop()
