"""Modes from the telling to the anomalies: in the store and through the engine."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from enms_core import engine as engines
from enms_core import operating
from enms_core.bus import Bell
from enms_core.engine import Engine
from enms_core.events import Envelope
from enms_core.ingest import ingest
from enms_core.plant import REGISTER, Factory, Machine
from enms_core.store import (
    Store,
    anomalies,
    energy,
    events,
    machines,
    meters,
    modes,
    progress,
    scores,
)
from enms_core.store.times import to_us

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
SILENT = Bell(lambda: None)
MINUTES = 5
LEARNT = 15  # days of normal operation


def at(days, hours=0.0, minutes=0.0):
    return START + timedelta(days=days, hours=hours, minutes=minutes)


@pytest.fixture
def press(sqlite_store):
    with sqlite_store.write() as connection:
        site = Factory("Works", "Europe/Berlin")
        return machines.add(connection, Machine("Press", rated_kw=60.0, factory=site))


def send(store, start, end, kw, metric="power_kw", minutes=MINUTES):
    """Send readings around a power."""
    times = pd.date_range(start, end, freq=f"{minutes}min", inclusive="left")
    seconds = (times - pd.Timestamp(START)).total_seconds().to_numpy()
    values = kw * (1 + 0.02 * np.sin(seconds / 1_700) + 0.01 * np.sin(seconds / 347))
    rows = pd.DataFrame({"machine": "Press", "metric": metric, "time": times, "value": values})
    ingest(store, SILENT, rows)
    return rows


def judge(store, engine=None, limit=engines.LIVE_BATCH):
    engine = engine or Engine(store, SILENT)
    while engine.step(limit):
        pass
    return engine


def tell(store, machine, mode, when=None, note="", by="anna"):
    with store.write() as connection:
        return operating.set_mode(connection, machine, mode, when, by, note)


def told(store, channel="anomaly."):
    with store.read() as connection:
        found = [Envelope.from_json(text) for _, _, text in events.after(connection, 0, 10_000)]
    return [e.event for e in found if e.channel.startswith(channel)]


def table(store):
    with store.read() as connection:
        return anomalies.table(connection).sort_values("started_at").to_dict("records")


def judged_times(store, machine, start, end):
    with store.read() as connection:
        band = scores.frame(connection, machine.id, "power_kw", to_us(start), to_us(end))
    return band["expected"].dropna().index


# -- telling ---------------------------------------------------------------------------------------


def test_a_mode_is_kept_and_told(sqlite_store, press):
    event = tell(sqlite_store, press, "maintenance", at(0), "new seals")
    assert (event.mode, event.start, event.by) == ("maintenance", at(0).isoformat(), "anna")
    assert told(sqlite_store, "mode.changed") == [event]
    with sqlite_store.read() as connection:
        [row] = modes.frame(connection, press.id, 0, 2**60).to_dict("records")
    assert (row["start"], row["mode"], row["set_by"], row["note"]) == (
        at(0), "maintenance", "anna", "new seals",
    )  # fmt: skip
    assert pd.isna(row["end"])


def test_to_say_the_same_again_changes_nothing(sqlite_store, press):
    first = tell(sqlite_store, press, "maintenance", at(0))
    again = tell(sqlite_store, press, "maintenance", at(0), by="gateway")
    assert again.event_id == first.event_id
    assert len(told(sqlite_store, "mode.changed")) == 1
    tell(sqlite_store, press, "running", at(0))
    tell(sqlite_store, press, "maintenance", at(0))  # it was meant after all
    assert len(told(sqlite_store, "mode.changed")) == 3
    with sqlite_store.read() as connection:
        assert modes.frame(connection, press.id, 0, 2**60)["mode"].tolist() == ["maintenance"]


def test_intervals_end_where_the_next_begins(sqlite_store, press):
    for hours, mode in ((8, "running"), (2, "maintenance"), (0, "idle"), (2, "fault")):
        tell(sqlite_store, press, mode, at(0, hours))
    with sqlite_store.read() as connection:
        every = modes.frame(connection, press.id, 0, 2**60)
        some = modes.frame(connection, press.id, to_us(at(0, 2)), to_us(at(0, 8)))
    assert every["mode"].tolist() == ["idle", "fault", "running"]
    assert every["end"].tolist()[:2] == every["start"].tolist()[1:]
    assert some["mode"].tolist() == ["fault"]


@pytest.mark.parametrize(
    ("mode", "when", "message"),
    [
        ("asleep", None, "must be one of idle, running, maintenance, fault, offline"),
        ("idle", datetime(2026, 3, 2), "no time zone"),  # noqa: DTZ001 (that is what is wrong)
        ("idle", datetime(1969, 12, 31, tzinfo=UTC), "before 1970"),
        ("idle", timedelta(minutes=6), "in the future"),
    ],
)
def test_what_is_wrong_is_said(sqlite_store, press, mode, when, message):
    when = datetime.now(UTC) + when if isinstance(when, timedelta) else when
    with pytest.raises(ValueError, match=message):
        tell(sqlite_store, press, mode, when)
    assert told(sqlite_store, "mode.changed") == []
    tell(sqlite_store, press, "idle", datetime.now(UTC) + timedelta(minutes=4))


# -- what is told before it is judged --------------------------------------------------------------


def test_a_stop_for_maintenance_is_no_anomaly_and_teaches_nothing(sqlite_store, press):
    send(sqlite_store, at(0), at(LEARNT), 40.0)
    send(sqlite_store, at(LEARNT), at(LEARNT, 6), 1.0)
    send(sqlite_store, at(LEARNT, 6), at(LEARNT + 1), 40.0)
    tell(sqlite_store, press, "maintenance", at(LEARNT))
    tell(sqlite_store, press, "running", at(LEARNT, 6))
    engine = judge(sqlite_store)
    assert told(sqlite_store) == []
    times = judged_times(sqlite_store, press, at(LEARNT), at(LEARNT + 1))
    assert times.min() == at(LEARNT, 6, 5)  # after it has settled
    monitor = engine._watches[press.id].monitor
    assert monitor.detector.memories_["values"].lowest > 30.0
    with sqlite_store.read() as connection:  # it was used all the same
        kwh = energy.totals(connection, to_us(at(LEARNT)), to_us(at(LEARNT, 6)))
    assert kwh[press.id] == pytest.approx(6.0, rel=0.05)


@pytest.mark.parametrize("mode", ["maintenance", "fault", "offline"])
def test_an_open_episode_ends_where_a_quiet_mode_begins(sqlite_store, press, mode):
    """The mode was told before the engine came to its readings."""
    send(sqlite_store, at(0), at(LEARNT), 40.0)
    send(sqlite_store, at(LEARNT), at(LEARNT, 12), 58.0)
    tell(sqlite_store, press, mode, at(LEARNT, 3))
    judge(sqlite_store)
    detected, updated = told(sqlite_store)
    assert detected.started_at == at(LEARNT).isoformat()
    assert updated.note == operating.QUIET[mode]
    [row] = table(sqlite_store)
    assert row["state"] == "resolved"
    assert row["ended_at"] <= at(LEARNT, 3)
    assert row["delta_kwh"] == pytest.approx(3 * 18, rel=0.1)


def test_an_idle_machine_may_use_less_but_not_more(sqlite_store, press):
    """What it uses when idle is learned from its idle times: 18 kW is much then."""
    for day in range(LEARNT):
        send(sqlite_store, at(day), at(day, 12), 40.0)
        send(sqlite_store, at(day, 12), at(day + 1), 5.0)
        tell(sqlite_store, press, "running", at(day))
        tell(sqlite_store, press, "idle", at(day, 12))
    engine = judge(sqlite_store)
    assert told(sqlite_store) == []
    tell(sqlite_store, press, "idle", at(LEARNT))  # on a working day, unplanned
    send(sqlite_store, at(LEARNT), at(LEARNT, 4), 0.2)
    judge(sqlite_store, engine)
    assert told(sqlite_store) == []
    send(sqlite_store, at(LEARNT, 4), at(LEARNT, 8), 18.0)
    judge(sqlite_store, engine)
    [waste] = told(sqlite_store, "anomaly.detected")
    assert waste.started_at >= at(LEARNT, 4).isoformat()
    assert waste.value > 17.0
    assert waste.expected < 6.0


def test_coming_back_is_no_storm(sqlite_store, press):
    """Machines start slowly and far from their usual power."""
    send(sqlite_store, at(0), at(LEARNT), 40.0, minutes=1)
    tell(sqlite_store, press, "maintenance", at(LEARNT))
    tell(sqlite_store, press, "running", at(LEARNT, 2))
    send(sqlite_store, at(LEARNT), at(LEARNT, 2), 0.5, minutes=1)
    send(sqlite_store, at(LEARNT, 2), at(LEARNT, 2, 5), 70.0, minutes=1)
    send(sqlite_store, at(LEARNT, 2, 5), at(LEARNT + 1), 40.0, minutes=1)
    judge(sqlite_store)
    assert told(sqlite_store) == []


# -- what is told afterwards -----------------------------------------------------------------------


def stopped(store, hours=6.0, kw=1.0):
    """Give a judged past with a stop that was found, and the engine that found it."""
    send(store, at(0), at(LEARNT), 40.0)
    send(store, at(LEARNT), at(LEARNT, hours), kw)
    return judge(store)


def test_an_anomaly_that_turns_out_to_be_maintenance_is_closed_with_a_note(sqlite_store, press):
    engine = stopped(sqlite_store)
    [before] = table(sqlite_store)
    assert before["state"] == "open"
    tell(sqlite_store, press, "maintenance", at(LEARNT), "new seals")
    tell(sqlite_store, press, "maintenance", at(LEARNT), "new seals")
    [row] = table(sqlite_store)
    assert (row["id"], row["state"]) == (before["id"], "resolved")
    assert (row["label"], row["labelled_by"]) == ("expected", "anna")
    assert "new seals" in row["label_note"]
    detected, risen, updated = told(sqlite_store)
    assert risen.severity == row["severity"] != detected.severity
    assert (updated.state, updated.by) == ("resolved", "anna")
    assert updated.note.startswith("Maintenance since")

    send(sqlite_store, at(LEARNT, 6), at(LEARNT, 9), 1.0)
    tell(sqlite_store, press, "running", at(LEARNT, 9))
    send(sqlite_store, at(LEARNT, 9), at(LEARNT + 1), 40.0)
    judge(sqlite_store, engine)
    assert engine.sweep() == []
    assert told(sqlite_store) == [detected, risen, updated]
    assert table(sqlite_store) == [row]


def test_a_past_that_was_maintenance_is_judged_and_learned_again(sqlite_store, press):
    engine = stopped(sqlite_store)
    assert len(judged_times(sqlite_store, press, at(LEARNT), at(LEARNT + 1))) == 72
    tell(sqlite_store, press, "maintenance", at(LEARNT))
    with sqlite_store.read() as connection:
        assert progress.get(connection, f"again:{press.id}") == str(to_us(at(LEARNT)))
    engine.sweep()
    assert len(judged_times(sqlite_store, press, at(LEARNT), at(LEARNT + 1))) == 0
    assert engine._watches[press.id].monitor.detector.memories_["values"].lowest > 30.0
    with sqlite_store.read() as connection:
        assert progress.get(connection, f"again:{press.id}") == ""
    later = Engine(sqlite_store, SILENT)  # as after a kill
    assert states(later) == states(engine)


def test_what_was_maintenance_by_mistake_is_found(sqlite_store, press):
    send(sqlite_store, at(0), at(LEARNT), 40.0)
    send(sqlite_store, at(LEARNT), at(LEARNT, 6), 58.0)
    send(sqlite_store, at(LEARNT, 6), at(LEARNT + 1), 40.0)
    tell(sqlite_store, press, "maintenance", at(LEARNT))
    tell(sqlite_store, press, "running", at(LEARNT, 6))
    engine = judge(sqlite_store)
    assert told(sqlite_store) == []
    tell(sqlite_store, press, "running", at(LEARNT))
    [found] = engine.sweep()
    assert found.started_at == to_us(at(LEARNT))
    assert engine.sweep() == []
    assert len(told(sqlite_store, "anomaly.detected")) == 1


def test_an_anomaly_that_began_before_ends_where_maintenance_began(sqlite_store, press):
    engine = stopped(sqlite_store, kw=58.0)
    tell(sqlite_store, press, "maintenance", at(LEARNT, 2))
    tell(sqlite_store, press, "running", at(LEARNT, 4))
    [row] = table(sqlite_store)
    assert (row["state"], row["ended_at"]) == ("resolved", at(LEARNT, 2))
    assert row["label"] is None  # it was one
    assert told(sqlite_store)[-1].note == "Maintenance began."
    send(sqlite_store, at(LEARNT, 6), at(LEARNT, 8), 58.0)
    judge(sqlite_store, engine)  # it goes on after maintenance: that is another one
    first, second = table(sqlite_store)
    assert (first, second["state"]) == (row, "open")
    send(sqlite_store, at(LEARNT, 8), at(LEARNT, 12), 40.0)
    judge(sqlite_store, engine)
    engine.sweep()
    assert [r["state"] for r in table(sqlite_store)] == ["resolved"] * len(table(sqlite_store))
    updates = told(sqlite_store, "anomaly.updated")
    assert len({u.anomaly_id for u in updates}) == len(updates)


def test_what_a_person_said_of_an_anomaly_stays(sqlite_store, press):
    stopped(sqlite_store)
    [row] = table(sqlite_store)
    with sqlite_store.write() as connection:
        anomalies.put_label(connection, row["id"], "true", "a fuse", "bert", 0)
    tell(sqlite_store, press, "maintenance", at(LEARNT))
    [row] = table(sqlite_store)
    assert (row["state"], row["label"], row["labelled_by"]) == ("resolved", "true", "bert")


def states(engine):
    return {m: json.loads(watch.monitor.to_json()) for m, watch in engine._watches.items()}


@pytest.mark.parametrize("kept_every", [1, 400, 1_000_000])
def test_killed_between_any_two_steps_it_goes_on_as_if_it_had_not_been(
    tmp_path, monkeypatch, kept_every
):
    monkeypatch.setattr(engines, "SNAPSHOT_READINGS", kept_every)
    outcomes = []
    for restarts in (False, True):
        store = Store(f"sqlite:///{tmp_path / str(restarts)}.db").migrate()
        with store.write() as connection:
            press = machines.add(connection, Machine("Press", rated_kw=60.0, id="p"))
        send(store, at(0), at(LEARNT), 40.0)
        send(store, at(LEARNT), at(LEARNT, 6), 58.0)
        send(store, at(LEARNT, 6), at(LEARNT + 1), 40.0)
        engine = Engine(store, SILENT)
        number = 0
        while engine.step(211):
            number += 1
            if number == 21:  # what was judged just now was maintenance, too
                tell(store, press, "maintenance", at(LEARNT, 0.5))
            if number == 22:
                tell(store, press, "running", at(LEARNT, 9))
            engine = Engine(store, SILENT) if restarts else engine
        engine.sweep()
        plain = [
            {k: v for k, v in row.items() if k not in ("id", "machine_id")} for row in table(store)
        ]
        outcomes.append((list(states(engine).values()), plain))
        store.dispose()
    assert outcomes[0] == outcomes[1]
    assert [row["state"] for row in outcomes[0][1]] == ["resolved"]


# -- registers -------------------------------------------------------------------------------------


def registers(store, start, end, kw, shown, minutes=5):
    """Send a register that goes on from what it showed; return what it shows then."""
    times = pd.date_range(start, end, freq=f"{minutes}min", inclusive="left")
    hours = minutes / 60
    wobble = 1 + 0.03 * np.sin(np.arange(len(times)) / 5.7)
    values = shown + np.cumsum(kw * hours * wobble)
    rows = pd.DataFrame({"machine": "Press", "metric": REGISTER, "time": times, "value": values})
    ingest(store, SILENT, rows.assign(value=values.round(3)))
    return float(values[-1])


def test_resets_and_rollovers_are_no_anomalies_but_a_leak_is(sqlite_store, press):
    shown = registers(sqlite_store, at(0), at(10), 40.0, 91_000.0)
    assert shown > 100_000
    with sqlite_store.write() as connection:  # the register has five digits
        wrapped = connection.exec_driver_sql(
            "UPDATE readings SET value = value - 100000 WHERE value >= 100000"
        )
    assert wrapped.rowcount > 0
    registers(sqlite_store, at(10), at(LEARNT), 40.0, 0.0)  # a new meter
    registers(sqlite_store, at(LEARNT), at(LEARNT + 1), 58.0, 120 * 40.0)
    judge(sqlite_store)
    found = told(sqlite_store, "anomaly.detected")
    [leak] = [e for e in found if e.started_at >= at(8).isoformat()]  # a week to learn
    assert leak.metric == "meter_kw"
    assert leak.started_at >= at(LEARNT, 0, -15).isoformat()
    assert table(sqlite_store)[-1]["value"] == pytest.approx(58.0, rel=0.02)
    with sqlite_store.read() as connection:
        mended = meters.repairs(connection, press.id, 0, 2**60)
        kwh = energy.totals(connection, 0)[press.id]
    assert mended["kind"].tolist() == ["rollover", "reset"]
    assert kwh == pytest.approx(LEARNT * 24 * 40 + 24 * 58, rel=0.01)


@pytest.mark.parametrize("limit", [1, 97])
def test_registers_in_any_order_and_batch_leave_the_same(sqlite_store, press, limit):
    other = Machine("Saw", rated_kw=60.0, factory=press.factory)
    with sqlite_store.write() as connection:
        other = machines.add(connection, other)
    registers(sqlite_store, at(0), at(0, 6), 40.0, 9_900.0)
    registers(sqlite_store, at(0, 6), at(0, 12), 40.0, 0.0)
    judge(sqlite_store)
    with sqlite_store.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT time, value FROM readings JOIN series ON series.id = series_id "
            "WHERE metric = 'meter_kwh' ORDER BY time * 7919 % 104729"
        ).all()
    frame = pd.DataFrame(rows, columns=["time", "value"]).assign(machine="Saw", metric=REGISTER)
    frame["time"] = pd.to_datetime(frame["time"], unit="us", utc=True)
    for first in range(0, len(frame), 31):
        ingest(sqlite_store, SILENT, frame.iloc[first : first + 31])
        judge(sqlite_store, limit=limit)
    with sqlite_store.read() as connection:
        one, two = (energy.frame(connection, m.id, 0, 2**60) for m in (press, other))
        a, b = (meters.repairs(connection, m.id, 0, 2**60) for m in (press, other))
    pd.testing.assert_frame_equal(one, two)
    pd.testing.assert_frame_equal(a.drop(columns="repaired_at"), b.drop(columns="repaired_at"))
    assert a["kind"].tolist() == ["reset"]
