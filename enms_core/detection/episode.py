"""From scored readings to anomalies: intervals with a start, an end and what they cost."""

import json
import math
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from enms_core.detection.consequence import persistence
from enms_core.detection.jumps import NONE, Jump
from enms_core.detection.score import Score, epoch_seconds, surprise_for

HOUR, WEEK = 3600.0, 7 * 86400.0
HOLD = 3.0  # a reading stands for at most so many typical intervals
CLEARLY_OUT = 1.0  # a plainly wrong reading lies so many band widths outside the band ...
CLEARLY_OFF = 0.25  # ... and is off by this share of what was expected, or is usual
SUDDEN = 0.5  # ... of which the last reading, if closer than a minute, had not yet this share
GREW = 1.5  # an open episode is told again when its largest deviation has grown by this factor
MINUTE = 60.0  # readings closer than this apart need so long to close an episode, and to open ...
LASTING = 300.0  # ... one without a jump so long: what is expected may come minutes early or late
WORTH = 0.05  # a jump is at least this share of what was expected, or is usual
UNDONE = 0.5  # a jump is over when less than this share of it is left ...
REMEMBERED = 4 * HOUR  # ... and after so long its level is no longer compared with that before


@dataclass(frozen=True, kw_only=True)
class Episode:
    """An anomaly so far, from its first to its last surprising reading.

    `value`, `expected`, `lower` and `upper` are means over it in the unit of the metric, `peak` is
    the largest deviation with its sign, `sign` is 1 above and -1 below what was expected.
    `delta_kwh` is the energy used too much (or, negative, too little), `delta_kw` the mean of it as
    power, `lasting_kw` that times its persistence where it was largest; 0 for other metrics.
    `interval_s` is the usual distance of its readings.
    """

    started_at: datetime
    ended_at: datetime
    sign: int
    readings: int
    score: float
    value: float
    expected: float
    lower: float
    upper: float
    peak: float
    delta_kwh: float
    delta_kw: float
    lasting_kw: float
    interval_s: float

    @property
    def delta(self) -> float:
        """Mean deviation from what was expected."""
        return self.value - self.expected


@dataclass(frozen=True)
class Opened:
    """An anomaly began."""

    episode: Episode


@dataclass(frozen=True)
class Changed:
    """The open anomaly has grown plainly larger, or reached another level."""

    episode: Episode


@dataclass(frozen=True)
class Closed:
    """The anomaly is over, and why."""

    episode: Episode
    because: str = "Back to normal."


Step = Opened | Changed | Closed


@dataclass
class _Tally:
    """Sums over readings; two of them add up."""

    readings: int = 0
    value: float = 0.0
    expected: float = 0.0
    lower: float = 0.0
    upper: float = 0.0
    delta_kwh: float = 0.0
    delta_kw: float = 0.0

    def add(self, other: "_Tally") -> None:
        for name, amount in vars(other).items():
            setattr(self, name, getattr(self, name) + amount)


@dataclass
class _Run:
    """A suspicion, or an open episode: what is sure to belong to it, and what may yet."""

    sign: int
    start: float
    end: float
    score: float = 0.0
    peak: float = 0.0
    sure: _Tally | None = None
    since: _Tally | None = None
    jump: float = 0.0  # its height where it began with one, and
    before: float = 0.0  # how far readings were off before that
    lasting_kw: float = 0.0
    levels: int = 0  # how many it had reached when it was last told

    def remembers(self, at: float) -> bool:
        """Tell whether the level before its jump still says what to expect."""
        return self.jump != 0.0 and at - self.start <= REMEMBERED

    @property
    def delta_kw(self) -> float:
        """Mean deviation as power."""
        return self.sure.delta_kw / self.sure.readings if self.sure else 0.0

    def take(self, at: float, score: float, deviation: float, part: _Tally, odd: bool) -> None:
        self.since = self.since or _Tally()
        self.since.add(part)
        if odd:
            self.end = at
            self.score = max(self.score, score)
            self.peak = max(self.peak, deviation, key=lambda d: d * self.sign)
            self.sure = self.sure or _Tally()
            self.sure.add(self.since)
            self.since = _Tally()
            lasting = self.delta_kw * persistence(at - self.start)
            self.lasting_kw = max(self.lasting_kw, lasting, key=lambda d: d * self.sign)

    def reached(self, levels: tuple[float, ...]) -> int:
        """Return how many of these levels (kW) it has reached."""
        return sum(abs(self.lasting_kw) >= level for level in levels)

    def episode(self, interval_s: float) -> Episode:
        sums = self.sure or _Tally()
        n = max(sums.readings, 1)
        return Episode(
            started_at=datetime.fromtimestamp(self.start, UTC),
            ended_at=datetime.fromtimestamp(self.end, UTC),
            sign=self.sign,
            readings=sums.readings,
            score=self.score,
            value=sums.value / n,
            expected=sums.expected / n,
            lower=sums.lower / n,
            upper=sums.upper / n,
            peak=self.peak,
            delta_kwh=sums.delta_kwh,
            delta_kw=self.delta_kw,
            lasting_kw=self.lasting_kw,
            interval_s=interval_s,
        )


