"""The public steel works file, from the CSV to anomalies, as the README shows it."""

import re
import subprocess
import sys
import time

import pytest

from enms_core.__main__ import main
from enms_core.client import connect
from tests.plants import ROOT

FILE = ROOT.parent / "shared" / "data" / "steel" / "steel.csv"
IMPORT = (
    "import", FILE, "--machine", "Steel works", "--time", "date", "--dayfirst", "--ends",
    "--map", "Usage_kWh=energy_kwh", "--map", "CO2(tCO2)=co2_t", "--timezone", "Asia/Seoul",
)  # fmt: skip
IMPORTED_S = 60.0  # a guard; a quiet machine needs less than 3
DETECTED_S = 120.0

pytestmark = [
    pytest.mark.skipif(not FILE.exists(), reason=f"the public data set is not in {FILE.parent}"),
    pytest.mark.slow,
]


@pytest.fixture
def enms(settings, monkeypatch, valkey, capsys):
    """Run commands on a home of its own; return what they print and how long they take."""
    for name, value in {**settings.environment(), "ENMS_REDIS_URL": valkey.url}.items():
        monkeypatch.setenv(name, value)

    def run(*words):
        began = time.perf_counter()
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out, time.perf_counter() - began

    return run


@pytest.fixture
def worker(enms):
    """Run a worker."""
    process = subprocess.Popen(
        [sys.executable, "-m", "enms_core", "worker"], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    yield
    process.kill()
    process.wait(10)


def test_steel(enms, worker, settings, capsys):
    words = ("--type", "other", "--rated-kw", "600", "--timezone", "Asia/Seoul")
    enms("machine", "add", "Steel works", *words)
    out, first = enms(*IMPORT)
    assert out == "70080 readings: 70080 stored, 0 duplicate, 0 quarantined\n"
    out, second = enms(*IMPORT)
    assert out == "70080 readings: 0 stored, 70080 duplicate, 0 quarantined\n"

    trained, _ = enms("train", "Steel works", "--wait")
    assert "100 %  version 1" in trained
    span = ("--start", "2018-07-01", "--end", "2018-12-31")
    out, detected = enms("detect", "Steel works", *span)
    *found, total = out.splitlines()
    number = int(re.fullmatch(r"(\d+) anomalies, \1 of them new", total)[1])
    assert number == len(found)
    assert 0 < number < 200  # of 183 days
    assert all(re.match(r"2018-(0[7-9]|1[0-2])-\d\d \d\d:\d\d  \w+ ", line) for line in found)
    assert enms("detect", "Steel works", *span)[0].endswith(f"{number} anomalies, 0 of them new\n")

    plant = connect(settings)
    year = plant.readings("Steel works", "2018-01-01", "2019-01-01", freq="1D")
    plant.store.dispose()
    assert len(year) == 365
    assert year["energy_kwh"].notna().all()
    with capsys.disabled():
        sys.stdout.write(
            f"\nsteel: import {first:.1f} s, again {second:.1f} s, detect {detected:.1f} s, "
            f"{number} anomalies in half a year\n{trained}"
        )
    assert max(first, second) < IMPORTED_S
    assert detected < DETECTED_S
