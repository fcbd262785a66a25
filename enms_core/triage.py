"""The life of an anomaly: open, acknowledged, resolved, and open again; by whom and why."""

from dataclasses import dataclass, replace
from datetime import datetime

from enms_core.events import LONGEST_NOTE, AnomalyUpdated, Envelope
from enms_core.plant import Machine
from enms_core.readings import LARGEST
from enms_core.store import Connection, anomalies, events, scores
from enms_core.store.anomalies import LABELS, Anomaly
from enms_core.store.times import from_us, iso, now_us, to_us
from enms_core.telling import detected

ACTIONS = {  # what a person does -> the states in which it can be done, and the one it leads to
    "acknowledge": (("open",), "acknowledged"),
    "resolve": (("open", "acknowledged"), "resolved"),
    "reopen": (("acknowledged", "resolved"), "open"),
}
LONGEST_SPAN_US = 366 * 86_400_000_000


class Conflict(ValueError):
    """Somebody else was faster, or it cannot be done in this state."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """An anomaly that a person saw; what they do not know is looked up in the readings."""

    metric: str
    started_at: datetime
    ended_at: datetime | None = None
    severity: str = "warning"
    note: str
    value: float | None = None
    expected: float | None = None


def act(connection: Connection, anomaly_id: str, action: str, by: str, note: str = "") -> Envelope:
    """Do an action and tell it; raise Unknown, or Conflict where its state forbids it."""
    allowed, state = ACTIONS[action]
    anomaly = anomalies.get(connection, anomaly_id)
    if anomaly.state not in allowed:
        raise Conflict(
            f"anomaly {anomaly_id} is {anomaly.state}; to {action} it, it must be "
            f"{' or '.join(allowed)}"
        )
    now = now_us()
    changed = replace(anomaly, state=state, ended_at=_end(connection, anomaly, state, now))
    anomalies.put_state(connection, anomaly_id, state, changed.ended_at)
    return _tell(connection, changed, by, note, now)


def _end(connection: Connection, anomaly: Anomaly, state: str, now: int) -> int | None:
    """Return when it ends in this state: a reported one when it is resolved, unless that was said.

    Reopened it has no end again. The end of what the engine found is the engine's to tell.
    """
    if not anomaly.is_reported:
        return anomaly.ended_at
    if state == "resolved":
        return now if anomaly.ended_at is None else anomaly.ended_at
    resolved = anomaly.ended_at and _updated(anomaly, "resolved", "", "", anomaly.ended_at)
    return None if resolved and events.is_told(connection, resolved) else anomaly.ended_at


def label(connection: Connection, anomaly_id: str, label: str, by: str, note: str = "") -> Envelope:
    """Say what an anomaly was, and tell it: true, false, or expected (then why); raise Unknown.

    The newest word counts. The state stays as it is: it says what is done about an anomaly, the
    label what it was. One labelled false or expected needs nobody's attention, open or not.
    """
    if label not in LABELS:
        raise ValueError(f"label {label!r} is unknown; it must be one of {', '.join(LABELS)}")
    if label == "expected" and not note.strip():
        raise ValueError("note must say why it was to be expected, such as stocktaking")
    anomaly = anomalies.get(connection, anomaly_id)
    anomalies.put_label(connection, anomaly_id, label, note[:LONGEST_NOTE], by, now_us())
    return _tell(connection, anomaly, by, note, now_us(), label)


def _tell(
    connection: Connection,
    anomaly: Anomaly,
    by: str,
    note: str,
    at_us: int,
    label: str | None = None,
) -> Envelope:
    update = replace(_updated(anomaly, anomaly.state, by, note, at_us), label=label)
    told = events.record(connection, update)
    assert told is not None  # its time makes it a fact of its own
    return told


def _updated(anomaly: Anomaly, state: str, by: str, note: str, at_us: int) -> AnomalyUpdated:
    return AnomalyUpdated(
        anomaly_id=anomaly.id,
        machine_id=anomaly.machine_id,
        state=state,
        by=by,
        at=from_us(at_us).isoformat(timespec="microseconds"),
        note=note[:LONGEST_NOTE],
    )


def report(connection: Connection, machine: Machine, seen: Report, by: str) -> tuple[str, str]:
    """Keep an anomaly that a person reports; return its id and the id of its event.

    Raise ValueError where the machine's readings say nothing about the span and the report does
    not either, and Conflict where the same was found before.
    """
    anomaly = _reported(connection, machine, seen, by)
    if not anomalies.add(connection, anomaly):
        raise Conflict(
            f"an anomaly of {machine.name} {anomaly.metric} from {iso(anomaly.started_at)} on is "
            f"known already; its id is {anomaly.id}"
        )
    told = events.record(connection, detected(anomaly, machine))
    assert told is not None  # its anomaly is new
    return anomaly.id, told.event_id


def _reported(connection: Connection, machine: Machine, seen: Report, by: str) -> Anomaly:
    start, end = _span(seen)
    last = now_us() + 1 if end is None else end
    mean = scores.frame(connection, machine.id, seen.metric, start, last).mean()
    value = float(mean["value"] if seen.value is None else seen.value)
    expected = float(mean["expected"] if seen.expected is None else seen.expected)
    if not all(abs(number) <= LARGEST for number in (value, expected)):  # nor is NaN
        raise ValueError(
            f"value and expected of {seen.metric} from {iso(start)} on are not known; give both"
        )
    off_kw = value - expected if seen.metric.endswith("_kw") else 0.0
    kwh, price = off_kw * (last - start) / 3.6e9, machine.factory.price_per_kwh
    band_known = seen.expected is None
    return Anomaly(
        machine_id=machine.id,
        metric=seen.metric,
        state="open",
        severity=seen.severity,
        score=0.0,
        value=value,
        expected=expected,
        lower=float(mean["lower"]) if band_known else expected,
        upper=float(mean["upper"]) if band_known else expected,
        delta_kwh=kwh,
        delta_cost=kwh * price,
        started_at=start,
        ended_at=end,
        reason=f"Reported by {by}: {seen.note}"[:LONGEST_NOTE],
        cost_per_hour=off_kw * price if seen.metric == "power_kw" else None,
    )


def _span(seen: Report) -> tuple[int, int | None]:
    start, end = to_us(seen.started_at), None if seen.ended_at is None else to_us(seen.ended_at)
    if start > now_us():
        raise ValueError(f"started_at {iso(start)} is in the future; it must be in the past")
    last = now_us() + 1 if end is None else end
    if not start < last <= start + LONGEST_SPAN_US:
        raise ValueError(f"ended_at {iso(last)} must be after started_at, by at most a year")
    return start, end
