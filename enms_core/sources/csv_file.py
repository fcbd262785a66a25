"""Readings from a CSV file: a column per metric, or one reading a row as the simulator exports."""

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from enms_core.plant import Metric, zone
from enms_core.readings import COLUMNS

CLOCK = r"\d:\d"
OFFSET = r":\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)$"  # at the end of a time that has one
STEP_S = 0.1  # how often a replay sends


def read(
    path: Path,
    *,
    machine: str | None = None,
    time_column: str = "time",
    metrics: Mapping[str, str] | None = None,
    timezone: str | None = None,
    dayfirst: bool = False,
    ends: bool = False,
) -> pd.DataFrame:
    """Return the file's readings, oldest first: columns machine, metric, time, value.

    `metrics` maps columns to metrics; without it every column that is named like one is taken.
    A file with a reading a row names its machines; `machine` replaces them.
    Times without an offset are read in `timezone`, and stay without a zone where none is given.
    With `ends` a time labels the end of its interval; readings are labelled by their start.
    Raises ValueError naming the column that is missing.
    """
    table = pd.read_csv(path)
    _need(path, table, [time_column])
    table[time_column] = _times(table[time_column], timezone, dayfirst)
    if {"metric", "value"} <= set(table.columns) and not metrics:
        long = table if machine is None else table.assign(machine=machine)
        _need(path, long, COLUMNS)
        return long[COLUMNS].sort_values("time", kind="stable", ignore_index=True)
    if machine is None:
        raise ValueError(f"{path.name} names no machine; say which with --machine")
    metrics = metrics or {name: name for name in table.columns if _is_metric(name)}
    _need(path, table, list(metrics))
    if not metrics:
        raise ValueError(f"{path.name} has no column named like a metric; use --map COLUMN=METRIC")
    if ends:
        table[time_column] -= _interval(table[time_column])
    wide = table[[time_column, *metrics]].rename(columns={time_column: "time", **metrics})
    long = wide.melt("time", var_name="metric", value_name="value").assign(machine=machine)
    return long[COLUMNS].sort_values("time", kind="stable", ignore_index=True)


def paced(
    rows: pd.DataFrame, speed: float, stop: threading.Event | None = None
) -> Iterator[pd.DataFrame]:
    """Yield readings when they are due: `speed` seconds of the file in one second of ours."""
    stop = stop or threading.Event()
    # What has no time stands last and is due with the last that has one.
    seconds = (rows["time"] - rows["time"].min()).dt.total_seconds().ffill().fillna(0.0).to_numpy()
    began, sent = time.monotonic(), 0
    while sent < len(rows) and not stop.is_set():
        due = int(seconds.searchsorted((time.monotonic() - began) * speed, side="right"))
        if due > sent:
            yield rows.iloc[sent:due]
            sent = due
        stop.wait(STEP_S)


def _need(path: Path, table: pd.DataFrame, names: list[str]) -> None:
    for name in names:
        if name not in table.columns:
            has = ", ".join(map(str, table.columns))
            raise ValueError(f"{path.name} has no column {name!r}; it has: {has}")


def _is_metric(name: str) -> bool:
    try:
        return bool(Metric(name))
    except ValueError:
        return False


def _times(
    column: "pd.Series[str]", timezone: str | None, dayfirst: bool
) -> "pd.Series[pd.Timestamp]":
    """What is no time becomes NaT, and goes to quarantine with its row."""
    texts = column.dropna().astype(str)
    offsets = bool(texts[texts.str.contains(CLOCK)].str.contains(OFFSET).all())
    times = pd.to_datetime(
        column,
        utc=offsets,  # summer's and winter's
        dayfirst=dayfirst,
        format=None if dayfirst else "ISO8601",
        errors="coerce",
    )
    if timezone is None or not pd.api.types.is_datetime64_dtype(times):
        return times
    local = zone(timezone)
    try:
        return times.dt.tz_localize(local, ambiguous="infer", nonexistent="NaT")
    except ValueError:  # the two hours of an autumn night cannot be told apart: to quarantine
        return times.dt.tz_localize(local, ambiguous="NaT", nonexistent="NaT")


def _interval(times: "pd.Series[pd.Timestamp]") -> pd.Timedelta:
    steps = times.drop_duplicates().sort_values().diff().mode()
    if steps.empty:
        raise ValueError("one time alone does not say how long its interval is")
    return steps.iloc[0]
