"""What `connect()` returns: a plant to ask and to act on, in DataFrames."""

import getpass
import json
import re
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from typing import TYPE_CHECKING, overload

import pandas as pd

from enms_core import ingest, jobs, kpi, operating, outlook, triage
from enms_core.bus import Bell, Follower, locator
from enms_core.detection.consequence import SEVERITIES
from enms_core.events import Envelope, MachineAdded
from enms_core.modes import Modes
from enms_core.plant import Factory, Machine, Unknown, weighed
from enms_core.settings import Settings
from enms_core.slots import resampled
from enms_core.store import (
    Store,
    anomalies,
    events,
    forecasts,
    machines,
    meters,
    models,
    progress,
    readings,
    scores,
)
from enms_core.store import jobs as stored_jobs
from enms_core.store import modes as stored_modes
from enms_core.store.jobs import MODEL_TYPES, Job
from enms_core.store.models import ModelVersion
from enms_core.store.times import index_of, now_us, to_us
from enms_core.training_job import TrainingJob

if TYPE_CHECKING:
    from enms_core.backtest import Backtest
    from enms_core.baseline import EnergyBaseline
    from enms_core.remote import RemotePlant

When = datetime | str

MACHINE_COLUMNS = [
    *("id", "name", "type", "rated_kw", "criticality"),
    *("factory", "timezone", "currency", "warning_per_hour", "critical_per_hour"),
]
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(rf"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>{'|'.join(_UNITS)})")
_TIMES = ("created_at", "started_at", "ended_at", "alive_at", "train_start", "train_end")


@overload
def connect(where: Settings | None = None) -> "Plant": ...
@overload
def connect(where: str, *, token: str | None = None) -> "RemotePlant": ...


def connect(
    where: Settings | str | None = None, *, token: str | None = None
) -> "Plant | RemotePlant":
    """Connect to a plant: of these settings (default: `ENMS_*`), or at an address.

    A local plant gets its store made if need be. An address such as "http://host:5006" gives the
    same methods over REST and WebSocket, with a token of `enms token add`.
    """
    if isinstance(where, str):
        from enms_core.remote import RemotePlant  # its HTTP client takes a moment to import

        return RemotePlant(where, token)
    settings = where or Settings.from_env()
    return Plant(settings, Store(settings.database_url).migrate())


