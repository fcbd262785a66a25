"""Judging one reading at a time: how surprising is it, for this hour of this machine's week?

The level of each hour of the week and its scale are learned with forgetting in elapsed time, so
that 60-second history and 5-second live readings of one series teach the same. Inside an hour the
level is a straight line with a minmod slope (van Leer, J. Comput. Phys. 32, 1979): smooth days
have no false step at the top of the hour, and shift starts keep their edge. Residuals are
Huberised (Huber, Ann. Math. Stat. 35, 1964). A decayed histogram of the standardised residuals
turns them into tail probabilities; beyond its 99 % the tail is a generalised Pareto fitted by its
first two moments (Hosking and Wallis, Technometrics 29, 1987).
"""

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple, Self
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator

from enms_core.plant import zone as named_zone

HOUR, DAY = 3600.0, 86400.0
SLOTS = 168  # hours of a week; Monday 00:00 local is slot 0
MONDAY = 72  # 1970-01-01 was a Thursday: hours from Monday to the epoch

WARM_SECONDS, WARM_READINGS = DAY, 24  # nothing is surprising before
SLOT_MEMORY = 3 * HOUR  # a slot remembers about three visits, that is three weeks
SLOT_PRIOR = HOUR / 4  # what a slot's first guess weighs against its readings
SURE = HOUR / 2  # a slot seen for less has a wider scale and teaches neither drift nor tail
SCALE_PRIOR = HOUR  # what the global scale weighs against a slot's own
SCALE_MEMORY = 7 * DAY
SHIFT_MEMORY = 4 * DAY  # how fast the whole profile follows weather and changed use
HUBER, SCALE_CLIP = 2.5, 4.0  # residuals beyond so many scales teach no more than these
NORMAL_MAD = 1.2533  # standard deviation / mean absolute deviation of a normal
RELATIVE_FLOOR, ABSOLUTE_FLOOR = 0.005, 1e-3  # no scale is finer: of the mean size; in the unit
EDGE_REACH = 0.5  # hours around the start or end of a shift ...
EDGE_SHARE = 0.75  # ... in which up to this share of the step widens the scale

ODD = 3.0  # from this surprise on a reading teaches less ...
ODD_WEIGHT = 0.1  # ... so much, until ...
SETTLED = 2 * DAY  # ... so long an oddity is taken for the new normal
BRIEF = 90.0  # seconds of an oddity the histogram counts in full; in all it counts about twice that

CELLS, CELLS_PER_E = 160, 16  # histogram cells are even in log(1 + |z|)
EDGES = [math.expm1(i / CELLS_PER_E) for i in range(CELLS + 1)]
CENTRES = [(a + b) / 2 for a, b in pairwise(EDGES)]
TAIL = 0.005  # each side; inside is empirical, beyond is the fitted tail
TAIL_CLIP = 2.5  # farther than so many bands from zero is learned as just there
TAIL_MEMORY = 56 * DAY
TAIL_PRIOR = 2 * DAY  # seconds of double-exponential residuals imagined at the start
REBUILD_READINGS, REBUILD_SECONDS = 256, DAY
HIGHEST = 100.0  # surprises end here
BAND = 2.0  # surprise at the edges of the 99 % band


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


