import random
import time
from dataclasses import replace

import pytest

from enms_core.events import Envelope, SystemAlert, TrainingProgress
from enms_core.store import Store, events
from enms_core.store.times import now_us


def step(job, status="fit"):
    return TrainingProgress(job_id=job, machine_id="m", progress_pct=1, status=status)


def all_of(store):
    with store.read() as connection:
        return events.after(connection, 0, 100_000)


def test_events_are_numbered_from_one(store):
    for number in (1, 2, 3):
        with store.write() as connection:
            envelope = events.record(connection, step(f"j{number}"))
            assert (envelope.seq, envelope.epoch) == (number, store.epoch)
    with store.read() as connection:
        assert events.last_seq(connection) == 3
        assert [row[0] for row in events.after(connection, 1, 1)] == [2]
    assert [Envelope.from_json(text).seq for _, _, text in all_of(store)] == [1, 2, 3]


def test_the_same_fact_is_told_once(store):
    with store.write() as connection:
        assert events.record(connection, step("j"))
        assert events.record(connection, step("j")) is None
    with store.write() as connection:
        assert events.record(connection, step("j")) is None
        assert events.record(connection, step("j", "gate")).seq == 2


def test_what_was_rolled_back_leaves_no_hole(store):
    def fail():
        with store.write() as connection:
            events.record(connection, step("lost"))
            raise LookupError

    for number in range(3):
        with pytest.raises(LookupError):
            fail()
        with store.write() as connection:
            events.record(connection, step(f"kept{number}"))
    assert [row[0] for row in all_of(store)] == [1, 2, 3]
    with store.write() as connection:
        assert events.record(connection, step("lost")).seq == 4


def test_what_json_cannot_hold_is_refused_and_leaves_no_hole(store):
    bad = SystemAlert(alert_type="t", severity="info", message="", details={"x": float("nan")})
    with pytest.raises(ValueError, match="JSON"), store.write() as connection:
        events.record(connection, bad)
    with store.write() as connection:
        assert events.record(connection, step("j")).seq == 1


def test_long_details_and_odd_texts(store):
    chance = random.Random(1)
    noise = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    alert = SystemAlert(
        alert_type="t", severity="info", message="\0\ud800 <b>", details={"noise": noise + "\0"}
    )
    with store.write() as connection:
        told = events.record(connection, alert)
        assert events.record(connection, alert) is None
    kept = Envelope.from_json(all_of(store)[0][2])
    assert kept.event == replace(alert, message="\0? <b>")
    assert kept.event_id == told.event_id == alert.event_id


def test_since(store):
    with store.write() as connection:
        events.record(connection, step("old"))
    time.sleep(0.01)
    middle = now_us()
    with store.write() as connection:
        events.record(connection, step("new"))
    with store.read() as connection:
        assert [e.event.job_id for e in events.since(connection, middle)] == ["new"]
        assert len(events.since(connection, 0)) == 2


def _tell(ready, tell, url, number):
    store, chance = Store(url), random.Random(number)
    ready.wait()
    told = lost = 0
    for n in range(60):
        with store.write() as connection:
            new = [
                events.record(connection, step(f"{number}-{n}")),
                events.record(connection, step(f"shared-{n}")),
            ]
            if chance.random() < 0.3:
                connection.rollback()
                lost += 1
                continue
        told += sum(envelope is not None for envelope in new)
    store.dispose()
    tell.put((told, lost))


def test_processes_that_tell_at_once_leave_no_hole(store, database_url, at_once):
    told, lost = zip(*at_once(_tell, [(database_url, n) for n in range(3)]), strict=True)
    rows = all_of(store)
    assert sum(lost) > 0
    assert [seq for seq, _, _ in rows] == list(range(1, sum(told) + 1))
    envelopes = [Envelope.from_json(text) for _, _, text in rows]
    assert [envelope.seq for envelope in envelopes] == [seq for seq, _, _ in rows]
    assert len({envelope.event_id for envelope in envelopes}) == len(rows)
