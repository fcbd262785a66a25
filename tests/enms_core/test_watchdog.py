import sqlite3
from dataclasses import replace

import pandas as pd
import pytest

from enms_core import jobs
from enms_core.bus import Bell
from enms_core.forecasting.accuracy import Accuracy
from enms_core.ingest import ingest
from enms_core.plant import Factory, Machine
from enms_core.readings import COLUMNS
from enms_core.store import Store, alerts, forecasts, models, scores
from enms_core.store import jobs as stored_jobs
from enms_core.store.machines import add
from enms_core.store.times import now_us
from enms_core.watchdog import (
    Arrivals,
    Clock,
    Quarantine,
    Watchdog,
    forecast_band,
    model_drift,
    silence,
)

SILENT = Bell(lambda: None)
WORKS, NORD = Factory("Works"), Factory("Nord")


class Relay:
    lost_since = None


class World:
    """A plant with a clock in the hand, and a watchdog that looks at it."""

    def __init__(self, store):
        self.store, self.relay = store, Relay()
        two_hours_ago = now_us() / 1e6 - 7_200.0  # so that no reading is of the future
        self.seconds, self.wall_offset = 1_000.0, two_hours_ago - 1_000.0
        self.restart()

    def restart(self):
        self.dog = Watchdog(self.store, SILENT, self.relay, lambda: self.seconds, self.wall)

    def wall(self):
        return self.seconds + self.wall_offset

    def look(self, seconds=2.0):
        self.seconds += seconds
        self.dog.step()

    def send(self, *names, value="7"):
        at = pd.Timestamp(self.wall() - 1, unit="s", tz="UTC").isoformat()
        rows = [(name, "power_kw", at, value) for name in names]
        ingest(
            self.store, SILENT, pd.DataFrame(rows, columns=["machine", "metric", "time", "value"])
        )

    def live(self, *names, rounds=4):
        for _ in range(rounds):
            self.send(*names)
            self.look()

    @property
    def open(self):
        with self.store.read() as connection:
            return [(a.alert_type, a.subject) for a in alerts.opened(connection)]


@pytest.fixture
def world(store, plant):
    return World(store)


def test_a_plant_that_is_well_says_nothing(world):
    world.live("Pump", "Press")
    assert world.open == []


def test_redis_is_lost_and_back(world):
    world.relay.lost_since = world.seconds
    world.look(0.5)
    assert world.open == []
    world.look()
    world.restart()
    world.look()
    assert world.open == [("redis_lost", "broker")]
    world.relay.lost_since = None
    world.look()
    assert world.open == []


def test_a_machine_falls_silent_and_is_back(world):
    world.live("Pump", "Press")
    for _ in range(10):
        world.live("Press", rounds=1)
    assert world.open == [("machine_silent", "Pump")]
    world.restart()
    world.live("Press", rounds=2)
    assert world.open == [("machine_silent", "Pump")]
    world.send("Pump")
    world.look()
    assert world.open == []


def test_an_import_is_never_silent(world, store):
    old = pd.DataFrame(
        [("Pump", "power_kw", f"2026-01-01T00:0{i}:00Z", 1.0) for i in range(5)],
        columns=COLUMNS,
    )
    for i in range(5):
        ingest(store, SILENT, old.iloc[i : i + 1])
        world.look()
    world.look(10_000)
    assert world.open == []


def test_a_clock_that_jumps_is_told_and_makes_no_storm(world):
    world.live("Pump", "Press")
    world.wall_offset += 3600
    world.live("Pump", "Press", rounds=2)
    assert world.open == [("clock_wrong", "clock")]
    for _ in range(320):
        world.look()
        if world.seconds % 10 == 0:
            world.send("Pump", "Press")
    assert world.open == []


