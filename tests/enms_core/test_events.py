import dataclasses
import json
import math

import pytest

from enms_core import events
from enms_core.events import (
    CHANNELS,
    KINDS,
    AnomalyDetected,
    AnomalyUpdated,
    Envelope,
    MachineAdded,
    MetricUpdated,
    ModeChanged,
    SystemAlert,
    TrainingCompleted,
    TrainingProgress,
    TrainingStarted,
)

# The published wire: channel -> type, and the fields of `data` that readers count on.
WIRE = {
    "anomaly.detected": (
        "anomaly_detected",
        "anomaly_id machine_id machine metric severity score value expected lower upper delta_kwh "
        "delta_cost started_at reason model_version",
    ),
    "metric.updated": ("metric_updated", "machine_id machine values time"),
    "training.started": ("training_started", "job_id machine_id machine model_type requested_by"),
    "training.progress": ("training_progress", "job_id machine_id progress_pct status message"),
    "training.completed": (
        "training_completed",
        "job_id machine_id status model_version metrics error_message",
    ),
    "system.alert": ("system_alert", "alert_type severity message details"),
    "anomaly.updated": ("anomaly_updated", "anomaly_id machine_id state by note"),
    "machine.added": ("machine_added", "machine_id machine machine_type factory"),
    "mode.changed": ("mode_changed", "machine_id machine mode start by at note"),
}

FIELDS = ["type", "channel", "seq", "epoch", "event_id", "published_at", "data"]

EXAMPLES = [
    AnomalyDetected(
        anomaly_id="a1",
        machine_id="m1",
        machine='Ofen "3" <b>\u2028\U0001f600',
        metric="power_kw",
        severity="critical",
        score=12.5,
        value=91.0,
        expected=41.5,
        lower=-1e-300,
        upper=1e15,
        delta_kwh=3.25,
        delta_cost=0.1 + 0.2,
        started_at="2026-11-22T13:00:00+00:00",
        reason="91.0 kW instead of 41.5 kW",
    ),
    MetricUpdated(
        machine_id="m1",
        machine="Pump",
        values={"power_kw": 41.5, "temperature_c": -3.0},
        time="2026-11-22T13:00:00+00:00",
    ),
    TrainingStarted(
        job_id="j1", machine_id="m1", machine="Pump", model_type="baseline", requested_by="me"
    ),
    TrainingProgress(job_id="j1", machine_id="m1", progress_pct=60, status="fit", message="half"),
    TrainingCompleted(
        job_id="j1", machine_id="m1", status="completed", model_version=3, metrics={"r2": 0.97}
    ),
    SystemAlert(alert_type="t", severity="info", message="", details={"a": [1, {"b": None}]}),
    AnomalyUpdated(
        anomaly_id="a1",
        machine_id="m1",
        state="resolved",
        by="engine",
        at="2026-11-22T13:00:00+00:00",
        note="ok",
    ),
    MachineAdded(machine_id="m1", machine="Pump", machine_type="pump", factory="Works"),
    ModeChanged(
        machine_id="m1",
        machine="Pump",
        mode="maintenance",
        start="2026-11-22T13:00:00+00:00",
        by="anna",
        at="2026-11-22T13:05:00+00:00",
    ),
]


def sent(event=EXAMPLES[3], **changes):
    envelope = Envelope.now(event, seq=7, epoch="e").to_dict()
    return {**envelope, **changes}


def test_every_kind_has_an_example():
    assert [type(event) for event in EXAMPLES] == list(KINDS.values())


def test_channels_and_types_are_those_of_the_wire():
    assert {channel: kind.type for channel, kind in KINDS.items()} == {
        channel: name for channel, (name, _) in WIRE.items()
    }
    assert tuple(KINDS) == CHANNELS


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: e.type)
def test_the_data_holds_what_the_wire_promises(event):
    _, promised = WIRE[event.channel]
    assert set(promised.split()) <= set(dataclasses.asdict(event))


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: e.type)
@pytest.mark.parametrize("seq", [None, 0, 1, 2**62])
def test_round_trip(event, seq):
    envelope = Envelope.now(event, seq=seq, epoch="e")
    text = envelope.to_json()
    assert Envelope.from_json(text) == envelope
    assert Envelope.from_json(text.encode()) == envelope
    assert list(json.loads(text)) == FIELDS
    assert "\n" not in text


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: e.type)
def test_a_newer_writer_is_understood(event):
    raw = sent(event, colour="red")
    raw["data"]["not_known_here"] = {"x": 1}
    assert Envelope.from_json(json.dumps(raw)).event == event


