"""The last hour of a machine, and its day so far against what was expected of it."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd

from enms_core.store import Connection, scores

POINTS = 60  # of the small curve
WEIGHED = 12  # the newest intervals tell how often a machine reports
SHORTEST_US = 5_000_000
NEIGHBOURS = 7  # a gap is what is long among its neighbours


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What was read of a machine's energy metric since the start of its `day` (us)."""

    SPAN_US: ClassVar[int] = 3_600_000_000

    metric: str
    day: int
    until: int  # where reading goes on
    measured: float = 0.0  # both over the times of today that were judged
    expected: float = 0.0
    hour: pd.DataFrame = field(default_factory=pd.DataFrame)

    def extended(self, connection: Connection, machine_id: str, now_us: int) -> "Trace":
        """Return the trace with what came since."""
        fresh = scores.frame(connection, machine_id, self.metric, self.until, now_us + 1)
        return self.with_rows(fresh, now_us)

    def with_rows(self, fresh: pd.DataFrame, now_us: int) -> "Trace":
        """Return the trace with later rows: value, expected, lower, upper by time."""
        rows = pd.concat([self.hour, fresh]) if len(self.hour) else fresh
        if rows.empty:
            return self
        measured, expected = _compared(rows, self.until, self.day)
        times = times_us(rows)
        return replace(
            self,
            until=int(times[-1]) + 1,
            measured=self.measured + measured,
            expected=self.expected + expected,
            hour=rows[times > now_us - self.SPAN_US],
        )

    @cached_property
    def interval_us(self) -> int:
        """How often the machine usually reports."""
        times = times_us(self.hour)[-WEIGHED:]
        if len(times) < 3:
            return 60_000_000
        return max(SHORTEST_US, int(np.median(np.diff(times))))

    @property
    def to_kw(self) -> float:
        """What makes kilowatts of a value: energies are spread over their interval."""
        return 1.0 if self.metric.endswith("_kw") else 3.6e9 / self.interval_us

    @property
    def ratio(self) -> float | None:
        """Measured to expected energy of today, None where nothing was judged."""
        return self.measured / self.expected if self.expected > 0 else None

    def curve(self, now_us: int) -> list[float]:
        """Return the last hour as means of minutes in kW, NaN where there was nothing."""
        minute = self.SPAN_US // POINTS
        out = np.full(POINTS, np.nan)
        if len(self.hour):
            slot = (times_us(self.hour) - (now_us - self.SPAN_US)) // minute
            inside = (slot >= 0) & (slot < POINTS)
            values = self.hour["value"].to_numpy()[inside] * self.to_kw
            counts = np.bincount(slot[inside], minlength=POINTS)
            sums = np.bincount(slot[inside], values, minlength=POINTS)
            np.divide(sums, counts, out=out, where=counts > 0)
        return [float(v) for v in out]


def times_us(frame: pd.DataFrame) -> "np.ndarray":
    """Return the times of the rows in microseconds UTC."""
    return pd.DatetimeIndex(pd.to_datetime(frame.index, utc=True)).as_unit("us").asi8


def _compared(rows: pd.DataFrame, since_us: int, day: int) -> tuple[float, float]:
    """Return value and expected, each times the time since the reading before, over new rows."""
    times = times_us(rows)
    step = pd.Series(np.diff(times)).reindex(range(-1, len(times) - 1), fill_value=0)
    usual = step.replace(0, np.nan).rolling(NEIGHBOURS, center=True, min_periods=1).median()
    weight = np.minimum(step.to_numpy(), 3 * usual.fillna(0).to_numpy()) / 3.6e9
    judged = (times >= since_us) & (times >= day) & rows["expected"].notna().to_numpy()
    value, expected = (rows[name].to_numpy()[judged] for name in ("value", "expected"))
    return float(value @ weight[judged]), float(expected @ weight[judged])
