"""What a detector knows of one series, and how it judges a block of readings with it.

What is known changes only from block to block: a block is an eighth of what was read before, at
most half a week. So a whole block is judged at once, and its first readings as they would be
without those that follow.
"""

import math
from copy import copy
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from enms_core.detection.news import OPEN, Episodes, Range
from enms_core.detection.profile import DAY, HOUR, MONDAY, SLOTS, Block, Floats, Profile
from enms_core.detection.score import LEARNING
from enms_core.detection.signals import (
    LONG,
    MIDDLE,
    SHORT,
    SIGNALS,
    SINGLE,
    STATE,
    STILL,
    VARIANCE,
    Trail,
    signals,
)
from enms_core.detection.tails import EDGES, Tails

WARM_SECONDS, WARM_READINGS = DAY, 24  # nothing is surprising before
SMOOTH_SECONDS = 2 * DAY  # smoothed signals tell nothing before, at a new pace anew
TAIL_MEMORY, AGEING = 56 * DAY, 1.0  # a younger series remembers its own age over AGEING
GROUP = 12  # smoothed signals are judged by their maxima over so many readings
LONGEST_SECONDS = 3.5 * DAY  # of a block, and ...
LONGEST_BLOCK, SHARE = 80 * GROUP, 8  # readings; of those before
BAND = 2.0  # surprise at the edges of the 99 % band, and the least that smoothed signals tell
SELDOM = 1.0  # decades taken off signals that are seldom the first to tell
RESTLESS = 0.5  # where more readings than this share repeat the last, standing still is normal
SWITCHES = 20  # a machine that switched less often has no states yet
OTHER_PACE = 2.0  # readings that come faster or slower by this factor make other smoothed signals
NEVER = -1e18

SIGNED_EDGES = np.concatenate([-EDGES[:0:-1], EDGES])
SIGNED_STEPS = SIGNED_EDGES[1:] - SIGNED_EDGES[:-1]
AT, LOCAL, VALUE, BASE = range(4)  # columns of the readings kept


