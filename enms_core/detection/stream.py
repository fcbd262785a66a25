"""Judging one reading at a time: how surprising is it, for this hour of this machine's week?"""

import json
import math
from datetime import datetime
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from enms_core.detection.live import Live
from enms_core.detection.memory import Memory
from enms_core.detection.profile import Floats
from enms_core.detection.score import LEARNING, UNSCORED, Score, epoch_seconds
from enms_core.plant import zone as named_zone

__all__ = ["LEARNING", "UNSCORED", "Score", "StreamDetector", "epoch_seconds"]

FORMAT = 2  # of the state in JSON


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
    >>> normal.surprise < 2 < 4 < spike.surprise
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
        seconds = at if at.__class__ is float else epoch_seconds(at)
        if not -math.inf < value < math.inf:
            return UNSCORED
        if expected is None or not -math.inf < expected < math.inf:
            return self._live("values").take(seconds, float(value), 0.0)
        return self._live("residuals").take(seconds, float(value), float(expected))

    def score(
        self, series: "pd.Series[float]", expected: "pd.Series[float] | None" = None
    ) -> pd.DataFrame:
        """Score and learn a whole series with a tz-aware index, in its order.

        Returns the columns of `Score` on the same index, the numbers `update` gives one at a time.
        `expected` is aligned by its index.
        """
        at, local = _seconds(series.index, self.zone)
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
                columns = np.stack([at[rows], local[rows], values[rows], bases[rows]])
                out[rows] = self._memory(kind).take(columns)
        return pd.DataFrame(out, index=series.index, columns=list(Score._fields))

    def forget_residuals(self) -> None:
        """Forget what was learned of residuals: another model expects from now on."""
        getattr(self, "memories_", {}).pop("residuals", None)

    def to_json(self) -> str:
        """Return the whole state; a detector read from it goes on with the very same numbers."""
        memories = {kind: self._memory(kind) for kind in getattr(self, "memories_", {})}
        state = {kind: memory.to_dict() for kind, memory in memories.items()}
        whole = {"format": FORMAT, "zone": self.zone, "memories": state}
        return json.dumps(whole, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote; what was learned in an older format is learned anew."""
        raw = json.loads(text)
        detector = cls(raw["zone"])
        if raw["memories"] and raw.get("format") == FORMAT:
            detector.memories_ = {
                kind: Memory.from_dict(state) for kind, state in raw["memories"].items()
            }
        return detector

    def _memory(self, kind: str) -> Memory:
        """Return what is known of plain values, or of residuals, up to the last reading."""
        if not hasattr(self, "memories_"):
            self.memories_: dict[str, Memory | Live] = {}
        known = self.memories_.get(kind)
        if known is None:
            known = Memory(seasonal=kind == "values")
        elif isinstance(known, Live):
            known = known.memory_now()
        self.memories_[kind] = known
        return known

    def _live(self, kind: str) -> Live:
        """Return what takes one reading after another."""
        try:
            known = self.memories_[kind]
        except (AttributeError, KeyError):
            known = self._memory(kind)
        if not isinstance(known, Live):
            known = self.memories_[kind] = Live(known, named_zone(self.zone))
        return known


def _seconds(index: "pd.Index[Any]", zone: str) -> tuple[Floats, Floats]:
    """Return seconds since the epoch, and what the clocks of the zone show in the same terms."""
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise ValueError("the series needs a DatetimeIndex with a time zone; use tz_localize")
    at: Floats = index.tz_convert("UTC").as_unit("us").asi8 / 1e6
    if zone == "UTC":
        return at, at
    clocks = index.tz_convert(named_zone(zone)).tz_localize(None).as_unit("us").asi8 / 1e6
    return at, at + np.round(clocks - at)