class EpisodeTracker:
    """Turns the scored readings of one series into episodes, one open at a time.

    One opens when `k` of the last `n` readings have a surprise of `enter` or more on the same
    side and the largest is one that `false_alarms_per_month` normal readings exceed; where readings
    are closer than a minute the first of them is five minutes old. It opens at once on a reading of
    `instant` or more that is plainly wrong: a band width outside the band and a quarter off. And
    it opens with the first reading after a jump so rare that stays where that went, whatever the
    width of the band; for four hours the level before the jump then says what to expect.

    It closes when `n` readings, seldom interrupted, are below `leave` again, or at its last reading
    when data were missing for three typical intervals and an hour. The reading after such a gap
    closes it and cannot open another. An open one is told again when its deviation has grown by
    half, or, times its persistence, has reached another of the `levels` (kW).

    >>> tracker, band = EpisodeTracker(), dict(expected=20.0, lower=18.0, upper=22.0)
    >>> quiet, loud = Score(0.3, **band), Score(9.0, **band)
    >>> for minute in range(5):
    ...     tracker.take(60.0 * minute, 20.0, quiet)
    >>> opened = tracker.take(300.0, 60.0, loud)
    >>> opened.episode.started_at.minute, opened.episode.value, round(opened.episode.delta_kwh, 3)
    (5, 60.0, 0.667)
    >>> [type(tracker.take(360.0 + 60 * i, 20.0, quiet)).__name__ for i in range(5)]
    ['NoneType', 'NoneType', 'NoneType', 'NoneType', 'Closed']
    """

    def __init__(
        self,
        k: int = 3,
        n: int = 5,
        enter: float = 3.5,
        instant: float = 5.0,
        leave: float = 2.0,
        false_alarms_per_month: float = 4.0,
        metric: str = "power_kw",
    ) -> None:
        if not (1 <= k <= n and 0 < leave <= enter <= instant and false_alarms_per_month > 0):
            raise ValueError(
                f"k={k}, n={n}, leave={leave}, enter={enter}, instant={instant}, "
                f"false_alarms_per_month={false_alarms_per_month}: "
                "must be 1 <= k <= n, 0 < leave <= enter <= instant, and more than none"
            )
        self.k, self.n = k, n
        self.enter, self.instant, self.leave = enter, instant, leave
        self.false_alarms_per_month = false_alarms_per_month
        self.metric = metric
        self.levels: tuple[float, ...] = ()
        self._last: float | None = None
        self._interval = 0.0
        self._recent: deque[int] = deque(maxlen=n)  # signs of the surprising, 0 for others
        self._run: _Run | None = None
        self._open = False
        self._back = 0  # readings that are normal again
        self._quiet = 0  # readings since one that keeps a suspicion up
        self._told = 0.0  # the peak when the episode was last told
        self._usual = self._known = 0.0  # the mean size of readings, and seconds of it
        self._off = 0.0  # how far the last reading was off
        self._left = (0.0, 0.0)  # height and time of a jump whose end was not seen
        self._jump: _Run | None = None  # what begins if the next reading stays there

    @property
    def interval_s(self) -> float:
        """The usual distance of readings in seconds, 0 before the second."""
        return self._interval

    @property
    def episode(self) -> Episode | None:
        """The open episode so far, or None."""
        return self._run.episode(self._interval) if self._run and self._open else None

    def take(
        self, at: datetime | float, value: float, score: Score, jump: Jump = NONE
    ) -> Step | None:
        """Take the next reading and its score; tell whether an episode opened, grew or closed.

        Readings that were not scored, or are not later than the last one, tell nothing.
        """
        seconds = epoch_seconds(at)
        if not math.isfinite(score.surprise) or (self._last is not None and seconds <= self._last):
            return None
        held, gone = self._held(seconds)
        closed = self._close() if gone else None
        if not math.isfinite(score.expected):
            return closed
        self._known = min(self._known + held, WEEK)
        self._usual += held / max(self._known, 1.0) * (abs(value) - self._usual)
        if self._open:
            return self._follow(seconds, value, score, jump, held)
        opened = self._leap(seconds, value, score, jump, held)
        opened = self._suspect(seconds, value, score, held) if opened is None else opened
        self._off = value - score.expected
        if closed is None and opened:
            return self._begin(opened)
        return closed

    def _begin(self, run: _Run) -> Opened:
        self._run, self._jump = run, None
        self._open, self._back, self._told = True, 0, abs(run.peak)
        run.levels = run.reached(self.levels)
        return Opened(run.episode(self._interval))

    def interrupt(self, because: str) -> Closed | None:
        """Close the open episode for a reason of its own; suspicions are forgotten."""
        closed = self._close()
        return closed and Closed(closed.episode, because)

    def to_json(self) -> str:
        """Return settings and state as JSON."""
        settings = {name: getattr(self, name) for name in _SETTINGS}
        state = {name: getattr(self, name) for name in _STATE}
        run = asdict(self._run) if self._run else None
        jump = asdict(self._jump) if self._jump else None
        state |= {"_recent": list(self._recent), "_run": run, "_jump": jump}
        return json.dumps({"settings": settings, "state": state}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote; it goes on as the one that wrote it."""
        raw = json.loads(text)
        tracker = cls(**raw["settings"])
        state = raw["state"]
        for name in _STATE:
            setattr(tracker, name, state.get(name, getattr(tracker, name)))
        height, since = tracker._left
        tracker._left = height, since
        tracker._recent.extend(state["_recent"])
        tracker._run, tracker._jump = _read_run(state["_run"]), _read_run(state.get("_jump"))
        return tracker

    def _held(self, at: float) -> tuple[float, bool]:
        """Return the seconds the reading stands for, and whether data were missing before it."""
        if self._last is None:
            self._last = at
            return 0.0, False
        gap = at - self._last
        self._last = at
        longest = HOLD * self._interval if self._interval else gap
        self._interval = min(gap, 2.0 * self._interval) if self._interval else gap
        return min(gap, longest), gap > max(longest, HOUR)

    def _part(self, value: float, score: Score, held: float, before: float = 0.0) -> _Tally:
        """Return what a reading adds; what was `before` a jump is expected, too."""
        expected, lower, upper = (part + before for part in score[1:])
        off = value - expected
        kwh, kw = _energy(self.metric, off, held), _power(self.metric, off, self._interval)
        return _Tally(1, value, expected, lower, upper, kwh, kw)

    def _leap(self, at: float, value: float, score: Score, jump: Jump, held: float) -> _Run | None:
        """Return the episode that began with the last reading, if this one stays where that was."""
        run, self._jump = self._jump, None
        if run is not None:
            off = value - score.expected - run.before
            if off * run.sign >= UNDONE * abs(run.jump):
                part = self._part(value, score, held, run.before)
                run.take(at, max(score.surprise, jump.surprise), off, part, odd=True)
                return run
        _, height, before = jump
        if jump.surprise < self._news or not self._matters(WORTH, height, score):
            return None
        left, since = self._left
        if not (_undoes(height, left) and at - since <= WEEK):
            self._jump = run = _Run(1 if height > 0.0 else -1, at, at, jump=height, before=before)
            off, part = value - score.expected - before, self._part(value, score, held, before)
            run.take(at, max(score.surprise, jump.surprise), off, part, odd=True)
        return None

    def _suspect(self, at: float, value: float, score: Score, held: float) -> _Run | None:
        """Return the episode that opens if enough readings are odd."""
        off = value - score.expected
        sign = 1 if off >= 0 else -1
        odd = score.surprise >= self.enter
        self._recent.append(sign if odd else 0)
        if odd and (self._run is None or self._run.sign != sign):
            self._run = _Run(sign, at, at)
        if self._run is None:
            return None
        run = self._run
        run.take(at, score.surprise, off, self._part(value, score, held), odd)
        hits, is_fine = self._recent.count(run.sign), self._interval < MINUTE
        raised = score.surprise >= self.leave and off * run.sign > 0
        self._quiet = 0 if raised else self._quiet + 1
        if not hits and not (is_fine and self._quiet < self.n):
            self._run = None
        least = LASTING if is_fine else 0.0
        lasting = odd and hits >= self.k and at - run.start >= least
        lasting = lasting and run.score >= self._news
        return run if lasting or self._plainly_wrong(value, score) else None

    @property
    def _news(self) -> float:
        """The surprise that normal readings exceed as seldom as is wanted.

        Readings closer than a minute say little more than those of every minute.
        """
        interval = max(self._interval or 0.0, MINUTE)
        return max(self.enter, surprise_for(self.false_alarms_per_month, interval))

    def _plainly_wrong(self, value: float, score: Score) -> bool:
        width = CLEARLY_OUT * (score.upper - score.lower)
        outside = value > score.upper + width or value < score.lower - width
        if not outside or score.surprise < max(self.instant, self._news):
            return False
        off = value - score.expected
        sudden = self._interval >= MINUTE or abs(off - self._off) >= SUDDEN * abs(off)
        return sudden and self._matters(CLEARLY_OFF, off, score)

    def _matters(self, share: float, off: float, score: Score) -> bool:
        """Tell whether a deviation is this share of what was expected and of what is usual."""
        return abs(off) >= share * max(abs(score.expected), self._usual)

    def _follow(
        self, at: float, value: float, score: Score, jump: Jump, held: float
    ) -> Step | None:
        run = self._run
        if run is None:
            return None
        if _undoes(jump.height, run.jump):
            run.jump = 0.0
        remembers = run.remembers(at)
        before = run.before if remembers else 0.0
        off = value - score.expected - before
        stays = remembers and off * run.sign >= UNDONE * abs(run.jump)
        odd = stays or (score.surprise >= self.leave and off * run.sign > 0)
        run.take(at, score.surprise, off, self._part(value, score, held, before), odd)
        if odd:
            loud = stays or score.surprise >= self.enter
            self._back = 0 if loud else max(0, self._back - 2)
        else:
            self._back += 1
        if self._back >= self.n and at - run.end >= MINUTE:
            return self._close()
        levels = run.reached(self.levels)
        if abs(run.peak) >= GREW * self._told or levels > run.levels:
            self._told, run.levels = abs(run.peak), max(levels, run.levels)
            return Changed(run.episode(self._interval))
        return None

    def _close(self) -> Closed | None:
        run = self._run if self._open else None
        if run:
            self._left = (run.jump, run.start)
        self._run = self._jump = None
        self._open = False
        self._recent.clear()
        return Closed(run.episode(self._interval)) if run else None


_SETTINGS = ("k", "n", "enter", "instant", "leave", "false_alarms_per_month", "metric")
_STATE = (
    "_last", "_interval", "_open", "_back", "_quiet", "_told", "_usual", "_known", "_off", "_left",
)  # fmt: skip


def _undoes(height: float, jump: float) -> bool:
    """Tell whether a jump of this height goes back where another came from."""
    return height * jump < 0.0 and UNDONE <= abs(height / jump) <= 1.0 / UNDONE


def _read_run(raw: dict[str, Any] | None) -> _Run | None:
    if raw is None:
        return None
    sums = {name: _Tally(**raw[name]) if raw[name] else None for name in ("sure", "since")}
    return _Run(**(raw | sums))


def _energy(metric: str, off: float, held: float) -> float:
    """Return the kWh of a deviation `off` that stood for `held` seconds."""
    if metric.endswith("_kw"):
        return off * held / HOUR
    return off if metric.endswith("_kwh") else 0.0


def _power(metric: str, off: float, interval: float) -> float:
    """Return the kW of a deviation `off` in readings so many seconds apart."""
    if metric.endswith("_kw"):
        return off
    return off * HOUR / interval if metric.endswith("_kwh") and interval else 0.0
