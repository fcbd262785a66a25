"""The page for authors of gateways says what the code does."""

import re

from enms_core.meters import LEAST_DIGITS, SPREAD_US, TIMES_RATED
from enms_core.modes import MODES, QUIET, SETTLE_US
from enms_core.plant import ENERGY_METRICS, REGISTER, REGISTER_POWER
from tests.plants import ROOT

PAGE = (ROOT / "docs/reference/readings.md").read_text()
ROWS = re.findall(r"^\| (`.*?`) \|", PAGE, flags=re.MULTILINE)


def test_it_names_every_mode_and_metric():
    named = [name for row in ROWS for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted([*MODES, *ENERGY_METRICS[:-1], REGISTER])
    assert f"`{REGISTER_POWER}`" in PAGE
    assert ", ".join(f"`{mode}`" for mode in QUIET) in ROWS


def test_its_numbers_are_those_of_the_code():
    assert (SPREAD_US, SETTLE_US) == (2 * 3_600_000_000, 5 * 60_000_000)
    assert "more than two hours" in PAGE
    assert "settles for five minutes" in PAGE
    assert (TIMES_RATED, 10**LEAST_DIGITS) == (3.0, 10_000)
    assert "three times the rated power" in PAGE
    assert "(10 000 or more)" in PAGE
