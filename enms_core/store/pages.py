"""Lists a page at a time: rows as the wire shows them, and where the next page begins.

A page begins after a key, not after a number of rows: the last page costs what the first does, and
what is added meanwhile moves nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from enms_core.plant import severe_from
from enms_core.store import modes as stored_modes
from enms_core.store import schema
from enms_core.store.times import iso

Key = tuple[int | str, ...]
LIMITS = ("warning_per_hour", "critical_per_hour")
_TIMES = ("_at", "time", "train_start", "train_end")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a list is narrowed to; times in microseconds UTC, `end_us` excluded."""

    limit: int
    after: Key | None = None
    machine_id: str | None = None
    start_us: int | None = None
    end_us: int | None = None
    equal: tuple[tuple[str, Any], ...] = ()  # column and value


@dataclass(frozen=True)
class Page:
    """Rows, and the key after which the next page begins; None at the end."""

    rows: list[dict[str, Any]]
    next: Key | None


def machines(connection: sa.Connection, wanted: Wanted) -> Page:
    """Return machines by name, with their factory."""
    m, f = schema.machines, schema.factories
    query: sa.Select[Any] = sa.select(
        m.c.id,
        m.c.name,
        m.c.type,
        m.c.rated_kw,
        f.c.name.label("factory"),
        f.c.timezone,
        f.c.currency,
        f.c.price_per_kwh,
        f.c.carbon_kg_per_kwh,
        m.c.criticality,
        *(f.c[name] for name in LIMITS),
    ).join_from(m, f)
    if wanted.machine_id is not None:
        query = query.where(m.c.id == wanted.machine_id)
    page = _page(connection, query, wanted, [m.c.name], ["name"])
    for row in page.rows:
        limits = severe_from(row["price_per_kwh"], *(row[name] for name in LIMITS))
        row |= dict(zip(LIMITS, limits, strict=True))
    return page


def readings(connection: sa.Connection, wanted: Wanted, metric: str | None = None) -> Page:
    """Return readings by series, oldest first in each."""
    r, s, m = schema.readings, schema.series, schema.machines
    query: sa.Select[Any] = (
        sa.select(r.c.series_id, m.c.name.label("machine"), s.c.metric, r.c.time, r.c.value)
        .join_from(r, s)
        .join(m)
    )
    if wanted.machine_id is not None:
        query = query.where(s.c.machine_id == wanted.machine_id)
    if metric is not None:
        query = query.where(s.c.metric == metric)
    query = _within(query, r.c.time, wanted)
    page = _page(connection, query, wanted, [r.c.series_id, r.c.time], ["series_id", "time"])
    for row in page.rows:
        del row["series_id"]
    return page


def anomalies(connection: sa.Connection, wanted: Wanted) -> Page:
    """Return anomalies, newest first."""
    a, m, said = schema.anomalies, schema.machines, schema.labels
    words = (said.c.label, said.c.note.label("label_note"), said.c.labelled_by)
    query = sa.select(*a.c, m.c.name.label("machine"), *words).join_from(a, m).outerjoin(said)
    page = _newest_first(connection, query, a, a.c.started_at, wanted)
    return _with_json(page, "contributors", "[]")


def jobs(connection: sa.Connection, wanted: Wanted) -> Page:
    """Return training jobs, newest first."""
    j, m = schema.jobs, schema.machines
    query = sa.select(*j.c, m.c.name.label("machine")).join_from(j, m)
    page = _newest_first(connection, query, j, j.c.created_at, wanted)
    return _with_json(page, "metrics")


def models(connection: sa.Connection, wanted: Wanted) -> Page:
    """Return model versions, newest first, without what they learned."""
    v, m = schema.models, schema.machines
    columns = [column for column in v.c if column.name != "model"]
    query = sa.select(*columns, m.c.name.label("machine")).join_from(v, m)
    page = _newest_first(connection, query, v, v.c.created_at, wanted)
    return _with_json(page, "metrics")


def forecast_accuracy(connection: sa.Connection, wanted: Wanted) -> Page:
    """Return how good the forecasts of a machine were, oldest first."""
    a = schema.forecast_accuracy
    query = sa.select(*(column for column in a.c if column.name != "machine_id"))
    query = query.where(a.c.machine_id == wanted.machine_id)
    query = _within(query, a.c.issued_at, wanted)
    return _page(connection, query, wanted, [a.c.issued_at, a.c.horizon], ["issued_at", "horizon"])


