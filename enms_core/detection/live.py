"""One reading after another: the numbers of `Memory.take`, without arrays.

Every sum is added in the order in which NumPy adds it for a whole block, every table is read as
`numpy.interp` reads it; so both ways give the same numbers, and a full block is learned by the same
code.
"""

from bisect import bisect_right
from copy import copy
from datetime import datetime
from itertools import accumulate
from zoneinfo import ZoneInfo

import numpy as np

from enms_core.detection.memory import SIGNED_EDGES, Memory
from enms_core.detection.news import OPEN, Episodes, Range
from enms_core.detection.profile import DAY, HOUR, MONDAY, SLOTS, Floats
from enms_core.detection.score import LEARNING, Score
from enms_core.detection.signals import (
    CLIP,
    JUMP,
    LONG,
    LONGEST,
    MIDDLE,
    SHORT,
    SINGLE,
    STATE,
    STATE_UNIT,
    STILL,
    UNITS,
    VARIANCE,
    WINDOWS,
    supported,
    variance_at,
    variance_signal,
)
from enms_core.detection.tails import EDGES

FIRST = WINDOWS[0]
SHORT_UNIT, MIDDLE_UNIT, LONG_UNIT = UNITS
BACK_SHORT, BACK_MIDDLE, BACK_LONG = (-1 - window for window in WINDOWS)
SIGNED_LIST = SIGNED_EDGES.tolist()
FARTHEST = SIGNED_LIST[-1]

_new = tuple.__new__  # of a named tuple, without the detour over its arguments


