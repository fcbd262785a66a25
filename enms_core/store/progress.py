"""How far somebody is: named texts, written in the transaction of what was done."""

import sqlalchemy as sa

from enms_core.store.dialect import upsert
from enms_core.store.schema import progress


def get(connection: sa.Connection, name: str, default: str = "") -> str:
    """Return what was put under that name."""
    query = sa.select(progress.c.value).where(progress.c.name == name)
    return connection.execute(query).scalar() or default


def put(connection: sa.Connection, name: str, value: str) -> None:
    """Keep a text under that name."""
    upsert(connection, progress, [{"name": name, "value": value}])


def starting_with(connection: sa.Connection, prefix: str) -> dict[str, str]:
    """Return all that was put under names with that prefix."""
    query = sa.select(progress.c.name, progress.c.value).where(
        progress.c.name.startswith(prefix, autoescape=True)
    )
    return dict(connection.execute(query).all())
