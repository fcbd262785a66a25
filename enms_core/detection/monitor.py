"""One machine's energy under watch: detector and episodes together, in order of arrival."""

import json
import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from enms_core.detection.episode import Episode, EpisodeTracker, Step
from enms_core.detection.jumps import NONE, Jumps
from enms_core.detection.score import Score
from enms_core.detection.stream import StreamDetector
from enms_core.modes import IDLE, QUIET, RUNNING, Modes, Names
from enms_core.plant import INTERVAL_METRICS

INTERVAL_US = 900_000_000  # an energy reading stands for so long


@dataclass(frozen=True)
class Judged:
    """What a monitor says of a batch: a row of `band` per reading, and the steps of episodes."""

    band: pd.DataFrame  # time (us), expected, lower, upper, surprise
    steps: list[Step]
    late: int | None = None  # the oldest time (us) that came too late to be judged in order


class Monitor:
    """Judges the energy metric of one machine, reading after reading.

    What it uses when idle is learned apart, from its idle times alone, and only more than that is
    surprising. In maintenance, fault and offline, and while a change of mode settles, nothing is
    judged and nothing learned.

    >>> monitor = Monitor("power_kw", "Europe/Berlin")
    >>> minutes = np.arange(3 * 7 * 24 * 60) * 60_000_000
    >>> judged = monitor.take(minutes, 20.0 + np.sin(minutes / 1e8))
    >>> judged.steps, judged.late
    ([], None)
    >>> monitor.take(minutes[-1:] + 60_000_000, np.array([90.0])).steps[0].episode.sign
    1
    >>> bool(monitor.take(minutes[-1:], np.array([20.0])).late == minutes[-1])
    True
    """

    def __init__(self, metric: str, zone: str) -> None:
        self.metric = metric
        self.detector, self.idle = StreamDetector(zone), StreamDetector(zone)
        self.jumps, self.tracker = Jumps(), EpisodeTracker(metric=metric)
        self.model_id = ""
        self.last = -1

    @property
    def episode(self) -> Episode | None:
        """The open episode, if there is one."""
        return self.tracker.episode

    def take(
        self,
        times_us: "np.ndarray",
        values: "np.ndarray",
        expected: "np.ndarray | None" = None,
        modes: Modes | None = None,
    ) -> Judged:
        """Judge readings in the order they arrived; one older than its predecessor is only late."""
        reached = np.maximum.accumulate(np.concatenate([[self.last], times_us]))
        in_order = times_us > reached[:-1]
        late = times_us[~in_order]
        times, values = times_us[in_order], values[in_order]
        self.last = int(reached[-1])
        index = pd.to_datetime(times, unit="us", utc=True)
        base = None if expected is None else pd.Series(expected[in_order], index)
        known = modes or Modes.of()
        judged_as = self.judged_as(times, known)
        scored = self._scored(pd.Series(values, index, dtype=float), base, judged_as)
        rows = zip(
            (times / 1e6).tolist(),
            values.tolist(),
            _scores(scored),
            (judged_as == IDLE).tolist(),
            map(QUIET.get, known.at(times).tolist()),
            strict=True,
        )
        steps = [
            step
            for at, value, score, idle, why in rows
            if (step := self.tracker.interrupt(why) if why else self._step(at, value, score, idle))
        ]
        band = scored.reset_index(drop=True).assign(time=times)
        return Judged(band, steps, int(late.min()) if len(late) else None)

    def judged_as(self, times_us: "np.ndarray", modes: Modes) -> Names:
        """Return as what readings at these times are judged: running, idle, or empty."""
        return modes.judged_as(times_us, INTERVAL_US if self.metric in INTERVAL_METRICS else 0)

    def learn(
        self, values: "pd.Series[float]", expected: "pd.Series[float]", judged_as: Names
    ) -> None:
        """Learn readings without telling anything."""
        scored = self._scored(values, expected, judged_as)
        known = values.notna() & scored["expected"].notna()
        times = pd.DatetimeIndex(values.index).as_unit("us").asi8 / 1e6
        rows = zip(times[known], values[known], scored["expected"][known], strict=True)
        for at, value, base in rows:
            self.jumps.take(float(at), float(value), float(base))

    def _scored(
        self, values: "pd.Series[float]", expected: "pd.Series[float] | None", judged_as: Names
    ) -> pd.DataFrame:
        scored = self.detector.score(values.where(judged_as == RUNNING), expected)
        idle = judged_as == IDLE
        if idle.any():
            still = values[idle]
            scores = self.idle.score(still, pd.Series(0.0, still.index))
            enough = still <= scores["expected"]
            scores["surprise"] = scores["surprise"].mask(enough, 0.0)
            scored.iloc[np.flatnonzero(idle)] = scores.to_numpy()
        return scored

    def _step(self, at: float, value: float, score: Score, is_idle: bool) -> Step | None:
        known = math.isfinite(value) and math.isfinite(score.expected)
        jump = self.jumps.take(at, value, score.expected) if known else NONE
        if is_idle and jump.height < 0.0:  # less than idle is no fault
            jump = NONE
        return self.tracker.take(at, value, score, jump)

    def adopt(self, model_id: str) -> None:
        """Begin with another model: what was learned of the residuals of the one before is gone."""
        self.model_id = model_id
        self.detector.forget_residuals()
        self.jumps = Jumps()

    def is_like(self, other: "Monitor") -> bool:
        """Whether it judges the same metric by the same model."""
        return (self.metric, self.model_id) == (other.metric, other.model_id)

    def to_json(self) -> str:
        """Return the whole state."""
        state = {
            "metric": self.metric,
            "last": self.last,
            "model_id": self.model_id,
            "detector": self.detector.to_json(),
            "idle": self.idle.to_json(),
            "jumps": self.jumps.to_dict(),
            "tracker": self.tracker.to_json(),
        }
        return json.dumps(state)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; it goes on as the one that wrote it."""
        state = json.loads(text)
        monitor = cls(state["metric"], "UTC")
        monitor.last, monitor.model_id = state["last"], state["model_id"]
        monitor.detector = StreamDetector.from_json(state["detector"])
        if "idle" in state:  # it is not in a state of before there were modes
            monitor.idle = StreamDetector.from_json(state["idle"])
        if "jumps" in state:
            monitor.jumps = Jumps.from_dict(state["jumps"])
        monitor.tracker = EpisodeTracker.from_json(state["tracker"])
        return monitor


def _scores(scored: pd.DataFrame) -> list[Score]:
    rows = scored[list(Score._fields)].to_numpy().tolist()
    return [Score(*row) for row in rows]
