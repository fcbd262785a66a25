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


def labelled(number, label, state="open", note="because"):
    return AnomalyUpdated(
        anomaly_id=f"a{number}",
        machine_id="m1",
        state=state,
        by="ana",
        at="2026-11-22T14:00:00+00:00",
        note=note,
        label=label,
    )


@pytest.mark.parametrize("label", ["false", "expected"])
def test_what_a_person_settled_needs_no_attention_and_stays_in_the_list(
    model, anomaly, wrap, label
):
    model.take([wrap(anomaly(1, "critical")), wrap(anomaly(2)), wrap(labelled(1, label))])
    assert ids(model.open) == ids(model.all_open) == ["a2"]
    assert model.counts == {"critical": 0, "warning": 1, "info": 0}
    assert ids(model.rows) == ["a2", "a1"]
    one = model.get("a1")
    assert (one.label, one.label_note, one.labelled_by) == (label, "because", "ana")
    assert (one.state, one.ended_at, one.is_settled) == ("open", None, True)


def test_one_labelled_true_still_needs_attention_and_the_newest_word_counts(model, anomaly, wrap):
    model.take([wrap(anomaly(1)), wrap(labelled(1, "true", note=""))])
    assert ids(model.open) == ["a1"]
    model.take([wrap(labelled(1, "false")), wrap(labelled(1, "true"))])
    assert ids(model.open) == ["a1"]
    model.take([wrap(resolved(1, state="acknowledged"))])
    assert (model.get("a1").state, model.get("a1").label) == ("acknowledged", "true")


def test_a_label_does_not_move_the_end_of_what_is_over(model, anomaly, wrap):
    model.take([wrap(anomaly(1)), wrap(resolved(1, at="2026-11-22T13:30:00+00:00"))])
    end = model.get("a1").ended_at
    model.take([wrap(labelled(1, "expected", state="resolved"))])
    assert (model.get("a1").ended_at, model.get("a1").state) == (end, "resolved")


def test_one_that_is_over_and_reopened_is_not_drawn_as_lasting(model, anomaly, wrap):
    model.take([wrap(anomaly(1)), wrap(resolved(1)), wrap(resolved(1, state="open"))])
    assert ids(model.open) == ["a1"]
    assert model.of(["m1"], model.get("a1").ended_at) == []


def test_what_is_not_known_is_none(model):
    assert model.get("a1") is None
