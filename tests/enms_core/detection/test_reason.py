from datetime import datetime

import pytest

from enms_core.detection import describe, severity

TUESDAY = datetime.fromisoformat("2026-10-06T14:59+02:00")


@pytest.mark.parametrize(
    ("value", "expected", "words"),
    [
        (40.2, 30.0, "34 % above expected for Tuesday 14:00"),
        (15.0, 30.0, "50 % below expected for Tuesday 14:00"),
        (12.4, 0.0, "12.4 kW above the expected 0.0 kW for Tuesday 14:00"),
        (500.0, 100.0, "400 kW above the expected 100 kW for Tuesday 14:00"),
        (-3.0, -1.0, "2.0 kW below the expected -1.0 kW for Tuesday 14:00"),
    ],
)
def test_words(value, expected, words):
    assert describe(value, expected, TUESDAY) == words


def test_weather_and_unit():
    assert describe(9.0, 1.0, TUESDAY, metric="pressure_bar", temperature_c=-3.4) == (
        "8.0 bar above the expected 1.0 bar for Tuesday 14:00 at -3 °C"
    )


@pytest.mark.parametrize(
    ("delta", "rated", "expected", "level"),
    [
        (20.0, 100.0, None, "critical"),
        (5.0, 100.0, 10.0, "warning"),
        (4.9, 100.0, 10.0, "info"),
        (5.0, None, 10.0, "critical"),
        (-90.0, 100.0, None, "warning"),
        (-19.0, 100.0, None, "info"),
        (5.0, None, 0.0, "warning"),
        (-5.0, None, None, "info"),
    ],
)
def test_severity(delta, rated, expected, level):
    assert severity(delta, rated, expected) == level
