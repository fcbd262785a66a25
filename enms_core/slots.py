"""Slots of time by a site's calendar: minutes and hours step from every midnight, days by the
wall clock, also where midnight comes twice, late or never."""

from datetime import UTC, timedelta
from typing import Any

import numpy as np
import pandas as pd

from enms_core.plant import REGISTER

LONGEST = {
    "1min": timedelta(minutes=1),
    "5min": timedelta(minutes=5),
    "15min": timedelta(minutes=15),
    "30min": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "1D": timedelta(hours=25),
    "1W": timedelta(days=8),
    "1MS": timedelta(days=32),
}
_DAYS: dict[str, Any] = {
    "1D": pd.DateOffset(days=1),
    "1W": pd.DateOffset(weeks=1),
    "1MS": pd.DateOffset(months=1),
}


def edges(first: pd.Timestamp, last: pd.Timestamp, freq: str) -> pd.DatetimeIndex:
    """Return the edges of the slots (1min to 1MS; 1W from Monday) that hold first to last.

    They are the same whatever the span: a slot that two spans share has the same edges in both.

    >>> first = pd.Timestamp("2026-09-05T12:00", tz="America/Santiago")
    >>> [str(at) for at in edges(first, first + pd.Timedelta("1D"), "1D")]
    ['2026-09-05 00:00:00-04:00', '2026-09-06 01:00:00-03:00', '2026-09-07 00:00:00-03:00']
    """
    days = _days(first, last, freq if freq in _DAYS else "1D")
    found = days if freq in _DAYS else _within(days, int(LONGEST[freq].total_seconds() * 1e6))
    low = max(found.searchsorted(first, side="right") - 1, 0)
    return found[low : found.searchsorted(last, side="right") + 1]


def _days(first: pd.Timestamp, last: pd.Timestamp, freq: str) -> pd.DatetimeIndex:
    begin, end = _floor(first.tz_localize(None), freq), last.tz_localize(None) + _DAYS[freq]
    walls = pd.date_range(begin, end + pd.Timedelta(days=1), freq=_DAYS[freq]).to_pydatetime()
    days = [wall.replace(tzinfo=first.tz).astimezone(UTC) for wall in walls]
    found = pd.DatetimeIndex(days, dtype="datetime64[us, UTC]").tz_convert(first.tz)
    return found.unique()  # a day that a zone left out has no length


def _within(days: pd.DatetimeIndex, step_us: int) -> pd.DatetimeIndex:
    """Return every step of every day; the last of a day is shorter where the day is no multiple."""
    begin = days.asi8
    counts = -(-np.diff(begin) // step_us)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    inner = np.repeat(begin[:-1], counts) + place * step_us
    return pd.DatetimeIndex(inner, dtype="datetime64[us, UTC]").tz_convert(days.tz)


def _floor(at: pd.Timestamp, freq: str) -> pd.Timestamp:
    day = at.normalize()
    if freq == "1W":
        return day - pd.DateOffset(days=day.day_of_week)
    return day.replace(day=1) if freq == "1MS" else day


def resampled(wide: pd.DataFrame, freq: str) -> pd.DataFrame:
    """Return a column per metric in slots: counts and energy summed, all else averaged.

    Of a register the last value of a slot stands. Rows that are slots already stay as they are, and
    slots that miss between them come as NaN. What is no slot of a calendar (2h, 10min) is pandas'
    own.

    >>> at = pd.date_range("2026-11-22T13:00", periods=4, freq="30min", tz="Europe/Berlin")
    >>> wide = pd.DataFrame({"power_kw": [1.0, 2, 3, 5], "energy_kwh": [1.0, 2, 3, 5]}, index=at)
    >>> resampled(wide, "1h").to_numpy().tolist()
    [[1.5, 3.0], [4.0, 8.0]]
    """
    if freq not in LONGEST:
        return _aggregated(wide.resample(freq), wide.columns)
    found = edges(wide.index[0], wide.index[-1], freq)
    rows = _aggregated(wide.groupby(found.searchsorted(wide.index, side="right") - 1), wide.columns)
    return rows.reindex(range(len(found) - 1)).set_axis(found[:-1].rename(wide.index.name))


def _aggregated(slots: Any, columns: pd.Index) -> pd.DataFrame:
    summed = [n for n in columns if n.endswith(("_count", "_kwh")) and n != REGISTER]
    found: pd.DataFrame = slots.mean().assign(**slots[summed].sum(min_count=1))
    if REGISTER in columns:
        found[REGISTER] = slots[REGISTER].last()
    return found[columns]
