import asyncio
import contextlib

import pytest

from app import hub as hub_module
from app.hub import KEEP, Hub
from enms_core.events import MetricUpdated, TrainingProgress


class Feed:
    """A feed that yields what it is given, then breaks or waits for ever."""

    state = "live"

    def __init__(self, envelopes, breaks=False):
        self._envelopes, self._breaks = envelopes, breaks

    async def follow(self):
        for envelope in self._envelopes:
            yield envelope
        if self._breaks:
            raise OSError("the feed broke")
        await asyncio.Event().wait()


class Heard(list):
    def push(self, envelope):
        self.append(envelope)


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


def test_since_returns_what_came_after_the_cursor(hub, wrap):
    envelopes = [wrap(progress(i)) for i in range(5)]
    for envelope in envelopes:
        hub.take(envelope)
    assert hub.since(3) == (5, envelopes[3:], False)
    assert hub.since(5) == (5, [], False)


def test_since_tells_what_was_forgotten(hub, wrap):
    one = wrap(progress(1))
    for _ in range(KEEP + 3):
        hub.take(one)
    cursor, found, forgot = hub.since(0)
    assert (cursor, len(found), forgot) == (KEEP + 3, KEEP, True)
    assert hub.since(3)[2] is False


def test_a_listener_that_fails_is_dropped_and_the_others_go_on(hub, wrap, caplog):
    first, last = Heard(), Heard()
    for listener in (first, Failing(), last):
        hub.register(listener)
    hub.take(wrap(progress(1)))
    hub.take(wrap(progress(2)))
    assert len(first) == len(last) == 2
    assert caplog.text.count("dropped a listener") == 1


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


async def test_a_feed_that_breaks_is_started_again_after_the_last_number(wrap, monkeypatch, caplog):
    monkeypatch.setattr(hub_module, "FIRST_PAUSE_S", 0.0)
    envelopes = [wrap(progress(i)) for i in range(3)]
    asked = []

    def feed(since):
        asked.append(since)
        return Feed(envelopes[:2], breaks=True) if since is None else Feed(envelopes[2:])

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