class StreamDetector(BaseEstimator):
    """Scores readings by hour of the week, calibrated on their own past; needs no tuning.

    It scores, then learns; nothing it says depends on later readings. Where `expected` is given,
    what is learned is the residual, apart from what is learned of plain values.

    >>> times = pd.date_range("2026-10-01", periods=15 * 24, freq="1h", tz="Europe/Berlin")
    >>> load = pd.Series([20.0 + t.hour + t.day % 3 for t in times], times)
    >>> detector = StreamDetector("Europe/Berlin")
    >>> detector.score(load).shape
    (360, 4)
    >>> normal = detector.update(datetime.fromisoformat("2026-10-16T14:00+02:00"), 35.0)
    >>> spike = detector.update(datetime.fromisoformat("2026-10-16T15:00+02:00"), 90.0)
    >>> normal.surprise < 2 < 6 < spike.surprise
    True
    """

    def __init__(self, zone: str = "UTC") -> None:
        self.zone = zone

    def update(self, at: datetime | float, value: float, expected: float | None = None) -> Score:
        """Score one reading, then learn it.

        `at` is an aware datetime or seconds since the epoch (UTC); ValueError for a naive one. A
        value that is not finite scores NaN and teaches nothing; one not later than its predecessor
        is scored and teaches nothing. An expected value that is None or NaN counts as not given.
        """
        seconds = epoch_seconds(at)
        if not math.isfinite(value):
            return UNSCORED
        if expected is None or not math.isfinite(expected):
            return self._memory("values").take(seconds, float(value), 0.0)
        return self._memory("residuals").take(seconds, float(value), float(expected))

    def score(
        self, series: "pd.Series[float]", expected: "pd.Series[float] | None" = None
    ) -> pd.DataFrame:
        """Score and learn a whole series with a tz-aware index, in its order.

        Returns the columns of `Score` on the same index, the numbers `update` gives one at a time.
        `expected` is aligned by its index.
        """
        seconds = _index_seconds(series.index)
        values = series.to_numpy(dtype=float)
        base = np.full(len(values), np.nan)
        if expected is not None:
            same = expected.index.equals(series.index)
            base = (expected if same else expected.reindex(series.index)).to_numpy(dtype=float)
        out = np.full((len(values), 4), np.nan)
        finite, given = np.isfinite(values), np.isfinite(base)
        for kind, rows, bases in (
            ("values", finite & ~given, np.zeros(len(values))),
            ("residuals", finite & given, base),
        ):
            if rows.any():
                scores = self._memory(kind).take_all(seconds[rows], values[rows], bases[rows])
                out[rows] = np.fromiter(scores, dtype=(float, 4), count=int(rows.sum()))
        return pd.DataFrame(out, index=series.index, columns=list(Score._fields))

    def forget_residuals(self) -> None:
        """Forget what was learned of residuals: another model expects from now on."""
        getattr(self, "memories_", {}).pop("residuals", None)

    def to_json(self) -> str:
        """Return the whole state; a detector read from it goes on with the very same numbers."""
        memories = getattr(self, "memories_", {})
        state = {kind: memory.to_dict() for kind, memory in memories.items()}
        return json.dumps({"zone": self.zone, "memories": state}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        detector = cls(raw["zone"])
        if raw["memories"]:
            zone = named_zone(detector.zone)
            detector.memories_ = {
                kind: _Memory.from_dict(zone, state) for kind, state in raw["memories"].items()
            }
        return detector

    def _memory(self, kind: str) -> "_Memory":
        if not hasattr(self, "memories_"):
            self.memories_: dict[str, _Memory] = {}
        if kind not in self.memories_:
            self.memories_[kind] = _Memory(named_zone(self.zone))
        return self.memories_[kind]


class _Tail:
    """The distribution of standardised residuals: a decayed histogram of each side."""

    __slots__ = (
        "above",
        "above_band",
        "above_surprise",
        "below",
        "below_band",
        "below_surprise",
        "readings",
        "seconds",
    )

    def __init__(self) -> None:
        edges = [0.5 * math.exp(-math.sqrt(2.0) * edge) for edge in EDGES]
        prior = [TAIL_PRIOR * (a - b) for a, b in pairwise(edges)]
        self.above, self.below = prior, prior.copy()
        self.readings, self.seconds = 0, 0.0
        self.rebuild()

    def surprise(self, z: float) -> float:
        """-log10 of twice the probability beyond `z` on its side."""
        table = self.above_surprise if z >= 0.0 else self.below_surprise
        place = math.log1p(abs(z)) * CELLS_PER_E
        cell = int(place)
        if cell >= CELLS:
            return table[CELLS]
        low = table[cell]
        return low + (place - cell) * (table[cell + 1] - low)

    def learn(self, z: float, weight: float, elapsed: float) -> None:
        band = self.above_band if z >= 0.0 else self.below_band
        cell = int(math.log1p(min(abs(z), TAIL_CLIP * band)) * CELLS_PER_E)
        (self.above if z >= 0.0 else self.below)[min(cell, CELLS - 1)] += weight
        self.readings += 1
        self.seconds += elapsed
        if self.readings >= REBUILD_READINGS or self.seconds >= REBUILD_SECONDS:
            self.rebuild()

    def rebuild(self) -> None:
        """Forget a little, and compute the tables anew."""
        keep = math.exp(-self.seconds / TAIL_MEMORY)
        self.above = [mass * keep for mass in self.above]
        self.below = [mass * keep for mass in self.below]
        self.readings, self.seconds = 0, 0.0
        total = sum(self.above) + sum(self.below)
        self.above_surprise = _surprises(self.above, total)
        self.below_surprise = _surprises(self.below, total)
        self.above_band = _crossing(self.above_surprise, BAND)
        self.below_band = _crossing(self.below_surprise, BAND)


def _surprises(cells: list[float], total: float) -> list[float]:
    """Return the surprise at each of EDGES, from the masses between them and that of both sides."""
    beyond = [0.0] * (CELLS + 1)
    for i in range(CELLS - 1, -1, -1):
        beyond[i] = beyond[i + 1] + cells[i]
    start = next((i for i in range(CELLS) if beyond[i] <= TAIL * total), CELLS - 1)
    share = max(beyond[start] / total, TAIL / 100)
    shape, scale = _pareto(cells, start)
    bulk = [-math.log10(min(1.0, 2.0 * mass / total)) for mass in beyond[:start]]
    tail = [
        min(HIGHEST, -math.log10(2.0 * share) + _pareto_decades(edge - EDGES[start], shape, scale))
        for edge in EDGES[start:]
    ]
    return bulk + tail


def _pareto(cells: list[float], start: int) -> tuple[float, float]:
    """Return shape (0 to 0.4) and scale of a generalised Pareto over the cells from `start` on."""
    mass = sum(cells[start:])
    narrow = EDGES[start + 1] - EDGES[start]
    if mass <= 0.0:
        return 0.0, narrow
    excess = [centre - EDGES[start] for centre in CENTRES[start:]]
    pairs = list(zip(cells[start:], excess, strict=True))
    mean = sum(m * e for m, e in pairs) / mass
    variance = sum(m * (e - mean) ** 2 for m, e in pairs) / mass
    shape = 0.5 * (1.0 - mean * mean / variance) if variance > 0.0 else 0.0
    shape = min(max(shape, 0.0), 0.4)
    return shape, max(mean * (1.0 - shape), narrow)


def _pareto_decades(excess: float, shape: float, scale: float) -> float:
    """-log10 of the probability of more than `excess`; the exponential where the shape is zero."""
    if shape < 1e-6:
        return excess / scale / math.log(10.0)
    return math.log1p(shape * excess / scale) / shape / math.log(10.0)


def _crossing(table: list[float], surprise: float) -> float:
    """Return the |z| at which the rising table reaches `surprise`."""
    i = bisect_left(table, surprise, 1, CELLS)
    low, high = table[i - 1], table[i]
    part = (surprise - low) / (high - low) if high > low else 1.0
    return math.expm1((i - 1 + min(max(part, 0.0), 1.0)) / CELLS_PER_E)


class _Memory:
    """What is known of one series: levels and scales by hour of week, the tail of residuals."""

    __slots__ = (
        "_zone",
        "drift",
        "end",
        "global_scale",
        "last",
        "last_value",
        "level",
        "lowest",
        "next_jump",
        "odd",
        "previous_jump",
        "quantum",
        "readings",
        "scale",
        "seconds",
        "seen",
        "size",
        "slope",
        "slot",
        "start",
        "step",
        "tail",
        "unsure",
        "until",
    )

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self.level = [0.0] * SLOTS
        self.scale = [0.0] * SLOTS  # mean absolute deviation
        self.seen = [0.0] * SLOTS  # remembered seconds
        self.global_scale = self.drift = self.odd = 0.0
        self.size = self.quantum = self.lowest = self.last_value = 0.0
        self.readings, self.seconds = 0, 0.0
        self.last = self.step = 0.0
        self.slot = 0
        self.start = self.end = self.until = 0.0  # of the hour; of the time the below hold
        self.slope = self.previous_jump = self.next_jump = self.unsure = 0.0
        self.tail = _Tail()

    def take_all(
        self, seconds: Iterable[float], values: Iterable[float], bases: Iterable[float]
    ) -> Iterable[Score]:
        """Take arrays of equal length."""
        rows = (np.asarray(column, dtype=float).tolist() for column in (seconds, values, bases))
        return map(self.take, *rows)

    def take(self, at: float, value: float, base: float, late: bool = False) -> Score:
        """Score a reading against `base` plus what is learned, then learn it."""
        gap = at - self.last
        if self.readings == 0:
            return self._first(at, value)
        if gap <= 0.0 and not late:
            return self._late(at, value, base)
        if gap > 0.0:
            # A reading weighs the time since the last one, yet one after a gap not the whole gap.
            self.step = min(gap, 2.0 * self.step, HOUR) if self.step else min(gap, HOUR)
        middle = at + 0.5 * self.step
        if not self.end <= middle < self.until:
            self._enter(middle, value - base)
        slot = self.slot
        place = (middle - self.start) / HOUR - 0.5
        model = self.level[slot] + self.slope * place + self.drift
        scale = self._scale(slot, place)
        residual = value - base - model
        z = residual / scale
        surprise = 0.0
        score = LEARNING
        if self.seconds >= WARM_SECONDS and self.readings >= WARM_READINGS:
            tail = self.tail
            surprise = tail.surprise(z)
            expected = base + model
            lower = expected - scale * tail.below_band
            upper = expected + scale * tail.above_band
            if lower < 0.0 <= self.lowest:
                lower, expected, upper = 0.0, max(expected, 0.0), max(upper, 0.0)
            score = Score(surprise, expected, lower, upper)
        if gap > 0.0:
            self._learn(at, value, residual, scale, surprise)
        return score

    def _first(self, at: float, value: float) -> Score:
        self.last, self.last_value, self.lowest, self.size = at, value, value, abs(value)
        self.readings = 1
        return LEARNING

    def _late(self, at: float, value: float, base: float) -> Score:
        """Score a reading out of its time, and be as if it had not been."""
        place = {name: getattr(self, name) for name in _PLACE}
        score = self.take(at, value, base, late=True)
        for name, was in place.items():
            setattr(self, name, was)
        return score

    def _scale(self, slot: int, place: float) -> float:
        """Standard deviation to expect at `place` (-0.5 to 0.5) of the hour."""
        seen = self.seen[slot]
        scale = (seen * self.scale[slot] + SCALE_PRIOR * self.global_scale) * (
            NORMAL_MAD / (seen + SCALE_PRIOR)
        )
        if place > 0.5 - EDGE_REACH:
            scale += self.next_jump * (1.0 - (0.5 - place) / EDGE_REACH)
        elif place < EDGE_REACH - 0.5:
            scale += self.previous_jump * (1.0 - (0.5 + place) / EDGE_REACH)
        if seen < SURE:
            scale += self.unsure * (1.0 - seen / SURE)
        floor = RELATIVE_FLOOR * self.size + 0.5 * self.quantum + ABSOLUTE_FLOOR
        return scale if scale > floor else floor

    def _learn(
        self, at: float, value: float, residual: float, scale: float, surprise: float
    ) -> None:
        step, slot = self.step, self.slot
        weight = step
        ease = 1.0
        if surprise >= ODD:
            ease = min(1.0, self.odd / SETTLED)
            weight = step * (ODD_WEIGHT + (1.0 - ODD_WEIGHT) * ease)
            count = step
            if self.odd > BRIEF:
                count *= min(1.0, (BRIEF / self.odd) ** 2 + ease * ease)
            self.odd = min(self.odd + step, SETTLED)
            ease = 1.0 / (1.001 - ease)
        else:
            count = step
            if self.odd:
                self.odd = max(0.0, self.odd - 0.25 * step)
        known = self.seen[slot] >= SURE
        if known and self.seconds >= WARM_SECONDS:
            self.tail.learn(residual / scale, count, step)
        self.seconds += step
        self._learn_size(at, value, weight, ease)
        wide = scale * ease
        clip = HUBER * wide
        pull = clip if residual > clip else -clip if residual < -clip else residual
        spread = min(abs(residual), SCALE_CLIP * wide)
        seen = min(self.seen[slot] + weight, SLOT_MEMORY)
        gain = weight / (seen + SLOT_PRIOR)
        self.seen[slot] = seen
        self.level[slot] += pull * gain
        self.scale[slot] += (spread - self.scale[slot]) * gain
        if known:
            self.drift += pull * weight / SHIFT_MEMORY
        self.global_scale += (spread - self.global_scale) * weight / min(self.seconds, SCALE_MEMORY)

    def _learn_size(self, at: float, value: float, weight: float, ease: float) -> None:
        """How large values are, how fine their steps, when and what the last one was."""
        size = abs(value)
        if self.readings >= WARM_READINGS:
            size = min(size, (4.0 * self.size + ABSOLUTE_FLOOR) * ease)
        self.size += (size - self.size) * weight / min(self.seconds, SCALE_MEMORY)
        change = abs(value - self.last_value)
        if change > 0.0 and (self.quantum == 0.0 or change < self.quantum):
            self.quantum = change
        if value < self.lowest:
            self.lowest = value
        self.last, self.last_value = at, value
        self.readings += 1

    def _enter(self, middle: float, first: float) -> None:
        """Come to the hour around `middle`: find its slot, slope and the steps at its edges."""
        away = datetime.fromtimestamp(middle, self._zone).utcoffset()
        offset = away.total_seconds() if away else 0.0
        hour = (middle + offset) // HOUR
        self.slot = slot = int(hour + MONDAY) % SLOTS
        self.start = hour * HOUR - offset
        half = middle // (0.5 * HOUR) * 0.5 * HOUR  # the zone may change its offset then
        self.end, self.until = max(self.start, half), min(self.start + HOUR, half + 0.5 * HOUR)
        if self.seen[slot] < SURE:
            self._guess(slot, first)
        before, after = (slot - 1) % SLOTS, (slot + 1) % SLOTS
        self.slope = self._slope(slot)
        here = self.level[slot]
        ends = here - 0.5 * self.slope, here + 0.5 * self.slope
        left = self.level[before] + 0.5 * self._slope(before) if self.seen[before] else ends[0]
        right = self.level[after] - 0.5 * self._slope(after) if self.seen[after] else ends[1]
        self.previous_jump = EDGE_SHARE * abs(ends[0] - left)
        self.next_jump = EDGE_SHARE * abs(right - ends[1])

    def _slope(self, slot: int) -> float:
        """Return the smaller of the rises to both neighbours, zero where they differ in sign."""
        before, after = (slot - 1) % SLOTS, (slot + 1) % SLOTS
        if not (self.seen[before] and self.seen[slot] and self.seen[after]):
            return 0.0
        rise, fall = self.level[slot] - self.level[before], self.level[after] - self.level[slot]
        if rise * fall <= 0.0:
            return 0.0
        return rise if abs(rise) < abs(fall) else fall

    def _guess(self, slot: int, first: float) -> None:
        """Take the level of an unseen slot from the same hour of other days, or its neighbour."""
        known = [self.level[i] for i in range(SLOTS) if self.seen[i]]
        mean = sum(known) / len(known) if known else first
        self.unsure = NORMAL_MAD * sum(abs(k - mean) for k in known) / max(len(known), 1)
        if not self.seen[slot]:
            alike = [(slot - 24 * day) % SLOTS for day in range(1, 7)] + [(slot - 1) % SLOTS]
            nearest = (self.level[i] for i in alike if self.seen[i])
            self.level[slot] = next(nearest, mean)
            self.scale[slot] = self.global_scale

    def to_dict(self) -> dict[str, Any]:
        names = [name for name in self.__slots__ if name not in ("_zone", "tail")]
        tail = {name: getattr(self.tail, name) for name in _Tail.__slots__}
        return {name: getattr(self, name) for name in names} | {"tail": tail}

    @classmethod
    def from_dict(cls, zone: ZoneInfo, state: dict[str, Any]) -> Self:
        memory = cls(zone)
        for name, value in state.items():
            if name != "tail":
                setattr(memory, name, value)
        for name, value in state["tail"].items():
            setattr(memory.tail, name, value)
        return memory


_PLACE = ("end", "next_jump", "previous_jump", "slope", "slot", "start", "unsure", "until")


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


def _index_seconds(index: "pd.Index[Any] | Sequence[Any]") -> npt.NDArray[np.float64]:
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise ValueError("the series needs a DatetimeIndex with a time zone; use tz_localize")
    seconds: npt.NDArray[np.float64] = index.tz_convert("UTC").as_unit("us").asi8 / 1e6
    return seconds
