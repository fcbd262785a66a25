"""The curve in the middle of the page: what was measured, what was expected, and how sure that is.

Of one machine its own judgement is shown. The plant is the sum of its machines: deviations of
machines are independent given what is expected of each, so the half widths of their bands add up
as squares. A machine that is not judged counts with what it draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import param

from app.models.plant_now import PlantNow
from app.models.trace import NEIGHBOURS, Trace, times_us
from enms_core.store import Connection, scores

COLUMNS = ("value", "expected", "lower", "upper")
STALE_INTERVALS = 3


@dataclass(frozen=True)
class Span:
    """How much of the past is shown, in seconds, and the distance of its points."""

    seconds: int
    step: int
    is_averaged: bool = False

    @property
    def us(self) -> int:
        """The span in microseconds."""
        return self.seconds * 1_000_000

    @property
    def step_us(self) -> int:
        """The distance of the points in microseconds."""
        return self.step * 1_000_000


SPANS = {"15 min": Span(900, 5), "1 h": Span(3600, 15), "24 h": Span(86_400, 120, True)}

Points = dict[str, list[float]]  # "time" in ms UTC and COLUMNS in kW, NaN in a gap


class LiveCurve(param.Parameterized):
    """The chosen machine, or the plant, over the chosen span."""

    machine = param.String("", doc="Name of the machine; empty means all that are shown.")
    span: Any = param.Selector(default="15 min", objects=list(SPANS))

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        self.last = 0  # time of the newest point (us)
        self._is_gap = False
        self._machines = 0

    @property
    def width(self) -> Span:
        """The chosen span."""
        return SPANS[self.span]

    def start(self, points: Points) -> None:
        """Go on after these points of the past."""
        times = points["time"]
        self.last = int(times[-1] * 1000) if times else 0
        self._is_gap, self._machines = False, 0

    def advance(self, plant: PlantNow) -> Points:
        """Return the points that are new by now: usually one or none."""
        rows = [r for r in plant.rows if self.machine in ("", r.machine.name)]
        live = [r for r in rows if not r.is_stale and r.power is not None and r.at is not None]
        at = max((r.at for r in live if r.at is not None), default=0)
        if not live:
            return self._gap()
        step = self.width.step_us if self.machine == "" or self.width.is_averaged else 1
        if at < self.last + step:
            return _no_points()
        broken = self._is_gap or 0 < self._machines != len(live)  # no line leads there
        gap = [self.last / 1000 + 1, at / 1000 - 1] if broken and self.last else []
        self.last, self._is_gap, self._machines = at, False, len(live)
        value = np.array([r.power for r in live], dtype=float)
        band = np.array([[r.expected, r.lower, r.upper] for r in live], dtype=float)
        total = _summed(value, *band.T)
        nothing = [float("nan")] * len(gap)
        return {
            "time": [*gap, at / 1000],
            **{name: [*nothing, float(total[name])] for name in COLUMNS},
        }

    def _gap(self) -> Points:
        if self._is_gap or not self.last:
            return _no_points()
        self._is_gap = True
        return {"time": [self.last / 1000 + 1], **{name: [float("nan")] for name in COLUMNS}}


def history(connection: Connection, traces: Mapping[str, Trace], span: Span, end_us: int) -> Points:
    """Return the past of these machines until `end_us`: of one machine, or of their sum."""
    start_us = end_us - span.us
    frames = []
    for machine_id, trace in traces.items():
        frame = scores.frame(connection, machine_id, trace.metric, start_us, end_us)
        frame = frame[list(COLUMNS)] * trace.to_kw
        frames.append(_averaged(frame, span) if span.is_averaged else frame)
    if len(frames) == 1:
        return as_points(with_gaps(frames[0]))
    return as_points(_plant(frames, np.arange(start_us, end_us, span.step_us)))


def with_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with empty rows at both ends of every gap, so that a line breaks there.

    >>> at = pd.to_datetime([0, 5, 10, 60, 65, 70], unit="s", utc=True)
    >>> with_gaps(pd.DataFrame({"value": [1.0] * 6}, index=at))["value"].tolist()
    [1.0, 1.0, 1.0, nan, nan, 1.0, 1.0, 1.0]
    """
    if len(frame) < 3:
        return frame
    steps = frame.index.to_series().diff().dt.total_seconds()
    usual = steps.rolling(NEIGHBOURS, center=True, min_periods=1).median()
    after = np.flatnonzero(steps > STALE_INTERVALS * usual)
    little = pd.Timedelta("1ms")
    index = pd.DatetimeIndex(frame.index)
    ends = (index[after - 1] + little).append(index[after] - little)
    breaks = pd.DataFrame(np.nan, index=ends, columns=frame.columns)
    return pd.concat([frame, breaks]).sort_index() if len(after) else frame


