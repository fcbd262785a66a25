"""The anomalies worth a look: the open ones, the worst first, then those that ended lately."""

from collections.abc import Iterable

import param

from app.models.plant_now import SEVERITIES
from app.models.snapshot import Found, Snapshot
from enms_core.events import AnomalyDetected, AnomalyUpdated, Envelope

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
                self._found[event.anomaly_id] = self._found[event.anomaly_id].changed(event)

    def get(self, anomaly_id: str) -> Found | None:
        """Return an anomaly, None where it is neither open nor of lately."""
        return self._found.get(anomaly_id)

    @property
    def all_open(self) -> list[Found]:
        """Every anomaly that needs attention, shown or not: the worst first, then the newest."""
        return _worst_first(one for one in self._found.values() if one.needs_attention)

    @property
    def open(self) -> list[Found]:
        """Those of the shown machines that need attention."""
        return [one for one in self.all_open if self._is_shown(one)]

    @property
    def rows(self) -> list[Found]:
        """What the list shows: what needs attention, what lasts, and filled up what ended last."""
        shown = [one for one in self._found.values() if self._is_shown(one)]
        settled = _worst_first(one for one in shown if one.is_open and one.is_settled)
        ended = [one for one in shown if not one.is_open]
        ended.sort(key=lambda one: one.ended_at or one.started_at, reverse=True)
        opened = [*self.open, *settled][:SHOWN]
        return [*opened, *ended[: max(0, FILLED - len(opened))]]

    @property
    def hidden(self) -> int:
        """How many that need attention the list has no room for."""
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
        return _worst_first(one for one in found if one.lasts or (one.ended_at or 0) > since_us)

    def _is_shown(self, one: Found) -> bool:
        return self.machine_ids is None or one.machine_id in self.machine_ids


def _worst_first(found: Iterable[Found]) -> list[Found]:
    """Sort by severity, then by start: the newest first."""
    return sorted(
        found, key=lambda one: (SEVERITIES.index(one.severity), one.started_at), reverse=True
    )
