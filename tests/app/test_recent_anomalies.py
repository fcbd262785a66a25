import pytest

from app.models.anomalies import FILLED, SHOWN, RecentAnomalies
from app.models.snapshot import Found, Snapshot
from enms_core.events import AnomalyUpdated


@pytest.fixture
def model():
    return RecentAnomalies()


def resolved(number, at="2026-11-22T14:00:00+00:00", state="resolved"):
    return AnomalyUpdated(anomaly_id=f"a{number}", machine_id="m1", state=state, by="engine", at=at)


def ids(found):
    return [one.id for one in found]


def test_an_event_enters_at_once_the_worst_first(model, anomaly, wrap):
    model.take([wrap(anomaly(1, "warning")), wrap(anomaly(2, "critical"))])
    model.take([wrap(anomaly(3, "info")), wrap(anomaly(4, "warning"))])
    assert ids(model.rows) == ["a2", "a4", "a1", "a3"]
    assert model.counts == {"critical": 1, "warning": 2, "info": 1}


def test_the_same_event_twice_is_one_anomaly(model, anomaly, wrap):
    model.take([wrap(anomaly(1)), wrap(anomaly(1))])
    assert len(model.rows) == 1


def test_what_ended_stays_below_what_is_open(model, anomaly, wrap):
    model.take([wrap(anomaly(1, "critical")), wrap(anomaly(2)), wrap(resolved(1))])
    assert ids(model.open) == ["a2"]
    assert ids(model.rows) == ["a2", "a1"]
    assert model.rows[1].ended_at == 1_795_356_000_000_000


def test_an_acknowledged_anomaly_is_still_open(model, anomaly, wrap):
    model.take([wrap(anomaly(1)), wrap(resolved(1, state="acknowledged"))])
    assert (model.rows[0].state, len(model.open)) == ("acknowledged", 1)


def test_one_that_becomes_more_severe_moves_up(model, anomaly, wrap):
    model.take([wrap(anomaly(1, "info")), wrap(anomaly(2, "warning"))])
    risen = AnomalyUpdated(
        anomaly_id="a1",
        machine_id="m1",
        state="acknowledged",
        by="engine",
        at="2026-11-22T14:00:00+00:00",
        severity="critical",
    )
    model.take([wrap(risen)])
    assert ids(model.rows) == ["a1", "a2"]
    assert (model.rows[0].severity, model.rows[0].state) == ("critical", "acknowledged")
    model.take([wrap(resolved(1))])
    assert model.counts == {"critical": 0, "warning": 1, "info": 0}


def test_an_older_snapshot_does_not_take_a_new_anomaly_away(model, anomaly, wrap):
    envelope = wrap(anomaly(1))
    model.take([envelope])
    model.take_snapshot(Snapshot(seq=envelope.seq - 1))
    assert len(model.rows) == 1
    model.take_snapshot(Snapshot(seq=envelope.seq, found=(Found.of_event(anomaly(2)),)))
    assert ids(model.rows) == ["a2"]


def test_the_list_is_bounded_and_says_so(model, anomaly, wrap):
    model.take([wrap(anomaly(i)) for i in range(1, SHOWN + 4)])
    assert (len(model.rows), model.hidden) == (SHOWN, 3)
    model.take([wrap(resolved(i)) for i in range(1, SHOWN + 4)])
    assert (len(model.rows), model.hidden) == (FILLED, 0)


def test_a_site_shows_its_own(model, anomaly, wrap):
    model.take([wrap(anomaly(1)), wrap(anomaly(2, machine_id="m2"))])
    model.machine_ids = frozenset({"m2"})
    assert ids(model.rows) == ["a2"]
    assert len(model.all_open) == 2
    model.machine_ids = frozenset()
    assert model.rows == []


def test_those_of_a_span_are_the_open_and_those_that_ended_in_it(model, anomaly, wrap):
    model.take([wrap(anomaly(1)), wrap(anomaly(2)), wrap(resolved(2))])
    end = 1_795_356_000_000_000
    assert ids(model.of(["m1"], end - 1)) == ["a2", "a1"]
    assert ids(model.of(["m1"], end)) == ["a1"]
    assert model.of(["m2"], 0) == []
