"""Operating modes as they were told: nothing is forgotten, of one start the newest word counts."""

from typing import Any

import pandas as pd
import sqlalchemy as sa

from enms_core.modes import SETTLE_US, Modes
from enms_core.store.schema import modes
from enms_core.store.times import index_of

COLUMNS = ["start", "end", "mode", "set_by", "set_at", "note"]


def add(
    connection: sa.Connection,
    machine_id: str,
    start_us: int,
    mode: str,
    by: str,
    at: int,
    note: str,
) -> None:
    """Keep that a machine is in a mode from then on."""
    row = {"machine_id": machine_id, "start": start_us, "mode": mode}
    connection.execute(sa.insert(modes), row | {"set_by": by, "set_at": at, "note": note})


def told_at(connection: sa.Connection, machine_id: str, start_us: int) -> tuple[str, int] | None:
    """Return the mode that was told to begin at that very time, and when it was told."""
    query = (
        sa.select(modes.c.mode, modes.c.set_at)
        .where(modes.c.machine_id == machine_id, modes.c.start == start_us)
        .order_by(modes.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else (row[0], row[1])


def next_start(connection: sa.Connection, machine_id: str, after_us: int) -> int | None:
    """Return when the first mode after that time begins."""
    query = sa.select(sa.func.min(modes.c.start)).where(
        modes.c.machine_id == machine_id, modes.c.start > after_us
    )
    return connection.execute(query).scalar()


def newest(connection: sa.Connection) -> int:
    """Return the id of what was told last, 0 where nothing was."""
    return connection.execute(sa.select(sa.func.max(modes.c.id))).scalar() or 0


def over(
    connection: sa.Connection,
    machine_id: str,
    start_us: int,
    end_us: int,
    known: int | None = None,
) -> Modes:
    """Return the modes of a machine over a span, and before it as long as a machine settles.

    With `known` only those that were told up to that id.
    """
    told = modes.c.machine_id == machine_id
    if known is not None:
        told &= modes.c.id <= known
    before = sa.select(sa.func.max(modes.c.start)).where(
        told, modes.c.start <= start_us - SETTLE_US
    )
    query = (
        sa.select(modes.c.start, modes.c.mode)
        .where(told, modes.c.start <= end_us)
        .where(modes.c.start >= sa.func.coalesce(before.scalar_subquery(), 0))
        .order_by(modes.c.start, modes.c.id)
    )
    newest: dict[int, str] = dict(connection.execute(query).all())
    return Modes.of(newest.items())


def intervals() -> "sa.Select[Any]":
    """Return a query of the modes in force: a row each, `end` is empty while one lasts."""
    later = modes.alias()
    outdone = sa.exists().where(
        later.c.machine_id == modes.c.machine_id,
        later.c.start == modes.c.start,
        later.c.id > modes.c.id,
    )
    end = sa.func.lead(modes.c.start).over(partition_by=modes.c.machine_id, order_by=modes.c.start)
    return sa.select(*modes.c, end.label("end")).where(~outdone)


def frame(connection: sa.Connection, machine_id: str, start_us: int, end_us: int) -> pd.DataFrame:
    """Return the modes of a machine that reach into [start, end): times in UTC, oldest first."""
    known = intervals().where(modes.c.machine_id == machine_id).subquery()
    query = (
        sa.select(*(known.c[name] for name in COLUMNS))
        .where(known.c.start < end_us)
        .where(sa.or_(known.c.end.is_(None), known.c.end > start_us))
        .order_by(known.c.start)
    )
    table = pd.DataFrame(connection.execute(query).all(), columns=COLUMNS)
    times = {name: index_of(table[name].astype("Int64")) for name in ("start", "end", "set_at")}
    return table.assign(**times)
