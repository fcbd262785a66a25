"""The one place that knows which database it is: SQLite by default, PostgreSQL by URL."""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

PATIENCE_S = 10.0  # how long a writer waits for another one
Rows = Sequence[Mapping[str, Any]]

AT_ONCE = 250  # rows of one INSERT; a database takes some ten thousand values in a statement
WRITERS = 4_711  # the advisory lock that PostgreSQL's writers share


def connect(url: str, patience_s: float = PATIENCE_S) -> sa.Engine:
    """Return an engine: on SQLite in WAL mode, where a commit is on the disk when it returns."""
    engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    engine = engine.execution_options(patience_ms=int(patience_s * 1000))
    if engine.dialect.name == "sqlite":
        if engine.url.database not in (None, "", ":memory:"):
            Path(str(engine.url.database)).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        sa.event.listen(engine, "connect", partial(_sqlite_connect, patience_s))
        sa.event.listen(engine, "begin", _sqlite_begin)
    return engine


def lock_writers(connection: sa.Connection) -> None:
    """Hold the writers' lock until the end of the transaction: one writer at a time.

    Serial numbers then become visible in their order. SQLite took it with BEGIN IMMEDIATE.
    """
    if connection.dialect.name == "postgresql":
        patience_ms = connection.get_execution_options()["patience_ms"]
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {patience_ms}")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITERS)))


def insert_new(connection: sa.Connection, table: sa.Table, rows: Rows) -> int:
    """Insert the rows whose key is not there yet; return how many there were."""
    if not rows:
        return 0
    insert = _insert(connection, table).on_conflict_do_nothing()
    counted = insert.execution_options(preserve_rowcount=True)  # PostgreSQL's would be -1
    return connection.execute(counted, list(rows)).rowcount


def insert_new_rows(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], rows: list[tuple[Any, ...]]
) -> int:
    """Do as `insert_new` with plain tuples, many in a statement: much faster than one by one."""
    new = 0
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        statement = f"{_values(connection, table, columns, len(some))} ON CONFLICT DO NOTHING"
        new += connection.exec_driver_sql(statement, tuple(chain.from_iterable(some))).rowcount
    return new


def upsert_rows(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], rows: list[tuple[Any, ...]]
) -> None:
    """Do as `upsert` with plain tuples."""
    keys = [column.name for column in table.primary_key]
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
    statement = f"{_values(connection, table, columns)} ON CONFLICT ({', '.join(keys)})"
    if rows:
        connection.exec_driver_sql(f"{statement} DO UPDATE SET {changed}", rows)


def as_frame(result: sa.CursorResult[Any], columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows of a result of plain numbers, straight from the driver: they are many."""
    rows = result.cursor.fetchall() if result.cursor else []
    return pd.DataFrame.from_records(rows, columns=list(columns))


def upsert(connection: sa.Connection, table: sa.Table, rows: Rows) -> None:
    """Insert the rows, or bring those that are there already to the new values."""
    if not rows:
        return
    insert = _insert(connection, table)
    keys = [column.name for column in table.primary_key]
    changed = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed), rows)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as SQL takes them."""
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _values(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], count: int = 1
) -> str:
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    marks = f"({', '.join([mark] * len(columns))})"
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES {', '.join([marks] * count)}"


def _insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def _sqlite_connect(patience_s: float, dbapi: Any, _record: Any) -> None:
    dbapi.isolation_level = None  # we say BEGIN ourselves
    cursor = dbapi.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(patience_s * 1000)}")
    _to_wal(cursor, time.monotonic() + patience_s)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA cache_size = -65536")
    cursor.close()


def _to_wal(cursor: Any, deadline: float) -> None:
    """Switch to WAL; SQLite does not wait by itself where many open a new file at once."""
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _sqlite_begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
