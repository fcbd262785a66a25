from datetime import datetime

import pytest

from enms_core.contributors import Contributor, ranked, unit_of
from enms_core.detection import describe

TUESDAY = datetime.fromisoformat("2026-10-06T14:59+02:00")


def one(name, value, **more):
    return Contributor(name=name, value=value, unit=unit_of(name), **more)


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
    weather = [one("temperature_c", -3.4)]
    assert describe(9.0, 1.0, TUESDAY, metric="pressure_bar", contributors=weather) == (
        "8.0 bar above the expected 1.0 bar for Tuesday 14:00 at -3 °C"
    )


def test_drivers_come_in_their_order_and_a_holiday_has_no_figure():
    drivers = [one("holiday", 1.0), one("production_per_h", 118.4), one("temperature_c", 21.0)]
    assert describe(2.0, 1.0, TUESDAY, contributors=drivers) == (
        "100 % above expected for Tuesday 14:00 at 21 °C, 118 parts/h"
    )


def test_of_what_is_unusual_two_are_told():
    others = [
        one("supply_temperature_c", 26.61, usual=20.48, deviations=9.0),
        one("vibration_mms", 0.0312, usual=None),
        one("flow_m3h", 1.0, usual=2.0, deviations=-4.0),
    ]
    assert describe(2.0, 1.0, TUESDAY, contributors=others) == (
        "100 % above expected for Tuesday 14:00; supply temperature 26.6 °C, usually 20.5 °C; "
        "vibration 0.0312 mm/s"
    )


def test_drivers_rank_by_effect_before_what_is_only_unusual():
    drivers = [one("temperature_c", 1.0, effect_kw=0.5), one("production_per_h", 1.0, effect_kw=-3)]
    others = [one("flow_m3h", 1.0, deviations=4.0), one("pressure_bar", 1.0, deviations=-40.0)]
    found = ranked([*others, *drivers])
    assert [c.name for c in found] == [
        *("production_per_h", "temperature_c", "pressure_bar", "flow_m3h")
    ]
