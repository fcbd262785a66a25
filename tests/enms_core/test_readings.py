import random
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from enms_core.readings import COLUMNS, FUTURE, LARGEST, LONGEST_METRIC, SHOWN, check

NOW = datetime(2026, 11, 22, 14, tzinfo=UTC)
AT = "2026-11-22T13:59:00+00:00"
GOOD = {"machine": "Pump", "metric": "power_kw", "time": AT, "value": 41.5}
MACHINES = {"Pump": None, "Press": None}


def frame(*rows):
    return pd.DataFrame([{**GOOD, **row} for row in rows], columns=COLUMNS, dtype=object)


def checked(*rows):
    return check(frame(*rows), MACHINES, NOW)


def reason(**row):
    (told,) = checked(row).refused["reason"]
    return told


def accepted(**row):
    result = checked(row)
    assert result.refused.to_dict("records") == []
    return result.valid.iloc[0]


# -- power -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "value", "good"),
    [
        ("power_kw", 7_500.0, True),
        ("power_kw", -7_500.0, True),
        ("power_kw", 7_500.1, False),
        ("power_kw", -1e9, False),
        ("power_kw", "1e9", False),
        ("heat_kw", 1e9, False),
        ("energy_kwh", 1e9, True),
        ("temperature_c", 1e9, True),
    ],
)
@pytest.mark.parametrize("others", [{}, {"Fan": 0.5}, {"Mill": 4_000.0}, {"Old": None}])
def test_no_machine_takes_a_hundred_times_its_rated_power(metric, value, good, others):
    rated = {"Pump": 75.0, **others}
    sent = {"metric": metric, "value": value}, {"machine": next(iter(others), "Pump")}
    beyond = "value is beyond 100 times the machine's rated power of 75 kW"
    for rows in (frame(*sent), columns(*sent)):
        refused = check(rows, rated, NOW).refusals
        assert [each["reason"] for each in refused] == ([] if good else [beyond])


def test_a_machine_without_a_rated_power_may_take_any():
    sent = frame({"machine": "Press", "value": 1e15}, {"machine": "Nobody", "value": 1e9})
    result = check(sent, {"Press": None, "Pump": 75.0}, NOW)
    assert result.refused["reason"].tolist() == ["machine is unknown"]
    huge = check(frame({"value": 1e16}), {"Pump": 1e15}, NOW)
    assert huge.refused["reason"].tolist() == ["value is beyond 1e+15"]


# -- values --------------------------------------------------------------------------------------

LIST = []
LIST.append(LIST)
DEEP = []
for _ in range(100_000):
    DEEP = [DEEP]
NO_NUMBERS = [
    *[None, float("nan"), float("inf"), float("-inf"), pd.NA, pd.NaT, np.nan, np.float32("inf")],
    *["", " ", "nan", "inf", "-Infinity", "1e309", "-1e309", "4,5", "0x10", "4_1", "1" * 5000],
    *["41.5 kW", "\ud800", "\0", "41\0", "--1", "1e", b"41.5", bytearray(b"1")],
    *[True, False, np.True_, np.False_, 10**400, -(10**400), 10**5000, 1j, np.complex64(1)],
    *[[], [41.5], [10**5000], (41.5,), {}, {"value": 1}, {1}, LIST, DEEP, object(), print, int],
    *[Decimal("NaN"), Decimal("sNaN"), Decimal("1e999999"), Fraction(10**400), np.array([1.0])],
    *[datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), timedelta(1), pd.Timedelta(1)],
]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda v: type(v).__name__)
def test_what_is_no_number(value):
    assert reason(value=value) == "value is not a finite number"


@pytest.mark.parametrize("value", [1e16, -1e16, 1e308, "1e300", 10**18, Decimal("1e20")])
def test_what_no_meter_shows(value):
    assert reason(value=value) == "value is beyond 1e+15"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *[(0, 0.0), (-0.0, 0.0), (-5, -5.0), ("41.5", 41.5), (" 41.5\n", 41.5), ("4e1", 40.0)],
        *[(5e-324, 5e-324), (LARGEST, 1e15), (-LARGEST, -1e15), (Decimal("1.5"), 1.5)],
        *[(Fraction(1, 2), 0.5), (np.float32(0.5), 0.5), (np.int64(7), 7.0), (np.uint8(7), 7.0)],
    ],
)
def test_numbers(value, number):
    assert accepted(value=value)["value"] == number


# -- times ---------------------------------------------------------------------------------------

