"""The store: SQL is the truth, and this package is the only one that speaks it.

A subject is a module of functions over a connection (`readings`, `anomalies`, `events`, ...);
`Store` hands the connections out.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from enms_core.store import dialect, progress, schema

VERSIONS = Path(__file__).parent / "migrations" / "versions"

# The database does not answer, is locked or full: what was not committed is not there.
Unavailable = sa.exc.OperationalError
Connection = sa.Connection


def is_full(error: Exception) -> bool:
    """Whether the store does not answer because its disk is full.

    >>> is_full(Unavailable("INSERT", {}, Exception("database or disk is full")))
    True
    """
    return any(word in str(error).lower() for word in ("full", "no space"))


class Store:
    """A database of readings, anomalies, events, jobs and models.

    >>> store = Store("sqlite://").migrate()
    >>> len(store.epoch)
    36
    """

    def __init__(self, url: str, patience_s: float = dialect.PATIENCE_S) -> None:
        self.engine = dialect.connect(url, patience_s)
        self._writing = self.engine.execution_options(writes=True)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of the store."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a connection whose changes are all there and on the disk at the end, or none."""
        with self._writing.begin() as connection:
            dialect.lock_writers(connection)
            yield connection

    def migrate(self) -> "Store":
        """Bring the tables to this version; may be called by many at once."""
        if self._is_current():
            return self
        from enms_core.store.migrations import upgrade  # Alembic is slow to import and rarely used

        with self.write() as connection:
            upgrade(connection)
            dialect.insert_new(
                connection, schema.progress, [{"name": "epoch", "value": str(uuid.uuid4())}]
            )
            dialect.insert_new(connection, schema.counters, [{"name": "events", "value": 0}])
        return self

    def _is_current(self) -> bool:
        """Whether the newest revision was reached, and with it all that `migrate` does."""
        newest = max(path.stem.split("_")[0] for path in VERSIONS.glob("[0-9]*.py"))
        with self.read() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return False
            reached = connection.execute(sa.text("SELECT version_num FROM alembic_version"))
            return reached.scalar() == newest

    @property
    def epoch(self) -> str:
        """A UUID that changes only when the store was restored or made anew."""
        with self.read() as connection:
            return progress.get(connection, "epoch")

    def renew(self) -> str:
        """Begin a new epoch, because the store was restored; return it."""
        with self.write() as connection:
            progress.put(connection, "epoch", str(uuid.uuid4()))
        return self.epoch

    def dispose(self) -> None:
        """Close the connections."""
        self.engine.dispose()