class Live:
    """The open block of a memory: what holds in it, and what runs on from reading to reading."""

    __slots__ = (
        "above",
        "after",
        "before",
        "centre",
        "episodes",
        "fine",
        "half",
        "high",
        "hour",
        "hours",
        "last",
        "least",
        "level",
        "limits",
        "long_limits",
        "low",
        "lower",
        "memory",
        "nonnegative",
        "number",
        "offset",
        "offset_until",
        "on",
        "range",
        "ready",
        "rows",
        "scale",
        "size",
        "slope",
        "squares",
        "state",
        "state_limits",
        "steps",
        "still",
        "sums",
        "until",
        "upper",
        "value",
        "zone",
    )

    level: float
    least: float
    value: float
    on: bool
    still: int
    state: int
    range: Range
    episodes: Episodes

    def __init__(self, memory: Memory, zone: ZoneInfo) -> None:
        self.memory, self.zone = memory, zone
        self.offset, self.offset_until = 0.0, float("-inf")
        self.last = memory.last
        pending = memory.rows
        self._begin()
        if pending.size:
            self.last = float("-inf")
            for at, _, value, base in pending.T.tolist():
                self.take(at, value, base)

    def take(self, at: float, value: float, base: float) -> Score:  # noqa: C901 - calls cost as much
        """Score a reading against `base` and what was learned, then learn it."""
        if at <= self.last:
            return self._late(at, value, base)
        if at >= self.until:
            self._enter(at)
        self.last = at
        rows = self.rows
        local = at + self.offset
        rows.append((at, local, value, base))
        if not self.ready:
            if len(rows) == self.size:
                self._close()
            return LEARNING
        y = value - base
        centre, scale = self.centre, self.scale
        if self.fine:
            place = (local + self.half) / HOUR - self.hour - 0.5
            centre += self.slope * place
            scale += self.after * place if place > 0.0 else self.before * -place
        z = (y - centre) / scale

        # the reading by itself
        surprises, rises = self.steps
        if -FARTHEST < z < FARTHEST:
            step = bisect_right(SIGNED_LIST, z) - 1
            surprise = rises[step] * (z - SIGNED_LIST[step]) + surprises[step]
        else:
            surprise = surprises[0 if z < 0.0 else -1]

        # what runs over several readings
        sums, squares = self.sums, self.squares
        jump_low, jump_high, short_low, short_high, middle_low, middle_high = self.limits
        long_low, long_high, variance_low, variance_high = self.long_limits
        total = sums[-1]
        jump = z - (total - sums[BACK_SHORT]) / FIRST
        if not jump_low <= jump <= jump_high:
            surprise = self._look(surprise, JUMP, jump)
        clipped = CLIP if z > CLIP else -CLIP if z < -CLIP else z
        total += clipped
        sums.append(total)
        square = squares[-1] + clipped * clipped
        squares.append(square)
        short = SHORT_UNIT * (total - sums[BACK_SHORT])
        if not short_low <= short <= short_high:
            surprise = self._look(surprise, SHORT, short)
        middle = MIDDLE_UNIT * (total - sums[BACK_MIDDLE])
        if not middle_low <= middle <= middle_high and supported(short, middle):
            surprise = self._look(surprise, MIDDLE, middle)
        whole = total - sums[BACK_LONG]
        if not long_low <= whole <= long_high and supported(short, LONG_UNIT * whole):
            surprise = self._look(surprise, LONG, LONG_UNIT * whole)
        mean = whole / LONGEST
        variance = (square - squares[BACK_LONG]) / LONGEST - mean * mean
        if variance < variance_low or (
            variance > variance_high and (square - squares[BACK_SHORT]) / FIRST >= variance
        ):
            surprise = self._look(surprise, VARIANCE, variance_signal(variance))

        # standing still, being on or off, never seen before
        if value == self.value:
            self.still += 1
            if self.still > self.above[STILL]:
                surprise = self._look(surprise, STILL, self.still)
        else:
            self.still, self.value = 0, value
        on = y > self.level
        if on is self.on:
            self.state += 1
            if self.state > self.state_limits[on]:
                signal = self.state / STATE_UNIT
                surprise = self._look(surprise, STATE, signal if on else -signal)
        else:
            self.on, self.state = on, 0
        if y > self.high or y < self.low:
            surprise = max(surprise, self._new(y))
        if surprise >= OPEN:
            surprise = self.episodes.tell(self.number + len(rows) - 1, surprise)

        expected = base + centre
        lower, upper = expected + scale * self.lower, expected + scale * self.upper
        if lower < 0.0 and self.nonnegative:
            lower, expected, upper = 0.0, max(expected, 0.0), max(upper, 0.0)
        if len(rows) == self.size:
            self._close()
        return _new(Score, (surprise, expected, lower, upper))

    def memory_now(self) -> Memory:
        """Return the memory with the readings of the open block."""
        self.memory.rows = self._block()
        self.memory.last = self.last
        return self.memory

    def _look(self, surprise: float, signal: int, size: float) -> float:
        """Return the surprise, or that of a signal where it is larger."""
        row = self.memory.tails.table[2 * signal + (size < 0.0)]
        return max(surprise, float(np.interp(abs(size), EDGES, row)))

    def _new(self, y: float) -> float:
        surprise = self.range.surprise(y, self.number + len(self.rows) - 1, self.least)
        self.low, self.high = self.range.low, self.range.high
        return surprise

    def _late(self, at: float, value: float, base: float) -> Score:
        local = at + self._offset(at)
        row = np.array([[at], [local], [value], [base]])
        return Score(*self.memory.judge_late(row)[0].tolist())

    def _enter(self, at: float) -> None:
        """Come to the hour of the week of `at`."""
        if at >= self.offset_until:
            self.offset = self._offset(at)
            same = self._offset(at + DAY) == self.offset
            half_hour = at // (HOUR / 2) * HOUR / 2  # the zone may change its offset at the next
            self.offset_until = half_hour + (DAY - HOUR / 2 if same else HOUR / 2)
        self.hour = (at + self.offset + self.half) // HOUR
        self.until = min((self.hour + 1) * HOUR - self.offset - self.half, self.offset_until)
        slot = int(self.hour + MONDAY) % SLOTS
        self.centre, self.scale, self.slope, self.before, self.after = self.hours[slot]

    def _offset(self, at: float) -> float:
        away = datetime.fromtimestamp(at, self.zone).utcoffset()
        return away.total_seconds() if away else 0.0

    def _begin(self) -> None:
        """Take over what holds in a new block."""
        memory = self.memory
        self.rows: list[tuple[float, float, float, float]] = []
        self.ready, self.size, self.number = memory.ready, memory.size, memory.readings
        self.fine = memory.step < HOUR
        self.half = 0.5 * memory.step if self.fine else 0.0
        tables = memory.tables
        columns = tables.centre, tables.scale, tables.slope, tables.before, tables.after
        self.hours = list(zip(*(column.tolist() for column in columns), strict=True))
        self.above, below = memory.above.tolist(), memory.below.tolist()
        self.lower, self.upper = below[SINGLE], self.above[SINGLE]
        pairs = list(zip(below, self.above, strict=True))
        self.limits = *pairs[JUMP], *pairs[SHORT], *pairs[MIDDLE]
        self.long_limits = (
            *(limit / LONG_UNIT for limit in pairs[LONG]),
            *(variance_at(limit) for limit in pairs[VARIANCE]),
        )
        self.state_limits = -STATE_UNIT * below[STATE], STATE_UNIT * self.above[STATE]
        self.steps = memory.steps
        trail = memory.trail
        self.sums = list(accumulate(trail.clipped, initial=0.0))
        self.squares = list(accumulate((z * z for z in trail.clipped), initial=0.0))
        self.value, self.still, self.on, self.state = (
            trail.value, trail.still, trail.on, trail.state
        )  # fmt: skip
        self.range, self.episodes = copy(memory.range), copy(memory.episodes)
        self.low, self.high = self.range.low, self.range.high
        self.level, self.least = memory.profile.level, memory.least
        self.nonnegative = memory.lowest >= 0.0
        self.until = float("-inf")

    def _close(self) -> None:
        """Learn the full block, and begin another one."""
        self.memory.range, self.memory.episodes = self.range, self.episodes
        self.memory.last = self.last
        self.memory.complete(self._block())
        self._begin()

    def _block(self) -> Floats:
        return np.array(self.rows).reshape(-1, 4).T
