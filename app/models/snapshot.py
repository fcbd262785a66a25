"""What the store held at one moment: read once per process, shared by all sessions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Any

import pandas as pd

from app.models.trace import Trace
from enms_core.contributors import Contributor
from enms_core.events import AnomalyDetected, AnomalyUpdated
from enms_core.plant import ENERGY_METRICS, Machine
from enms_core.store import Connection, anomalies, energy, events, jobs, models, readings
from enms_core.store.anomalies import SETTLING
from enms_core.store.jobs import Job
from enms_core.store.machines import all_machines
from enms_core.store.times import from_us, to_us

RECENT = 40


@dataclass(frozen=True, kw_only=True)
class Found:
    """An anomaly as it is shown; times in microseconds UTC, no end while it lasts."""

    id: str
    machine_id: str
    machine: str
    metric: str
    severity: str
    state: str
    value: float
    expected: float
    lower: float
    upper: float
    delta_kwh: float
    delta_cost: float
    started_at: int
    ended_at: int | None
    reason: str
    model_version: int | None = None
    label: str | None = None
    label_note: str | None = None
    labelled_by: str | None = None
    cost_per_hour: float | None = None
    confidence: float | None = None
    contributors: tuple[Contributor, ...] = ()

    @classmethod
    def of_event(cls, event: AnomalyDetected) -> "Found":
        """Return the anomaly that an event tells."""
        return cls(
            id=event.anomaly_id,
            machine_id=event.machine_id,
            machine=event.machine,
            metric=event.metric,
            severity=event.severity,
            state="open",
            value=event.value,
            expected=event.expected,
            lower=event.lower,
            upper=event.upper,
            delta_kwh=event.delta_kwh,
            delta_cost=event.delta_cost,
            started_at=to_us(datetime.fromisoformat(event.started_at)),
            ended_at=None,
            reason=event.reason,
            model_version=event.model_version,
            cost_per_hour=event.cost_per_hour,
            confidence=event.confidence,
        )

    @classmethod
    def of_row(cls, row: Mapping[Any, Any]) -> "Found":
        """Return the anomaly in a row of `enms_core.store.anomalies.table`."""
        known = {name: _known(row[name]) for name in cls.__dataclass_fields__}
        for name in ("started_at", "ended_at"):
            known[name] = known[name] and to_us(known[name].to_pydatetime())
        version = known["model_version"]
        made = {
            "model_version": None if version is None else int(version),
            "contributors": tuple(Contributor(**one) for one in row["contributors"]),
        }
        return cls(**known | made)

    @property
    def is_open(self) -> bool:
        """Whether it is not resolved."""
        return self.state != "resolved"

    @property
    def lasts(self) -> bool:
        """Whether it is not over."""
        return self.is_open and self.ended_at is None

    @property
    def is_settled(self) -> bool:
        """Whether a person said that there is nothing to see to: a false alarm, or expected."""
        return self.label in SETTLING

    @property
    def needs_attention(self) -> bool:
        """Whether somebody should still look at it."""
        return self.is_open and not self.is_settled

    def changed(self, event: AnomalyUpdated) -> "Found":
        """Return it as it is after somebody acted or labelled it."""
        if event.label is not None:
            return replace(
                self,
                state=event.state,
                label=event.label,
                label_note=event.note,
                labelled_by=event.by,
            )
        if event.state == "resolved":
            at = to_us(datetime.fromisoformat(event.at))
            return replace(self, state=event.state, ended_at=at)
        return replace(self, state=event.state, severity=event.severity or self.severity)


@dataclass(frozen=True, kw_only=True)
class Newest:
    """The newest values of a machine, and when they were measured (us)."""

    at: int
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the store held when the event `seq` was the newest."""

    seq: int
    machines: tuple[Machine, ...] = ()
    newest: Mapping[str, Newest] = field(default_factory=dict)
    kwh_today: Mapping[str, float] = field(default_factory=dict)
    traces: Mapping[str, Trace] = field(default_factory=dict)
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # of the last hour
    found: tuple[Found, ...] = ()
    jobs: tuple[Job, ...] = ()
    models: Mapping[str, int] = field(default_factory=dict)


def take(connection: Connection, traces: Mapping[str, Trace], now_us: int) -> Snapshot:
    """Read a snapshot, going on from the traces of the one before."""
    seq = events.last_seq(connection)
    known = tuple(all_machines(connection))
    newest = _newest(connection)
    traced = dict(_traces(connection, known, newest, traces, now_us))
    return Snapshot(
        seq=seq,
        machines=known,
        newest=newest,
        kwh_today=_kwh_today(connection, known, now_us),
        traces=traced,
        curves={machine_id: tuple(trace.curve(now_us)) for machine_id, trace in traced.items()},
        found=_found(connection),
        jobs=tuple(jobs.listed(connection, limit=20)),
        models={m: version.version for m, version in models.active(connection).items()},
    )


def midnight(machine: Machine, now_us: int) -> int:
    """Return when today began at the machine's site (us)."""
    local = from_us(now_us).astimezone(machine.zone)
    return to_us(local.replace(hour=0, minute=0, second=0, microsecond=0))


def energy_metric(values: Mapping[str, float]) -> str | None:
    """Return the metric that carries the machine's energy, None where it has none."""
    return next((metric for metric in ENERGY_METRICS if metric in values), None)


def _newest(connection: Connection) -> dict[str, Newest]:
    values: dict[str, dict[str, float]] = {}
    times: dict[str, int] = {}
    for machine_id, metric, at, value in readings.latest(connection):
        values.setdefault(machine_id, {})[metric] = value
        if metric in ENERGY_METRICS:
            times[machine_id] = max(at, times.get(machine_id, 0))
    return {m: Newest(at=at, values=values[m]) for m, at in times.items()}


def _kwh_today(connection: Connection, known: tuple[Machine, ...], now_us: int) -> dict[str, float]:
    starts = {machine.id: midnight(machine, now_us) for machine in known}
    totals = {start: energy.totals(connection, start) for start in set(starts.values())}
    return {m: totals[start][m] for m, start in starts.items() if m in totals[start]}


def _traces(
    connection: Connection,
    known: tuple[Machine, ...],
    newest: Mapping[str, Newest],
    traces: Mapping[str, Trace],
    now_us: int,
) -> list[tuple[str, Trace]]:
    found = []
    for machine in known:
        metric = energy_metric(newest[machine.id].values) if machine.id in newest else None
        if metric is None:
            continue
        day = midnight(machine, now_us)
        trace = traces.get(machine.id)
        if trace is None or (trace.metric, trace.day) != (metric, day):
            trace = Trace(metric=metric, day=day, until=min(day, now_us - Trace.SPAN_US))
        found.append((machine.id, trace.extended(connection, machine.id, now_us)))
    return found


def _found(connection: Connection) -> tuple[Found, ...]:
    tables = [
        anomalies.table(connection, state="open"),
        anomalies.table(connection, state="acknowledged"),
        anomalies.table(connection, limit=RECENT),
    ]
    rows = chain.from_iterable(table.to_dict("records") for table in tables)
    unique = {row["id"]: row for row in rows}
    return tuple(Found.of_row(row) for row in unique.values())


def _known(value: Any) -> Any:
    """Return a value of a row, None where pandas has a mark for nothing."""
    return None if value is pd.NaT or value != value else value
