"""A machine that draws the same day and night, so that a reading can be plainly wrong."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from enms_core.client import Plant
from enms_core.plant import Factory

USUAL_KW, WRONG_KW, RATED_KW = 20.0, 150.0, 50.0
EVERY = pd.Timedelta("15min")
LEARNED = 200  # readings, about two days: enough to be judged
CALMING = 6  # readings that end an anomaly
AHEAD = timedelta(seconds=3)  # in order, also where the live source is faster than our commit


class Steady:
    """A machine of its own with a past; `wrong` and `calm` give what it reads next."""

    def __init__(
        self,
        plant: Plant,
        name: str,
        until: datetime | None = None,
        factory: Factory | None = None,
    ) -> None:
        self.machine = plant.add_machine(name, rated_kw=RATED_KW, factory=factory)
        self._random = np.random.default_rng(7)
        end = pd.Timestamp(until or datetime.now(UTC) - 2 * EVERY)
        self._last = end - LEARNED * EVERY
        plant.write(self.calm(LEARNED))

    def calm(self, count: int = CALMING) -> pd.DataFrame:
        """Return the next readings, all as usual."""
        return self._next(USUAL_KW + self._random.normal(0.0, 0.4, count))

    def wrong(self) -> pd.DataFrame:
        """Return the next reading, three times the rated power."""
        return self._next(np.array([WRONG_KW]))

    def _next(self, values: "np.ndarray") -> pd.DataFrame:
        times = [self._last + (i + 1) * EVERY for i in range(len(values))]
        self._last = times[-1]
        return reading(self.machine.name, times, values)


def reading(machine: str, time: object, value: object) -> pd.DataFrame:
    """Return readings of a machine's power as a plant takes them."""
    columns = {"machine": machine, "metric": "power_kw", "time": time, "value": value}
    return pd.DataFrame(columns, index=None if isinstance(time, list) else [0])


def plainly_wrong(machine: str, rated_kw: float) -> pd.DataFrame:
    """Return one reading of now at three times the rated power."""
    return reading(machine, datetime.now(UTC) + AHEAD, 3 * rated_kw)
