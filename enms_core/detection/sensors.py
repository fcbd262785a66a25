"""The sensors of one machine as a table: what detectors of several sensors take and refuse."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[Any]  # of floats

LEAST_ROWS = 100  # with a value, for a sensor to be judged
STRETCHES = 10  # contiguous parts that training rows are taken in, as neighbours are alike
ROBUST, PASSES = 1.2533, 3  # standard deviation / mean absolute deviation of a normal
CLIP = 5.0  # scales; a value farther out counts as just there


def values_of(frame: pd.DataFrame, names: Sequence[str]) -> Array:
    """Return the columns `names` as floats (rows, sensors); what is not finite is missing (NaN).

    ValueError, its first words naming the fault: sensor missing, sensor not numeric, unordered
    rows. Columns beside `names` are not looked at.

    >>> values_of(pd.DataFrame({"bar": [6.1, np.inf], "note": ["", ""]}), ["bar"]).tolist()
    [[6.1], [nan]]
    """
    absent = [name for name in names if name not in frame]
    if absent:
        raise ValueError(f"sensor missing: {absent}; the frame has {list(frame.columns)}")
    wrong = [name for name in names if not pd.api.types.is_numeric_dtype(frame[name])]
    if wrong:
        raise ValueError(f"sensor not numeric: {wrong}; give numbers, NaN where there is none")
    if not frame.index.is_monotonic_increasing:
        raise ValueError("unordered rows: the index must rise; use sort_index")
    values: Array = frame[list(names)].to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def judgeable(frame: pd.DataFrame) -> list[str]:
    """Return the names of the sensors that can be learned: enough values, and not all the same.

    ValueError, its first words naming the fault, where there is none: too few rows, no sensor
    varies; and for sensors of one name.

    >>> time = np.arange(100.0)
    >>> judgeable(pd.DataFrame({"bar": np.sin(time), "setpoint": 6.0, "broken": np.nan}))
    ['bar']
    """
    names = list(frame.columns)
    if len(set(names)) < len(names):
        raise ValueError(f"sensors of one name: {names}; rename the columns")
    values = values_of(frame, names)
    enough = np.isfinite(values).sum(axis=0) >= LEAST_ROWS
    if not enough.any():
        raise ValueError(
            f"too few rows: no sensor has {LEAST_ROWS} values in the {len(frame)} rows given"
        )
    known = [name for name, ok in zip(names, enough, strict=True) if ok]
    spans = np.nanmax(values[:, enough], axis=0) - np.nanmin(values[:, enough], axis=0)
    varied = [name for name, span in zip(known, spans, strict=True) if span > 0]
    if not varied:
        raise ValueError(f"no sensor varies: {known} are constant; take a longer time of operation")
    return varied


def usual(values: Array) -> tuple[Array, Array]:
    """Return centre and scale of each column (sensors,), whatever a few values are.

    The scale is the mean distance from the median, which unlike the median distance is not zero
    where most values are the same; distances, and then values, are clipped at `CLIP` scales (Huber,
    Ann. Math. Stat. 35, 1964).

    >>> values = np.array([*range(50), np.nan, 65535.0])[:, None]  # what a broken wire reads
    >>> centre, scale = usual(values)
    >>> centre.round(1).tolist(), scale.round(1).tolist()
    ([26.5], [20.5])
    """
    middle = np.nanmedian(values, axis=0)
    away = np.abs(values - middle)
    scale = ROBUST * np.nanmean(away, axis=0)
    for _ in range(PASSES):
        scale = ROBUST * np.nanmean(np.minimum(away, CLIP * scale), axis=0)
    held = np.clip(values, middle - CLIP * scale, middle + CLIP * scale)
    return np.nanmean(held, axis=0), scale