def test_too_much_is_refused(world):
    world.live("Pump")
    for _ in range(12):
        world.send("Pump", value="broken")
    world.look()
    assert world.open == [("quarantine_rate", "readings")]
    with world.store.read() as connection:
        [alert] = alerts.opened(connection)
    assert alert.details["reason"] == "value is not a finite number"
    world.look(301)
    assert [kind for kind, _ in world.open] == ["machine_silent"]


def test_a_queue_that_nobody_works_on(world, plant, store, monkeypatch):
    jobs.submit(store, SILENT, lambda: None, plant["Pump"].id, "baseline", "me")
    world.look()
    assert world.open == []
    monkeypatch.setattr("enms_core.watchdog.QUEUE_S", 0.0)
    world.look()
    assert world.open == [("queue_stuck", "trainings")]


def test_a_locked_store_is_told_afterwards(sqlite_url):
    store = Store(sqlite_url, patience_s=0.05).migrate()
    world = World(store)
    world.look()
    lock = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    world.look()
    began = world.wall()
    world.look(30)
    lock.execute("ROLLBACK")
    lock.close()
    world.look()
    assert world.open == []
    with store.read() as connection:
        found = connection.execute(alerts.sa.select(alerts.alerts)).mappings().all()
    assert [row["alert_type"] for row in found] == ["store_locked"]
    assert found[0]["opened_at"] == pytest.approx(began * 1e6, abs=1e6)
    assert found[0]["closed_at"] > found[0]["opened_at"]
    store.dispose()


# -- by hand ---------------------------------------------------------------------------------------


def machines(*names, factory=WORKS):
    return [Machine(name, factory=factory) for name in names]


def kinds(found):
    return [(c.alert_type, c.subject) for c in found]


def test_many_that_fall_silent_together_are_one_alert():
    found = silence(machines(*"ABCD"), set(), {})
    assert kinds(found) == [("plant_silent", "Works")]
    assert found[0].details == {"machines": ["A", "B", "C", "D"]}
    some = [*machines(*"ABC"), *machines("N", factory=NORD)]
    assert kinds(silence(some, set(), {})) == [("machine_silent", name) for name in "ABCN"]


def test_what_was_told_goes_on_as_it_was():
    assert kinds(silence(machines(*"ABCD"), {"A"}, {})) == [
        ("machine_silent", name) for name in "ABCD"
    ]
    together = {"Works": ["A", "B", "C", "D"]}
    assert kinds(silence(machines("A"), set(), together)) == [("plant_silent", "Works")]
    assert kinds(silence(machines("A", "E"), set(), together)) == [
        ("plant_silent", "Works"),
        ("machine_silent", "E"),
    ]
    assert silence([], {"A"}, together) == []


def test_silence_is_three_intervals():
    slow = Arrivals(0, 0.0)
    for i in range(1, 4):
        slow.note(i * 900_000_000, i * 900.0, i * 900_000_000)
    assert not slow.is_silent(2700 + 2699)
    assert slow.is_silent(2700 + 2700)


@pytest.mark.parametrize(("by", "way"), [(3600, "forward by 1:00:00"), (-3600, "back by 1:00:00")])
def test_a_jump_says_which_way(by, way):
    clock = Clock()
    assert clock.check(0.0, 1e9) == []
    [told] = clock.check(2.0, 1e9 + 2 + by)
    assert way in told.message
    assert clock.check(4.0, 1e9 + 4 + by) == [told]
    assert clock.check(700.0, 1e9 + 700 + by) == []


def test_few_refused_readings_are_no_alert(sqlite_store):
    watch = Quarantine()
    with sqlite_store.read() as connection:
        assert watch.check(connection, 0.0) == []
        assert watch.check(connection, 2.0) == []


# -- models ----------------------------------------------------------------------------------------