def alerts(connection: sa.Connection, wanted: Wanted, lasting: bool | None = None) -> Page:
    """Return alerts, newest first; with `lasting` those that last, or those that are over."""
    a = schema.alerts
    query = sa.select(*a.c)
    if lasting is not None:
        query = query.where(a.c.closed_at.is_(None) if lasting else a.c.closed_at.is_not(None))
    page = _newest_first(connection, query, a, a.c.opened_at, wanted)
    return _with_json(page, "details")


def modes(connection: sa.Connection, wanted: Wanted) -> Page:
    """Return the modes in force that reach into the span, oldest first, with when each ends."""
    known, m = stored_modes.intervals().subquery(), schema.machines
    names = ("id", "mode", "start", "end", "set_by", "set_at", "note")
    query: sa.Select[Any] = sa.select(
        *(known.c[name] for name in names), m.c.name.label("machine")
    ).join_from(known, m, known.c.machine_id == m.c.id)
    if wanted.machine_id is not None:
        query = query.where(known.c.machine_id == wanted.machine_id)
    if wanted.start_us is not None:
        query = query.where(sa.or_(known.c.end.is_(None), known.c.end > wanted.start_us))
    if wanted.end_us is not None:
        query = query.where(known.c.start < wanted.end_us)
    page = _page(connection, query, wanted, [known.c.start, known.c.id], ["start", "id"])
    for row in page.rows:
        del row["id"]
        row |= {n: None if row[n] is None else iso(row[n]) for n in ("start", "end")}
    return page


def repairs(connection: sa.Connection, wanted: Wanted) -> Page:
    """Return repairs of registers, oldest first."""
    q, m = schema.meter_repairs, schema.machines
    query: sa.Select[Any] = sa.select(*q.c, m.c.name.label("machine")).join_from(q, m)
    if wanted.machine_id is not None:
        query = query.where(q.c.machine_id == wanted.machine_id)
    query = _within(query, q.c.time, wanted)
    keys = [q.c.time, q.c.machine_id, q.c.metric]
    page = _page(connection, query, wanted, keys, [key.name for key in keys])
    for row in page.rows:
        del row["machine_id"]
        row["since"] = iso(row["since"])
    return page


def events(
    connection: sa.Connection, wanted: Wanted, channels: Sequence[str] | None = None
) -> Page:
    """Return events as envelopes, oldest first."""
    e = schema.events
    query: sa.Select[Any] = sa.select(e.c.seq, e.c.envelope)
    if wanted.machine_id is not None:
        query = query.where(e.c.machine_id == wanted.machine_id)
    if channels is not None:
        query = query.where(e.c.channel.in_(channels))
    query = _within(query, e.c.published_at, wanted)
    page = _page(connection, query, wanted, [e.c.seq], ["seq"])
    return Page([json.loads(row["envelope"]) for row in page.rows], page.next)


def _newest_first(
    connection: sa.Connection,
    query: "sa.Select[Any]",
    table: sa.Table,
    time: "sa.Column[Any]",
    wanted: Wanted,
) -> Page:
    if wanted.machine_id is not None:
        query = query.where(table.c.machine_id == wanted.machine_id)
    for name, value in wanted.equal:
        query = query.where(table.c[name] == value)
    query = _within(query, time, wanted)
    return _page(connection, query, wanted, [time, table.c.id], [time.name, "id"], newest=True)


def _within(query: "sa.Select[Any]", time: "sa.Column[Any]", wanted: Wanted) -> "sa.Select[Any]":
    if wanted.start_us is not None:
        query = query.where(time >= wanted.start_us)
    if wanted.end_us is not None:
        query = query.where(time < wanted.end_us)
    return query


def _page(
    connection: sa.Connection,
    query: "sa.Select[Any]",
    wanted: Wanted,
    keys: "Sequence[sa.ColumnElement[Any]]",
    names: list[str],
    *,
    newest: bool = False,
) -> Page:
    if wanted.after is not None:
        mine = sa.tuple_(*keys)
        theirs = sa.tuple_(
            *(sa.literal(v, k.type) for v, k in zip(wanted.after, keys, strict=True))
        )
        query = query.where(mine < theirs if newest else mine > theirs)
    order = [key.desc() if newest else key for key in keys]
    query = query.order_by(*order).limit(wanted.limit + 1)
    found = connection.execute(query).mappings().all()
    more, found = len(found) > wanted.limit, found[: wanted.limit]
    next_key = tuple(found[-1][name] for name in names) if more else None
    return Page([_shown(row) for row in found], next_key)


def _shown(row: sa.RowMapping) -> dict[str, Any]:
    return {
        name: iso(value) if isinstance(value, int) and name.endswith(_TIMES) else value
        for name, value in row.items()
    }


def _with_json(page: Page, name: str, nothing: str = "{}") -> Page:
    for row in page.rows:
        row[name] = json.loads(row[name] or nothing)
    return page
