"""Telling in which mode a machine is or was, and what follows for anomalies that were told."""

from datetime import UTC, datetime

import numpy as np

from enms_core.events import LONGEST_NOTE, AnomalyUpdated, ModeChanged
from enms_core.modes import MODES, QUIET, SETTLE_US
from enms_core.plant import ENERGY_METRICS, Machine
from enms_core.readings import FUTURE
from enms_core.store import Connection, anomalies, events, modes, progress, readings
from enms_core.store.anomalies import FOREVER, Anomaly
from enms_core.store.times import iso, now_us, to_us


def set_mode(
    connection: Connection,
    machine: Machine,
    mode: str,
    at: datetime | None,
    by: str,
    note: str = "",
) -> ModeChanged:
    """Keep and tell that a machine is in a mode from `at` (default: now) until the next; return it.

    To say the same again changes nothing. Anomalies that lie in maintenance, fault or offline by
    what is said now are closed with a note, none is deleted. Readings of a past that becomes
    another one are judged again by the engine. ValueError for another mode, or a time that is
    naive, before 1970 or in the future.
    """
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is unknown; it must be one of {', '.join(MODES)}")
    now = now_us()
    start = now if at is None else _checked(at)
    known = modes.told_at(connection, machine.id, start)
    if known and known[0] == mode:
        return _changed(machine, mode, start, by, known[1], note)
    [before] = modes.over(connection, machine.id, start, start).at(np.array([start]))
    modes.add(connection, machine.id, start, mode, by, now, note[:LONGEST_NOTE])
    told = _changed(machine, mode, start, by, now, note[:LONGEST_NOTE])
    events.record(connection, told)
    if mode in QUIET and start <= now:
        end = modes.next_start(connection, machine.id, start) or FOREVER
        for anomaly, is_labelled in anomalies.within(
            connection, machine.id, ENERGY_METRICS, start, end
        ):
            _end(connection, anomaly, is_labelled, told, start, min(end, now))
    settled = start + SETTLE_US  # what was read before is not worth it
    if mode != before and readings.has_since(connection, machine.id, ENERGY_METRICS, settled):
        _note_again(connection, machine.id, start)
    return told


def _note_again(connection: Connection, machine_id: str, start_us: int) -> None:
    """Ask the engine to judge what was read since then by what is known of modes now."""
    known = progress.get(connection, f"again:{machine_id}")
    earliest = min(start_us, int(known)) if known else start_us
    progress.put(connection, f"again:{machine_id}", str(earliest))


def _checked(at: datetime) -> int:
    start = to_us(at)
    if start < 0:
        raise ValueError(f"at {at.isoformat()} is before 1970")
    if at > datetime.now(UTC) + FUTURE:
        raise ValueError(f"at {at.isoformat()} is more than 5 minutes in the future")
    return start


def _changed(machine: Machine, mode: str, start: int, by: str, at: int, note: str) -> ModeChanged:
    return ModeChanged(
        machine_id=machine.id,
        machine=machine.name,
        mode=mode,
        start=iso(start),
        by=by,
        at=iso(at),
        note=note,
    )


def _end(
    connection: Connection,
    anomaly: Anomaly,
    is_labelled: bool,
    told: ModeChanged,
    start: int,
    end: int,
) -> None:
    """End an anomaly where a quiet mode begins; one that began in it was to be expected."""
    inside = anomaly.started_at >= start
    last = min(anomaly.ended_at or end, end) if inside else start
    if anomaly.ended_at == last and (is_labelled or not inside):
        return
    anomalies.end(connection, anomaly.id, last)
    because = QUIET[told.mode]
    if inside:
        because = f"{told.mode.capitalize()} since {told.start}: not an anomaly of energy."
        if not is_labelled:
            said = f"{because} {told.note}".strip()
            at = to_us(datetime.fromisoformat(told.at))
            anomalies.put_label(connection, anomaly.id, "expected", said, told.by, at)
    update = AnomalyUpdated(
        anomaly_id=anomaly.id,
        machine_id=anomaly.machine_id,
        state="resolved",
        by=told.by,
        at=told.at,
        note=because,
    )
    events.record(connection, update)
