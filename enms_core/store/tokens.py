"""API tokens: 256 random bits, shown once; only their hash is kept."""

import hashlib
import secrets
import uuid
from dataclasses import dataclass

import sqlalchemy as sa

from enms_core.people import checked_role
from enms_core.plant import Unknown
from enms_core.store.schema import tokens
from enms_core.store.times import now_us

PREFIX = "enms_"
SHOWN = len(PREFIX) + 6  # characters by which a person knows a token again
NOTED_EVERY_US = 60_000_000  # `used_at` is not written at every request


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token as it is kept; times in microseconds UTC."""

    id: str
    name: str
    role: str
    prefix: str
    created_at: int
    expires_at: int | None
    used_at: int | None


def add(
    connection: sa.Connection, name: str, role: str, expires_at: int | None = None
) -> tuple[Token, str]:
    """Make a token; return it and its secret, which cannot be had again.

    Raise ValueError for an unknown role, or a name that is in use.
    """
    checked_role(role)
    if not name.strip() or len(name) > 200 or "\0" in name:
        raise ValueError(f"token name {name[:60]!r} must be 1 to 200 characters without NUL")
    if connection.execute(sa.select(tokens.c.id).where(tokens.c.name == name)).first():
        raise ValueError(f"token {name!r} is there already; revoke it or choose another name")
    secret = PREFIX + secrets.token_urlsafe(32)
    token = Token(
        id=str(uuid.uuid4()),
        name=name,
        role=role,
        prefix=secret[:SHOWN],
        created_at=now_us(),
        expires_at=expires_at,
        used_at=None,
    )
    connection.execute(sa.insert(tokens).values(**vars(token), sha256=_sha256(secret)))
    return token, secret


def find(connection: sa.Connection, secret: str) -> Token | None:
    """Return the token of this secret; None for one that is unknown, revoked or expired."""
    query = sa.select(*_columns()).where(tokens.c.sha256 == _sha256(secret))
    row = connection.execute(query).mappings().first()
    if row is None or (row["expires_at"] is not None and row["expires_at"] <= now_us()):
        return None
    return Token(**row)


def note_use(connection: sa.Connection, token: Token) -> None:
    """Note that the token was used now."""
    connection.execute(sa.update(tokens).where(tokens.c.id == token.id).values(used_at=now_us()))


def use_is_old(token: Token) -> bool:
    """Whether the use of a token is to be noted again."""
    return token.used_at is None or now_us() - token.used_at > NOTED_EVERY_US


def listed(connection: sa.Connection) -> list[Token]:
    """Return all tokens by name."""
    query = sa.select(*_columns()).order_by(tokens.c.name)
    return [Token(**row) for row in connection.execute(query).mappings()]


def revoke(connection: sa.Connection, name: str) -> None:
    """Forget a token; raise Unknown where there is none."""
    if connection.execute(sa.delete(tokens).where(tokens.c.name == name)).rowcount == 0:
        raise Unknown(f"token {name!r} is unknown")


def _columns() -> "list[sa.Column[object]]":
    return [column for column in tokens.c if column.name != "sha256"]


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
