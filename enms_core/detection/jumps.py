"""Steps of a series that nothing explains: told long before its level is out of the band.

Power that wanders slowly hides a fault in the width of its band, but wanders little from one
reading to the next. What is looked at is how far a reading jumps from the mean of the six before:
of the value and of what is left when the expected is taken off, the smaller one (minmod, as of
slopes: van Leer, J. Comput. Phys. 32, 1979). So neither a shift that starts as expected nor an
expected value that jumps alone is a jump. How rare one is, is learned from those of the past.
"""

import math
from typing import Any, NamedTuple, Self

import numpy as np

from enms_core.detection.tails import EDGES, Tails

BEFORE = 6  # readings
GROUP = 12  # neighbouring jumps are alike: their maxima over so many readings are counted ...
GROUPS = 20  # ... and learned so many at a time
DAY = 86400.0
WARM_SECONDS, MEMORY_SECONDS, UNIT_SECONDS = DAY, 28 * DAY, 7 * DAY
FINE_SECONDS = 30.0  # readings farther apart are left to the smoothed signals
HOLD = 3.0  # usual intervals: a longer one is a gap
OTHER_PACE = 2.0  # readings faster or slower by this factor jump otherwise ...
TRIAL = 2  # ... and after so many groups it is known how
OTHER_WEIGHT = 30.0  # maxima; what was counted at another pace weighs no more
FINER = 0.5  # of the usual jump at least, until a day of faster readings has shown less
TYPICAL = 2.0  # the usual jump, in units of the histogram
LOUD = 3.0  # less surprising jumps count as none


class Jump(NamedTuple):
    """How surprising a jump is, its height, and how far off the readings before it were."""

    surprise: float
    height: float
    before: float


NONE = Jump(0.0, 0.0, 0.0)


class Jumps:
    """The jumps of one series, judged by those before; reading after reading.

    >>> jumps, random = Jumps(), np.random.default_rng(1)
    >>> power = 20.0 + np.cumsum(random.normal(0.0, 0.01, 20_000))
    >>> calm = [jumps.take(5.0 * i, kw, 20.0) for i, kw in enumerate(power)]
    >>> max(jump.surprise for jump in calm) < 5.1
    True
    >>> jump = jumps.take(100_000.0, power[-1] + 0.5, 20.0)
    >>> jump.surprise > 5.1, bool(0.4 < jump.height < 0.6)
    (True, True)
    """

    def __init__(self) -> None:
        self.tails = Tails([GROUP, GROUP], [0.0, 0.0])
        self.unit = self.pace = self.gap = 0.0
        self.elapsed = 0.0  # seconds
        self.paced = 0.0  # seconds that the unit weighs
        self.last = -math.inf
        self.values: list[float] = []
        self.residuals: list[float] = []
        self.group: list[float] = []  # jumps
        self.span = 0.0  # seconds of the group
        self.above: list[float] = []  # the largest of each group
        self.below: list[float] = []
        self.trial: list[float] = []  # the mean of each group at another pace
        self.loud = self._loud()

    def take(self, at: float, value: float, expected: float) -> Jump:
        """Judge a reading, then learn it; it must be later than the last one."""
        gap, self.last = at - self.last, at
        if gap > HOLD * self.gap:
            self.values.clear()
            self.residuals.clear()
        self.gap = min(gap, OTHER_PACE * self.gap or gap)
        residual = value - expected
        jump = NONE
        if len(self.values) == BEFORE:
            before = sum(self.residuals) / BEFORE
            height = _smaller(value - sum(self.values) / BEFORE, residual - before)
            jump = self._judged(height, before)
            self._count(height, gap)
            del self.values[0], self.residuals[0]
        self.values.append(value)
        self.residuals.append(residual)
        return jump

    def _judged(self, height: float, before: float) -> Jump:
        above, below = self.loud
        if below <= height <= above or not self._ready:
            return NONE
        row = self.tails.table[int(height < 0.0)]
        return Jump(float(np.interp(abs(height) / self.unit, EDGES, row)), height, before)

    @property
    def _ready(self) -> bool:
        """Whether enough is known; of a finer pace, still on trial, it is how coarser ones jump."""
        is_slower = bool(self.trial) and self.gap > self.pace
        return self.elapsed >= WARM_SECONDS and self.gap <= FINE_SECONDS and not is_slower

    def _loud(self) -> tuple[float, float]:
        above, below = self.tails.sizes_at(LOUD)
        return float(above * self.unit), -float(below * self.unit)

    def _count(self, height: float, gap: float) -> None:
        self.group.append(height)
        self.span += gap
        if len(self.group) < GROUP:
            return
        pace, mean = self.span / GROUP, sum(map(abs, self.group)) / GROUP
        if 1.0 / OTHER_PACE < pace / (self.pace or math.inf) < OTHER_PACE:
            self.trial.clear()
            self._learn_group(mean)
        else:
            self.trial.append(mean)
            if len(self.trial) == TRIAL:
                self._change_pace(pace)
        self.group.clear()
        self.span = 0.0

    def _change_pace(self, pace: float) -> None:
        """Go on with the same shares of jumps, in units of those of the new pace."""
        usual = sum(self.trial) / TRIAL / TYPICAL
        self.unit = max(usual, FINER * self.unit) if pace < self.pace else usual
        self.paced = DAY if self.pace else TRIAL * self.span
        self.pace = pace
        self.tails.weigh(OTHER_WEIGHT)
        self.trial.clear()
        self.above.clear()
        self.below.clear()
        self.loud = self._loud()

    def _learn_group(self, mean: float) -> None:
        self.elapsed += self.span
        self.paced += self.span
        self.above.append(max(0.0, *self.group))
        self.below.append(max(0.0, *(-height for height in self.group)))
        usual = min(mean / TYPICAL, 4.0 * self.unit or math.inf)
        gain = self.span / min(self.paced, UNIT_SECONDS)
        self.unit += gain * (usual - self.unit)
        if len(self.above) == GROUPS:
            self._learn()

    def _learn(self) -> None:
        unit = max(self.unit, 1e-12)
        sizes = [np.array(self.above) / unit, np.array(self.below) / unit]
        spent = self.pace * GROUP * GROUPS
        self.tails.learn(sizes, math.exp(-spent / min(MEMORY_SECONDS, self.elapsed)))
        self.above.clear()
        self.below.clear()
        self.loud = self._loud()

    def to_dict(self) -> dict[str, Any]:
        """Return the state, for JSON."""
        last = self.last if self.last > -math.inf else None
        plain = {name: getattr(self, name) for name in _PLAIN}
        return plain | {"last": last, "tails": self.tails.to_dict()}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        jumps = cls()
        for name in _PLAIN:
            setattr(jumps, name, state[name])
        jumps.last = -math.inf if state["last"] is None else state["last"]
        jumps.tails.read(state["tails"])
        jumps.loud = jumps._loud()
        return jumps


_PLAIN = (
    "unit", "pace", "gap", "elapsed", "paced", "values", "residuals", "group", "span", "above",
    "below", "trial",
)  # fmt: skip


def _smaller(rise: float, other: float) -> float:
    """Return the smaller of two rises, zero where they differ in sign."""
    if rise * other <= 0.0:
        return 0.0
    return min(rise, other, key=abs)
