"""What a baseline can be fitted on; what it refuses, by name."""

# ruff: noqa: N803 - X is what scikit-learn calls it

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from enms_core.baseline.calendar import spacing_hours

Array = npt.NDArray[Any]  # of floats
Bools = npt.NDArray[np.bool_]
LEAST_DAYS, LEAST_ROWS, LEAST_DAILY_ROWS, LEAST_COVERAGE = 7, 100, 28, 0.5


def numeric(X: pd.DataFrame) -> Array:
    """Return the drivers (n, drivers), infinite ones as missing; ValueError for other columns."""
    for name, kind in X.dtypes.items():
        if not _is_real(kind):
            raise ValueError(f"column not numeric: {name!r} is {kind}; drivers must be numbers")
    values: Array = X.to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def target_of(y: "pd.Series[float] | Array", rows: int) -> Array:
    """Return y (n,) as floats; ValueError for another shape or kind."""
    target = y if isinstance(y, pd.Series) else np.asarray(y)
    if not _is_real(target.dtype):
        raise ValueError(f"y not numeric: it is {target.dtype}; energy must be numbers")
    if target.shape != (rows,):
        raise ValueError(f"wrong shape: y has shape {target.shape}, X has {rows} rows")
    values: Array = pd.Series(target).to_numpy(dtype=float, na_value=np.nan)
    return values


def complete_rows(index: pd.DatetimeIndex, X: Array, y: Array) -> Bools:
    """Return which rows can be used; ValueError where nothing can be learned from them."""
    if not index.is_monotonic_increasing:
        raise ValueError("unordered index: sort the rows by time")
    good = np.isfinite(y) & np.isfinite(X).all(axis=1)
    used, values = index[good], y[good]
    _enough(used)
    if np.ptp(values) <= 1e-9 * np.abs(values).max():
        raise ValueError(f"flat series: every value is {values[0]:g}; there is nothing to learn")
    share = coverage(used)
    if share < LEAST_COVERAGE:
        raise ValueError(
            f"too little data: rows cover {share:.0%} of their span; it takes {LEAST_COVERAGE:.0%}"
        )
    return good


def coverage(used: pd.DatetimeIndex) -> float:
    """Return the rows as a share of those that their span could hold."""
    spacing = spacing_hours(used)
    span = (used[-1] - used[0]).total_seconds() / 3600 + spacing
    return min(1.0, float(len(used) * spacing / span))


def _is_real(kind: Any) -> bool:
    types = pd.api.types
    return bool(types.is_numeric_dtype(kind) and not types.is_complex_dtype(kind))


def _enough(used: pd.DatetimeIndex) -> None:
    days = len(np.unique(used.tz_localize(None).as_unit("s").asi8 // 86400))
    least = LEAST_DAILY_ROWS if len(used) == days > 1 else LEAST_ROWS
    if days < LEAST_DAYS or len(used) < least:
        raise ValueError(
            f"too little data: {len(used)} complete rows on {days} days; it takes {LEAST_ROWS} on "
            f"{LEAST_DAYS} days, or {LEAST_DAILY_ROWS} of a day each"
        )