NO_TIME = "time is not a time; write ISO 8601 such as 2026-11-22T14:00:00+01:00"
NO_ZONE = "time has no zone; give an offset such as +01:00"
NO_TIMES = [
    *[None, np.nan, pd.NA, pd.NaT, "", " ", "now", "yesterday", "nan", "NaT", "14:00", "\ud800"],
    *["2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-22T25:00:00Z", "0000-01-01T00Z"],
    *["10000-01-01T00:00:00Z", "2026-11-22T13:59:00+25:00", "\0" + AT],
    *["2026-11-22T13:59:00 Europe/Berlin", "2026-11-22T13:59:00[Europe/Berlin]", "22.11.2026"],
    *["11/22/2026 13:59", 1763819940, 1763819940.5, "1763819940", 10**30],
    *[True, [], {}, [AT], b"2026-11-22T13:59:00Z", np.datetime64("2026-11-22"), date(2026, 11, 22)],
    *[timedelta(1), pd.Period("2026-11-22"), DEEP, object()],
    pd.Timestamp(np.datetime64("400000-01-01", "s"), tz="UTC"),
]


@pytest.mark.parametrize(
    ("time", "told"),
    [
        ("0001-01-01T00:00:00+05:00", "time is before 1970"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), "time is before 1970"),
        ("9999-12-31T23:59:59-05:00", "time is more than 5 minutes in the future"),
    ],
)
def test_the_ends_of_the_calendar(time, told):
    assert reason(time=time) == told


@pytest.mark.parametrize("time", NO_TIMES, ids=lambda t: type(t).__name__)
def test_what_is_no_time(time):
    assert reason(time=time) == NO_TIME


@pytest.mark.parametrize(
    "time",
    [
        *["2026-11-22T13:59:00", "2026-11-22 13:59", "2026-11-22", "20261122T1359"],
        *["0001-01-01T00:00", "9999-12-31T23:59", pd.Timestamp("2026-11-22 13:59")],
    ],
)
def test_what_has_no_zone(time):
    assert reason(time=time) == NO_ZONE


@pytest.mark.parametrize("time", ["1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_before_there_were_meters(time):
    assert reason(time=time) == "time is before 1970"


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59Z", NOW + FUTURE + timedelta(microseconds=1)])
def test_the_future(time):
    assert reason(time=time) == "time is more than 5 minutes in the future"


def test_clocks_may_be_a_little_ahead():
    assert accepted(time=NOW + FUTURE)["time"] == NOW + FUTURE


@pytest.mark.parametrize(
    "time",
    [
        *[AT, "2026-11-22T13:59:00Z", "2026-11-22T14:59+01", "20261122T135900Z"],
        *["2026-11-22T19:29:00+05:30", "2026-11-22 13:59:00.000000+00:00", "2026-W47-7T13:59:00Z"],
        datetime(2026, 11, 22, 13, 59, tzinfo=UTC),
        datetime(2026, 11, 22, 22, 59, tzinfo=ZoneInfo("Asia/Seoul")),
        pd.Timestamp("2026-11-22T14:59", tz="Europe/Rome"),
    ],
)
def test_ways_to_write_a_time(time):
    assert accepted(time=time)["time"] == pd.Timestamp(AT)


def test_the_hour_that_comes_twice_is_told_by_its_offset():
    berlin = ZoneInfo("Europe/Berlin")
    twice = [datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=berlin) for fold in (0, 1)]
    times = checked({"time": twice[0]}, {"time": twice[1]}).valid["time"]
    assert [at.hour for at in times] == [0, 1]


def test_times_are_kept_to_the_microsecond():
    assert accepted(time="2026-11-22T13:59:00.123456Z")["time"].microsecond == 123456


# -- names ---------------------------------------------------------------------------------------

ODD_NAMES = [None, np.nan, pd.NA, 1, True, "", " Pump", "pump", "Pump\0", "\ud800", "Pump "]
ODD_NAMES += [b"Pump", ["Pump"], {"Pump": 1}, {"Pump"}, DEEP, 10**5000, "x" * 100_000]


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda n: type(n).__name__)
def test_unknown_machines(name):
    assert reason(machine=name) == "machine is unknown"


@pytest.mark.parametrize("name", ODD_NAMES[:-2], ids=lambda n: type(n).__name__)
def test_unknown_metrics(name):
    assert "does not end in a known unit" in reason(metric=name)


def test_a_metric_that_the_store_cannot_hold():
    longest = "a" * (LONGEST_METRIC - 3) + "_kw"
    assert accepted(metric=longest)["metric"] == longest
    assert reason(metric="a" + longest) == "metric is longer than 100 letters"