@pytest.fixture
def judged(sqlite_store):
    """Keep five days of readings that were expected to be 10; return what drift says of them."""
    now = now_us() // 900_000_000 * 900_000_000
    start = now - 5 * 86_400_000_000
    times = list(range(start, now, 900_000_000))
    with sqlite_store.write() as connection:
        machine = add(connection, Machine("Pump", factory=WORKS))
        job = stored_jobs.add(connection, machine.id, "baseline", "me")

    def say(values, validated=0.1, active_since=start):
        rows = pd.DataFrame({"time": pd.to_datetime(times, unit="us", utc=True), "value": values})
        ingest(sqlite_store, SILENT, rows.assign(machine="Pump", metric="power_kw"))
        band = pd.DataFrame({"time": times, "expected": 10.0, "lower": 9.0, "upper": 11.0})
        with sqlite_store.write() as connection:
            scores.put(connection, machine.id, "power_kw", band.assign(surprise=0.0))
            version = models.register(
                connection,
                machine_id=machine.id,
                model_type="baseline",
                job_id=job.id,
                span=(start, now),
                metrics={"cv_rmse": validated},
                model="{}",
            )
            version = replace(version, activated_at=active_since)
            return model_drift(connection, machine, version, now)

    return say


def test_a_model_that_errs_more_than_it_did_drifts(judged):
    [told] = judged([14.0] * 480)
    assert told.details == {
        "machine": "Pump",
        "cv_rmse": round(4 / 14, 4),  # by hand: every error is 4, the mean is 14
        "validated": 0.1,
        "model_version": 1,
    }


def test_a_model_that_errs_as_it_did_or_less_does_not(judged):
    assert judged([11.0] * 480) == []


def test_too_few_days_say_nothing(judged):
    assert judged([14.0] * 480, active_since=now_us() - 2 * 86_400_000_000) == []


# -- forecasts -------------------------------------------------------------------------------------

DAY_US = 86_400_000_000


def forecast_days(connection, machine, days, coverage, mase=0.5):
    """Keep how good the forecasts of so many days were."""
    for day in range(1, days + 1):
        found = Accuracy(24, 1.0, mase, 0.0, 0.8, coverage)
        far = replace(found, coverage_95=0.95, hours=144)
        told = {"day 1": found, "days 2-7": far}
        forecasts.judge(connection, machine.id, now_us() - day * DAY_US, told)


@pytest.mark.parametrize(
    ("days", "coverage", "severity"),
    [
        (13, 0.5, None),
        (14, 0.5, "warning"),
        (14, 0.88, None),
        (14, 0.99, None),
        (20, 1.0, "info"),
        (60, 0.7, "warning"),
    ],
)
def test_a_band_that_holds_far_more_or_less_is_told(sqlite_store, days, coverage, severity):
    with sqlite_store.write() as connection:
        pump = add(connection, Machine("Pump", factory=WORKS))
        forecast_days(connection, pump, days, coverage)
        told = forecast_band(connection, pump, now_us())
    assert [condition.severity for condition in told] == ([severity] if severity else [])
    if told:
        assert told[0].details["coverage_95"] == coverage
        assert told[0].details["hours"] == min(days, 27) * 24


def test_the_band_of_a_machine_at_rest_tells_nothing(sqlite_store):
    with sqlite_store.write() as connection:
        pump = add(connection, Machine("Pump", factory=WORKS))
        forecast_days(connection, pump, 20, 1.0, mase=None)
        assert forecast_band(connection, pump, now_us()) == []


def test_a_band_is_told_once_and_when_it_holds_again(world, store, plant):
    begun = now_us() - DAY_US
    first = {"day 1": Accuracy(25 * 14, 1.0, 0.5, 0.0, 0.8, 0.5)}
    with store.write() as connection:
        forecasts.judge(connection, plant["Pump"].id, begun, first)
    world.look()
    world.look(3_700)
    assert world.open == [("forecast_band", "Pump")]
    with store.write() as connection:
        again = {"day 1": replace(first["day 1"], coverage_95=0.95)}
        forecasts.judge(connection, plant["Pump"].id, begun, again)
    world.look(3_700)
    assert world.open == []
