"""A short run of the chaos; the long one is `python -m tests.chaos`."""

import os
import subprocess
import sys

import pytest

from tests.plants import ROOT

pytestmark = [pytest.mark.kill, pytest.mark.slow, pytest.mark.timeout(600)]


def test_nothing_is_lost_doubled_or_disordered():
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--events", "2000", "--kills", "4"],
        env={k: v for k, v in os.environ.items() if not k.startswith("ENMS_")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2000 acknowledged events, 0 of them not stored" in done.stdout