def test_the_first_fault_is_the_reason():
    assert reason(machine="?", metric="?", time="?", value="?") == "machine is unknown"
    assert "known unit" in reason(metric="?", time="?", value="?")
    assert reason(time="?", value="?") == NO_TIME


# -- what is kept --------------------------------------------------------------------------------


def test_what_was_sent_is_kept_as_text():
    (row,) = checked({"machine": "Pimp", "value": None, "time": "?\0\ud800"}).refused.to_dict(
        "records"
    )
    assert row == {
        "machine": "Pimp",
        "metric": "power_kw",
        "time": "?\\0\\ud800",
        "value": "None",
        "reason": "machine is unknown",
    }


def test_what_is_endless_is_cut():
    assert checked({"machine": "x" * 100_000}).refused["machine"].str.len().item() == SHOWN


def test_the_order_is_kept():
    result = checked({"value": 1}, {"value": "x"}, {"value": 2}, {"machine": "?"}, {"value": 3})
    assert result.valid["value"].tolist() == [1.0, 2.0, 3.0]
    assert result.refused.index.tolist() == [0, 1]


def test_the_same_reading_twice_is_not_a_fault():
    assert len(checked({}, {}, {"value": 7}).valid) == 3


# -- frames --------------------------------------------------------------------------------------


def holds(rows, result):
    assert len(rows) == len(result.valid) + len(result.refused)
    assert list(result.valid.columns) == COLUMNS
    assert list(result.refused.columns) == [*COLUMNS, "reason"]
    assert str(result.valid["time"].dtype) == "datetime64[us, UTC]"
    assert result.valid["value"].dtype == float
    assert np.isfinite(result.valid["value"]).all()
    assert result.valid["time"].notna().all()
    assert all(result.refused["reason"])
    for name in result.refused.columns:
        assert all(isinstance(text, str) and "\0" not in text for text in result.refused[name])
        assert all(text.encode() is not None for text in result.refused[name])
    return result


def typed(**columns):
    base = {name: [value] * 3 for name, value in GOOD.items()}
    return pd.DataFrame({**base, **columns})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/St_Johns"])
def test_aware_columns_of_every_unit(unit, zone):
    times = pd.date_range("2026-11-22 13:00", periods=3, freq="1min", tz="UTC")
    result = check(typed(time=times.tz_convert(zone).as_unit(unit)), MACHINES, NOW)
    assert holds(typed(), result).valid["time"].tolist() == times.tolist()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_gap_in_an_aware_column(unit):
    times = pd.DatetimeIndex([AT, None, "2200-01-01T00Z"]).as_unit(unit)
    result = holds(typed(), check(typed(time=times), MACHINES, NOW))
    assert len(result.valid) == 1
    assert result.refused["time"].tolist()[0] == "NaT"
    assert result.refused["reason"].str.startswith("time is").all()


def test_a_column_far_outside_of_time():
    far = pd.Series(np.array(["400000-01-01", "2026-01-01", "-4000-01-01"], "datetime64[s]"))
    result = holds(typed(), check(typed(time=far.dt.tz_localize("UTC")), MACHINES, NOW))
    assert len(result.valid) == 1


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_naive_columns(unit):
    times = pd.date_range("2026-11-22 13:00", periods=3, freq="1min").as_unit(unit)
    result = holds(typed(), check(typed(time=times), MACHINES, NOW))
    assert result.refused["reason"].tolist() == [NO_ZONE] * 3


@pytest.mark.parametrize("name", COLUMNS)
def test_categories(name):
    rows = typed()
    rows[name] = pd.Categorical([GOOD[name], "?", None])
    result = holds(rows, check(rows, MACHINES, NOW))
    assert len(result.valid) == (3 if name == "value" else 1) - (name == "value") * 2


@pytest.mark.parametrize(
    ("values", "good"),
    [
        ([True, False, True], 0),
        (pd.array([True, None, False], dtype="boolean"), 0),
        (pd.array([1, None, 3], dtype="Int64"), 2),
        (pd.array([1.5, None, np.inf], dtype="Float64"), 1),
        (np.array([1, 2, 3], dtype="uint8"), 3),
        (np.array([1, np.nan, 3], dtype="float16"), 2),
        ([1 + 0j, 2j, 3j], 0),
        (pd.arrays.SparseArray([0.0, np.nan, 2.0]), 2),
        (["41.5", "x", None], 1),
        (pd.array(["41.5", "x", None], dtype="string"), 1),
        (pd.to_timedelta([1, 2, 3]), 0),
        (pd.to_datetime([AT, AT, None]), 0),
        ([None, None, None], 0),
        (["1", 2, 3.0], 3),
    ],
    ids=lambda v: str(getattr(v, "dtype", "")),
)
def test_columns_of_values(values, good):
    rows = typed(value=values)
    assert len(holds(rows, check(rows, MACHINES, NOW)).valid) == good


