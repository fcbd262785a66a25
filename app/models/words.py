"""Numbers and times as people read them: large numbers short, units apart."""

import math
from datetime import datetime
from zoneinfo import ZoneInfo

from enms_core.store.times import from_us

NOTHING = "\N{EN DASH}"
LABELS = {"true": "True", "false": "False alarm", "expected": "Expected"}
LARGEST_PERCENT = 300  # beyond, a percentage says less than the amount


def short(value: float | None) -> str:
    """Return a number with three significant digits, a thin space between thousands.

    >>> short(3.914), short(68.24), short(341.7), short(None) == NOTHING
    ('3.91', '68.2', '342', True)
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def kw(value: float | None) -> str:
    """Return kilowatts with one digit, none from 1000 on.

    >>> kw(3.914), kw(68.24), kw(None) == NOTHING
    ('3.9', '68.2', True)
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    digits = 0 if abs(value) >= 999.95 else 1
    return f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def energy(kwh: float | None) -> tuple[str, str]:
    """Return an energy and its unit.

    >>> energy(212.0), energy(3914.0)
    (('212', 'kWh'), ('3.91', 'MWh'))
    """
    return _scaled(kwh, "kWh", "MWh")


def same_unit(kwh: float | None, like_kwh: float | None) -> str:
    """Return an energy in the unit in which another is shown.

    >>> same_unit(990.0, 1012.0)
    '0.99'
    """
    if kwh is None or like_kwh is None:
        return NOTHING
    return short(kwh / 1000 if abs(like_kwh) >= 1000 else kwh)


def mass(kg: float | None) -> tuple[str, str]:
    """Return a mass and its unit.

    >>> mass(880.0), mass(1370.0)
    (('880', 'kg'), ('1.37', 't'))
    """
    return _scaled(kg, "kg", "t")


def deviation(value: float | None, expected: float | None) -> str:
    """Return how far a value is from what was expected; empty where that says nothing.

    Around an expectation of almost nothing any value is thousands of percent off.

    >>> deviation(109.0, 100.0), deviation(100.2, 100.0), deviation(1.0, None)
    ('+9 %', '±0 %', '')
    >>> deviation(50.0, 0.4)
    ''
    """
    if value is None or expected is None or expected <= 0:
        return ""
    percent = round(100.0 * (value - expected) / expected)
    if percent > LARGEST_PERCENT:
        return ""
    sign = "+" if percent > 0 else "\N{MINUS SIGN}" if percent < 0 else "±"
    return f"{sign}{abs(percent)} %"


def clock(us: int, zone: ZoneInfo, now_us: int) -> str:
    """Return a time of day in the site's zone, with the day where it is not today.

    >>> hour = 3_600_000_000
    >>> clock(13 * hour, ZoneInfo("Europe/Berlin"), 14 * hour)
    '14:00'
    >>> clock(13 * hour, ZoneInfo("Europe/Berlin"), 40 * hour)
    'Thu 14:00'
    >>> clock(13 * hour, ZoneInfo("Europe/Berlin"), 4000 * hour)
    '1 Jan 14:00'
    """
    at, now = (from_us(t).astimezone(zone) for t in (us, now_us))
    days = (now.date() - at.date()).days
    time = f"{at:%H:%M}"
    return time if days == 0 else f"{at:%a} {time}" if 0 < days < 6 else f"{_day(at)} {time}"


def span(start: int, end: int | None, zone: ZoneInfo, now_us: int) -> str:
    """Return from when to when, the day once where it is the same; no end where there is none.

    >>> hour = 3_600_000_000
    >>> span(13 * hour, 15 * hour, ZoneInfo("Europe/Berlin"), 40 * hour)
    'Thu 14:00 to 16:00'
    >>> span(13 * hour, 25 * hour, ZoneInfo("Europe/Berlin"), 60 * hour)
    'Thu 14:00 to Fri 02:00'
    """
    first = clock(start, zone, now_us)
    if end is None:
        return first
    days = {from_us(us).astimezone(zone).date() for us in (start, end)}
    last = clock(end, zone, end if len(days) == 1 else now_us)
    return f"{first} to {last}"


def zone_name(us: int, zone: ZoneInfo) -> str:
    """Return what the clock of a site is called at a time.

    >>> zone_name(0, ZoneInfo("Europe/Berlin")), zone_name(0, ZoneInfo("America/New_York"))
    ('CET', 'EST')
    """
    return f"{from_us(us).astimezone(zone):%Z}"


def duration(us: int) -> str:
    """Return how long something lasted, in its two largest units.

    >>> [duration(s * 1_000_000) for s in (5, 480, 25_140, 183_600)]
    ['5 s', '8 min', '6 h 59 min', '2 d 3 h']
    """
    seconds = us // 1_000_000
    parts = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        parts.append((count, unit))
    first = next((i for i, (count, _) in enumerate(parts) if count), len(parts) - 1)
    shown = parts[first : first + 2] if first < 2 else parts[first : first + 1]
    return " ".join(f"{count} {unit}" for count, unit in shown if count or len(shown) == 1)


def signed(value: float, digits: int) -> str:
    """Return a number with its sign.

    >>> signed(3.456, 1), signed(0.0, 1)
    ('+3.5', '0.0')
    """
    text = f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return f"+{text}" if value > 0 else text


def counted(number: int, one: str, many: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "anomaly", "anomalies"), counted(7, "anomaly", "anomalies")
    ('1 anomaly', '7 anomalies')
    """
    return f"{number} {one if number == 1 else many}"


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b}"


def _scaled(value: float | None, small: str, large: str) -> tuple[str, str]:
    if value is not None and abs(value) >= 1000:
        return short(value / 1000), large
    return short(value), small
