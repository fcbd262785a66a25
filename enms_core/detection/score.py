"""What a detector says of one reading, and how often it will."""

import math
from datetime import datetime
from typing import NamedTuple

MONTH = 30 * 86400.0


class Score(NamedTuple):
    """What a detector says of one reading.

    `surprise` is -log10 of the two-sided tail probability, 0 while too little is known. `expected`,
    and `lower` to `upper`, the band of 99 % of normal readings, are in the unit of the reading.
    """

    surprise: float
    expected: float
    lower: float
    upper: float


UNSCORED = Score(math.nan, math.nan, math.nan, math.nan)
LEARNING = Score(0.0, math.nan, math.nan, math.nan)


def false_alarms_per_month(surprise: float, interval_s: float) -> float:
    """Return how many normal readings of a month of 30 days, so many seconds apart, surprise more.

    >>> round(false_alarms_per_month(4.0, 60.0), 2)
    4.32
    """
    return math.pow(10.0, -surprise) * MONTH / interval_s


def surprise_for(false_alarms: float, interval_s: float) -> float:
    """Return the surprise that so many normal readings a month exceed.

    >>> round(surprise_for(2.0, 3600.0), 2)
    2.56
    """
    return -math.log10(false_alarms * interval_s / MONTH)


def epoch_seconds(at: datetime | float) -> float:
    """Return seconds since the epoch; raise ValueError for a datetime without a zone.

    >>> epoch_seconds(datetime.fromisoformat("1970-01-01T01:00+01:00"))
    0.0
    """
    if not isinstance(at, datetime):
        return float(at)
    if at.tzinfo is None:
        raise ValueError(f"time {at} has no zone; give an offset such as +01:00")
    return at.timestamp()