@pytest.mark.parametrize("odd", ["\ud800", None, "Pump"])
def test_names_as_pandas_infers_them(odd):
    rows = pd.DataFrame([GOOD, {**GOOD, "machine": odd, "metric": odd, "time": odd}])
    assert len(holds(rows, check(rows, MACHINES, NOW)).refused) == 1


def test_nothing_at_all():
    for rows in (pd.DataFrame(columns=COLUMNS), typed().iloc[:0], frame().iloc[:0]):
        assert len(holds(rows, check(rows, MACHINES, NOW)).valid) == 0
    assert len(check(typed(), {}, NOW).refused) == 3


def test_any_index_and_more_columns():
    rows = typed(extra=[1, 2, 3]).set_index(pd.Index([5, 5, -1]))[["extra", *reversed(COLUMNS)]]
    before = rows.copy()
    assert len(holds(rows, check(rows, MACHINES, NOW)).valid) == 3
    pd.testing.assert_frame_equal(rows, before)


# -- anything ------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
ANYTHING = (
    JSON
    | st.binary()
    | st.complex_numbers()
    | st.decimals()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.datetimes().map(datetime.isoformat)
    | st.sampled_from([*GOOD.values(), *MACHINES, 10**5000, "1e309", "2026-11-22T13:59:00"])
)
ROW = st.fixed_dictionaries({name: st.just(good) | ANYTHING for name, good in GOOD.items()})


@trying(max_examples=150, deadline=None)
@given(st.lists(ROW, max_size=8))
def test_nothing_raises_and_nothing_is_lost(rows):
    holds(frame(*rows), checked(*rows))


def test_a_long_mixture():
    chance = random.Random(7)
    odd = [*NO_NUMBERS, *NO_TIMES, *ODD_NAMES]
    rows = [
        {name: good if chance.random() < 0.7 else chance.choice(odd) for name, good in GOOD.items()}
        for _ in range(3000)
    ]
    result = holds(rows, checked(*rows))
    assert 0 < len(result.valid) < len(rows)
    assert result.refused["reason"].nunique() > 5


# -- plain lists, as they come from JSON --------------------------------------------------------


def columns(*rows):
    return {name: [{**GOOD, **row}[name] for row in rows] for name in COLUMNS}


@trying(max_examples=150, deadline=None)
@given(st.lists(ROW, max_size=8))
def test_lists_are_judged_as_frames_are(rows):
    listed, framed = check(columns(*rows), MACHINES, NOW), checked(*rows)
    pd.testing.assert_frame_equal(listed.valid, framed.valid)
    assert listed.refusals == framed.refusals


@trying(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1_795_000_000_000_000), st.integers(-720, 720)), min_size=1)
)
def test_lists_that_are_all_valid_keep_every_microsecond(sent):
    epoch, us = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
    rows = [
        {"time": (epoch + at * us).astimezone(timezone(timedelta(minutes=offset))).isoformat()}
        for at, offset in sent
    ]
    assert check(columns(*rows), MACHINES, NOW).columns[2] == [at for at, _ in sent]


@pytest.mark.parametrize(
    "row",
    [
        {"value": float("nan")},
        {"value": LARGEST * 1.001},
        {"value": -LARGEST * 1.001},
        {"value": True},
        {"time": "2026-11-22T13:59:00"},
        {"time": "1969-12-31T23:59:59.999999Z"},
        {"time": (NOW + FUTURE + timedelta(microseconds=1)).isoformat()},
        {"machine": "Pimp"},
        {"metric": "power"},
        {"metric": "x" * LONGEST_METRIC + "_kw"},
    ],
)
def test_one_odd_row_in_a_list_is_the_only_one_refused(row):
    result = check(columns({}, row, {}), MACHINES, NOW)
    assert (len(result), len(result.refusals)) == (2, 1)


def test_the_latest_time_in_a_list():
    assert len(check(columns({"time": (NOW + FUTURE).isoformat()}), MACHINES, NOW)) == 1
