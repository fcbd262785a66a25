"""The weather of a site, and the smooth noise that it and the machines move by.

Everything here is a function of time and not of the order of calls: `times` are whole microseconds
since 1970-01-01 UTC, and the same instant has the same value in whatever window it is asked for.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEAR = 365.2425 * DAY

COLDEST = 20 * DAY  # into the year
WARMEST_HOUR = 15.0  # solar time


@dataclass(frozen=True)
class Climate:
    """The usual outdoor air: yearly mean and half the swings over a year and a day, in °C."""

    mean_c: float
    yearly_c: float
    daily_c: float
    longitude: float

    def temperature(self, stream: str, times: Times) -> Floats:
        """Return the outdoor air temperature in °C: yearly and daily course, fronts and clouds.

        >>> ohio = Climate(mean_c=11.5, yearly_c=13.0, daily_c=5.0, longitude=-83.0)
        >>> a_year = np.arange(0, 365 * DAY, HOUR)
        >>> print(ohio.temperature("docs", a_year).mean().round())
        11.0
        """
        season = -np.cos(2 * np.pi * (times - COLDEST) / YEAR)
        hour = (times / HOUR + self.longitude / 15) % 24
        clear_sky = 1 + 0.35 * season + 0.3 * noise(f"{stream}/clouds", times, 2 * DAY)
        outdoor: Floats = (
            self.mean_c
            + self.yearly_c * season
            + self.daily_c * clear_sky * np.cos(2 * np.pi * (hour - WARMEST_HOUR) / 24)
            + 3.0 * noise(f"{stream}/fronts", times, 3 * DAY)
            + 1.2 * noise(f"{stream}/showers", times, 6 * HOUR)
            + 0.2 * noise(f"{stream}/gusts", times, 20 * MINUTE)
        )
        return outdoor


def noise(stream: str, times: Times, knot: int) -> Floats:
    """Return smooth noise of mean 0 and deviation 1 that forgets itself within about a `knot`.

    Between independent values at the multiples of `knot` (microseconds) it goes from one to the
    next on a quarter circle, which keeps the deviation at 1 all the way.

    >>> times = np.arange(0, 2 * HOUR, MINUTE)
    >>> whole = noise("docs", times, 5 * MINUTE)
    >>> bool((whole[30:60] == noise("docs", times[30:60], 5 * MINUTE)).all())
    True
    >>> bool(abs(np.diff(whole)).max() < abs(whole).max())
    True
    """
    index, rest = np.divmod(times, knot)
    way = rest / knot
    angle = np.pi / 2 * way * way * (3 - 2 * way)
    key = _key(stream)
    return _normal(key, index) * np.cos(angle) + _normal(key, index + 1) * np.sin(angle)


def _normal(key: int, index: NDArray[np.int64]) -> Floats:
    """Hash each index (splitmix64, Steele et al. 2014) to a nearly normal value within ±3.5."""
    bits = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    quarters = (bits ^ (bits >> np.uint64(31))).view(np.uint16).reshape(-1, 4)
    uniform: Floats = (quarters + 0.5) / 65536
    normal: Floats = (uniform.sum(axis=1) - 2) * np.sqrt(3)
    return normal


@cache
def _key(stream: str) -> int:
    return int.from_bytes(blake2b(stream.encode(), digest_size=8).digest(), "big")
