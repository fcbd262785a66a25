"""All REST routes: what each one does with the plant, in a literal table."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter
from typing import Any

import pandas as pd

from app.api import rows as r
from app.api.csv_text import readings_in
from app.api.declared import Ask, Listed, Made, Operation, Refused, Rows, cursor_of, key_of
from enms_core import ingest, kpi, operating, outlook, slots, triage
from enms_core.events import SystemAlert, chosen, utc_now
from enms_core.plant import Factory, Machine, Unknown
from enms_core.readings import COLUMNS, Columns
from enms_core.store import Connection, anomalies, events, jobs, machines, models, pages, scores
from enms_core.store import readings as stored
from enms_core.store.pages import Wanted
from enms_core.store.times import from_us, iso, now_us, to_us

LOADED = 200_000  # readings that are averaged for one page, but that it holds one slot at least


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """Say which field is meant where something in it is unknown or wrong."""
    try:
        yield
    except (Unknown, ValueError) as error:
        raise Refused(400, "invalid", str(error.args[0]), field) from error


def _wanted(connection: Connection, query: Any, *kinds: type, **equal: Any) -> Wanted:
    machine = getattr(query, "machine", None)
    with _naming("machine"):
        machine_id = machines.find(connection, machine).id if machine else None
    start, end = getattr(query, "start", None), getattr(query, "end", None)
    if start is not None and end is not None and end <= start:
        raise Refused(400, "invalid", f"end {end} must be after start {start}", "end")
    return Wanted(
        limit=query.limit,
        after=key_of(query.cursor, *kinds),
        machine_id=machine_id,
        start_us=None if start is None else to_us(start),
        end_us=None if end is None else to_us(end),
        equal=tuple((name, value) for name, value in equal.items() if value is not None),
    )


def _rows(page: pages.Page, row: Any) -> "Rows[Any]":
    return Rows(items=[row(**found) for found in page.rows], next=cursor_of(page.next))


# -- lists -----------------------------------------------------------------------------------------


def list_machines(ask: Ask) -> "Rows[r.MachineRow]":
    """The machines, by name."""
    with ask.plant.store.read() as connection:
        wanted = _wanted(connection, ask.query, str)
        return _rows(pages.machines(connection, wanted), r.MachineRow)


def list_readings(ask: Ask) -> "Rows[r.ReadingRow]":
    """Readings by metric, oldest first; with `freq`, of one machine, slot by slot."""
    with ask.plant.store.read() as connection:
        if ask.query.freq:
            return _slots(connection, ask.query)
        wanted = _wanted(connection, ask.query, int, int)
        return _rows(pages.readings(connection, wanted, ask.query.metric), r.ReadingRow)


def _slots(connection: Connection, query: r.OfReadings) -> "Rows[r.ReadingRow]":
    """Return as many slots as a page holds; the cursor is the time of the next slot."""
    if query.machine is None or query.start is None:
        missing = "start" if query.machine else "machine"
        raise Refused(400, "invalid", f"with freq, {missing} must be given", missing)
    wanted = _wanted(connection, query, int)
    machine = machines.find(connection, query.machine)
    owners = stored.all_series(connection).values()
    metrics = [m for owner, m in owners if owner == machine.id and query.metric in (None, m)]
    asked = int(wanted.after[0]) if wanted.after else to_us(query.start)
    last = to_us(query.end or datetime.now(UTC))
    first = stored.nth_time(connection, machine.id, metrics, asked, 0)
    if first is None or first >= last:
        return Rows(items=[], next=None)
    end = min(last, _page_end(connection, machine, metrics, first, query))
    wide = stored.frame(connection, machine.id, first, end, metrics)
    found = slots.resampled(wide.tz_convert(machine.zone), str(query.freq))
    items = [
        r.ReadingRow(machine=machine.name, metric=str(metric), time=iso(us), value=float(value))
        for metric in found.columns
        for us, value in zip(_us(found.index), found[metric], strict=True)
        if pd.notna(value)
    ]
    return Rows(items=items, next=cursor_of((end,) if end < last else None))


def _page_end(
    connection: Connection, machine: Machine, metrics: list[str], first: int, query: r.OfReadings
) -> int:
    """Return the end of the last slot of a page: of `limit` rows, and of not too many readings."""
    most = max(1, query.limit // len(metrics))
    begin = pd.Timestamp(from_us(first)).tz_convert(machine.zone)
    edges = slots.edges(begin, begin + most * slots.LONGEST[str(query.freq)], str(query.freq))
    full = stored.nth_time(connection, machine.id, metrics, first, LOADED // len(metrics))
    held = most if full is None else edges.searchsorted(from_us(full), side="right") - 1
    return _us(edges)[min(max(held, 1), most)]


def list_expected(ask: Ask) -> "Rows[r.ExpectedRow]":
    """Readings of a machine beside what was expected when they were judged."""
    query = ask.query
    with ask.plant.store.read() as connection:
        wanted = _wanted(connection, query, int)
        if wanted.machine_id is None or wanted.start_us is None:
            missing = "start" if wanted.machine_id else "machine"
            raise Refused(400, "invalid", f"{missing} must be given", missing)
        machine = machines.find(connection, wanted.machine_id)
        metric = query.metric or stored.energy_metric(connection, machine.id)
        start = wanted.after[0] if wanted.after else wanted.start_us
        end = now_us() + 1 if wanted.end_us is None else wanted.end_us
        band = scores.frame(connection, machine.id, metric, int(start), end, limit=query.limit + 1)
    times = _us(band.index)
    items = [
        r.ExpectedRow(time=iso(us), **{str(name): _known(v) for name, v in row.items()})
        for us, row in zip(times, band.to_dict("records"), strict=True)
    ]
    more = len(items) > query.limit
    return Rows(items=items[: query.limit], next=cursor_of((times[query.limit],) if more else None))


def list_kpis(ask: Ask) -> "Rows[r.KpiRow]":
    """Figures of machines in a span, or in every bucket of it, by machine and time."""
    query = ask.query
    end = query.end or datetime.now(UTC)
    if end <= query.start:
        raise Refused(400, "invalid", f"end {end} must be after start {query.start}", "end")
    after = key_of(query.cursor, str, int) or ("", 0)
    found: list[kpi.Kpis] = []
    with ask.plant.store.read() as connection:
        known = machines.all_machines(connection)
        with _naming("machine"):
            wanted = [machines.find(connection, query.machine)] if query.machine else known
        for machine in sorted(wanted, key=attrgetter("name")):
            if machine.name >= str(after[0]) and len(found) <= query.limit:
                first, last = _page_of(query, end, after if machine.name == after[0] else None)
                rows = kpi.of_machine(connection, machine, first, last, query.freq)
                new = (row for row in rows if (machine.name, to_us(row.start)) > after)
                found += islice(new, query.limit + 1 - len(found))
    page, more = found[: query.limit], len(found) > query.limit
    items = [r.KpiRow(**{name: _known(value) for name, value in vars(row).items()}) for row in page]
    return Rows(items=items, next=_after(page[-1]) if more else None)


def _page_of(
    query: r.OfKpis, end: datetime, after: tuple[Any, ...] | None
) -> tuple[datetime, datetime]:
    """Return the part of the span that a page can hold, and one bucket more."""
    first = query.start if after is None else max(query.start, from_us(after[1]))
    if query.freq is None:
        return first, end
    longest = (query.limit + 2) * slots.LONGEST[query.freq]
    return first, end if end - first <= longest else first + longest


def list_forecast(ask: Ask) -> "Rows[r.ForecastRow]":
    """The load of a machine in the next hours, as it was forecast last."""
    query = ask.query
    (after,) = key_of(query.cursor, int) or (0,)
    with ask.plant.store.read() as connection:
        with _naming("machine"):
            machine = machines.find(connection, query.machine)
        ahead = outlook.coming(connection, machine, query.hours, datetime.now(UTC))
    rows = zip(_us(ahead.index), ahead.to_dict("records"), strict=True)
    left = [(us, row) for us, row in rows if us > int(after)]
    items = [
        r.ForecastRow(time=iso(us), **{str(name): value for name, value in row.items()})
        for us, row in left[: query.limit]
    ]
    more = len(left) > query.limit
    return Rows(items=items, next=cursor_of((left[query.limit - 1][0],)) if more else None)


def list_forecast_accuracy(ask: Ask) -> "Rows[r.ForecastAccuracyRow]":
    """How good the forecasts of a machine were against what came, oldest first."""
    with ask.plant.store.read() as connection:
        wanted = _wanted(connection, ask.query, int, str)
        return _rows(pages.forecast_accuracy(connection, wanted), r.ForecastAccuracyRow)


def _after(row: kpi.Kpis) -> str | None:
    return cursor_of((row.machine, to_us(row.start)))


def list_anomalies(ask: Ask) -> "Rows[r.AnomalyRow]":
    """Anomalies, newest first."""
    query = ask.query
    with ask.plant.store.read() as connection:
        wanted = _wanted(connection, query, int, str, severity=query.severity, state=query.state)
        return _rows(pages.anomalies(connection, wanted), r.AnomalyRow)


def list_events(ask: Ask) -> "Rows[r.EventRow]":
    """Events in the order of their numbers, but for the newest values, which are not kept."""
    query, channels = ask.query, None
    if query.channels is not None:
        with _naming("channels"):
            channels = sorted(chosen([part.strip() for part in query.channels.split(",")]))
    with ask.plant.store.read() as connection:
        wanted = _wanted(connection, query, int)
        if wanted.after is None and query.since is not None:
            wanted = Wanted(**{**vars(wanted), "after": (query.since,)})
        return _rows(pages.events(connection, wanted, channels), r.EventRow)


def list_jobs(ask: Ask) -> "Rows[r.JobRow]":
    """Trainings, newest first."""
    with ask.plant.store.read() as connection:
        wanted = _wanted(connection, ask.query, int, str, state=ask.query.state)
        return _rows(pages.jobs(connection, wanted), r.JobRow)


def list_models(ask: Ask) -> "Rows[r.ModelRow]":
    """Model versions, newest first."""
    with ask.plant.store.read() as connection:
        wanted = _wanted(connection, ask.query, int, str, state=ask.query.state)
        return _rows(pages.models(connection, wanted), r.ModelRow)


def list_modes(ask: Ask) -> "Rows[r.ModeRow]":
    """What machines were doing, as people and gateways told it, oldest first."""
    with ask.plant.store.read() as connection:
        wanted = _wanted(connection, ask.query, int, int)
        return _rows(pages.modes(connection, wanted), r.ModeRow)


def list_repairs(ask: Ask) -> "Rows[r.RepairRow]":
    """Registers that were reset or rolled over, oldest first."""
    with ask.plant.store.read() as connection:
        wanted = _wanted(connection, ask.query, int, str, str)
        return _rows(pages.repairs(connection, wanted), r.RepairRow)


def list_alerts(ask: Ask) -> "Rows[r.AlertRow]":
    """Alerts about the system itself, newest first."""
    state = ask.query.state
    with ask.plant.store.read() as connection:
        wanted = _wanted(connection, ask.query, int, str)
        lasting = None if state is None else state == "open"
        return _rows(pages.alerts(connection, wanted, lasting), r.AlertRow)


# -- one -------------------------------------------------------------------------------------------


def get_job(ask: Ask) -> r.JobRow:
    """A training as it stands."""
    with ask.plant.store.read() as connection:
        return r.JobRow(**_one(connection, pages.jobs, ask.path.id, "job"))


def get_model(ask: Ask) -> r.Model:
    """A model version with what it learned."""
    with ask.plant.store.read() as connection:
        row = _one(connection, pages.models, ask.path.id, "model")
        return r.Model(**row, model=models.get(connection, ask.path.id).model)


def _one(
    connection: Connection, page: Callable[[Connection, Wanted], pages.Page], row_id: str, what: str
) -> dict[str, Any]:
    found = page(connection, Wanted(limit=1, equal=(("id", row_id),))).rows
    if not found:
        raise Unknown(f"{what} {row_id!r} is unknown")
    return found[0]


# -- what changes something ------------------------------------------------------------------------


def post_readings(asks: Sequence[Ask]) -> list[r.Taken]:
    """Take readings in; answered when those that are valid are on the disk."""
    plant = asks[0].plant
    batches = [a.body if isinstance(a.body, dict) else _columns(a.body) for a in asks]
    return [
        r.Taken(
            accepted=receipt.stored,
            duplicates=receipt.duplicates,
            refused=receipt.quarantined,
            quarantined=[r.RefusedReading(**row) for row in receipt.refused],
        )
        for receipt in ingest.take_all(plant.store, plant.bell, batches)
    ]


def _columns(body: "r.ReadingsIn | r.OddReadingsIn | Sequence[r.ReadingIn]") -> Columns:
    rows = body.rows if isinstance(body, r.ReadingsIn | r.OddReadingsIn) else body
    if all(row.values is None for row in rows):
        return {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    flat = [(row.machine, metric, row.time, value) for row in rows for metric, value in _said(row)]
    columns = zip(*flat, strict=True) if flat else ((), (), (), ())
    return dict(zip(COLUMNS, map(list, columns), strict=True))


def _said(row: "r.ReadingIn | r.OddReadingIn") -> Iterator[tuple[Any, Any]]:
    """Yield everything that a row says: metric and value, and the values."""
    if row.values is None or row.metric is not None or row.value is not None:
        yield row.metric, row.value
    if isinstance(row.values, dict):
        yield from row.values.items()
    elif row.values is not None:
        yield "values", row.values


def post_machine(ask: Ask) -> Made:
    """Add a machine."""
    body: r.MachineIn = ask.body
    with ask.plant.store.read() as connection:
        known = {m.name: m.factory for m in machines.all_machines(connection)}
    if body.name in known:
        raise triage.Conflict(f"machine {body.name!r} is there already; choose another name")
    sites = {factory.name: factory for factory in known.values()}
    with _naming("timezone"):
        site = sites.get(body.factory)
        if site is None or body.timezone not in (None, site.timezone):
            site = Factory(body.factory, body.timezone or "UTC")
    if body.warning_per_hour or body.critical_per_hour:
        with _naming("warning_per_hour"):
            limits = (body.warning_per_hour, body.critical_per_hour)
            site = replace(site, warning_per_hour=limits[0], critical_per_hour=limits[1])
    added = ask.plant.add_machine(
        body.name,
        body.type,
        rated_kw=body.rated_kw,
        factory=site,
        criticality=body.criticality,
    )
    return Made(id=added.id, event_id=f"machine_added:{added.id}")


def post_anomaly(ask: Ask) -> Made:
    """Report an anomaly that somebody saw."""
    body: r.AnomalyIn = ask.body
    told = {name: getattr(body, name) for name in body.__struct_fields__ if name != "machine"}
    with ask.plant.store.write() as connection:
        with _naming("machine"):
            machine = machines.find(connection, body.machine)
        made, event_id = triage.report(connection, machine, triage.Report(**told), ask.person.name)
    ask.plant.bell.ring("events")
    return Made(id=made, event_id=event_id)


def post_action(ask: Ask) -> r.Done:
    """Acknowledge, resolve or reopen an anomaly."""
    path, by, note = ask.path, ask.person.name, ask.body.note
    with ask.plant.store.write() as connection:
        told = triage.act(connection, path.id, path.action, by, note)
    ask.plant.bell.ring("events")
    state = triage.ACTIONS[path.action][1]
    return r.Done(id=path.id, state=state, event_id=told.event_id)


def post_label(ask: Ask) -> r.Done:
    """Say what an anomaly was: true, false, or expected; the newest word counts."""
    body: r.Labelling = ask.body
    with ask.plant.store.write() as connection:
        told = triage.label(connection, ask.path.id, body.label, ask.person.name, body.note)
        state = anomalies.get(connection, ask.path.id).state
    ask.plant.bell.ring("events")
    return r.Done(id=ask.path.id, state=state, event_id=told.event_id)


def post_mode(ask: Ask) -> r.ModeSet:
    """Say what a machine is doing; a past that becomes another one is judged again."""
    body: r.ModeIn = ask.body
    with ask.plant.store.write() as connection:
        machine = machines.find(connection, ask.path.id)
        with _naming("at"):
            told = operating.set_mode(
                connection, machine, body.mode, body.at, ask.person.name, body.note
            )
    ask.plant.bell.ring("events")
    return r.ModeSet(id=machine.id, mode=told.mode, start=told.start, event_id=told.event_id)


def post_weight(ask: Ask) -> r.Weight:
    """Say how much a machine's anomalies weigh from now on; what is not given stays."""
    body: r.Weighing = ask.body
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    machine = ask.plant.weigh(ask.path.id, **given)
    warning, critical = machine.factory.severe_from
    return r.Weight(
        id=machine.id,
        criticality=machine.criticality,
        warning_per_hour=warning,
        critical_per_hour=critical,
    )


