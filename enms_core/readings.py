"""What a valid reading is. What is not one goes to quarantine with the reason, and is counted."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from enms_core.plant import Metric

COLUMNS = ["machine", "metric", "time", "value"]
FUTURE = timedelta(minutes=5)
# SQL's integers and pandas' times end somewhere; no meter is older than this.
OLDEST = pd.Timestamp("1970-01-01", tz=UTC)
LARGEST = 1e15  # no meter shows more, and sums of it stay finite
LONGEST_METRIC = 100  # characters of a name that the store holds
SHOWN = 200  # characters of what was sent that quarantine keeps


@dataclass(frozen=True)
class Checked:
    """Readings sorted into valid ones and refused ones; together they are all that was sent."""

    valid: pd.DataFrame  # machine, metric: str; time: UTC; value: float
    refused: pd.DataFrame  # machine, metric, time, value, reason: str, as they were sent


def check(rows: pd.DataFrame, machines: Collection[str], now: datetime) -> Checked:
    """Sort rows (columns machine, metric, time, value) into valid and refused.

    A reading is valid when its machine is known, its metric's name ends in a known unit, its time
    is aware and at most 5 minutes ahead of `now`, and its value is a finite number.

    >>> now = datetime(2026, 11, 22, 14, tzinfo=UTC)
    >>> rows = pd.DataFrame(
    ...     [("Pump", "power_kw", "2026-11-22T13:59:00Z", 41.5),
    ...      ("Pump", "power_kw", "2026-11-22T13:59:30", 41.7),
    ...      ("Pimp", "power_kw", "2026-11-22T13:59:00Z", 41.5)], columns=COLUMNS)
    >>> checked = check(rows, {"Pump"}, now)
    >>> len(checked.valid), checked.refused["reason"].tolist()
    (1, ['time has no zone; give an offset such as +01:00', 'machine is unknown'])
    """
    rows = rows[COLUMNS].reset_index(drop=True)
    reason = pd.Series("", index=rows.index, dtype=object)
    times, time_reason = _times(rows["time"], now)
    values, value_reason = _values(rows["value"])
    for verdict in (
        _each_once(rows["machine"], lambda m: "" if m in machines else "machine is unknown"),
        _each_once(rows["metric"], _metric_reason),
        time_reason,
        value_reason,
    ):
        reason = reason.where(reason != "", verdict)
    good = (reason == "").to_numpy()
    valid = rows.loc[good, ["machine", "metric"]].assign(time=times[good], value=values[good])
    refused = rows[~good].astype(object).map(_shown).assign(reason=reason[~good])
    return Checked(valid.reset_index(drop=True), refused.reset_index(drop=True))


def _each_once(column: "pd.Series[Any]", verdict: Any) -> "pd.Series[Any]":
    codes, names = pd.factorize(_names(column), use_na_sentinel=False)
    verdicts = np.array([verdict(name) for name in names], dtype=object)
    return pd.Series(verdicts[codes] if len(codes) else [], index=column.index, dtype=object)


def _names(column: "pd.Series[Any]") -> "pd.Series[Any]":
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    return column.map(lambda name: name if isinstance(name, str) else None)


def _metric_reason(name: Any) -> str:
    try:
        Metric(name)
    except ValueError as error:
        return str(error)
    return "" if len(name) <= LONGEST_METRIC else f"metric is longer than {LONGEST_METRIC} letters"


def _values(column: "pd.Series[Any]") -> "tuple[pd.Series[float], pd.Series[Any]]":
    if column.dtype.kind not in "iuf":
        column = column.map(_number)
    values = column.astype(float)
    reason = pd.Series("", index=column.index, dtype=object)
    reason = reason.mask(values.abs() > LARGEST, f"value is beyond {LARGEST:g}")
    return values, reason.mask(~np.isfinite(values), "value is not a finite number")


def _number(value: Any) -> float:
    known = isinstance(value, Real | Decimal | str) and not isinstance(value, bool)
    if not known or (isinstance(value, str) and "_" in value):
        return np.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return np.nan


def _times(
    column: "pd.Series[Any]", now: datetime
) -> "tuple[pd.Series[pd.Timestamp], pd.Series[Any]]":
    reason = pd.Series("", index=column.index, dtype=object)
    if isinstance(column.dtype, pd.DatetimeTZDtype) and column.dt.unit in ("us", "ns"):
        times = column.dt.tz_convert(UTC)
    else:
        parsed = [_time(value) for value in column]
        reason = pd.Series([why for _, why in parsed], index=column.index, dtype=object)
        times = pd.Series(
            pd.DatetimeIndex([at for at, _ in parsed], dtype="datetime64[us, UTC]"),
            index=column.index,
        )
    times = times.astype("datetime64[us, UTC]")
    reason = reason.mask((reason == "") & times.isna(), "time is not a time")
    reason = reason.mask(times < OLDEST, "time is before 1970")
    reason = reason.mask(
        times > pd.Timestamp(now + FUTURE), "time is more than 5 minutes in the future"
    )
    return times, reason


def _time(value: Any) -> tuple[datetime | None, str]:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(at, datetime) or pd.isna(at) or not MINYEAR <= at.year <= MAXYEAR:
            return None, "time is not a time; write ISO 8601 such as 2026-11-22T14:00:00+01:00"
        if at.tzinfo is None:
            return None, "time has no zone; give an offset such as +01:00"
        return at.astimezone(UTC), ""
    except (ValueError, OverflowError):
        return None, "time is not a time; write ISO 8601 such as 2026-11-22T14:00:00+01:00"


def _shown(value: Any) -> str:
    try:
        text = str(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a bottomless list
        text = f"<{type(value).__name__}>"
    return text[:SHOWN].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
