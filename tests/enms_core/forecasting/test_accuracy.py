import numpy as np
import pandas as pd
import pytest

from enms_core.forecast import accuracy
from enms_core.forecasting.accuracy import by_horizon

ZONE = "Europe/Berlin"
FIGURES = ("mean", "lower", "upper", "lower_80", "upper_80")


def issued(begin, mean=10.0, wide=2.0, narrow=1.0, hours=168):
    """Forecast the same for every hour."""
    times = pd.date_range(begin, periods=hours, freq="1h").tz_convert("UTC")
    values = (mean, mean - wide, mean + wide, mean - narrow, mean + narrow)
    return pd.DataFrame(dict(zip(FIGURES, values, strict=True)), times)


def load(begin, end, day=lambda at: 10.0):
    times = pd.date_range(begin, end, freq="1h", tz=ZONE, inclusive="left")
    return pd.Series([float(day(at)) for at in times], times)


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="nothing to compare"):
        accuracy(issued(pd.Timestamp("2026-10-05", tz=ZONE)), load("2026-10-01", "2026-10-03"))


def test_figures_are_those_of_a_hand():
    begin = pd.Timestamp("2026-06-08", tz=ZONE)
    # every other day has 4 kW more: an hour is 4 kW off that of a day, and of a week, before
    came = load("2026-05-04", "2026-06-16", lambda at: 10.0 + 4 * (at.day_of_year % 2))
    told = by_horizon(issued(begin, mean=11.0, wide=3.0, narrow=2.0), came)
    assert list(told) == ["day 1", "days 2-7"]
    first, rest = told["day 1"], told["days 2-7"]
    assert begin.day_of_year % 2 == 1  # so the first day is one of 14 kW
    assert (first.hours, first.mae, first.mase) == (24, 3.0, 0.75)
    assert first.nmbe == pytest.approx((14 - 11) / 14)
    assert (first.coverage_80, first.coverage_95) == (0.0, 1.0)
    assert (rest.hours, rest.mae, rest.mase) == (144, 2.0, 0.5)
    assert rest.nmbe == pytest.approx((12 - 11) / 12)
    assert (rest.coverage_80, rest.coverage_95) == (0.5, 1.0)


def test_hours_that_are_missing_are_not_judged():
    begin = pd.Timestamp("2026-06-08", tz=ZONE)
    came = load("2026-05-04", "2026-06-10")
    came["2026-06-08 03:00":"2026-06-08 07:00"] = np.nan
    told = by_horizon(issued(begin), came.dropna())
    assert {name: each.hours for name, each in told.items()} == {"day 1": 19, "days 2-7": 24}
    early = by_horizon(issued(begin), came[: pd.Timestamp("2026-06-08 02:00", tz=ZONE)])
    assert {name: each.hours for name, each in early.items()} == {"day 1": 3}
    assert by_horizon(issued(begin), came[: begin - pd.Timedelta("1h")]) == {}


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_the_first_day_is_one_of_the_wall_clock(day, hours):
    begin = pd.Timestamp(day, tz=ZONE)
    # the load follows the wall clock: no day differs from the one before
    came = load(begin - pd.Timedelta("40D"), begin + pd.Timedelta("9D"), lambda at: 5 + at.hour)
    told = by_horizon(issued(begin), came)
    assert told["day 1"].hours == hours
    assert told["days 2-7"].hours == 168 - hours
    assert told["day 1"].mase is None  # nothing changed from one day to the next


def test_a_load_that_is_always_nothing_has_no_ratio():
    begin = pd.Timestamp("2026-06-08", tz=ZONE)
    told = by_horizon(issued(begin, mean=0.0), load("2026-05-04", "2026-06-10", lambda at: 0.0))
    assert (told["day 1"].nmbe, told["day 1"].mase, told["day 1"].mae) == (None, None, 0.0)