class Memory:
    """Levels, scales and tails of one series, and the readings of the block that is not full."""

    def __init__(self, seasonal: bool) -> None:
        self.profile = Profile(seasonal)
        self.tails = Tails([1, 1] + [GROUP, GROUP] * (SIGNALS - 1), _handicaps())
        self.trail, self.range, self.episodes = Trail.new(), Range(), Episodes()
        self.readings, self.step, self.last = 0, 0.0, NEVER
        self.repeats, self.switches, self.lowest = 0.0, 0, 0.0
        self.paced = 0.0  # seconds elapsed when the pace changed
        self.rows = np.empty((4, 0))
        self.fitted = np.empty(0)
        self.freeze()

    def freeze(self) -> None:
        """Compute what holds until the block is full."""
        self.tables = self.profile.tables()
        self.ready = self.profile.elapsed >= WARM_SECONDS and self.readings >= WARM_READINGS
        share = self.readings // SHARE
        if self.step:
            share = min(share, int(LONGEST_SECONDS / self.step))
        self.size = min(max(share // GROUP, 1) * GROUP, LONGEST_BLOCK)
        if self.tails.table is not self.fitted:
            self._take_tails()
        self.above, self.below = self.sizes[::2].copy(), -self.sizes[1::2]
        if self.repeats > RESTLESS:
            self._mute(STILL)
        if self.switches < SWITCHES:
            self._mute(STATE)
        if self.profile.elapsed - self.paced < SMOOTH_SECONDS:
            self._mute(SHORT, MIDDLE, LONG, VARIANCE, STATE)
        self.least = float(self.tables.scale.min())

    def _take_tails(self) -> None:
        self.fitted = self.tails.table
        self.sizes = self.tails.sizes_at(BAND)
        above, below = self.fitted[:2]
        self.single = np.concatenate([below[:0:-1], above])  # at SIGNED_EDGES
        rises = (self.single[1:] - self.single[:-1]) / SIGNED_STEPS
        self.steps = [*self.single.tolist(), float(self.single[-1])], [*rises.tolist(), 0.0]

    def _mute(self, *rows: int) -> None:
        for row in rows:
            self.above[row], self.below[row] = math.inf, -math.inf

    def take(self, rows: Floats) -> Floats:
        """Judge and learn readings: columns AT to BASE, in the order they came."""
        fresh = rows[AT] > np.maximum.accumulate(np.append(self.last, rows[AT]))[:-1]
        scores = np.empty((rows.shape[1], 4))
        which, late = np.flatnonzero(fresh), np.flatnonzero(~fresh)
        before = np.searchsorted(which, late)
        done = 0
        while True:
            room = self.size - self.rows.shape[1]
            now = which[done : done + room]
            open_now = late[(before >= done) & (before < done + room)]
            if len(open_now):
                scores[open_now] = self.judge_late(rows[:, open_now])
            if not len(now):
                return scores
            scores[now] = self._extend(rows[:, now])
            done += len(now)

    def judge_late(self, rows: Floats) -> Floats:
        """Score readings out of their time, by their size alone."""
        block = self.block(rows)
        centre, scale = self.tables.at(block)
        surprise = np.interp((block.y - centre) / scale, SIGNED_EDGES, self.single)
        return self._scores(block, rows[BASE], centre, scale, surprise)

    def block(self, rows: Floats) -> Block:
        """Place readings in the week."""
        at, local, value, base = rows
        coarse = self.step >= HOUR
        hours = local / HOUR if coarse else (local + 0.5 * self.step) / HOUR
        hour = np.floor(hours)
        place = None if coarse else hours - hour - 0.5
        slot = (hour.astype(np.int64) + MONDAY) % SLOTS
        return Block(at, value, value - base, slot, place)

    def complete(self, rows: Floats) -> None:
        """Learn a full block whose news are already told, and begin another one."""
        block = self.block(rows)
        self._learn(block, *self._look(block))

    def _extend(self, rows: Floats) -> Floats:
        """Score readings that fit into the open block, and learn it when it is full."""
        known = self.rows.shape[1]
        self.rows = np.concatenate([self.rows, rows], axis=1)
        self.last = float(rows[AT, -1])
        block = self.block(self.rows)
        centre, scale, looked, trail = self._look(block)
        full = len(block) == self.size
        news = (self.range, self.episodes) if full else (copy(self.range), copy(self.episodes))
        surprise = self._surprise(block, looked, *news)
        scores = self._scores(block, self.rows[BASE], centre, scale, surprise)
        if full:
            self._learn(block, centre, scale, looked, trail)
        return scores[known:]

    def _look(self, block: Block) -> tuple[Floats, Floats, Floats, Trail]:
        """Return centres and scales, the signals and the trail that they leave."""
        if not self.readings and len(block) == self.size:
            self._start(block)
        centre, scale = self.tables.at(block)
        z = (block.y - centre) / scale
        return centre, scale, *signals(block, z, self.profile.level, self.trail)

    def _scores(
        self, block: Block, base: Floats, centre: Floats, scale: Floats, surprise: Floats
    ) -> Floats:
        if not self.ready:
            return np.full((len(block), 4), LEARNING)
        expected = base + centre
        lower, upper = expected + scale * self.below[SINGLE], expected + scale * self.above[SINGLE]
        if self.lowest >= 0.0:
            under = lower < 0.0
            lower = np.where(under, 0.0, lower)
            expected = np.where(under, expected.clip(min=0.0), expected)
            upper = np.where(under, upper.clip(min=0.0), upper)
        scores: Floats = np.stack([surprise, expected, lower, upper], axis=1)
        return scores

    def _surprise(self, block: Block, looked: Floats, range_: Range, episodes: Episodes) -> Floats:
        """Return the largest surprise of all signals, an episode's told once."""
        if not self.ready:
            return np.zeros(len(block))
        surprise: Floats = np.interp(looked[SINGLE], SIGNED_EDGES, self.single)
        smooth = looked[1:]
        sides = smooth > self.above[1:, None], smooth < self.below[1:, None]
        for side, loud in enumerate(sides):
            for row in np.flatnonzero(loud.any(axis=1)).tolist():
                where = np.flatnonzero(loud[row])
                table = self.tails.table[2 * row + 2 + side]
                told = np.interp(np.abs(smooth[row, where]), EDGES, table)
                surprise[where] = np.maximum(surprise[where], told)
        for i in np.flatnonzero((block.y > range_.high) | (block.y < range_.low)).tolist():
            new = range_.surprise(float(block.y[i]), self.readings + i, self.least)
            surprise[i] = max(surprise[i], new)
        for i in np.flatnonzero(surprise >= OPEN).tolist():
            surprise[i] = episodes.tell(self.readings + i, float(surprise[i]))
        return surprise

    def _start(self, block: Block) -> None:
        self.profile.start(block.y)
        self.lowest = float(block.value.min())
        self.tables = self.profile.tables()

    def _learn(
        self, block: Block, centre: Floats, scale: Floats, looked: Floats, trail: Trail
    ) -> None:
        """Learn a full block, and begin another one."""
        self.trail = trail
        if not self.ready:
            self.range.widen(float(block.y.min()), float(block.y.max()))
        self._learn_pace(block)
        spent = self.step * len(block)
        if self.ready:
            memory = min(TAIL_MEMORY, self.profile.elapsed / AGEING)
            self.tails.learn(_maxima(looked), math.exp(-spent / memory))
        self.profile.learn(block, self.tables, centre, scale, self.step)
        gain = min(1.0, spent / min(self.profile.elapsed, TAIL_MEMORY))
        repeats = int(np.count_nonzero(looked[STILL])) / len(block)
        self.repeats += gain * (repeats - self.repeats)
        self.switches += len(block) - int(np.count_nonzero(looked[STATE]))
        self.lowest = min(self.lowest, float(block.value.min()))
        self.readings += len(block)
        self.rows = np.empty((4, 0))
        self.freeze()

    def _learn_pace(self, block: Block) -> None:
        steps = np.sort(block.at[1:] - block.at[:-1])
        middle = float(steps[(len(steps) - 1) // 2] + steps[len(steps) // 2]) / 2.0
        step = min(middle, HOUR)
        if self.step and not 1.0 / OTHER_PACE < step / self.step < OTHER_PACE:
            self.tails.forget(slice(2, None))
            self.paced = self.profile.elapsed
        self.step = step

    def to_dict(self) -> dict[str, Any]:
        """Return the state, for JSON."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        parts = {name: asdict(getattr(self, name)) for name in ("trail", "range", "episodes")}
        learned = {"profile": self.profile.to_dict(), "tails": self.tails.to_dict()}
        return plain | parts | learned | {"rows": self.rows.tolist()}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        memory = cls(state["profile"]["seasonal"])
        for name in _PLAIN:
            setattr(memory, name, state.get(name, getattr(memory, name)))
        memory.trail = Trail(**state["trail"])
        memory.range, memory.episodes = Range(**state["range"]), Episodes(**state["episodes"])
        memory.profile = Profile.from_dict(state["profile"])
        memory.tails.read(state["tails"])
        memory.rows = np.array(state["rows"]).reshape(4, -1)
        memory.freeze()
        return memory


_PLAIN = ("readings", "step", "last", "repeats", "switches", "lowest", "paced")


def _handicaps() -> Floats:
    handicaps = np.zeros(2 * SIGNALS)
    for row in (VARIANCE, STATE):
        handicaps[2 * row : 2 * row + 2] = SELDOM
    return handicaps


def _maxima(looked: Floats) -> list[Floats]:
    """Return the sizes to count, by row: a signal's above, then below."""
    single = looked[SINGLE]
    grouped = looked[1:].reshape(SIGNALS - 1, -1, GROUP)
    above, below = np.maximum(grouped.max(axis=2), 0.0), np.maximum(-grouped.min(axis=2), 0.0)
    sides = [side for pair in zip(above, below, strict=True) for side in pair]
    return [np.maximum(single, 0.0), np.maximum(-single, 0.0), *sides]
