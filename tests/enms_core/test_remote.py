"""The same plant, near and far: what one says, the other says."""

import asyncio
import contextlib

import numpy as np
import pandas as pd
import pytest

from enms_core import remote
from enms_core.client import Plant, connect
from enms_core.engine import Engine
from enms_core.forecasting.accuracy import Accuracy
from enms_core.people import Forbidden
from enms_core.plant import Factory, Unknown
from enms_core.remote import RemotePlant
from enms_core.store import energy, forecasts, tokens
from enms_core.store.times import to_us
from tests.app.api.conftest import database_url, served, settings  # noqa: F401 (fixtures)

START = pd.Timestamp("2026-11-01T00:00:00+01:00")


@pytest.fixture
def near(served) -> Plant:  # noqa: F811
    return served.server.plant


@pytest.fixture
def far(served):  # noqa: F811
    plant = connect(served.url)
    yield plant
    plant.close()


@pytest.fixture
def rows():
    times = pd.date_range(START, periods=300, freq="10min")
    power = pd.DataFrame({"machine": "Pump", "metric": "power_kw", "time": times})
    flow = power.iloc[:100].assign(metric="flow_m3h")
    frame = pd.concat([power, flow], ignore_index=True)
    return frame.assign(value=[float(i % 17) for i in range(len(frame))])


def same(near_frame, far_frame):
    pd.testing.assert_frame_equal(
        near_frame, far_frame, check_freq=False, check_like=True, check_index_type=False
    )


def test_machines_and_readings_are_the_same(near, far, rows):
    receipt = far.write(rows)
    assert (receipt.sent, receipt.stored, receipt.duplicates) == (400, 400, 0)
    assert far.write(rows).duplicates == 400
    same(near.machines().sort_values("name"), far.machines().set_axis(near.machines().index))
    end = START + pd.Timedelta("2D")
    for freq in (None, "1h", "1D", "2h"):
        mine, theirs = (p.readings("Pump", START, end, freq=freq) for p in (near, far))
        same(mine, theirs.astype(mine.dtypes.to_dict()))
    assert far.readings("Press", START).empty


@pytest.mark.parametrize("zone", ["America/Santiago", "America/Havana", "Australia/Lord_Howe"])
def test_slots_are_the_same_where_midnight_is_strange(near, far, rows, zone):
    near.add_machine("Far", factory=Factory("Far", zone))
    start = {"America/Santiago": "2026-09-05", "America/Havana": "2026-10-31"}.get(
        zone, "2026-10-03"
    )
    times = pd.date_range(f"{start}T17:00", periods=300, freq="10min", tz=zone)
    far.write(rows.head(300).assign(machine="Far", time=times).drop(index=range(90, 120)))
    for first in (start, times[60]):
        for freq in ("30min", "1h", "1D", "1W"):
            mine, theirs = (p.readings("Far", first, freq=freq) for p in (near, far))
            assert len(mine) > 0
            same(mine, theirs)


def test_a_machine_is_added_with_what_depends_on_it(near, far):
    site = Factory("Mill", "Asia/Seoul", warning_per_hour=2.0, critical_per_hour=6.0)
    made = far.add_machine("Saw", factory=site, criticality="A")
    assert (made.criticality, made.factory.severe_from) == ("A", (2.0, 6.0))
    pump = far.machine("Pump").factory
    assert far.add_machine("Fan", factory=pump).factory.severe_from == pump.severe_from
    tables = (p.machines().set_index("name").sort_index() for p in (near, far))
    same(*tables)


def test_what_an_anomaly_weighs_can_be_changed(near, far):
    near.add_machine("Saw", factory=near.machine("Pump").factory)
    changed = far.weigh("Saw", criticality="A", warning_per_hour=2.0)
    assert (changed.criticality, changed.factory.warning_per_hour) == ("A", 2.0)
    assert near.weigh("Saw", critical_per_hour=7.0) == near.machine("Saw")
    assert far.machine("Saw").factory.severe_from == (2.0, 7.0)
    assert near.machine("Pump").factory.severe_from == (2.0, 7.0)  # of the same factory
    assert near.machine("Pump").criticality == "B"
    for plant in (near, far):
        with pytest.raises(ValueError, match="must begin below"):
            plant.weigh("Saw", warning_per_hour=8.0)
        with pytest.raises(Unknown):
            plant.weigh("Nobody", criticality="A")


