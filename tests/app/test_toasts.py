from dataclasses import replace

import pytest

from app.models.toasts import MOST, Toast, Toasts
from enms_core.events import (
    AnomalyUpdated,
    MetricUpdated,
    SystemAlert,
    TrainingCompleted,
    TrainingProgress,
    TrainingStarted,
)


def ended(status, **more):
    return TrainingCompleted(job_id="j1", machine_id="m1", status=status, **more)


EVENTS = [
    (ended("completed", model_version=3, metrics={"cv_rmse": 0.072}), "success"),
    (ended("failed", error_message="no readings"), "danger"),
    (ended("interrupted", error_message="the worker went silent"), "danger"),
    (ended("cancelled"), "info"),
    (
        TrainingStarted(
            job_id="j1", machine_id="m1", machine="Press", model_type="baseline", requested_by="ana"
        ),
        "info",
    ),
    (SystemAlert(alert_type="part_failed", severity="critical", message="No engine."), "danger"),
    (SystemAlert(alert_type="part_restarted", severity="warning", message="Again."), "warning"),
    (SystemAlert(alert_type="detection_completed", severity="info", message="Done."), "info"),
    (AnomalyUpdated(anomaly_id="a", machine_id="m", state="resolved", by="engine", at="t"), "info"),
]


@pytest.mark.parametrize(("event", "kind"), EVENTS)
def test_every_event_has_its_kind_and_stays_three_to_eight_seconds(event, kind, wrap):
    (toast,) = Toasts().of([wrap(event)], 0.0)
    assert toast.kind == kind
    assert 3 <= toast.seconds <= 8


@pytest.mark.parametrize(
    ("severity", "kind"), [("critical", "danger"), ("warning", "warning"), ("info", "info")]
)
def test_an_anomaly_is_as_grave_as_it_is(severity, kind, anomaly, wrap):
    (toast,) = Toasts().of([wrap(anomaly(severity=severity))], 0.0)
    assert (toast.kind, toast.title) == (kind, f"Compressor-1: {severity}")
    assert toast.text == "41 % above expected"


def test_a_label_says_who_said_what_whatever_the_state(wrap):
    said = AnomalyUpdated(
        anomaly_id="a", machine_id="m", state="open", by="ana", at="t", note="why", label="false"
    )
    (toast,) = Toasts().of([wrap(said)], 0.0)
    assert (toast.title, toast.text) == ("ana said of an anomaly: false alarm", "why")
    assert Toasts().of([wrap(replace(said, label=None))], 0.0) == []


@pytest.mark.parametrize("state", ["open", "acknowledged"])
def test_one_that_becomes_more_severe_is_told(state, wrap):
    risen = AnomalyUpdated(
        anomaly_id="a", machine_id="m", state=state, by="engine", at="t", note="Press is critical "
        "now: 9.0 kW more than expected.", severity="critical",
    )  # fmt: skip
    (toast,) = Toasts().of([wrap(risen)], 0.0)
    assert (toast.kind, toast.title, toast.text) == (
        "danger",
        "Anomaly is critical now",
        risen.note,
    )


def test_what_happens_all_the_time_is_no_toast(wrap):
    silent = [
        MetricUpdated(machine_id="m1", machine="Press", values={}, time="t"),
        TrainingProgress(job_id="j1", machine_id="m1", progress_pct=20, status="features"),
    ]
    assert Toasts().of([wrap(event) for event in silent], 0.0) == []


def test_a_completed_training_tells_its_machine_and_quality(wrap):
    toasts = Toasts(lambda job_id: {"j1": "Press"}[job_id])
    (toast,) = toasts.of([wrap(EVENTS[0][0])], 0.0)
    assert toast.title == "Press: training completed"
    assert toast.text == "version 3, CV(RMSE) 7.2 % on unseen weeks"


def test_many_at_once_become_one(anomaly, wrap):
    events = [wrap(anomaly(i, "critical" if i < 2 else "warning")) for i in range(7)]
    (toast,) = Toasts().of(events, 0.0)
    assert (toast.title, toast.kind) == ("7 anomalies, 2 critical", "danger")
    assert toast.in_place_of_all


def test_the_sixth_takes_those_that_are_still_there_with_it(anomaly, wrap):
    toasts = Toasts()
    for i in range(MOST):
        assert not toasts.of([wrap(anomaly(i))], 0.1 * i)[0].in_place_of_all
    (toast,) = toasts.of([wrap(anomaly(9, "critical"))], 1.0)
    assert (toast.title, toast.in_place_of_all) == ("6 anomalies, 1 critical", True)
    (toast,) = toasts.of([wrap(anomaly(10)), wrap(ended("failed"))], 2.0)
    assert toast.title == "7 anomalies, 1 critical, 1 message"


def test_after_they_left_there_is_room_again(anomaly, wrap):
    toasts = Toasts()
    toasts.of([wrap(anomaly(i)) for i in range(7)], 0.0)
    (toast,) = toasts.of([wrap(anomaly(8))], 60.0)
    assert toast.title == "Compressor-1: warning"


def test_a_message_of_the_page_counts_too():
    toasts = Toasts()
    shown = [toasts.show([Toast(kind="info", title=str(i))], 0.0)[0] for i in range(6)]
    assert [toast.title for toast in shown] == ["0", "1", "2", "3", "4", "6 messages"]
