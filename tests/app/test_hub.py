import asyncio
import contextlib

import pytest

from app import hub as hub_module
from app.hub import KEEP, Hub
from enms_core.bus import Restored
from enms_core.events import MetricUpdated, TrainingProgress


class Feed:
    """A feed that yields what it is given, then breaks or waits for ever."""

    state, last = "live", 0

    def __init__(self, envelopes, breaks=None, epoch="e"):
        self._envelopes, self._breaks, self.epoch = envelopes, breaks, epoch

    async def begin(self):
        pass

    async def follow(self):
        for envelope in self._envelopes:
            yield envelope
        if self._breaks:
            raise self._breaks
        await asyncio.Event().wait()


class Heard(list):
    forgot = 0

    def push(self, envelope):
        self.append(envelope)

    def restored(self):
        self.forgot += 1


class Failing:
    def push(self, _envelope):
        raise RuntimeError("this session is broken")


def progress(number):
    return TrainingProgress(job_id=f"j{number}", machine_id="m1", progress_pct=5, status="load")


def metric(**values):
    return MetricUpdated(
        machine_id="m1", machine="Press", values=values, time="2026-11-22T13:00:00+00:00"
    )


@pytest.fixture
def hub():
    return Hub(lambda _since: Feed([]))


def test_after_returns_what_came_after_a_number(hub, wrap):
    envelopes = [wrap(progress(i)) for i in range(5)]
    for envelope in envelopes:
        hub.take(envelope)
        hub.take(wrap(metric(power_kw=7.0)))
    assert hub.after(3) == envelopes[3:]
    assert hub.after(0) == envelopes
    assert hub.after(5) == []


def test_after_says_when_the_log_does_not_reach_back(hub, wrap):
    assert hub.after(0) == []
    for i in range(KEEP + 3):
        hub.take(wrap(progress(i)))
    assert hub.after(2) is None
    assert len(hub.after(3)) == KEEP


def test_a_listener_that_fails_is_dropped_and_the_others_go_on(hub, wrap, caplog, faults):
    first, last = Heard(), Heard()
    for listener in (first, Failing(), last):
        hub.register(listener)
    hub.take(wrap(progress(1)))
    hub.take(wrap(progress(2)))
    assert len(first) == len(last) == 2
    assert caplog.text.count("dropped a listener") == 1
    assert faults() == {"listener": 1}


def test_an_unregistered_listener_hears_nothing(hub, wrap):
    heard = Heard()
    hub.register(heard)
    hub.unregister(heard)
    hub.unregister(heard)
    hub.take(wrap(progress(1)))
    assert heard == []


def test_the_newest_values_of_a_machine_are_kept_together(hub, wrap):
    hub.take(wrap(metric(power_kw=7.0, pressure_bar=6.0)))
    hub.take(wrap(metric(power_kw=8.0)))
    assert hub.newest["m1"].values == {"power_kw": 8.0, "pressure_bar": 6.0}


def test_latency_and_last_event_are_known_after_the_first(hub, wrap):
    assert (hub.latency_ms, hub.last_event, hub.state) == (None, None, "connecting")
    envelope = wrap(progress(1))
    hub.take(envelope)
    assert hub.latency_ms >= 0
    assert hub.last_event == envelope.published_at


async def test_a_feed_that_breaks_is_started_again_after_the_last_number(
    wrap, monkeypatch, caplog, faults
):
    monkeypatch.setattr(hub_module, "FIRST_PAUSE_S", 0.0)
    envelopes = [wrap(progress(i)) for i in range(3)]
    asked = []

    def feed(since):
        asked.append(since)
        broken = OSError("the feed broke")
        return Feed(envelopes[:2], breaks=broken) if since is None else Feed(envelopes[2:])

    hub, heard, done = Hub(feed), Heard(), asyncio.Event()
    hub.register(heard)
    heard.push = lambda envelope: (heard.append(envelope), len(heard) == 3 and done.set())
    running = asyncio.create_task(hub.run())
    await done.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert heard == envelopes
    assert asked == [None, 2]
    assert "the feed broke" in caplog.text
    assert faults() == {"feed": 1}


async def test_another_store_begins_anew(wrap, monkeypatch):
    monkeypatch.setattr(hub_module, "FIRST_PAUSE_S", 0.0)
    feeds = [
        Feed([wrap(progress(i)) for i in range(3)], breaks=Restored("restored")),
        Feed([], epoch="f"),
    ]
    hub, heard = Hub(lambda _since: feeds.pop(0)), Heard()
    hub.register(heard)
    running = asyncio.create_task(hub.run())
    while hub.epoch != "f":  # noqa: ASYNC110 (nothing tells it)
        await asyncio.sleep(0)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert (heard.forgot, hub.seq, hub.after(0)) == (1, 0, [])
