import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from enms_core.plant import Metric
from enms_core.sources.faults import FAULT_KINDS, Fault
from enms_core.sources.simulator import (
    MACHINES,
    MODELS,
    Simulator,
    history_faults,
    maintenance,
)

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE, QUARTER = timedelta(minutes=1), timedelta(minutes=15)
MONDAY = datetime(2026, 11, 16, tzinfo=BERLIN)  # a working week after the clocks went back
NAMES = [machine.name for machine in MACHINES]
MODEL = {model.machine.name: model for model in MODELS}


def wide(simulator, start, end, interval, machine):
    """A column per metric, a row per time."""
    frame = simulator.readings(start, end, interval, machines=[machine])
    return frame.pivot_table(index="time", columns="metric", values="value")


@pytest.fixture(scope="module")
def week():
    frame = Simulator(seed=7).readings(MONDAY, MONDAY + timedelta(days=7), QUARTER)
    return dict(tuple(frame.groupby("machine")))


@pytest.fixture(scope="module")
def year():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return Simulator(seed=7).readings(start, start + timedelta(days=365), timedelta(hours=1))


def of(frames, machine, metric="power_kw"):
    part = frames[machine]
    return part[part["metric"] == metric].set_index("time")["value"]


def hours(series, zone="Europe/Berlin"):
    local = series.index.tz_convert(zone)
    return local.day_of_week, local.hour + local.minute / 60


def test_frame_is_long_utc_and_sorted():
    frame = Simulator().readings(MONDAY, MONDAY + 10 * MINUTE, MINUTE)
    assert frame.columns.tolist() == ["machine", "metric", "time", "value"]
    assert str(frame["time"].dt.tz) == "UTC"
    assert frame["time"].is_monotonic_increasing
    assert frame["value"].dtype == float
    assert not frame.isna().any(axis=None)
    assert not frame.duplicated(["machine", "metric", "time"]).any()
    assert frame["time"].iloc[0] == MONDAY
    assert frame["time"].iloc[-1] == MONDAY + 9 * MINUTE


def test_every_machine_measures_three_to_five_known_metrics():
    frame = Simulator().readings(MONDAY, MONDAY + MINUTE, MINUTE)
    metrics = frame.groupby("machine")["metric"].agg(list)
    assert sorted(metrics.index) == sorted(NAMES)
    assert metrics.map(len).between(3, 5).all()
    assert all({"power_kw", "temperature_c"} <= set(found) for found in metrics)
    assert all(Metric(name) for name in frame["metric"])


def test_eight_machines_at_two_sites_in_two_time_zones():
    assert len(set(NAMES)) == 8
    assert {m.factory.timezone for m in MACHINES} == {"Europe/Berlin", "America/New_York"}


def test_same_seed_same_plant_and_another_seed_another():
    def run(seed):
        return Simulator(seed).readings(MONDAY, MONDAY + timedelta(days=1), QUARTER)

    pd.testing.assert_frame_equal(run(3), run(3))
    changed = run(3)["value"].to_numpy() != run(4)["value"].to_numpy()
    assert changed.mean() > 0.5


def test_a_sub_window_is_the_slice_of_the_larger_one():
    faults = history_faults(MONDAY + timedelta(days=7))
    simulator = Simulator(7, faults)
    whole = simulator.readings(MONDAY, MONDAY + timedelta(days=3), MINUTE)
    rng = np.random.default_rng(1)
    for offset, length in rng.integers(1, 1500, size=(12, 2)).tolist():
        start = MONDAY + offset * MINUTE
        end = start + length * MINUTE
        part = simulator.readings(start, end, MINUTE)
        expected = whole[(whole["time"] >= start) & (whole["time"] < end)]
        pd.testing.assert_frame_equal(part, expected.reset_index(drop=True))


