"""Cumulative registers: what was used between readings of a meter that counts on and on.

Energy is the difference of consecutive registers. Where that cannot be, the register was reset or
rolled over: it is repaired, and every repair is kept to be looked at.
"""

from dataclasses import dataclass

import numpy as np

QUARTER_US = 900_000_000
SPREAD_US = 7_200_000_000  # over longer gaps the energy is known, but not when it was used
LONGEST_S = 400 * 86_400.0  # of silence: a clock that was not set, and no energy of these years
SHORTEST_US = 300_000_000  # a power is the mean of so long at least
TIMES_RATED = 3.0  # more than so many times the rated power is no energy ...
LEAST_S = 3600.0  # ... of an hour or longer: a coarse register moves in jumps
BEGUN_ANEW = 0.5  # a register that was reset shows less than this share of what it showed
UNRATED_SHARE = 0.01  # the same, where no power is rated that says what is possible
FULL_SHARE = 0.1  # a register that rolls over advances by less than this share of its capacity
LEAST_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What was counted between two registers (times in us) instead of their difference."""

    since: int
    time: int
    kind: str  # reset, rollover or gap
    before: float
    after: float
    energy_kwh: float


def repaired(
    before: float, after: float, seconds: float, rated_kw: float | None = None
) -> tuple[str, float]:
    """Return what happened between two registers (empty: nothing odd), and the energy to count.

    A register that falls from near its capacity, a power of ten, to a small value has rolled over:
    the difference and the capacity are counted. Else one that falls was reset: what it shows now is
    counted if it may have begun at zero, nothing where it cannot. One that rises by more than the
    machine can use was reset, too, and nothing is counted. Nor is it after a gap of 400 days.

    >>> repaired(120.0, 131.5, 900.0, 75.0)
    ('', 11.5)
    >>> repaired(99_995.0, 4.0, 900.0, 75.0), repaired(5_230.0, 2.5, 900.0, 75.0)
    (('rollover', 9.0), ('reset', 2.5))
    >>> repaired(5_230.0, 48_211.0, 900.0, 75.0), repaired(5_230.2, 5_230.1, 900.0, 75.0)
    (('reset', 0.0), ('reset', 0.0))
    """
    if seconds > LONGEST_S:
        return "gap", 0.0
    most = TIMES_RATED * rated_kw * max(seconds, LEAST_S) / 3600.0 if rated_kw else np.inf
    if after >= before:
        return ("", after - before) if after - before <= most else ("reset", 0.0)
    capacity = 10.0 ** max(LEAST_DIGITS, len(f"{max(before, 0.0):.0f}"))
    passed = capacity - before + after
    if after >= 0.0 and passed <= min(most, FULL_SHARE * capacity):
        return "rollover", passed
    share = BEGUN_ANEW if rated_kw else UNRATED_SHARE
    return "reset", after if 0.0 <= after <= min(most, share * before) else 0.0


class Course:
    """The course of a register: times (us, ascending) and what it showed (kWh).

    >>> course = Course(np.arange(5) * QUARTER_US, np.array([90.0, 99.0, 1.0, 10.0, 19.0]), 75.0)
    >>> [repair.kind for repair in course.repairs]
    ['reset']
    >>> kwh, covered, spread = course.quarters(0, 4 * QUARTER_US)
    >>> kwh.tolist(), covered.tolist(), spread.tolist()
    ([9.0, 1.0, 9.0, 9.0], [900.0, 0.0, 900.0, 900.0], [0.0, 1.0, 0.0, 0.0])
    >>> course.power()[1].tolist()
    [36.0, 36.0, 36.0]
    """

    def __init__(
        self, times_us: "np.ndarray", registers: "np.ndarray", rated_kw: float | None = None
    ) -> None:
        self.times = times_us
        self.gaps = np.diff(times_us)
        pairs = zip(
            registers[:-1].tolist(), registers[1:].tolist(), self.gaps.tolist(), strict=True
        )
        steps = [repaired(a, b, gap / 1e6, rated_kw) for a, b, gap in pairs]
        self.kwh = np.array([kwh for _, kwh in steps])
        self.is_reset = np.array([kind == "reset" for kind, _ in steps], dtype=bool)
        self.repairs = [
            Repair(
                since=int(times_us[i]),
                time=int(times_us[i + 1]),
                kind=kind,
                before=float(registers[i]),
                after=float(registers[i + 1]),
                energy_kwh=kwh,
            )
            for i, (kind, kwh) in enumerate(steps)
            if kind
        ]

    def quarters(self, first: int, last: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        """Return kWh, covered seconds and kWh whose time is not known, by quarter in [first, last).

        Between two registers energy is spread evenly. Over more than `SPREAD_US`, and across a
        reset, it is counted but covers nothing: how much is known, when is not.
        """
        edges = np.arange(first, last + QUARTER_US, QUARTER_US)
        vague = self.is_reset | (self.gaps > SPREAD_US)
        parts = (self.kwh, np.where(vague, 0, self.gaps) / 1e6, np.where(vague, self.kwh, 0.0))
        kwh, covered, spread = (self._between(edges, part) for part in parts)
        return kwh, covered, spread

    def power(self) -> "tuple[np.ndarray, np.ndarray]":
        """Return mean powers (kW) from the first register of a quarter to that of the next one.

        Each has the time at which it begins. There is none across a reset or a long gap.
        """
        new = np.flatnonzero(np.diff(self.times // QUARTER_US)) + 1
        edges = np.append(0, new)[: len(self.times)]
        if len(edges) < 2:
            return self.times[:0], np.empty(0)
        kwh, resets = np.add.reduceat(self.kwh, edges[:-1]), self.is_reset
        kwh[-1] = self.kwh[edges[-2] : edges[-1]].sum()
        span = np.diff(self.times[edges])
        torn = np.diff(np.append(0, np.cumsum(resets))[edges]) > 0
        known = ~torn & (span <= SPREAD_US) & (span >= SHORTEST_US)
        return self.times[edges[:-1]][known], (kwh / (span / 3.6e9))[known]

    def _between(self, edges: "np.ndarray", parts: "np.ndarray") -> "np.ndarray":
        if not len(parts):
            return np.zeros(len(edges) - 1)
        return np.diff(np.interp(edges, self.times, np.append(0.0, np.cumsum(parts))))
