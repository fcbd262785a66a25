import threading
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from enms_core.bus import Bell
from enms_core.ingest import ingest
from enms_core.readings import COLUMNS, check
from enms_core.sources.csv_file import paced, read

STEEL = Path(__file__).parents[2].parent / "shared" / "data" / "steel" / "steel.csv"
QUARTER = pd.Timedelta("15min")


@pytest.fixture
def write(tmp_path):
    def write_lines(*lines):
        path = tmp_path / "meter.csv"
        path.write_text("\n".join([*lines, ""]))
        return path

    return write_lines


def times(rows):
    return rows["time"].dt.tz_convert("UTC").dt.strftime("%d %H:%M").tolist()


def test_a_column_per_metric(write):
    path = write("time,power_kw,note,temperature_c", "2026-01-01T00:00:00Z,1.5,x,20")
    rows = read(path, machine="Pump")
    assert list(rows.columns) == COLUMNS
    assert rows.drop(columns="time").to_dict("records") == [
        {"machine": "Pump", "metric": "power_kw", "value": 1.5},
        {"machine": "Pump", "metric": "temperature_c", "value": 20.0},
    ]


def test_columns_get_the_names_of_metrics(write):
    path = write("at,Usage,Heat", "2026-01-01T00:00:00Z,1.5,20")
    rows = read(path, machine="Pump", time_column="at", metrics={"Usage": "energy_kwh"})
    assert rows["metric"].tolist() == ["energy_kwh"]


def test_one_reading_a_row(write):
    path = write(
        "value,machine,metric,time",
        "2,Press,power_kw,2026-01-01T00:01:00Z",
        "1,Pump,power_kw,2026-01-01T00:00:00Z",
    )
    rows = read(path)
    assert list(rows.columns) == COLUMNS
    assert rows["machine"].tolist() == ["Pump", "Press"]


def test_the_day_first(write):
    path = write("time,power_kw", "03/01/2018 0:15,1", "13/01/2018 0:15,2")
    rows = read(path, machine="Pump", dayfirst=True, timezone="UTC")
    assert times(rows) == ["03 00:15", "13 00:15"]


def test_times_that_label_the_end(write):
    path = write("time,energy_kwh", *(f"2026-01-01T00:{m}:00Z,1" for m in (15, 30, 45)))
    assert times(read(path, machine="Pump", ends=True)) == ["01 00:00", "01 00:15", "01 00:30"]


def test_one_time_has_no_interval(write):
    path = write("time,energy_kwh", "2026-01-01T00:15:00Z,1")
    with pytest.raises(ValueError, match="one time alone"):
        read(path, machine="Pump", ends=True)


def test_the_zone_of_the_site(write):
    path = write("time,power_kw", "2026-01-01T00:00:00,1", "2026-07-01T00:00:00,2")
    rows = read(path, machine="Pump", timezone="Europe/Berlin")
    assert times(rows) == ["31 23:00", "30 22:00"]


def test_an_offset_is_believed(write):
    path = write("time,power_kw", "2026-01-01T00:00:00+05:00,1")
    assert times(read(path, machine="Pump", timezone="Europe/Berlin")) == ["31 19:00"]


def test_offsets_that_change_with_the_summer(write):
    path = write("time,power_kw", "2026-07-01T00:00:00+02:00,1", "2026-12-01T00:00:00+01:00,2")
    assert times(read(path, machine="Pump")) == ["30 22:00", "30 23:00"]


def test_without_a_zone_nothing_is_guessed(write):
    rows = read(write("time,power_kw", "2026-01-01T00:00:00,1"), machine="Pump")
    assert rows["time"].dt.tz is None


def test_an_autumn_night_has_25_hours(write):
    hours = ["00:30", "01:30", "02:30", "02:30", "03:30"]
    path = write("time,power_kw", *(f"2026-10-25 {h}:00,{n}" for n, h in enumerate(hours)))
    rows = read(path, machine="Pump", timezone="Europe/Berlin")
    assert times(rows) == ["24 22:30", "24 23:30", "25 00:30", "25 01:30", "25 02:30"]
    assert rows["value"].tolist() == [0, 1, 2, 3, 4]


def test_an_autumn_night_that_cannot_be_told_apart_has_no_time(write):
    path = write("time,power_kw", "2026-10-25 01:30:00,0", "2026-10-25 02:30:00,1")
    assert read(path, machine="Pump", timezone="Europe/Berlin")["time"].isna().tolist() == [
        False,
        True,
    ]


