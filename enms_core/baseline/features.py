"""From what a machine measures to what drives its energy, for training and live use alike."""

import pandas as pd

# Causes of energy use. Other metrics (pressure, vibration, CO2 ...) follow from running: with them
# in a baseline a leak would explain itself.
DRIVERS = ("temperature_c", "production_count")

WINDOW = pd.Timedelta("3min")  # long enough to count, short enough to follow a break
FINE_H = 3 / 60
LEAST_COVER_H = 1.5 / 60  # a production rate needs so much of the window
HOLD = pd.Timedelta("3h")  # so long a driver is held after its last reading


def driver_frame(wide: pd.DataFrame) -> pd.DataFrame:
    """Return the driver columns at the rows of `wide`, using nothing later than each row.

    `wide` has a tz-aware index in rising order and metrics as columns, NaN where none was read;
    rows may come at mixed spacing. `temperature_c` (°C) is the last value, `production_per_h`
    (pieces an hour) the count of the trailing three minutes over the time it covers; at three
    minutes and coarser the count over its interval. Both are held for three hours, else NaN; so a
    live caller passes three hours of rows.
    Where no driver was measured the frame has no columns. ValueError for a naive index.

    >>> times = pd.date_range("2026-10-05 06:00", periods=3, freq="15min", tz="Europe/Berlin")
    >>> driver_frame(pd.DataFrame({"power_kw": 9.0, "production_count": [30, 25, 50]}, times))
                               production_per_h
    2026-10-05 06:00:00+02:00               NaN
    2026-10-05 06:15:00+02:00             100.0
    2026-10-05 06:30:00+02:00             200.0
    """
    index = aware_index(wide)
    columns = {}
    if "temperature_c" in wide:
        columns["temperature_c"] = _held(wide["temperature_c"].astype(float), index)
    if "production_count" in wide:
        columns["production_per_h"] = _held(_rate(wide["production_count"].astype(float)), index)
    return pd.DataFrame(columns, index=index)


def aware_index(frame: pd.DataFrame) -> pd.DatetimeIndex:
    """Return the index of `frame`; raise ValueError unless it is a tz-aware DatetimeIndex."""
    index = getattr(frame, "index", None)
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise ValueError(
            "naive index: rows need a DatetimeIndex with a time zone; use tz_localize or tz_convert"
        )
    return index


def _rate(counts: "pd.Series[float]") -> "pd.Series[float]":
    """Return pieces an hour over the trailing window, at the rows where a count was read.

    A count covers the interval that its time begins. In coarse data that is the interval which the
    energy beside it covers, too; in fine data what is known at a time are the pieces made before.
    """
    counts = counts.dropna()
    hours = counts.index.to_series().diff().dt.total_seconds() / 3600
    usual = hours.rolling(5, min_periods=1).median()
    hours = hours.clip(upper=2 * usual)  # a count before a gap does not cover the gap
    counts = counts.where(usual >= FINE_H, counts.shift())
    made = counts.where(hours.notna()).rolling(WINDOW, min_periods=1).sum()
    cover = hours.rolling(WINDOW, min_periods=1).sum()
    rate: pd.Series[float] = (made / cover).where(cover >= LEAST_COVER_H - 1e-9)
    return rate


def _held(values: "pd.Series[float]", index: pd.DatetimeIndex) -> "pd.Series[float]":
    """Return the last value at each time of `index`, no older than HOLD."""
    values = values.dropna()
    values = values[~values.index.duplicated(keep="last")]
    if values.empty:
        return pd.Series(float("nan"), index=index)
    return values.reindex(index, method="ffill", tolerance=HOLD)