def post_training(ask: Ask) -> r.Queued:
    """Ask for a training."""
    with _naming("machine"):
        machine = ask.plant.machine(ask.body.machine)
    asked = ask.plant.train(machine.id, ask.body.model, requested_by=ask.person.name)
    job = asked.row
    return r.Queued(
        job_id=job.id, machine=machine.name, state=job.state, requested_by=job.requested_by
    )


def delete_job(ask: Ask) -> r.Cancelled:
    """Cancel a training that waits or runs."""
    with ask.plant.store.read() as connection:
        job = jobs.get(connection, ask.path.id)
    if not ask.plant.cancel(ask.path.id):
        raise triage.Conflict(f"job {ask.path.id} is {job.state}; it cannot be cancelled any more")
    return r.Cancelled(id=ask.path.id, state="cancelled")


def post_activate(ask: Ask) -> r.Activated:
    """Use a model version from now on."""
    version = ask.plant.activate(ask.path.id)
    return r.Activated(
        id=version.id,
        machine_id=version.machine_id,
        version=version.version,
        state=version.state,
    )


def post_detection(ask: Ask) -> r.Asked:
    """Ask the engine to judge a span again; it tells by a system.alert."""
    body: r.DetectionIn = ask.body
    with _naming("machine"):
        machine = ask.plant.machine(body.machine).id if body.machine else None
    with _naming("end"):
        request_id = ask.plant.request_detection(
            machine, body.start, body.end, requested_by=ask.person.name
        )
    return r.Asked(request_id=request_id)


