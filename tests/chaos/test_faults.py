"""Every fault of the catalogue in short; the long ones are `python -m tests.chaos FAULT`.

What depends on how busy the machine is has no limit here: times, memory.
"""

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path

import pytest

from tests.chaos import plant
from tests.chaos.faults import FAULTS, clients
from tests.chaos.lab import Lab

pytestmark = [
    pytest.mark.kill,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # a socket that a fault has cut is closed when nobody holds it any more
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OF_THE_MACHINE = ("s", "ms", "MB", "MB/h", "%", "/s")
QUICK = {
    "R3": 1,
    "R4": 4,
    "R5": 2,
    "R6": 1000,
    "N1": 2,
    "C2": 1000,
    "I1": 400,
    "W1": 1,
    "W2": 2,
    "W3": 50,
    "W3-idle": 100,
    "W4": 3,
    "W5": 3,
    "W7": 8,
    "W8": 1,
    "W6": 4,
}
ALONE = {"R8-password": 1, "D2": 3, "D3": 1}  # these start and stop plants of their own
TOO_LONG = {
    "R8": "as R8-password, and another start to compare with",
    "N1-client": "it lasts 35 s",
    "W2-end": "it lasts a minute",
    "M2": "it lasts an hour, and a short slope says nothing",
}


@pytest.fixture(scope="module")
def lab():
    with (
        tempfile.TemporaryDirectory(prefix="enms-", ignore_cleanup_errors=True) as folder,
        contextlib.closing(Lab(Path(folder))) as made,
    ):
        yield made


@pytest.fixture
def lab_alone():
    with (
        tempfile.TemporaryDirectory(prefix="enms-", ignore_cleanup_errors=True) as folder,
        contextlib.closing(Lab(Path(folder))) as made,
    ):
        yield made


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(plant, "FREEZE_S", 3.0)
    monkeypatch.setattr(clients, "WINDOW_S", 3.0)
    monkeypatch.setattr(clients, "WATCHED_S", 4.0)


def limits_are_kept(figures):
    broken = [str(f) for f in figures if f.unit not in OF_THE_MACHINE and not f.holds]
    assert not broken, "\n".join(map(str, figures))


@pytest.mark.parametrize("name", QUICK)
def test_fault(lab, name):
    limits_are_kept(asyncio.run(FAULTS[name](lab, QUICK[name])))


@pytest.mark.parametrize("name", ALONE)
def test_fault_of_a_start_or_a_disk(lab_alone, name):
    if name == "D3" and os.geteuid() != 0:
        pytest.skip("only root may mount the small disk")
    limits_are_kept(asyncio.run(FAULTS[name](lab_alone, ALONE[name])))


def test_every_fault_is_tried_or_too_long():
    assert {*QUICK, *ALONE, *TOO_LONG} == set(FAULTS)
