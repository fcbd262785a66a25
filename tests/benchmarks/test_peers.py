"""The command that judges ours beside the peers: it runs, and says what is missing."""

import subprocess
import sys

import pytest

from tests.benchmarks.peers.__main__ import DATA, ENTRANTS, SHARED, SUBJECTS, table
from tests.plants import ROOT

QUICK = ("windowed Gaussian", "time of week and temperature")

needs_data = pytest.mark.skipif(
    not (SHARED / "judges").exists(), reason=f"the judges and their data are not in {SHARED}"
)


def peers(*asked):
    command = [sys.executable, "-m", "tests.benchmarks.peers", *asked]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@needs_data
@pytest.mark.slow
def test_peers_without_a_package_run_in_a_quick_cut():
    told = peers("detectors", "baselines", "--quick", "--only", *QUICK)
    assert told.returncode == 0, told.stderr
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in told.stdout.splitlines()
            if line.startswith("|")}  # fmt: skip
    ours, gaussian = rows["standard"]
    assert float(ours) > float(gaussian.split()[0]) > 20
    ours, towt = rows["il-electricity-cdd-hdd-hourly cv_rmse"]
    assert float(ours) < float(towt.split()[0]) < 1.1 * float(ours)
    assert float(rows["event_recall"][0]) > 0.5


def test_what_is_missing_is_said(tmp_path):
    told = peers("forecasts", "--judges", tmp_path / "none", "--data", tmp_path, "--only", "none")
    assert told.returncode == 2
    assert f"{tmp_path / 'none' / 'forecasts'}.py is missing" in told.stderr
    assert f"{tmp_path / 'pjm'} is missing: name the folder of the public data" in told.stderr
    assert peers("weather").returncode == 2


def test_a_peer_that_is_not_installed_is_named():
    told = peers("forecasts", "--only", "AutoETS")
    assert told.returncode == 2
    assert "statsforecast is missing" in told.stderr
    assert "pip install --group bench" in told.stderr


def test_every_judge_has_ours_first():
    for judge in (judge for judges in SUBJECTS.values() for judge in judges):
        assert DATA[judge]
        first, *others = [entrant for entrant in ENTRANTS if entrant.judge == judge]
        assert first.is_ours
        assert not any(entrant.is_ours for entrant in others)


def test_a_table_sets_peers_against_ours():
    told = table({"ours": {"mase": 0.5, "mcc": 0.5}, "theirs": {"mase": 1.0, "mcc": 0.25}})
    assert told.splitlines()[2:] == ["| mase | 0.5 | 1 (x2.00) |", "| mcc | 0.5 | 0.25 (-0.25) |"]
