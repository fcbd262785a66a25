"""The anomalies worth a look: the open ones, the worst first, then those that ended lately."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import param

from app.models.plant_now import SEVERITIES
from app.models.snapshot import Found, Snapshot
from enms_core.events import AnomalyDetected, AnomalyUpdated, Envelope
from enms_core.store.times import to_us

SHOWN = 8
FILLED = 4  # with what ended lately, if no more is open


class RecentAnomalies(param.Parameterized):
    """Anomalies of the shown machines; an event enters at once, the store has the last word."""

    machine_ids = param.ClassSelector(class_=frozenset, default=None, doc="Shown; None is all.")

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        self._found: dict[str, Found] = {}
        self._seq = -1

    def take_snapshot(self, snapshot: Snapshot) -> None:
        """Take what the store holds, unless an event newer than that was seen already."""
        if snapshot.seq >= self._seq:
            self._found = {one.id: one for one in snapshot.found}

    def take(self, envelopes: Iterable[Envelope]) -> None:
        """Take events as they come."""
        for envelope in envelopes:
            self._seq = max(self._seq, envelope.seq or -1)
            event = envelope.event
            if isinstance(event, AnomalyDetected):
                self._found.setdefault(event.anomaly_id, Found.of_event(event))
            elif isinstance(event, AnomalyUpdated) and event.anomaly_id in self._found:
                self._found[event.anomaly_id] = _changed(self._found[event.anomaly_id], event)

    @property
    def all_open(self) -> list[Found]:
        """Every open anomaly, whatever is shown: the worst first, of those the newest."""
        return _worst_first(one for one in self._found.values() if one.is_open)

    @property
    def open(self) -> list[Found]:
        """The open anomalies of the shown machines."""
        return [one for one in self.all_open if self._is_shown(one)]

    @property
    def rows(self) -> list[Found]:
        """What the list shows: all that is open, filled up with what ended last."""
        ended = [one for one in self._found.values() if not one.is_open and self._is_shown(one)]
        ended.sort(key=lambda one: one.ended_at or one.started_at, reverse=True)
        opened = self.open[:SHOWN]
        return [*opened, *ended[: max(0, FILLED - len(opened))]]

    @property
    def hidden(self) -> int:
        """How many open anomalies the list has no room for."""
        return max(0, len(self.open) - SHOWN)

    @property
    def counts(self) -> dict[str, int]:
        """How many are open, by severity, the worst first."""
        severities = [one.severity for one in self.open]
        return {s: severities.count(s) for s in reversed(SEVERITIES)}

    def of(self, machine_ids: Iterable[str], since_us: int) -> list[Found]:
        """Return the anomalies of these machines that last or ended after then, the worst first."""
        wanted = set(machine_ids)
        found = [one for one in self._found.values() if one.machine_id in wanted]
        return _worst_first(one for one in found if one.is_open or (one.ended_at or 0) > since_us)

    def _is_shown(self, one: Found) -> bool:
        return self.machine_ids is None or one.machine_id in self.machine_ids


def _worst_first(found: Iterable[Found]) -> list[Found]:
    """Sort by severity, then by start: the newest first."""
    return sorted(
        found, key=lambda one: (SEVERITIES.index(one.severity), one.started_at), reverse=True
    )


def _changed(one: Found, event: AnomalyUpdated) -> Found:
    one = replace(one, state=event.state, severity=event.severity or one.severity)
    if event.state != "resolved":
        return one
    return replace(one, ended_at=to_us(datetime.fromisoformat(event.at)))
