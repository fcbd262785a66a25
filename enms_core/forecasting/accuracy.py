"""How good a forecast was, once the hours have come."""

from dataclasses import dataclass

import pandas as pd

from enms_core.forecasting.wall import DAY, WEEK, wall_hours

PAST = pd.Timedelta(weeks=4)  # before a forecast, that tell how much load changes by itself
HORIZONS = {"day 1": DAY, "days 2-7": WEEK}  # what is judged by itself -> what it is scaled by


@dataclass(frozen=True)
class Accuracy:
    """How an issued forecast compares with what came, over the hours known of both.

    - `mase`: mae as a multiple of the mean change from the same hour of the day (or the week)
      before, over the four weeks before the forecast (Hyndman and Koehler, "Another look at
      measures of forecast accuracy", Int. J. Forecasting 22, 2006). None where load never changed.
    - `nmbe`: sum(y - p) / sum(y), after ASHRAE Guideline 14-2014: above zero more was used than
      forecast. None where nothing was used.
    """

    hours: int
    mae: float  # kW
    mase: float | None
    nmbe: float | None
    coverage_80: float  # share of hours inside the band
    coverage_95: float


def accuracy(issued: pd.DataFrame, actual: "pd.Series[float]", per: int = DAY) -> Accuracy:
    """Compare a forecast, as `LoadForecaster` gives it, with the load that came (kW).

    `actual` may begin long before the forecast: `mase` scales by its change over `per` hours on
    the wall clock there. Hours that are missing in either do not count; ValueError where none is
    left.

    >>> at = pd.date_range("2026-10-05", periods=2, freq="1h", tz="UTC")
    >>> bands = {"lower": 1.0, "upper": 9.0, "lower_80": 4.0, "upper_80": 6.0}
    >>> issued = pd.DataFrame({"mean": 5.0, **bands}, at)
    >>> accuracy(issued, pd.Series([4.5, 8.0], at))
    Accuracy(hours=2, mae=1.75, mase=None, nmbe=0.2, coverage_80=0.5, coverage_95=1.0)
    """
    came = actual.reindex(issued.index)
    both = came.notna() & issued["mean"].notna()
    if not both.any():
        raise ValueError("nothing to compare: no hour of the forecast has an actual load")
    begin = issued.index[0]
    earliest = begin - PAST - pd.Timedelta(hours=per)
    scale = _change(actual[(actual.index < begin) & (actual.index >= earliest)], per)
    came, issued = came[both], issued[both]
    error, used = came - issued["mean"], float(came.sum())
    mae = float(error.abs().mean())
    return Accuracy(
        hours=len(came),
        mae=mae,
        mase=mae / scale if scale > 0 else None,
        nmbe=float(error.sum()) / used if used else None,
        coverage_80=float(came.between(issued["lower_80"], issued["upper_80"]).mean()),
        coverage_95=float(came.between(issued["lower"], issued["upper"]).mean()),
    )


def by_horizon(issued: pd.DataFrame, actual: "pd.Series[float]") -> dict[str, Accuracy]:
    """Return the accuracy of the first day of a forecast and of the days after it.

    The first day is the 24 hours on the wall clock of `actual` from the first hour on: 23 or 25
    hours where it changes. What has not come yet is left out.
    """
    issued = issued.tz_convert(pd.DatetimeIndex(actual.index).tz)
    hours = wall_hours(pd.DatetimeIndex(issued.index))
    is_first = hours < hours[0] + DAY
    parts = zip(HORIZONS.items(), (issued[is_first], issued[~is_first]), strict=True)
    return {
        name: accuracy(part, actual, per)
        for (name, per), part in parts
        if actual.reindex(part.index).notna().any()
    }


def _change(load: "pd.Series[float]", per: int) -> float:
    """Return the mean change of load from `per` wall hours before; NaN where none is known."""
    by_hour = load.groupby(wall_hours(pd.DatetimeIndex(load.index))).mean()
    before = by_hour.reindex(by_hour.index - per).to_numpy()
    return float((by_hour - before).abs().mean())