def test_live_calls_one_by_one_join_the_history():
    simulator, at, five = (
        Simulator(7),
        MONDAY + timedelta(hours=11, minutes=58),
        timedelta(seconds=5),
    )
    whole = simulator.readings(at, at + 60 * five, five)
    calls = [simulator.readings(at + k * five, at + (k + 1) * five, five) for k in range(60)]
    pd.testing.assert_frame_equal(pd.concat(calls, ignore_index=True), whole)


def test_some_machines_read_as_they_do_among_all():
    day = (MONDAY, MONDAY + timedelta(days=1), QUARTER)
    everything = Simulator(7).readings(*day)
    some = ["HVAC-Ohio", "Conveyor-A"]
    part = Simulator(7).readings(*day, machines=some)
    assert part["machine"].unique().tolist() == some
    keys = ["machine", "metric", "time"]
    expected = everything[everything["machine"].isin(some)]
    pd.testing.assert_frame_equal(
        part.sort_values(keys, ignore_index=True), expected.sort_values(keys, ignore_index=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_signals_do_not_depend_on_the_interval(name):
    fine = wide(Simulator(7), MONDAY, MONDAY + timedelta(hours=9), timedelta(seconds=5), name)
    coarse = wide(Simulator(7), MONDAY, MONDAY + timedelta(hours=9), MINUTE, name)
    columns = coarse.columns.drop("production_count", errors="ignore")
    pd.testing.assert_frame_equal(fine.loc[coarse.index, columns], coarse[columns])


@pytest.mark.parametrize("name", [m.machine.name for m in MODELS if m.pieces_per_h])
@pytest.mark.parametrize("seconds", [7, 60, 900, 86_400, 3 * 86_400])
def test_pieces_add_up_at_every_interval(name, seconds):
    overload = Fault("overload", name, MONDAY + 601 * MINUTE, MONDAY + 655.5 * MINUTE)
    simulator, end = Simulator(7, [overload]), MONDAY + timedelta(days=3)
    interval = timedelta(seconds=seconds)
    parts = wide(simulator, MONDAY, end, interval, name)["production_count"]
    past = MONDAY + len(parts) * interval - end  # the last interval may reach beyond the end
    whole = wide(simulator, MONDAY, MONDAY + MINUTE, end + past - MONDAY, name)["production_count"]
    assert parts.sum() == whole.iloc[0]
    assert (parts >= 0).all()
    assert (parts % 1 == 0).all()


def test_no_piece_gets_lost_to_rounding():
    """Over a day the count is the rate summed up, less the fraction open at its end."""
    simulator, model = Simulator(7), MODEL["Injection-Molding-1"]
    day = np.array([20_000])
    made = simulator._counter(model, day).made[0, -1]
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=20_000)
    counts = wide(
        simulator, start, start + timedelta(days=1), timedelta(seconds=5), model.machine.name
    )["production_count"]
    assert counts.sum() == np.floor(made)
    assert made > 1000


@pytest.mark.parametrize(
    ("day", "length", "sunday"),
    [((2026, 3, 29), 23, 6), ((2026, 10, 25), 25, 6)],
)
def test_days_on_which_the_clocks_change(day, length, sunday):
    start = datetime(*day, tzinfo=BERLIN)
    end = start + timedelta(days=1)
    frame = Simulator(7).readings(start, end, timedelta(hours=1), machines=["Conveyor-A"])
    assert start.weekday() == sunday
    assert frame["time"].nunique() == length


@pytest.mark.parametrize("day", [(2026, 3, 27), (2026, 3, 30), (2026, 10, 23), (2026, 10, 26)])
def test_shifts_begin_at_six_on_the_clock_of_the_site(day):
    """... on the workdays before and after the clocks change."""
    start = datetime(*day, tzinfo=BERLIN)
    power = wide(Simulator(7), start, start + timedelta(hours=12), MINUTE, "Conveyor-A")["power_kw"]
    begin = power.index[(power > 5).to_numpy().argmax()].tz_convert(BERLIN)
    assert abs(begin - start.replace(hour=6)) < timedelta(minutes=20)


@pytest.mark.parametrize("machine", MACHINES, ids=NAMES)
def test_power_is_physically_possible(machine, year):
    power = year[(year["machine"] == machine.name) & (year["metric"] == "power_kw")]["value"]
    assert power.min() > 0
    assert power.max() < 1.05 * machine.rated_kw
    assert power.max() > 0.5 * machine.rated_kw


def test_faults_cannot_drive_power_over_its_bound():
    end = MONDAY + timedelta(days=1)
    faults = [Fault("overload", "Compressor-1", MONDAY, end, size=9.0)]
    power = wide(Simulator(7, faults), MONDAY, end, MINUTE, "Compressor-1")["power_kw"]
    assert power.max() == pytest.approx(1.3 * 75)


@pytest.mark.parametrize("machine", MACHINES, ids=NAMES)
def test_nights_and_sundays_draw_less_but_not_nothing(machine, week):
    power = of(week, machine.name)
    day, hour = hours(power, machine.factory.timezone)
    working = power[(day < 5) & (hour >= 8) & (hour < 17)].mean()
    sunday = power[(day == 6) & (hour >= 2)].mean()
    assert 0 < sunday < 0.4 * working
    if machine.type != "injection_molding":
        assert 0 < power[(day < 5) & (hour >= 1) & (hour < 4)].mean() < 0.5 * working


def test_lunch_dips_and_the_saturday_is_half(week):
    power = of(week, "Conveyor-A")
    day, hour = hours(power)
    late = (day < 5) & (hour >= 14) & (hour < 17)
    assert power[(day < 5) & (hour == 12.25)].max() < 0.6 * power[late].mean()
    assert power[(day == 5) & (hour >= 7) & (hour < 11)].mean() > 10
    assert power[(day == 5) & (hour >= 13)].max() < 1


def test_power_follows_production_in_a_line(week):
    power, made = (
        of(week, "Injection-Molding-1"),
        of(week, "Injection-Molding-1", "production_count"),
    )
    hourly = pd.DataFrame({"power": power.resample("1h").mean(), "made": made.resample("1h").sum()})
    running = hourly[hourly["made"] > 100]
    slope, base = np.polyfit(running["made"], running["power"], 1)
    assert running.corr().loc["power", "made"] > 0.9
    assert slope > 0.1
    assert 3.5 < base < 30


def test_heating_and_cooling_follow_the_temperature(year):
    hvac = year[year["machine"] == "HVAC-Main"].pivot_table(
        index="time", columns="metric", values="value"
    )
    day, hour = hours(hvac)
    occupied = hvac[(day < 5) & (hour >= 7) & (hour < 20)]
    outdoor = occupied["temperature_c"]
    cold, mild, hot = outdoor < 12, outdoor.between(15, 20), outdoor > 23
    assert occupied[cold].corr().loc["power_kw", "temperature_c"] < -0.95
    assert occupied[hot].corr().loc["power_kw", "temperature_c"] > 0.9
    assert occupied[mild]["power_kw"].std() < 0.05 * occupied[mild]["power_kw"].mean()
    assert (
        occupied[mild]["supply_temperature_c"].mean()
        < occupied[cold]["supply_temperature_c"].mean()
    )
    assert (
        occupied[mild]["supply_temperature_c"].mean() > occupied[hot]["supply_temperature_c"].mean()
    )


def test_weather_is_shared_by_a_site_and_has_its_seasons_days_and_memory(year):
    outdoor = year[year["metric"] == "temperature_c"].pivot_table(
        index="time", columns="machine", values="value"
    )
    nord, ohio = outdoor["Boiler-1"], outdoor["HVAC-Ohio"]
    assert (outdoor["Compressor-1"] == nord).all()
    monthly = nord.groupby(nord.index.month).mean()
    assert 14 < monthly[7] - monthly[1] < 22
    assert -20 < nord.min() < nord.max() < 40
    hourly = nord.groupby(nord.index.tz_convert(BERLIN).hour).mean()
    assert 4 < hourly[15] - hourly[4] < 10
    anomaly = (nord - nord.rolling(24 * 30, center=True).mean()).resample("1D").mean().dropna()
    assert 0.5 < anomaly.autocorr(1) < 0.95
    assert abs((nord - nord.rolling(720).mean()).corr(ohio - ohio.rolling(720).mean())) < 0.5


@pytest.mark.parametrize("name", NAMES)
def test_a_live_view_is_a_calm_curve(name):
    start = MONDAY + timedelta(hours=14)
    seconds = timedelta(seconds=5)
    power = wide(Simulator(7), start, start + QUARTER, seconds, name)["power_kw"]
    assert 0.001 < power.std() / power.mean() < 0.06
    assert (power.diff().abs().dropna() < 0.04 * power.mean()).all()
    assert power.autocorr(1) > 0.8


def span_of(kind, machine, size=1.0, start=14.0, hours=2.0):
    begin = MONDAY + timedelta(days=1, hours=start)
    return Fault(kind, machine, begin, begin + timedelta(hours=hours), size)


def before_and_after(*faults, interval=MINUTE):
    """Two days of the machine, healthy and with its faults, and a mask of the first one's span."""
    machine, end = faults[0].machine, MONDAY + timedelta(days=3)
    healthy = wide(Simulator(7), MONDAY, end, interval, machine)
    faulty = wide(Simulator(7, faults), MONDAY, end, interval, machine)
    inside = (healthy.index >= faults[0].start) & (healthy.index < faults[0].end)
    return healthy, faulty, inside


FAULTS = [
    span_of("leak", "Compressor-1", start=20, hours=6),
    span_of("drift", "Boiler-1", hours=12),
    span_of("stuck_sensor", "Conveyor-A", start=21),
    span_of("outage", "Injection-Molding-1", hours=0.75),
    span_of("night_setback_lost", "HVAC-Ohio", start=6, hours=6),
    span_of("bearing_wear", "Conveyor-A", hours=6),
    span_of("overload", "Hydraulic-Pump-1", hours=3),
]


def test_every_kind_is_tried_here():
    assert {fault.kind for fault in FAULTS} == set(FAULT_KINDS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.kind)
def test_a_fault_changes_power_in_its_span_only(fault):
    healthy, faulty, inside = before_and_after(fault)
    pd.testing.assert_frame_equal(healthy[~inside], faulty[~inside])
    changed = (healthy["power_kw"] != faulty["power_kw"])[inside]
    assert changed.mean() > 0.9
    pd.testing.assert_series_equal(healthy["temperature_c"], faulty["temperature_c"])


@pytest.mark.parametrize("kind", FAULT_KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_stands_on_every_machine(kind, name):
    fault = span_of(kind, name, size=2.0)
    _, faulty, _ = before_and_after(fault, interval=QUARTER)
    assert faulty["power_kw"].between(0, 1.3 * MODEL[name].machine.rated_kw).all()
    assert not faulty.isna().any(axis=None)


@pytest.mark.parametrize("size", [0.5, 1.0])
def test_leak_costs_power_day_and_night_and_pressure(size):
    fault = span_of("leak", "Compressor-1", size, start=20, hours=6)
    healthy, faulty, inside = before_and_after(fault)
    extra = (faulty - healthy)[inside]
    expected = 0.30 * size * MODEL["Compressor-1"].running_kw
    assert extra["power_kw"].between(expected - 0.1, expected + 0.1).all()
    assert extra["pressure_bar"].mean() == pytest.approx(-0.5 * size, abs=0.02)
    assert (extra["production_count"] == 0).all()


def test_drift_grows_to_a_quarter():
    healthy, faulty, inside = before_and_after(span_of("drift", "Boiler-1", hours=12))
    ratio = (faulty / healthy)["power_kw"][inside]
    assert ratio.iloc[0] == pytest.approx(1.0, abs=0.01)
    assert ratio.iloc[len(ratio) // 2] == pytest.approx(1.125, abs=0.01)
    assert ratio.iloc[-1] == pytest.approx(1.25, abs=0.01)


def test_stuck_sensor_repeats_its_first_value_while_the_machine_goes_on():
    healthy, faulty, inside = before_and_after(span_of("stuck_sensor", "Conveyor-A", start=21))
    assert (faulty["power_kw"][inside] == healthy["power_kw"][inside].iloc[0]).all()
    others = healthy.columns.drop("power_kw")
    pd.testing.assert_frame_equal(healthy[others], faulty[others])


def test_stuck_sensor_holds_the_same_value_in_every_window():
    fault = span_of("stuck_sensor", "Conveyor-A", start=21)
    inside = fault.start + timedelta(minutes=90)
    late = wide(Simulator(7, [fault]), inside, inside + MINUTE, MINUTE, "Conveyor-A")
    at_start = wide(Simulator(7), fault.start, fault.start + MINUTE, MINUTE, "Conveyor-A")
    assert late["power_kw"].iloc[0] == at_start["power_kw"].iloc[0]


def test_outage_stops_power_pressure_and_production():
    healthy, faulty, inside = before_and_after(span_of("outage", "Injection-Molding-1", hours=0.75))
    assert (faulty[inside][["power_kw", "pressure_bar", "production_count"]] == 0).all(axis=None)
    assert healthy[inside]["production_count"].sum() > 100


def test_lost_night_setback_runs_the_day_mode_at_night_and_leaves_the_day_alone():
    fault = span_of("night_setback_lost", "HVAC-Main", start=0, hours=24)
    healthy, faulty, inside = before_and_after(fault)
    _, hour = hours(healthy)
    night, noon = inside & (hour < 4), inside & (hour >= 8) & (hour < 20)
    assert faulty["power_kw"][night].mean() > 2 * healthy["power_kw"][night].mean()
    pd.testing.assert_frame_equal(faulty[noon], healthy[noon])


def test_bearing_wear_shows_in_vibration_first():
    healthy, faulty, inside = before_and_after(span_of("bearing_wear", "Conveyor-A", hours=6))
    ratio = (faulty / healthy)[inside]
    assert ratio["vibration_mms"].iloc[-1] == pytest.approx(2.5, abs=0.02)
    assert ratio["power_kw"].iloc[-1] == pytest.approx(1.06, abs=0.01)
    assert ratio["vibration_mms"].iloc[:60].mean() < 1.2


@pytest.mark.parametrize("size", [0.5, 1.0])
def test_overload_costs_more_than_it_makes(size):
    fault = span_of("overload", "Hydraulic-Pump-1", size, hours=3)
    healthy, faulty, inside = before_and_after(fault)
    ratio = faulty[inside].sum() / healthy[inside].sum()
    assert ratio["power_kw"] == pytest.approx(1 + 0.25 * size, abs=0.01)
    assert ratio["production_count"] == pytest.approx(1 + 0.20 * size, abs=0.01)


def test_faults_at_the_same_time_add_up():
    worn = span_of("bearing_wear", "Conveyor-A", hours=6)
    healthy, faulty, inside = before_and_after(worn, span_of("overload", "Conveyor-A", hours=6))
    ratio = (faulty / healthy)["power_kw"][inside]
    assert ratio.iloc[-1] == pytest.approx(1.06 * 1.25, abs=0.01)


def test_a_fault_begins_and_ends_between_two_readings_to_the_second():
    begin = MONDAY + timedelta(hours=10, seconds=30)
    outage = Fault("outage", "Conveyor-A", begin, begin + timedelta(seconds=45))
    made = wide(
        Simulator(7, [outage]),
        begin - MINUTE,
        begin + 2 * MINUTE,
        timedelta(seconds=15),
        "Conveyor-A",
    )["production_count"]
    assert made.gt(0).tolist() == [True] * 4 + [False] * 3 + [True] * 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "rust"}, "one of leak, drift"),
        ({"start": datetime(2026, 11, 16)}, r"\+01:00"),  # noqa: DTZ001
        ({"end": MONDAY}, "must end after its start"),
        ({"end": MONDAY - MINUTE}, "must end after its start"),
        ({"size": 0.0}, "must be positive"),
        ({"size": float("nan")}, "must be positive"),
    ],
)
def test_impossible_faults_are_refused(change, message):
    fault = {"kind": "leak", "machine": NAMES[0], "start": MONDAY, "end": MONDAY + QUARTER}
    with pytest.raises(ValueError, match=message):
        Fault(**(fault | change))


