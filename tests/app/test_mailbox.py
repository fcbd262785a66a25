import pytest

from app.mailbox import FLUSH_S, HOLDS, STALLED_S, Mailbox
from enms_core.events import MetricUpdated, TrainingProgress


class Loop:
    """A loop whose time stands still until it is moved."""

    def __init__(self):
        self.now, self.due = 100.0, []

    def time(self):
        return self.now

    def call_at(self, when, callback):
        self.due.append((when, callback))

    def run(self, until):
        while self.due and min(at for at, _ in self.due) <= until:
            self.due.sort(key=lambda item: item[0])
            self.now, callback = self.due.pop(0)
            callback()
        self.now = until


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def got():
    return []


@pytest.fixture
def mailbox(loop, got):
    return Mailbox(loop, got.append)


def metric(machine="m1", **values):
    return MetricUpdated(
        machine_id=machine, machine=machine, values=values, time="2026-11-22T13:00:00+00:00"
    )


def progress(number=1):
    return TrainingProgress(job_id=f"j{number}", machine_id="m1", progress_pct=5, status="load")


def test_the_first_event_is_delivered_at_once(mailbox, loop, got, wrap):
    mailbox.push(wrap(progress()))
    loop.run(loop.now)
    assert len(got) == 1


def test_a_burst_is_delivered_together_and_not_before_its_time(mailbox, loop, got, wrap):
    mailbox.push(wrap(progress()))
    loop.run(loop.now)
    for i in range(10):
        mailbox.push(wrap(progress(i)))
    assert len(loop.due) == 1
    loop.run(100.0 + 0.9 * FLUSH_S)
    assert len(got) == 1
    loop.run(100.0 + FLUSH_S)
    assert [len(delivery.events) for delivery in got] == [1, 10]


def test_of_a_machine_the_newest_values_win(mailbox, loop, got, wrap):
    for event in (metric(power_kw=1.0, flow_m3h=5.0), metric(power_kw=2.0), metric("m2", a_kw=3.0)):
        mailbox.push(wrap(event))
    loop.run(loop.now)
    assert {m: u.values for m, u in got[0].updates.items()} == {
        "m1": {"power_kw": 2.0, "flow_m3h": 5.0},
        "m2": {"a_kw": 3.0},
    }


def test_more_than_it_holds_is_forgotten_and_said_so(mailbox, loop, got, wrap):
    for i in range(HOLDS + 5):
        mailbox.push(wrap(progress(i)))
    loop.run(loop.now)
    assert got[0].forgot
    assert len(got[0].events) < HOLDS
    mailbox.push(wrap(progress()))
    loop.run(200.0)
    assert not got[1].forgot


def test_a_stalled_session_is_tried_again_and_then_gets_all(loop, got, wrap):
    stalled = [True]
    mailbox = Mailbox(loop, got.append, lambda: stalled[0])
    mailbox.push(wrap(progress(1)))
    loop.run(loop.now)
    mailbox.push(wrap(progress(2)))
    assert (got, len(loop.due)) == ([], 1)
    stalled[0] = False
    loop.run(100.0 + STALLED_S)
    assert [e.event.job_id for e in got[0].events] == ["j1", "j2"]


def test_a_wake_up_without_events_is_delivered_too(mailbox, loop, got):
    mailbox.wake()
    mailbox.wake()
    loop.run(loop.now)
    assert len(got) == 1


def test_a_closed_mailbox_delivers_nothing(mailbox, loop, got, wrap):
    mailbox.push(wrap(progress()))
    mailbox.close()
    loop.run(200.0)
    mailbox.push(wrap(progress()))
    assert (got, loop.due) == ([], [])


def test_a_delivery_that_fails_does_not_stop_the_next(loop, wrap):
    seen = []

    def deliver(delivery):
        seen.append(delivery)
        if len(seen) == 1:
            raise RuntimeError("this view is broken")

    mailbox = Mailbox(loop, deliver)
    mailbox.push(wrap(progress()))
    with pytest.raises(RuntimeError):
        loop.run(loop.now)
    mailbox.push(wrap(progress()))
    loop.run(200.0)
    assert len(seen) == 2
