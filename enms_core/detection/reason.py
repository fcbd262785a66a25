"""An anomaly in words."""

from collections.abc import Sequence
from datetime import datetime

from enms_core.contributors import DRIVERS, Contributor
from enms_core.plant import Metric

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LARGEST_PERCENT = 300.0  # beyond, and around zero, a percentage says less than the amount
MOST_OTHERS = 2  # metrics that are not as usual; the rest is in the list of contributors


def describe(
    value: float,
    expected: float,
    at: datetime,
    *,
    metric: str = "power_kw",
    contributors: Sequence[Contributor] = (),
) -> str:
    """Say how far `value` is off, for when (`at` in the site's zone), and what goes with it.

    >>> tuesday = datetime.fromisoformat("2026-10-06T14:03+02:00")
    >>> weather = Contributor(name="temperature_c", value=21.4, unit="°C")
    >>> made = Contributor(name="production_per_h", value=118.2, unit="parts/h")
    >>> bar = Contributor(name="pressure_bar", value=6.68, unit="bar", usual=7.2, deviations=-5.1)
    >>> describe(40.2, 30.0, tuesday, contributors=[made, weather, bar])
    '34 % above expected for Tuesday 14:00 at 21 °C, 118 parts/h;
     pressure 6.68 bar, usually 7.2 bar'
    >>> describe(13.5, 1.1, tuesday)
    '12.4 kW above the expected 1.1 kW for Tuesday 14:00'
    >>> describe(7.0, 14.0, tuesday, metric="energy_kwh")
    '50 % below expected for Tuesday 14:00'
    """
    when = f"for {WEEKDAYS[at.weekday()]} {at.hour:02d}:00"
    drivers = sorted((c for c in contributors if c.is_driver), key=lambda c: DRIVERS.index(c.name))
    driven = ", ".join(f"{_whole(c.value)} {c.unit}" for c in drivers if c.unit)
    others = [_unusual(c) for c in contributors if not c.is_driver][:MOST_OTHERS]
    told = f"{_how_far(value, expected, metric)} {when}" + (f" at {driven}" if driven else "")
    return "; ".join([told, *others])


def _unusual(one: Contributor) -> str:
    name = one.name.rsplit("_", 1)[0].replace("_", " ")
    usually = "" if one.usual is None else f", usually {one.usual:.3g} {one.unit}".rstrip()
    return f"{name} {one.value:.3g} {one.unit}".rstrip() + usually


def _how_far(value: float, expected: float, metric: str) -> str:
    off = value - expected
    side = "above" if off >= 0 else "below"
    percent = 100.0 * abs(off) / expected if expected > 0 else float("inf")
    if percent <= LARGEST_PERCENT:
        return f"{percent:.0f} % {side} expected"
    unit = Metric(metric).unit
    return f"{_amount(abs(off), unit)} {side} the expected {_amount(expected, unit)}"


def _amount(value: float, unit: str) -> str:
    number = f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
    return f"{number} {unit}".rstrip()


def _whole(value: float) -> str:
    return f"{round(value):d}"