def test_what_is_refused_comes_back_with_its_reason(far, rows):
    receipt = far.write(rows.head(3).assign(machine="Nobody"))
    assert (receipt.quarantined, receipt.reasons) == (3, {"machine is unknown": 3})


def test_errors_are_those_of_a_plant_nearby(far, served):  # noqa: F811
    with pytest.raises(Unknown, match="known are: Press, Pump"):
        far.machine("Nobody")
    with pytest.raises(ValueError, match="metric"):
        far.expected("Pump", START, metric="POWER")
    with pytest.raises(ValueError, match="is there already"):
        far.add_machine("Pump", factory=Factory("Works", "Europe/Berlin"))
    with served.server.plant.store.write() as connection:
        _, viewer = tokens.add(connection, "wall", "viewer")
    wall = connect(served.url, token=viewer)
    with pytest.raises(Forbidden, match="needs the role analyst"):
        wall.train("Pump")
    wall.close()
    stranger = connect(served.url, token="enms_wrong")
    with pytest.raises(PermissionError, match="unknown, revoked or expired"):
        stranger.machines()
    stranger.close()
    nobody = connect("http://127.0.0.1:1")
    with pytest.raises(ConnectionError, match="does not answer"):
        nobody.machines()
    nobody.close()


def test_a_training_is_asked_for_and_cancelled(near, far):
    job = far.train("Pump")
    assert job.state == "queued"
    assert repr(job) == repr(near.train("Pump"))
    assert far.jobs()["machine"].tolist() == ["Pump"]
    assert job.cancel() is True
    assert job.cancel() is False
    assert far.jobs()["state"].tolist() == near.jobs()["state"].tolist() == ["cancelled"]


def test_an_anomaly_is_acted_on(near, far, rows):
    far.write(rows)
    made = far._ask(
        "POST",
        "/anomalies",
        machine="Pump",
        started_at=START.isoformat(),
        expected=1.0,
        note="loud",
    )
    assert far.anomalies(state="open")["id"].tolist() == [made["id"]]
    assert far.act(made["id"], "acknowledge") == "acknowledged"
    mine, theirs = near.anomalies(), far.anomalies()
    assert mine["started_at"].tolist() == theirs["started_at"].tolist()
    assert set(mine.columns) == set(theirs.columns)
    found = ["cost_per_hour", "confidence", "contributors"]
    same(mine[found], theirs[found])
    assert mine["cost_per_hour"].tolist() == theirs["cost_per_hour"].tolist()
    told = far.events(channels=["anomaly.*"])
    assert told["channel"].tolist() == near.events(channels=["anomaly.*"])["channel"].tolist()


async def test_events_are_followed_over_a_restart(far, served, monkeypatch):  # noqa: F811
    monkeypatch.setattr(remote, "FIRST_PAUSE_S", 0.05)
    store, seen = served.server.plant.store, []

    async def follow():
        async with contextlib.aclosing(far.watch("machine.*")) as told:
            async for envelope in told:
                seen.append(envelope.event.machine)

    following = asyncio.create_task(follow())
    audience = served.server.audience
    for i in range(3):
        async with asyncio.timeout(20):
            while not audience.counts():  # noqa: ASYNC110 (nothing tells it)
                await asyncio.sleep(0.01)
        await asyncio.to_thread(far.add_machine, f"M{i}", factory=Factory("Works", "Europe/Berlin"))
        async with asyncio.timeout(20):
            while len(seen) <= i:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        served._loop.call_soon_threadsafe(audience.restored)  # every connection is cut
        await asyncio.to_thread(far.add_machine, f"N{i}", factory=Factory("Works", "Europe/Berlin"))
        async with asyncio.timeout(20):
            while f"N{i}" not in seen:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        seen.remove(f"N{i}")
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    assert seen == ["M0", "M1", "M2"]
    assert store.epoch == served.server.hub.epoch