def test_a_fault_of_an_unknown_machine_is_refused():
    with pytest.raises(ValueError, match="'Compressor-9' is not simulated; it must be one of Comp"):
        Simulator(7, [Fault("leak", "Compressor-9", MONDAY, MONDAY + QUARTER)])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.kind)
def test_labels_survive_json(fault):
    assert Fault.from_dict(json.loads(json.dumps(fault.to_dict()))) == fault


@pytest.mark.parametrize("damage", [{"start": None}, {"start": "soon"}, {"size": "big"}])
def test_a_damaged_label_is_refused(damage):
    with pytest.raises(ValueError, match=r"not a fault|isoformat"):
        Fault.from_dict(FAULTS[0].to_dict() | damage)


def test_a_label_without_its_kind_is_refused():
    raw = FAULTS[0].to_dict()
    del raw["kind"]
    with pytest.raises(ValueError, match="not a fault"):
        Fault.from_dict(raw)


@pytest.mark.parametrize("weekday", range(7))
def test_history_faults_leave_time_to_learn_and_a_clean_end(weekday):
    end = MONDAY + timedelta(days=weekday, hours=17, minutes=3)
    faults = history_faults(end)
    assert 5 <= len(faults) <= 6
    assert all(end - timedelta(days=14) < fault.start for fault in faults)
    assert all(fault.end < end - timedelta(hours=12) for fault in faults)
    assert {"leak", "night_setback_lost", "outage", "overload", "stuck_sensor"} == {
        fault.kind for fault in faults
    }
    serviced = maintenance(end)
    assert serviced.machine not in {fault.machine for fault in faults}
    assert end - timedelta(days=14) < serviced.start < serviced.end < end - timedelta(hours=12)
    spans = [(f.machine, f.start) for f in faults]
    assert len(set(spans)) == len(spans)