class Plant:
    """A plant: its machines, readings, anomalies, events, and the trainings that teach it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings, self.store = settings, store
        self.locate = locator(settings)
        self.bell = Bell(self.locate)

    def __repr__(self) -> str:
        return f"Plant({str(self.settings.home)!r})"

    # -- to ask ---------------------------------------------------------------------------------

    def machines(self) -> pd.DataFrame:
        """Return a row per machine: id, name, type, rated_kw, criticality, factory, timezone, ...

        From `warning_per_hour` and `critical_per_hour` on, money an hour in the currency of the
        factory, an anomaly is a warning, and critical.
        """
        with self.store.read() as connection:
            known = machines.all_machines(connection)
        rows = [
            (
                *(m.id, m.name, m.type, m.rated_kw, m.criticality),
                *(m.factory.name, m.factory.timezone, m.factory.currency, *m.factory.severe_from),
            )
            for m in known
        ]
        return pd.DataFrame(rows, columns=MACHINE_COLUMNS)

    def machine(self, name_or_id: str) -> Machine:
        """Return a machine; raise Unknown naming the known ones."""
        with self.store.read() as connection:
            return machines.find(connection, name_or_id)

    def readings(
        self, machine: str, start: When, end: When | None = None, *, freq: str | None = None
    ) -> pd.DataFrame:
        """Return readings in [start, end): a column per metric, index in the site's zone.

        With `freq` (such as "15min", "1h" or "1D") counts and energy are summed and all else is
        averaged; an interval without readings is NaN. Days begin and end with the site's.
        """
        found, span = self._span(machine, start, end)
        with self.store.read() as connection:
            wide = readings.frame(connection, found.id, *span).tz_convert(found.zone)
        return wide if freq is None or wide.empty else resampled(wide, freq)

    def expected(
        self, machine: str, start: When, end: When | None = None, *, metric: str | None = None
    ) -> pd.DataFrame:
        """Return value, expected, lower, upper and surprise of a metric as they were judged.

        The default is the metric that carries the machine's energy.
        """
        found, span = self._span(machine, start, end)
        with self.store.read() as connection:
            metric = metric or readings.energy_metric(connection, found.id)
            return scores.frame(connection, found.id, metric, *span).tz_convert(found.zone)

    def anomalies(
        self,
        machine: str | None = None,
        *,
        severity: str | None = None,
        state: str | None = None,
        limit: int = 1000,
    ) -> pd.DataFrame:
        """Return anomalies as intervals, newest first: started_at, ended_at, reason, kWh, cost.

        `cost_per_hour` is in the site's currency, `confidence` from 0 to 1, `contributors` a list,
        the largest effect first: name, value, unit, usual, deviations and effect_kw.
        """
        _one_of("severity", severity, SEVERITIES)
        _one_of("state", state, anomalies.STATES)
        machine_id = self.machine(machine).id if machine else None
        with self.store.read() as connection:
            return anomalies.table(
                connection, state=state, severity=severity, machine_id=machine_id, limit=limit
            )

    def events(
        self, since: When | timedelta = "1d", channels: list[str] | None = None
    ) -> pd.DataFrame:
        """Return events, oldest first: seq, channel, published_at and the fields of each.

        `since` is a time, or a span back from now such as "1d"; `channels` may hold patterns such
        as "training.*".
        """
        with self.store.read() as connection:
            found = events.since(connection, to_us(since_time(since)))
        wanted = channels or ["*"]
        rows = [
            {
                "seq": e.seq,
                "channel": e.channel,
                "published_at": datetime.fromisoformat(e.published_at),
                **e.to_dict()["data"],
            }
            for e in found
            if any(fnmatch(e.channel, pattern) for pattern in wanted)
        ]
        return pd.DataFrame(rows or {name: [] for name in ("seq", "channel", "published_at")})

    def kpis(
        self,
        machine: str | None,
        start: When,
        end: When | None = None,
        *,
        freq: str | None = None,
    ) -> pd.DataFrame:
        """Return energy, peak, load factor, cost, ... in [start, end): a row per machine.

        With `freq` (15min, 1h, 1D, 1W, 1MS) a row per bucket by the site's calendar. What each
        figure is stands in `enms_core.kpi.Kpis`.
        """
        with self.store.read() as connection:
            known = machines.all_machines(connection)
            wanted = [machines.find(connection, machine)] if machine else known
            rows = [
                vars(found)
                for each in wanted
                for found in kpi.of_machine(connection, each, *_times(each, start, end), freq)
            ]
        return pd.DataFrame(rows, columns=[field.name for field in fields(kpi.Kpis)])

    def modes(self, machine: str, start: When, end: When | None = None) -> pd.DataFrame:
        """Return the operating modes that reach into [start, end), as they were told, oldest first.

        Columns start, end (none while it lasts), mode, set_by, set_at, note; times in the site's
        zone.
        """
        found, span = self._span(machine, start, end)
        with self.store.read() as connection:
            table = stored_modes.frame(connection, found.id, *span)
        return _in_zone(table, found, "start", "end", "set_at")

    def repairs(self, machine: str, start: When, end: When | None = None) -> pd.DataFrame:
        """Return where a register of a machine was reset or rolled over in [start, end).

        Columns time, since, metric, kind, before, after, energy_kwh (what was counted between
        since and time), repaired_at; times in the site's zone.
        """
        found, span = self._span(machine, start, end)
        with self.store.read() as connection:
            table = meters.repairs(connection, found.id, *span)
        return _in_zone(table, found, "time", "since", "repaired_at")

    def forecast(self, machine: str, hours: int = 24) -> pd.DataFrame:
        """Return the load of the next hours (1 to 168) in kW, as it was forecast last.

        Columns mean, lower and upper (95 %), lower_80 and upper_80; index in the site's zone. Raise
        Unknown, with the reason, where there is no forecast.
        """
        with self.store.read() as connection:
            found = machines.find(connection, machine)
            return outlook.coming(connection, found, hours, datetime.now(UTC))

    def forecast_accuracy(self, machine: str, start: When, end: When | None = None) -> pd.DataFrame:
        """Return how good the forecasts issued in [start, end) were against what came.

        A row per issue and horizon ("day 1", "days 2-7"): issued_at in the site's zone, hours
        judged, mae (kW), mase, nmbe, coverage_80 and coverage_95; what each figure is stands in
        `enms_core.forecasting.accuracy.Accuracy`. Hours that were not measured are not judged.
        """
        found, span = self._span(machine, start, end)
        with self.store.read() as connection:
            frame = forecasts.accuracy(connection, found.id, *span)
        return frame.assign(issued_at=index_of(frame["issued_at"]).tz_convert(found.zone))

    def jobs(self) -> pd.DataFrame:
        """Return the newest training jobs, newest first."""
        with self.store.read() as connection:
            names = {m.id: m.name for m in machines.all_machines(connection)}
            found = stored_jobs.listed(connection)
        rows = [{"machine": names[job.machine_id], **vars(job)} for job in found]
        columns = ["machine", *(field.name for field in fields(Job))]
        return _with_times(pd.DataFrame(rows, columns=columns))

    def job(self, job_id: str) -> Job:
        """Return a training as it stands; raise Unknown for none."""
        with self.store.read() as connection:
            return stored_jobs.get(connection, job_id)

    def models(self, machine: str | None = None) -> pd.DataFrame:
        """Return model versions, newest first, with their out-of-sample metrics as columns."""
        machine_id = self.machine(machine).id if machine else None
        with self.store.read() as connection:
            names = {m.id: m.name for m in machines.all_machines(connection)}
            found = models.versions(connection, machine_id)
        rows = [{"machine": names[v.machine_id], **vars(v), **v.metrics} for v in found]
        learned = list(dict.fromkeys(name for v in found for name in v.metrics))
        known = [f.name for f in fields(ModelVersion) if f.name not in ("model", "metrics")]
        return _with_times(pd.DataFrame(rows, columns=["machine", *known, *learned]))

    def model(self, machine: str, version: int | None = None) -> "EnergyBaseline":
        """Return a model version, by default the active one; raise Unknown if there is none."""
        from enms_core.baseline import EnergyBaseline  # scikit-learn takes a second to import

        found = self.machine(machine)
        with self.store.read() as connection:
            known = models.versions(connection, found.id)
        for candidate in known:
            if version in (None, candidate.version) and (version or candidate.state == "active"):
                return EnergyBaseline.from_json(candidate.model)
        raise Unknown(f"machine {found.name!r} has no such model; train one first")

    # -- to follow ------------------------------------------------------------------------------

    async def watch(self, *channels: str, since: int | None = None) -> AsyncGenerator[Envelope]:
        """Yield events for ever, from after the number `since` or from now on.

        `channels` may hold patterns such as "training.*".
        """
        patterns = channels or ("*",)
        async with aclosing(Follower(self.store, self.locate, since).follow()) as told:
            async for envelope in told:
                if any(fnmatch(envelope.channel, pattern) for pattern in patterns):
                    yield envelope

    # -- to act ---------------------------------------------------------------------------------

    def add_machine(
        self,
        name: str,
        type: str = "other",
        *,
        rated_kw: float | None = None,
        factory: Factory | None = None,
        criticality: str = "B",
    ) -> Machine:
        """Add a machine; without a factory it gets one of its own name, in UTC.

        `criticality` is A, B or C: an anomaly of a class more weighs twice as much.
        """
        site = factory or Factory(name)
        machine = Machine(name, type, rated_kw, site, criticality=criticality)
        with self.store.write() as connection:
            added = machines.add(connection, machine)
            told = MachineAdded(
                machine_id=added.id,
                machine=added.name,
                machine_type=added.type,
                factory=added.factory.name,
            )
            events.record(connection, told)
        self.bell.ring("events")
        return added

    def weigh(
        self,
        machine: str,
        *,
        criticality: str | None = None,
        warning_per_hour: float | None = None,
        critical_per_hour: float | None = None,
    ) -> Machine:
        """Say how much a machine's anomalies weigh from now on; return it.

        `criticality` is A, B or C; the others, money an hour from which on an anomaly is a warning,
        or critical, are those of all machines of its factory.
        """
        with self.store.write() as connection:
            found = machines.find(connection, machine)
            changed = weighed(found, criticality, warning_per_hour, critical_per_hour)
            machines.weigh(connection, changed)
        return changed

    def write(self, rows: pd.DataFrame) -> ingest.Receipt:
        """Take readings in (columns machine, metric, time, value); returned means stored."""
        return ingest.ingest(self.store, self.bell, rows)

    def set_mode(
        self,
        machine: str,
        mode: str,
        at: When | None = None,
        note: str = "",
        *,
        by: str | None = None,
    ) -> None:
        """Say that a machine is idle, running, in maintenance, in fault or offline, until the next.

        `at` (default: now) may lie in the past, which is then judged again; a time without an
        offset is read in the machine's zone. What was told for that very time before is replaced.
        """
        found = self.machine(machine)
        start = None if at is None else to_time(at, found)
        with self.store.write() as connection:
            operating.set_mode(connection, found, mode, start, by or _me(), note)
        self.bell.ring("events")

    def train(
        self, machine: str, model: str = "baseline", *, requested_by: str | None = None
    ) -> TrainingJob:
        """Ask for a training and return its job at once; a running one of the same is joined."""
        if model not in MODEL_TYPES:
            known = ", ".join(MODEL_TYPES)
            raise ValueError(f"model {model!r} is unknown; it must be one of {known}")
        found = self.machine(machine)
        job = jobs.submit(
            self.store, self.bell, self.locate, found.id, model, requested_by or _me()
        )
        return TrainingJob(self, job.id, found.name)

    def cancel(self, job_id: str) -> bool:
        """Cancel a training that waits or runs; False if it had ended."""
        return jobs.cancel(self.store, self.bell, self.locate, job_id)

    def activate(self, model_id: str) -> ModelVersion:
        """Make a model version the active one of its machine; raise Unknown for none."""
        with self.store.write() as connection:
            return models.activate(connection, model_id)

    def act(self, anomaly_id: str, action: str, *, note: str = "", by: str | None = None) -> str:
        """Acknowledge, resolve or reopen an anomaly; return its state.

        Raise Unknown for none, and triage.Conflict where its state forbids it.
        """
        _one_of("action", action, tuple(triage.ACTIONS))
        with self.store.write() as connection:
            told = triage.act(connection, anomaly_id, action, by or _me(), note)
        self.bell.ring("events")
        return told.to_dict()["data"]["state"]  # type: ignore[no-any-return]

    def label(self, anomaly_id: str, label: str, *, note: str = "", by: str | None = None) -> None:
        """Say what an anomaly was: "true", "false", or "expected", and then why.

        The newest word counts. Raise Unknown for no such anomaly.
        """
        with self.store.write() as connection:
            triage.label(connection, anomaly_id, label, by or _me(), note)
        self.bell.ring("events")

    def backtest(
        self,
        machine: str,
        detector: str = "stream",
        start: When = "2000-01-01",
        end: When | None = None,
        *,
        false_alarms_per_month: float | None = None,
    ) -> "Backtest":
        """Judge a labelled past again: precision, recall, false alarms, delay, energy found.

        With `false_alarms_per_month` as if so many were put up with: a setting can be tried before
        it is applied.
        Nothing is kept. Raise ValueError for a machine without readings of energy.
        """
        from enms_core.backtest import backtest  # scikit-learn takes a second to import
        from enms_core.findings import LEARN_US

        found, span = self._span(machine, start, end)
        with self.store.read() as connection:
            version = models.active(connection).get(found.id)
            wide = readings.frame(connection, found.id, span[0] - LEARN_US, span[1])
            labelled = anomalies.labelled(connection, found.id, *span)
            modes = stored_modes.over(connection, found.id, span[0] - LEARN_US, span[1])
        return backtest(
            found,
            wide,
            self.model(machine) if version else None,
            _with_times(labelled),
            to_time(start, found),
            modes=modes,
            detector=detector,
            false_alarms_per_month=false_alarms_per_month,
        )

    def request_detection(
        self,
        machine: str | None = None,
        start: When | None = None,
        end: When | None = None,
        *,
        requested_by: str | None = None,
    ) -> str:
        """Ask the engine to judge a span again (default: the last day); it tells by an alert."""
        now = datetime.now(UTC)
        found = self.machine(machine) if machine else None
        first, last = to_time(start or now - timedelta(days=1), found), to_time(end or now, found)
        if last <= first:
            raise ValueError(f"the span ends at {last}; it must end after its start {first}")
        request = {
            "machine_id": found.id if found else "",
            "start": to_us(first),
            "end": to_us(last),
            "by": requested_by or _me(),
        }
        name = f"detect:{uuid.uuid4()}"
        with self.store.write() as connection:
            progress.put(connection, name, json.dumps(request))
        self.bell.ring("readings")
        return name.removeprefix("detect:")

    # -------------------------------------------------------------------------------------------

    def _span(self, machine: str, start: When, end: When | None) -> tuple[Machine, tuple[int, int]]:
        found = self.machine(machine)
        last = now_us() + 1 if end is None else to_us(to_time(end, found))
        return found, (to_us(to_time(start, found)), last)


def _times(machine: Machine, start: When, end: When | None) -> tuple[datetime, datetime]:
    first = to_time(start, machine)
    last = datetime.now(UTC) if end is None else to_time(end, machine)
    if last <= first:
        raise ValueError(f"the span ends at {last}; it must end after its start {first}")
    return first, last


def to_time(at: When, machine: Machine | None = None) -> datetime:
    """Return an aware time; one without an offset is read in the machine's zone."""
    parsed = pd.Timestamp(at).to_pydatetime()
    if parsed.tzinfo is None:
        return parsed.replace(tzinfo=machine.zone if machine else UTC)
    return parsed


