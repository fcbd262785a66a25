"""Slots beside a slow, plain way: walk the clock minute by minute to find where a day begins."""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from enms_core.slots import LONGEST, edges, resampled

STRANGE = [  # no midnight, two, a clock that moves by half an hour, a day that was left out
    ("America/Santiago", "2026-09-05T20:00Z"),
    ("America/Havana", "2026-03-07T22:00Z"),
    ("America/Havana", "2026-10-31T22:00Z"),
    ("Asia/Beirut", "2026-03-28T12:00Z"),
    ("Africa/Cairo", "2026-04-23T12:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T10:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T10:00Z"),
    ("Pacific/Apia", "2011-12-30T00:00Z"),
    ("Europe/Berlin", "2026-10-24T12:00Z"),
    ("Asia/Kathmandu", "2026-03-28T12:00Z"),
]
STEPS = {"15min": 15, "30min": 30, "1h": 60}


@cache
def first_of(day, zone):
    """Return the first minute of a day, or of the one after it: minute by minute."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=15)
    while at.astimezone(zone).date() < day:
        at += timedelta(minutes=1)
    return at


def slot_of(at, freq, zone):
    """Return the begin of the slot that holds a time."""
    day = at.astimezone(zone).date()
    if freq in STEPS:
        begin, step = first_of(day, zone), timedelta(minutes=STEPS[freq])
        return begin + (at - begin) // step * step
    back = {"1D": 0, "1W": day.weekday(), "1MS": day.day - 1}[freq]
    return first_of(day - timedelta(days=back), zone)


@pytest.mark.parametrize("freq", ["15min", "30min", "1h", "1D", "1W", "1MS"])
@pytest.mark.parametrize(("name", "start"), STRANGE)
def test_each_time_is_in_the_slot_of_the_site_s_clock(name, start, freq):
    zone, first = ZoneInfo(name), datetime.fromisoformat(start).astimezone(UTC)
    times = [first + timedelta(minutes=37 * i) for i in range(80)]
    index = pd.DatetimeIndex(times).tz_convert(zone)
    found = edges(index[0], index[-1], freq)
    assert found[0] <= index[0]
    assert found[-2] <= index[-1] < found[-1]
    begins = found[found.searchsorted(index, side="right") - 1]
    assert [at.astimezone(UTC) for at in begins.to_pydatetime()] == [
        slot_of(at, freq, zone) for at in times
    ]


@pytest.mark.parametrize("freq", LONGEST)
@pytest.mark.parametrize(("name", "start"), STRANGE)
def test_edges_do_not_depend_on_the_span(name, start, freq):
    first = pd.Timestamp(start).tz_convert(ZoneInfo(name))
    whole = edges(first, first + timedelta(hours=50), freq)
    assert whole.is_monotonic_increasing
    assert whole.is_unique
    assert (whole[1:] - whole[:-1]).max() <= LONGEST[freq]
    for minutes in range(0, 2880, 101):
        part = edges(first + timedelta(minutes=minutes), first + timedelta(hours=50), freq)
        assert part.tolist() == whole[len(whole) - len(part) :].tolist()


@pytest.mark.parametrize("freq", ["30min", "1h", "1D"])
@pytest.mark.parametrize(("name", "start"), STRANGE)
def test_values_are_those_of_their_slots(name, start, freq):
    zone = ZoneInfo(name)
    rng = np.random.default_rng(5)
    index = pd.date_range(start, periods=300, freq="7min").tz_convert(zone)
    wide = pd.DataFrame({"power_kw": rng.random(300), "made_count": 1.0}, index=index)
    wide["meter_kwh"] = wide["power_kw"].cumsum()
    wide = wide.drop(wide.index[100:150]).rename_axis("time")
    wide.loc[wide.index[:20], "made_count"] = np.nan
    found = resampled(wide, freq)
    begins = [slot_of(at, freq, zone) for at in wide.index.tz_convert(UTC).to_pydatetime()]
    plain = wide.groupby(pd.DatetimeIndex(begins).tz_convert(zone))
    told = found.dropna(how="all")
    pd.testing.assert_series_equal(
        told["power_kw"], plain["power_kw"].mean(), check_index_type=False, check_names=False
    )
    counted = plain["made_count"].sum(min_count=1)
    assert told["made_count"].fillna(-1).tolist() == counted.fillna(-1).tolist()
    assert told["meter_kwh"].tolist() == plain["meter_kwh"].last().tolist()
    assert found.index.name == "time"
    pd.testing.assert_frame_equal(resampled(found, freq), found)  # once is enough


def test_what_is_no_slot_of_a_calendar_is_pandas_own():
    index = pd.date_range("2026-11-22T13:00", periods=4, freq="1h", tz="Europe/Berlin")
    wide = pd.DataFrame({"power_kw": [1.0, 2.0, 3.0, 4.0]}, index=index)
    assert resampled(wide, "2h")["power_kw"].tolist() == [1.0, 2.5, 4.0]