def without(raw, name):
    return {k: v for k, v in raw.items() if k != name}


@pytest.mark.parametrize(
    "raw",
    ["null", "1", '"x"', "[]", "{}", "", "{", "nul", "\ud800", b"\xff\xfe", b"\x00", "[" * 100_000]
    + [json.dumps(without(sent(), name)) for name in ("type", "seq", "epoch", "event_id", "data")]
    + [json.dumps(sent(type=odd)) for odd in ("unknown", None, 1, [], {})]
    + [json.dumps(sent(data=odd)) for odd in (None, 1, "x", [], {}, {"job_id": "j1"})]
    + [json.dumps(sent(seq=odd)) for odd in ("7", 7.0, True, [], {})],
    ids=lambda raw: repr(raw[:60]),
)
def test_what_is_no_event(raw):
    with pytest.raises(ValueError, match="not an event"):
        Envelope.from_json(raw)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_is_not_sent(number):
    event = MetricUpdated(machine_id="m", machine="M", values={"power_kw": number}, time="t")
    with pytest.raises(ValueError, match="JSON"):
        Envelope.now(event, seq=None, epoch="").to_json()


def test_the_same_fact_has_the_same_id():
    found = EXAMPLES[0]
    again = dataclasses.replace(found, score=13.0, severity="warning", reason="again")
    assert again.event_id == found.event_id
    assert dataclasses.replace(found, anomaly_id="a2").event_id != found.event_id


def test_no_two_examples_share_an_id():
    assert len({event.event_id for event in EXAMPLES}) == len(EXAMPLES)


def test_the_newest_values_of_two_moments_are_two_facts():
    update = EXAMPLES[1]
    later = dataclasses.replace(update, time="2026-11-22T13:00:01+00:00")
    other = dataclasses.replace(update, machine_id="m2")
    assert len({update.event_id, later.event_id, other.event_id}) == 3


def test_an_id_always_fits_into_an_index():
    long = [SystemAlert(alert_type="t", severity="info", message="", details={"x": "y" * n})
            for n in (10_000, 10_001)]  # fmt: skip
    assert [len(event.event_id) <= events.LONGEST_ID for event in long] == [True, True]
    assert long[0].event_id != long[1].event_id


def test_an_event_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EXAMPLES[0].score = 0.0


def test_a_new_kind_is_one_class():
    try:

        class ShiftEnded(events.Event, channel="shift.ended", fact=("shift",)):
            """A shift is over."""

        assert KINDS["shift.ended"] is ShiftEnded
        assert ShiftEnded.type == "shift_ended"
    finally:
        KINDS.pop("shift.ended", None)


def test_published_at_is_aware():
    assert Envelope.now(EXAMPLES[0], seq=1, epoch="e").published_at.endswith("+00:00")


@pytest.mark.parametrize(
    ("event", "changes"),
    [
        (EXAMPLES[0], {"value": "high"}),
        (EXAMPLES[0], {"started_at": "yesterday"}),
        (EXAMPLES[0], {"model_version": 1.5}),
        (EXAMPLES[1], {"values": {"power_kw": "1"}}),
        (EXAMPLES[1], {"time": "2026-11-22T13:00:00"}),
        (EXAMPLES[1], {"time": "2026-13-01T13:00:00Z"}),
    ],
)
def test_every_field_is_of_its_type(event, changes):
    raw = sent(event)
    raw["data"] |= changes
    with pytest.raises(ValueError, match=f"not an event.*{next(iter(changes))}"):
        Envelope.from_json(json.dumps(raw))


@pytest.mark.parametrize("odd", ["now", "2026-11-22", 7, None])
def test_an_envelope_is_dated(odd):
    with pytest.raises(ValueError, match="published_at"):
        Envelope.from_json(json.dumps(sent(published_at=odd)))