def since_time(since: When | timedelta) -> datetime:
    """Return a time, or the time that lies a span such as "1d" back from now."""
    if isinstance(since, timedelta):
        return datetime.now(UTC) - since
    span = _SPAN.fullmatch(since) if isinstance(since, str) else None
    if span:
        return datetime.now(UTC) - timedelta(**{_UNITS[span["unit"]]: float(span["number"])})
    try:
        return to_time(since)
    except ValueError as error:
        raise ValueError(f"{since!r} is neither a time nor a span such as 30min or 1d") from error


def _one_of(what: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value not in (None, *allowed):
        raise ValueError(f"{what} {value!r} is unknown; it must be one of {', '.join(allowed)}")


def modes_of(table: pd.DataFrame) -> Modes:
    """Return the modes that a table of `Plant.modes` tells."""
    starts = pd.DatetimeIndex(table["start"]).as_unit("us").asi8.tolist()
    return Modes.of(zip(starts, table["mode"], strict=True))


def _in_zone(table: pd.DataFrame, machine: Machine, *names: str) -> pd.DataFrame:
    return table.assign(**{name: table[name].dt.tz_convert(machine.zone) for name in names})


def _with_times(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its microseconds as times (UTC)."""
    kept = [name for name in _TIMES if name in frame]
    return frame.assign(**{name: index_of(frame[name].astype("Int64")) for name in kept})


def _me() -> str:
    try:
        return getpass.getuser()
    except OSError:
        return "somebody"