def as_points(frame: pd.DataFrame) -> Points:
    """Return a frame of COLUMNS by time as what a chart draws."""
    times = times_us(frame) / 1000
    return {
        "time": times.tolist(),
        **{name: frame[name].astype(float).tolist() for name in COLUMNS},
    }


def _averaged(frame: pd.DataFrame, span: Span) -> pd.DataFrame:
    return frame.resample(f"{span.step}s").mean().dropna(subset=["value"])


def _plant(frames: Sequence[pd.DataFrame], grid: "np.ndarray") -> pd.DataFrame:
    """Return the sum of the machines on a grid of times (us)."""
    held = [_held(frame, grid) for frame in frames if len(frame)]
    if not held:
        return pd.DataFrame(columns=list(COLUMNS), index=pd.to_datetime([], utc=True))
    table = np.stack(held)  # machine, time, column
    total = _summed(*(table[:, :, i] for i in range(len(COLUMNS))))
    machines = (~np.isnan(table[:, :, 0])).sum(axis=0)
    broken = np.diff(machines, prepend=machines[0]) != 0  # a sum of others: no line leads there
    columns = {name: np.where(broken, np.nan, total[name]) for name in COLUMNS}
    return pd.DataFrame(columns, index=pd.to_datetime(grid, unit="us", utc=True))


def _held(frame: pd.DataFrame, grid: "np.ndarray") -> "np.ndarray":
    """Return what was last read at every time of the grid, NaN where that is too long ago."""
    times = times_us(frame)
    steps = pd.Series(np.diff(times, append=2 * times[-1] - times[-2] if len(times) > 1 else 0))
    usual = steps.rolling(NEIGHBOURS, center=True, min_periods=1).median().to_numpy()
    at = np.searchsorted(times, grid, side="right") - 1
    values = frame.to_numpy()[np.maximum(at, 0)]
    values[(at < 0) | (grid - times[at] > STALE_INTERVALS * usual[at])] = np.nan
    return values


def _summed(
    value: "np.ndarray", expected: "np.ndarray", lower: "np.ndarray", upper: "np.ndarray"
) -> dict[str, "np.ndarray"]:
    """Return the sums over the first axis; nothing where no machine was read or judged."""
    judged = ~np.isnan(expected)
    centre = np.where(judged, expected, value)
    below = np.sqrt(np.nansum(np.where(judged, expected - lower, 0.0) ** 2, axis=0))
    above = np.sqrt(np.nansum(np.where(judged, upper - expected, 0.0) ** 2, axis=0))
    nothing = np.isnan(value).all(axis=0)
    unjudged = nothing | ~(judged & ~np.isnan(value)).any(axis=0)
    level = np.where(unjudged, np.nan, np.nansum(np.where(np.isnan(value), np.nan, centre), axis=0))
    return {
        "value": np.where(nothing, np.nan, np.nansum(value, axis=0)),
        "expected": level,
        "lower": level - below,
        "upper": level + above,
    }


def _no_points() -> Points:
    return {name: [] for name in ("time", *COLUMNS)}
