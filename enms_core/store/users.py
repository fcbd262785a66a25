"""Who logs in: a name, a role, and a password hash (argon2id, RFC 9106) where we check it."""

from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from enms_core.people import Person, checked_role
from enms_core.plant import Unknown
from enms_core.store.dialect import upsert
from enms_core.store.schema import users
from enms_core.store.times import now_us

SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 1_000
DEFAULT_ROLE = "viewer"  # of a login that nobody gave a role
_hasher = PasswordHasher()


@dataclass(frozen=True, kw_only=True)
class User:
    """A user as they are kept."""

    name: str
    role: str
    has_password: bool
    created_at: int


def put(connection: sa.Connection, name: str, role: str, password: str | None = None) -> None:
    """Add a user or change their role, and their password where one is given.

    Raise ValueError for an unknown role or a password that is too short.
    """
    checked_role(role)
    if not name.strip() or len(name) > 200 or "\0" in name:
        raise ValueError(f"user name {name[:60]!r} must be 1 to 200 characters without NUL")
    row: dict[str, object] = {"name": name, "role": role, "created_at": now_us()}
    if password is not None:
        row["password_hash"] = _hasher.hash(_checked(password))
    upsert(connection, users, [row])


def person(connection: sa.Connection, name: str) -> Person | None:
    """Return who logs in under this name, None where nobody gave them a role."""
    role = connection.execute(sa.select(users.c.role).where(users.c.name == name)).scalar()
    return Person(name, role) if role else None


def is_password(connection: sa.Connection, name: str, password: str) -> bool:
    """Whether this is the user's password; takes as long for a name that is unknown."""
    query = sa.select(users.c.password_hash).where(users.c.name == name)
    known = connection.execute(query).scalar()
    try:
        return (
            _hasher.verify(known or _nobodys(), password[:LONGEST_PASSWORD]) and known is not None
        )
    except (VerificationError, InvalidHashError):
        return False


def listed(connection: sa.Connection) -> list[User]:
    """Return all users by name."""
    query = sa.select(users).order_by(users.c.name)
    return [
        User(
            name=row["name"],
            role=row["role"],
            has_password=row["password_hash"] is not None,
            created_at=row["created_at"],
        )
        for row in connection.execute(query).mappings()
    ]


def remove(connection: sa.Connection, name: str) -> None:
    """Forget a user; raise Unknown where there is none."""
    if connection.execute(sa.delete(users).where(users.c.name == name)).rowcount == 0:
        raise Unknown(f"user {name!r} is unknown")


def _checked(password: str) -> str:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise ValueError(
            f"the password has {len(password)} characters; it must have {SHORTEST_PASSWORD} to "
            f"{LONGEST_PASSWORD}"
        )
    return password


@cache
def _nobodys() -> str:
    return _hasher.hash("nobody's password")