@pytest.mark.parametrize("weekday", range(7))
def test_history_faults_can_be_seen(weekday):
    for fault in history_faults(MONDAY + timedelta(days=weekday, hours=9)):
        span = (fault.start, fault.end, MINUTE, fault.machine)
        gap = wide(Simulator(7, [fault]), *span) - wide(Simulator(7), *span)
        usual = MODEL[fault.machine].running_kw
        assert gap["power_kw"].abs().mean() > 0.15 * usual, fault


@pytest.mark.parametrize(
    ("start", "end", "interval", "message"),
    [
        (datetime(2026, 11, 16), MONDAY, MINUTE, r"start .*\+01:00"),  # noqa: DTZ001
        (MONDAY, datetime(2026, 11, 17), MINUTE, r"end .*\+01:00"),  # noqa: DTZ001
        (MONDAY, MONDAY - MINUTE, MINUTE, "before start"),
        (MONDAY, MONDAY + MINUTE, timedelta(seconds=0.5), "at least 1 second"),
    ],
)
def test_windows_that_make_no_sense_are_refused(start, end, interval, message):
    with pytest.raises(ValueError, match=message):
        Simulator().readings(start, end, interval)


def test_an_unknown_machine_is_refused():
    with pytest.raises(ValueError, match="'Press' is not simulated"):
        Simulator().readings(MONDAY, MONDAY + MINUTE, MINUTE, machines=["Press"])


def test_an_empty_window_or_no_machine_is_an_empty_frame():
    for frame in (
        Simulator().readings(MONDAY, MONDAY, MINUTE),
        Simulator().readings(MONDAY, MONDAY + MINUTE, MINUTE, machines=[]),
    ):
        assert frame.empty
        assert frame.columns.tolist() == ["machine", "metric", "time", "value"]
        assert str(frame["time"].dt.tz) == "UTC"
