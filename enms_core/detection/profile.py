"""What to expect of a series, and how far it may be off, by hour of the week.

Three guesses compete: one level, a level for each hour of the day, one for each hour of the week.
Each is weighed by how small its errors were before it had seen the reading (prediction with
expert advice: Cesa-Bianchi and Lugosi, 2006). Inside an hour the level is a straight line with a
minmod slope (van Leer, J. Comput. Phys. 32, 1979): smooth days have no false step at the top of the
hour, and shift starts keep their edge. What is learned is clipped (Huber, Ann. Math. Stat. 35,
1964), and weighed by elapsed time, so that 60-second and 5-second readings teach the same.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HOUR, DAY = 3600.0, 86400.0
SLOTS = 168  # hours of a week; Monday 00:00 local is slot 0
HOUR_OF_DAY = np.arange(SLOTS) % 24
PREVIOUS, NEXT = np.arange(-1, SLOTS - 1), np.arange(1, SLOTS + 1) % SLOTS
MONDAY = 72  # 1970-01-01 was a Thursday: hours from Monday to the epoch

LEVEL_MEMORY, DRIFT_MEMORY = 28 * DAY, 4 * DAY
SCALE_MEMORY, ERROR_MEMORY = 7 * DAY, 4 * DAY
DAY_MEMORY, WEEK_MEMORY = 8 * HOUR, 3 * HOUR  # an hour of the week remembers about three visits
LEVEL_PRIOR, SPREAD_PRIOR = HOUR / 4, HOUR  # what the coarser guess weighs against a finer one
KNOWN = HOUR / 2  # an hour seen for less teaches neither spread nor drift
FIRST_CLIP = 4.0  # mean sizes: an hour's first visit is taken at its word up to these
WORKDAYS = slice(0, 5)
DOUBT = 2.0  # mean distances of the hours' levels: the scale for a kind of day not met before
LEAST_ERROR = 0.1  # of the mean spread: smaller errors are alike
SEASON_FROM = 2 * DAY  # before, the level is all there is
SHARPNESS = 8  # weight of a guess: its error to the power of minus so much
HOUR_CLIP, SCALE_CLIP, LEVEL_CLIP = 6.0, 4.0, 5.0  # more scales than these teach no more
NORMAL_MAD = 1.2533  # standard deviation / mean absolute deviation of a normal
RELATIVE_FLOOR, FLOOR = 0.005, 1e-6  # no scale is finer: of the mean size; in the unit
EDGE_SHARE = 1.5  # a step between two hours widens the scale so much at it, none half an hour off


@dataclass(frozen=True)
class Block:
    """Readings in the order of time, and where in the week they lie."""

    at: Floats  # seconds since the epoch
    value: Floats
    y: Floats  # the value, less what was expected of it
    slot: Ints  # hour of the week
    place: Floats | None  # in that hour, -0.5 to 0.5; None for readings of whole hours

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True)
class Tables:
    """What holds until the next block: rows by hour of the week."""

    guesses: Floats  # (3, 168)
    centre: Floats
    slope: Floats
    scale: Floats
    before: Floats  # what the step at its beginning adds to the scale there
    after: Floats
    sure: npt.NDArray[np.bool_]  # hours of a kind of day met before

    def at(self, block: Block) -> tuple[Floats, Floats]:
        """Return centre and scale for every reading."""
        slot, place = block.slot, block.place
        if place is None:
            return self.centre[slot], self.scale[slot]
        centre = self.centre[slot] + self.slope[slot] * place
        edge = np.where(place > 0.0, self.after[slot], self.before[slot])
        return centre, self.scale[slot] + edge * np.abs(place)


class Hours:
    """Level and spread (mean absolute deviation) for each hour of a day or of a week.

    `memory` is how many seconds of an hour's visits are remembered. An hour's first visit teaches
    no spread: what it was expected to be was a guess.
    """

    def __init__(self, count: int, memory: float) -> None:
        self.memory = memory
        self.level, self.seen = np.zeros(count), np.zeros(count)
        self.spread, self.judged = np.zeros(count), np.zeros(count)

    def levels(self, other: "Floats | float") -> Floats:
        """Return levels, mixed with a coarser guess where little was seen."""
        return _mixed(self.level, self.seen, other, LEVEL_PRIOR)

    def spreads(self, other: "Floats | float") -> Floats:
        """Return spreads, mixed with a coarser guess where little was judged."""
        return _mixed(self.spread, self.judged, other, SPREAD_PRIOR)

    def learn(
        self, at: Ints, level: Floats, size: Floats, sure: npt.NDArray[np.bool_], step: float
    ) -> None:
        """Learn the level at readings of the hours `at`, and the deviation where it is sure."""
        count = len(self.level)
        self._move(
            self.level,
            self.seen,
            at,
            level - self.level[at],
            step * np.bincount(at, minlength=count),
            step,
        )
        off = (size - self.spread[at]) * sure
        self._move(self.spread, self.judged, at, off, step * np.bincount(at, sure, count), step)

    def _move(
        self,
        mean: Floats,
        seen: Floats,
        at: Ints,
        off: Floats,
        spent: npt.NDArray[Any],
        step: float,
    ) -> None:
        np.minimum(seen + spent, np.maximum(self.memory, spent), out=seen)
        mean += step * np.bincount(at, off, len(mean)) / np.maximum(seen, FLOOR)

    def to_dict(self) -> dict[str, list[float]]:
        """Return the state, for JSON."""
        return {name: getattr(self, name).tolist() for name in _HOURS}

    def read(self, state: dict[str, list[float]]) -> None:
        """Take over what `to_dict` wrote."""
        for name in _HOURS:
            setattr(self, name, np.array(state[name]))


_HOURS = ("level", "seen", "spread", "judged")


class Profile:
    """Level and scale by hour of the week; one level where it is not `seasonal`."""

    def __init__(self, seasonal: bool) -> None:
        self.seasonal = seasonal
        self.levels = np.zeros(3)  # of each guess
        self.spread = self.size = self.quantum = self.elapsed = 0.0
        self.days, self.weeks = Hours(24, DAY_MEMORY), Hours(SLOTS, WEEK_MEMORY)
        self.errors = np.zeros(3)  # mean logarithms: an hour counts by the ratio of its errors

    def start(self, y: Floats) -> None:
        """Guess level and scale from the first readings."""
        self.levels += float(np.median(y)) if self.seasonal else 0.0
        self.spread = float(np.abs(y - self.level).mean())

    @property
    def level(self) -> float:
        """The level of the whole series."""
        return float(self.levels[0])

    def tables(self) -> Tables:
        """Return what to expect by hour of the week."""
        guesses = np.zeros((3, SLOTS))
        guesses[1] = self.days.levels(0.0)[HOUR_OF_DAY]
        guesses[2] = self.weeks.levels(guesses[1])
        guesses += self.levels[:, None]
        centre = self._weights() @ guesses
        slope = _minmod(centre)
        half = 0.5 * slope
        before = EDGE_SHARE * np.abs(centre - half - (centre + half)[PREVIOUS])
        doubt = self._doubt(centre)
        scale = self._scale() + doubt
        after = before[NEXT]
        return Tables(guesses, centre, slope, scale, before, after, doubt == 0.0)

    def learn(
        self, block: Block, tables: Tables, centre: Floats, scale: Floats, step: float
    ) -> None:
        """Learn a block of which each reading stands for `step` seconds.

        `centre` and `scale` are those that the tables say for it.
        """
        spent = step * len(block)
        self.elapsed += spent
        flat = block.y
        if block.place is not None:
            flat = flat - tables.slope[block.slot] * block.place
        off = flat - tables.guesses[:, block.slot]
        wide = math.inf if self.elapsed <= DAY else 1.0  # on the first day all is news
        size = np.minimum(np.abs(block.y - centre), wide * SCALE_CLIP * scale)
        self._learn_hours(tables, block.slot, off, size, wide * HOUR_CLIP * scale, step)
        self._learn_errors(off, spent)
        self._learn_whole(block, off[0], size[tables.sure[block.slot]], spent, wide)

    def _learn_errors(self, off: Floats, spent: float) -> None:
        size = np.abs(off)
        size += LEAST_ERROR * self.spread + FLOOR
        size = np.log(size, out=size).sum(axis=1) / size.shape[1]
        self.errors += min(1.0, spent / min(self.elapsed, ERROR_MEMORY)) * (size - self.errors)

    def _learn_whole(
        self, block: Block, off: Floats, size: Floats, spent: float, wide: float
    ) -> None:
        limit = wide * LEVEL_CLIP * (self.spread + FLOOR)
        drift = _mean(np.minimum(np.maximum(off, -limit), limit))
        self.levels[0] += min(1.0, spent / min(self.elapsed, LEVEL_MEMORY)) * drift
        gain = min(1.0, spent / min(self.elapsed, SCALE_MEMORY))
        self.spread += gain * (_mean(size) - self.spread) if len(size) else 0.0
        magnitude = np.minimum(np.abs(block.value), 4.0 * self.size or np.inf)
        self.size += gain * (_mean(magnitude) - self.size)
        steps = np.abs(block.y[1:] - block.y[:-1])
        finest = float(steps[steps > 0.0].min(initial=np.inf))
        self.quantum = min(self.quantum or np.inf, finest) if finest < np.inf else self.quantum

    def _learn_hours(
        self, tables: Tables, slot: Ints, off: Floats, size: Floats, limit: Floats, step: float
    ) -> None:
        for guess, hours, at in ((1, self.days, slot % 24), (2, self.weeks, slot)):
            known = hours.seen[at] >= KNOWN
            most = np.where(known, limit, limit + FIRST_CLIP * self.size)
            error = np.minimum(np.maximum(off[guess], -most), most)
            mixed = tables.guesses[guess] - self.levels[guess]
            hours.learn(at, mixed[slot] + error, size, known & tables.sure[slot], step)
            drift = _mean(error * known)
            self.levels[guess] += -math.expm1(-step * len(slot) / DRIFT_MEMORY) * drift

    def _weights(self) -> Floats:
        if not self.seasonal or self.elapsed <= SEASON_FROM:
            return np.array([1.0, 0.0, 0.0])
        weights: Floats = np.exp(SHARPNESS * (self.errors.min() - self.errors))
        weights /= weights.sum()
        return weights

    def _scale(self) -> Floats:
        week = self.weeks.spreads(self.days.spreads(self.spread)[HOUR_OF_DAY])
        floor = RELATIVE_FLOOR * self.size + 0.5 * self.quantum + FLOOR
        scale: Floats = np.maximum(NORMAL_MAD * week, floor)
        return scale

    def _doubt(self, centre: Floats) -> Floats:
        """Return what to add for hours of a kind of day not met before: how much hours differ."""
        met = self.weeks.seen.reshape(7, 24).copy()
        if met.min() >= KNOWN:
            return np.zeros(SLOTS)
        met[WORKDAYS] = met[WORKDAYS].max(axis=0)
        doubt: Floats = np.where(
            met.ravel() < KNOWN, DOUBT * np.abs(centre - centre.mean()).mean(), 0.0
        )
        return doubt

    def to_dict(self) -> dict[str, Any]:
        """Return the state, for JSON."""
        hours = {"days": self.days.to_dict(), "weeks": self.weeks.to_dict()}
        arrays = {"levels": self.levels.tolist(), "errors": self.errors.tolist()}
        return {name: getattr(self, name) for name in _PLAIN} | hours | arrays

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        profile = cls(state["seasonal"])
        for name in _PLAIN:
            setattr(profile, name, state[name])
        profile.days.read(state["days"])
        profile.weeks.read(state["weeks"])
        profile.levels, profile.errors = np.array(state["levels"]), np.array(state["errors"])
        return profile


_PLAIN = ("seasonal", "spread", "size", "quantum", "elapsed")


def _mean(values: Floats) -> float:
    return float(np.add.reduce(values)) / len(values)


def _minmod(centre: Floats) -> Floats:
    """Return the smaller of the rises to both neighbours, zero where they differ in sign."""
    rise = centre - centre[PREVIOUS]
    fall = rise[NEXT]
    smaller = np.where(np.abs(rise) < np.abs(fall), rise, fall)
    return np.where(rise * fall > 0.0, smaller, 0.0)


def _mixed(own: Floats, seen: Floats, other: "Floats | float", prior: float) -> Floats:
    result: Floats = (own * seen + prior * other) / (seen + prior)
    return result