def test_a_spring_night_has_no_third_hour(write):
    path = write("time,power_kw", *(f"2026-03-29 0{h}:30:00,{h}" for h in (1, 2, 3)))
    rows = read(path, machine="Pump", timezone="Europe/Berlin")
    assert rows["time"].isna().tolist() == [False, False, True]
    assert times(rows.dropna()) == ["29 00:30", "29 01:30"]


@pytest.mark.parametrize(
    ("lines", "options", "told"),
    [
        (["at,power_kw"], {}, "no column 'time'; it has: at, power_kw"),
        (["time,power_kw"], {"time_column": "date"}, "no column 'date'"),
        (["time,power_kw"], {"metrics": {"Usage": "energy_kwh"}}, "no column 'Usage'"),
        (["time,Usage"], {}, "no column named like a metric"),
        (["time,power_kw"], {"machine": None}, "names no machine"),
        (["time,power_kw"], {"timezone": "Mars/Olympus"}, "Europe/Berlin"),
    ],
)
def test_what_is_missing_is_named(write, lines, options, told):
    path = write(*lines, "2026-01-01T00:00:00,1")
    with pytest.raises(ValueError, match=told):
        read(path, **{"machine": "Pump", **options})


def test_a_replay_sends_everything_in_order(write):
    path = write("time,power_kw", *(f"2026-01-01T00:{m:02}:00Z,{m}" for m in range(60)))
    parts = list(paced(read(path, machine="Pump"), speed=36_000))
    assert len(parts) > 1
    assert pd.concat(parts)["value"].tolist() == list(range(60))


@pytest.mark.parametrize("last", ["2026-10-25 02:30:00", ""])
def test_a_replay_ends_although_a_row_has_no_time(write, last):
    path = write("time,power_kw", "2026-10-25 01:30:00,0", f"{last},1")
    rows = read(path, machine="Pump", timezone="Europe/Berlin")
    assert rows["time"].isna().sum() == 1
    assert sum(map(len, paced(rows, speed=1e9))) == 2


def test_a_replay_of_nothing(write):
    rows = read(write("time,power_kw", "2026-01-01T00:00:00Z,1"), machine="Pump")
    assert list(paced(rows[:0], speed=1.0)) == []


def test_a_replay_can_be_stopped(write):
    path = write("time,power_kw", "2026-01-01T00:00:00Z,0", "2026-02-01T00:00:00Z,1")
    stop = threading.Event()
    parts = []
    for part in paced(read(path, machine="Pump"), speed=1.0, stop=stop):
        parts.append(part)
        stop.set()
    assert sum(map(len, parts)) == 1


@pytest.mark.skipif(not STEEL.exists(), reason="the public steel data is not here")
@pytest.mark.parametrize("ends", [False, True])
def test_a_year_of_a_steel_works(ends):
    names = {
        "Usage_kWh": "energy_kwh",
        "Lagging_Current_Reactive.Power_kVarh": "reactive_energy_kvarh",
    }
    rows = read(
        STEEL,
        machine="Works",
        time_column="date",
        metrics=names,
        timezone="Asia/Seoul",
        dayfirst=True,
        ends=ends,
    )
    assert len(rows) == 2 * 35_040
    first = pd.Timestamp(2018, 1, 1, tz=ZoneInfo("Asia/Seoul")) - int(ends) * QUARTER
    assert rows["time"].iloc[0] == first
    assert rows["time"].iloc[-1] == first + 35_039 * QUARTER
    assert not rows.duplicated(["metric", "time"]).any()
    usage = rows[rows["metric"] == "energy_kwh"]
    assert usage["value"].sum() == pytest.approx(pd.read_csv(STEEL)["Usage_kWh"].sum())


@pytest.mark.skipif(not STEEL.exists(), reason="the public steel data is not here")
def test_the_steel_works_in_the_store(store, plant):
    rows = read(
        STEEL,
        machine="Pump",
        time_column="date",
        metrics={"Usage_kWh": "energy_kwh"},
        timezone="Asia/Seoul",
        dayfirst=True,
    )
    receipt = ingest(store, Bell(lambda: None), rows)
    assert (receipt.sent, receipt.stored) == (35_040, 35_040)


def test_a_time_that_is_none_goes_to_quarantine_with_its_row_alone(tmp_path):
    path = tmp_path / "works.csv"
    path.write_text(
        "time,power_kw\n2026-10-01T00:00:00+02:00,1\nyesterday,2\n2026-10-01T00:01:00+02:00,3\n"
    )
    rows = read(path, machine="Pump")
    checked = check(rows, {"Pump": None}, datetime.now(UTC))
    assert checked.valid["value"].tolist() == [1.0, 3.0]
    assert checked.refused["reason"].str.startswith("time is not a time").tolist() == [True]