def post_alert(ask: Ask) -> Made:
    """Tell people something about the system."""
    body: r.AlertIn = ask.body
    alert = SystemAlert(
        alert_type=body.alert_type,
        severity=body.severity,
        message=body.message,
        details={**body.details, "by": ask.person.name, "at": utc_now()},
    )
    with ask.plant.store.write() as connection:
        told = events.record(connection, alert)
    ask.plant.bell.ring("events")
    return Made(id=str(told.seq if told else ""), event_id=alert.event_id)


# -- the table -------------------------------------------------------------------------------------


def _list(
    path: str, query: type[Listed], row: Any, do: Callable[[Ask], Any], **more: Any
) -> Operation:
    role = "analyst" if path == "/events" else "viewer"
    answer = Rows[row]
    return Operation(method="GET", path=path, role=role, query=query, answer=answer, do=do, **more)


def _post(
    path: str, role: str, body: Any, answer: Any, do: Callable[..., Any], **more: Any
) -> Operation:
    return Operation(method="POST", path=path, role=role, body=body, answer=answer, do=do, **more)


OPERATIONS = (
    _list("/machines", r.OfMachine, r.MachineRow, list_machines),
    _list("/readings", r.OfReadings, r.ReadingRow, list_readings),
    _list("/expected", r.OfExpected, r.ExpectedRow, list_expected),
    _list("/kpis", r.OfKpis, r.KpiRow, list_kpis),
    _list("/forecast", r.OfForecast, r.ForecastRow, list_forecast, refusals=(404,)),
    _list(
        "/forecast/accuracy", r.OfForecastAccuracy, r.ForecastAccuracyRow, list_forecast_accuracy
    ),
    _list("/anomalies", r.OfAnomalies, r.AnomalyRow, list_anomalies),
    _list("/events", r.OfEvents, r.EventRow, list_events),
    _list("/jobs", r.OfJobs, r.JobRow, list_jobs),
    _list("/models", r.OfModels, r.ModelRow, list_models),
    _list("/modes", r.OfModes, r.ModeRow, list_modes),
    _list("/repairs", r.OfRepairs, r.RepairRow, list_repairs),
    _list("/alerts", r.OfAlerts, r.AlertRow, list_alerts),
    Operation(
        method="GET",
        path="/jobs/{id}",
        role="viewer",
        in_path=r.WithId,
        answer=r.JobRow,
        do=get_job,
    ),
    Operation(
        method="GET",
        path="/models/{id}",
        role="viewer",
        in_path=r.WithId,
        answer=r.Model,
        do=get_model,
    ),
    Operation(
        method="DELETE",
        path="/jobs/{id}",
        role="analyst",
        in_path=r.WithId,
        answer=r.Cancelled,
        do=delete_job,
    ),
    _post(
        "/readings",
        "analyst",
        list[r.ReadingIn] | r.ReadingsIn,
        r.Taken,
        post_readings,
        csv_body=readings_in,
        loose_body=list[r.OddReadingIn] | r.OddReadingsIn,
        together=True,
    ),
    _post("/machines", "admin", r.MachineIn, Made, post_machine, status=201),
    _post("/machines/{id}/weight", "admin", r.Weighing, r.Weight, post_weight, in_path=r.WithId),
    _post("/machines/{id}/mode", "analyst", r.ModeIn, r.ModeSet, post_mode, in_path=r.WithId),
    _post("/anomalies", "analyst", r.AnomalyIn, Made, post_anomaly, status=201),
    _post(
        "/anomalies/{id}/{action}", "analyst", r.NoteIn, r.Done, post_action, in_path=r.WithAction
    ),
    _post("/anomalies/{id}/label", "analyst", r.Labelling, r.Done, post_label, in_path=r.WithId),
    _post("/training", "analyst", r.TrainingIn, r.Queued, post_training, status=202),
    _post("/detections", "analyst", r.DetectionIn, r.Asked, post_detection, status=202),
    _post("/models/{id}/activate", "admin", None, r.Activated, post_activate, in_path=r.WithId),
    _post("/alerts", "analyst", r.AlertIn, Made, post_alert, status=201),
)


def _us(index: Any) -> list[int]:
    return [int(us) for us in pd.DatetimeIndex(index).as_unit("us").asi8]


def _known(value: Any) -> Any:
    """Return a value as the wire shows it: times as text, NaN as null."""
    if value is None or value is pd.NaT or value != value:
        return None
    return value.isoformat() if isinstance(value, datetime) else value
