import pytest

from enms_core.events import Envelope
from enms_core.store import alerts, events
from enms_core.store.alerts import Condition, settle


def condition(subject="broker", **changes):
    values = {
        "alert_type": "redis_lost",
        "subject": subject,
        "severity": "warning",
        "message": "Redis does not answer.",
        "over": "Redis answers again.",
        "details": {"n": 1},
    }
    return Condition(**{**values, **changes})


@pytest.fixture
def round_of(store):
    """Settle conditions in a transaction of their own; return what was told by it."""

    def run(*conditions, types=("redis_lost",)):
        with store.write() as connection:
            before = events.last_seq(connection)
            count = settle(connection, types, conditions)
            told = [Envelope.from_json(e).event for _, _, e in events.after(connection, before, 99)]
        assert len(told) == count
        return [(event.message, event.details["state"]) for event in told]

    return run


def test_an_alert_opens_once_and_tells_its_end(round_of):
    assert round_of(condition()) == [("Redis does not answer.", "open")]
    assert round_of(condition(message="worse")) == []
    assert round_of() == [("Redis answers again.", "over")]
    assert round_of() == []
    assert round_of(condition()) == [("Redis does not answer.", "open")]


def test_subjects_are_alerts_of_their_own(round_of):
    assert len(round_of(condition("a"), condition("b"))) == 2
    assert round_of(condition("b")) == [("Redis answers again.", "over")]


def test_alerts_of_other_types_are_left_alone(round_of):
    round_of(condition())
    assert round_of(types=("queue_stuck",)) == []
    assert len(round_of()) == 1


def test_an_alert_says_since_when(store):
    with store.write() as connection:
        alert = alerts.raise_alert(connection, condition(since_us=5_000_000))
    assert alert.opened_at == 5_000_000
    told = alerts.told(alert)
    assert told.details == {
        "n": 1,
        "alert_id": alert.id,
        "subject": "broker",
        "state": "open",
        "since": "1970-01-01T00:00:05+00:00",
    }
    with store.read() as connection:
        assert alerts.opened(connection) == [alert]
