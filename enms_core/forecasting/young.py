"""The load of a machine that is known for a few weeks only: what was usual in the last two.

Nothing is fitted. An hour ahead is forecast by the mean of that hour of the day over the last 14
days, working days for working days and weekends for weekends. Every past day with so many days
before it was forecast the same way, and its errors make the band.
"""

import numpy as np

from enms_core.forecasting.ridge import WEEKEND
from enms_core.forecasting.wall import DAY, LEAST_SIZE, Array, Ints, Wall, weekday

USUAL = 14  # days that make a habit
LEAST_DAYS = 28  # measured: half of them make the first habit, half are forecast
CALM = 4  # days of mean error that an hour's own error is mixed with


class TooLittleHistory(ValueError):
    """So few days of load were measured that no forecast can say how wrong it will be."""

    def __init__(self, days: int) -> None:
        super().__init__(
            f"too little history: {days} days of load were measured, a forecast takes {LEAST_DAYS}"
        )
        self.days, self.missing = days, LEAST_DAYS - days


def check(wall: Wall) -> None:
    """Raise TooLittleHistory where less than 28 whole days were measured."""
    days = len(wall.load) // DAY
    known = wall.known[len(wall.known) - days * DAY :].reshape(days, DAY)
    measured = int(known.all(axis=1).sum())
    if measured < LEAST_DAYS:
        raise TooLittleHistory(measured)


def ahead(wall: Wall, leads: Ints) -> tuple[Array, Array, Array, int]:
    """Return the forecast of days ahead, and what the past days say of its errors.

    The days are 24 hours each, `leads` days after now. Mean and size of the error (leads, 24), the
    errors of the past as multiples of their size, and how many days these are of. Raise
    TooLittleHistory for less than 28 measured days.
    """
    check(wall)
    origins, leads_then = _past(wall, leads)
    hours = _hours(origins, leads_then)
    errors = np.abs(wall.at(hours) - _usual(wall, hours, leads_then))
    size = (errors.sum(axis=0) + CALM * errors.mean()) / (len(errors) + CALM)
    size = np.maximum(size, max(LEAST_SIZE * float(errors.mean()), 1e-9))
    coming = _hours(np.full(len(leads), wall.now), leads)
    mean = _usual(wall, coming, leads)
    return mean, np.broadcast_to(size, mean.shape), errors / size, len(np.unique(hours[:, 0]))


def _past(wall: Wall, leads: Ints) -> tuple[Ints, Ints]:
    """Return the origins and leads of all past forecasts whose day was measured."""
    first = np.arange(wall.now - DAY, wall.start + USUAL * DAY - 1, -DAY)[::-1]
    origins, then = (each.ravel() for each in np.meshgrid(first, leads, indexing="ij"))
    over = origins + DAY * (then + 1) <= wall.now
    origins, then = origins[over], then[over]
    measured = wall.knows(_hours(origins, then)).all(axis=1)
    return origins[measured], then[measured]


def _hours(origins: Ints, leads: Ints) -> Ints:
    return (origins + DAY * leads)[:, None] + np.arange(DAY)


def _usual(wall: Wall, hours: Ints, leads: Ints) -> Array:
    """Return the mean load of each hour over the 14 days before its origin that are alike."""
    before = hours[..., None] - DAY * (leads[:, None, None] + np.arange(1, USUAL + 1))
    alike = _is_weekend(before) == _is_weekend(hours)[..., None]
    usual: Array = (wall.at(before) * alike).sum(axis=-1) / alike.sum(axis=-1)
    return usual


def _is_weekend(hours: Ints) -> Array:
    return np.isin(weekday(hours), WEEKEND)