def test_kpis_are_the_same_to_the_last_bit(near, far, rows, served):  # noqa: F811
    far.write(rows)
    with near.store.write() as connection:
        times = rows.loc[rows["metric"] == "power_kw", "time"].to_list()
        us = np.array([to_us(at.to_pydatetime()) for at in times])
        energy.recompute(connection, near.machine("Pump").id, "power_kw", us)
    end = START + pd.Timedelta("2D")
    for freq in (None, "1D", "1h"):
        mine, theirs = (p.kpis("Pump", START, end, freq=freq) for p in (near, far))
        same(mine, theirs.astype(mine.dtypes.to_dict()))
    assert mine["energy_kwh"].sum() == pytest.approx(near.kpis("Pump", START, end)["energy_kwh"][0])
    assert len(near.kpis(None, START)) == len(far.kpis(None, START)) == 2
    with pytest.raises(ValueError, match="must"):
        far.kpis("Pump", START, START - pd.Timedelta("1h"))


def test_modes_and_repairs_are_the_same(near, far):
    far.set_mode("Pump", "maintenance", START + pd.Timedelta("1h"), "seals")
    near.set_mode("Pump", "running", "2026-11-01T03:00", by="anna")  # in the site's zone
    near.set_mode("Press", "offline", START)
    registers = pd.DataFrame({"machine": "Pump", "metric": "meter_kwh"}, index=range(4))
    times = pd.date_range(START, periods=4, freq="15min")
    far.write(registers.assign(time=times, value=[99_990.0, 5.0, 10.0, 0.5]))
    Engine(near.store, near.bell).step()
    end = START + pd.Timedelta("1D")
    mine, theirs = (p.modes("Pump", START, end) for p in (near, far))
    same(mine, theirs)
    assert mine["mode"].tolist() == ["maintenance", "running"]
    assert mine["end"][0] == mine["start"][1] == START + pd.Timedelta("3h")
    assert str(mine["start"].dt.tz) == "Europe/Berlin"
    mine, theirs = (p.repairs("Pump", START, end) for p in (near, far))
    same(mine, theirs)
    assert mine["kind"].tolist() == ["rollover", "reset"]
    assert near.modes("Pump", START, START + pd.Timedelta("1min")).empty
    assert far.modes("Pump", START, START + pd.Timedelta("1min")).empty
    for plant in (near, far):
        with pytest.raises(ValueError, match="mode"):
            plant.set_mode("Pump", "asleep")
        with pytest.raises(Unknown):
            plant.set_mode("Nobody", "idle")


def test_how_good_forecasts_were_is_the_same(near, far):
    columns = list(near.forecast_accuracy("Pump", START))
    assert list(far.forecast_accuracy("Pump", START)) == columns
    with near.store.write() as connection:
        for day in range(3):
            told = {"day 1": Accuracy(24, 1 / 3, None if day else 0.7, -0.1, 0.8, 0.95)}
            at = START + pd.Timedelta(days=day)
            forecasts.judge(connection, near.machine("Pump").id, to_us(at.to_pydatetime()), told)
    for end in (None, START + pd.Timedelta("36h")):
        mine, theirs = (p.forecast_accuracy("Pump", START, end) for p in (near, far))
        same(mine, theirs)
    assert len(mine) == 2
    assert mine["issued_at"][0] == START
    assert str(mine["issued_at"].dt.tz) == "Europe/Berlin"


def test_a_backtest_is_the_same(near, far, rows):
    power = rows[rows["metric"] == "power_kw"]
    far.write(power)
    near.request_detection("Pump", START)
    mine, theirs = (plant.backtest("Pump", start=START) for plant in (near, far))
    same(mine.episodes, theirs.episodes)
    assert mine.false_alarms_per_month == theirs.false_alarms_per_month
    assert (theirs.recall, theirs.kwh_found) == (None, 0.0)


def test_both_have_the_same_methods():
    def methods(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    assert methods(Plant) - {"settings"} <= methods(RemotePlant)
