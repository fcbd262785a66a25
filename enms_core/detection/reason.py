"""An anomaly in words, and how much it matters."""

from datetime import datetime

from enms_core.plant import Metric

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LARGEST_PERCENT = 300.0  # beyond, and around zero, a percentage says less than the amount

CRITICAL_SHARE = 0.20  # of rated power; of expected power where none is rated
WARNING_SHARE = 0.05
LOW_WARNING_SHARE = 0.20  # using too little costs no energy: at most a warning


def describe(
    value: float,
    expected: float,
    at: datetime,
    *,
    metric: str = "power_kw",
    temperature_c: float | None = None,
) -> str:
    """Say how far `value` is off, for when (`at` in the site's zone) and for which weather.

    >>> tuesday = datetime.fromisoformat("2026-10-06T14:03+02:00")
    >>> describe(40.2, 30.0, tuesday, temperature_c=21.4)
    '34 % above expected for Tuesday 14:00 at 21 °C'
    >>> describe(13.5, 1.1, tuesday)
    '12.4 kW above the expected 1.1 kW for Tuesday 14:00'
    >>> describe(7.0, 14.0, tuesday, metric="energy_kwh")
    '50 % below expected for Tuesday 14:00'
    """
    when = f"for {WEEKDAYS[at.weekday()]} {at.hour:02d}:00"
    weather = "" if temperature_c is None else f" at {_whole(temperature_c)} °C"
    return f"{_how_far(value, expected, metric)} {when}{weather}"


def severity(
    delta_kw: float, rated_kw: float | None = None, expected_kw: float | None = None
) -> str:
    """Return info, warning or critical for a deviation of `delta_kw`, negative if below expected.

    It is taken as a share of the rated power, else of the expected. Where neither is known or
    positive, too much is a warning and too little is for information.

    >>> severity(16.0, rated_kw=75.0), severity(4.0, rated_kw=75.0), severity(3.0, rated_kw=75.0)
    ('critical', 'warning', 'info')
    >>> severity(-60.0, rated_kw=75.0), severity(-10.0, rated_kw=75.0)
    ('warning', 'info')
    """
    reference = rated_kw or expected_kw or 0.0
    if reference <= 0.0:
        return "warning" if delta_kw > 0 else "info"
    share = delta_kw / reference
    if share >= CRITICAL_SHARE:
        return "critical"
    return "warning" if share >= WARNING_SHARE or share <= -LOW_WARNING_SHARE else "info"


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
