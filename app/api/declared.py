"""What a REST route is: one declaration for its handler, its checks and its documentation."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from enms_core.client import Plant
from enms_core.people import Person
from enms_core.store.pages import Key

T = TypeVar("T")
LARGEST_PAGE = 10_000
EXAMPLE = "2026-11-22T14:00:00+01:00"
Time = Annotated[datetime, Meta(tz=True, description="ISO 8601 with offset.")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]


def one_of(values: Iterable[str]) -> Any:
    """Return the type of a text that is one of these."""
    return Literal.__getitem__(tuple(values))


class Refused(Exception):
    """The answer to a request that cannot be done: status, short name, field and message."""

    def __init__(self, status: int, error: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.error, self.field, self.message = status, error, field, message


class Fault(Struct, kw_only=True):
    """What was wrong and what would be right."""

    error: str
    field: str | None
    message: str


class Nothing(Struct, forbid_unknown_fields=True):
    """No parameters."""


class Listed(Struct, forbid_unknown_fields=True, kw_only=True):
    """A page of a list."""

    limit: Annotated[int, Meta(ge=1, le=LARGEST_PAGE, description="Rows of a page, at most.")] = (
        1000
    )
    cursor: Annotated[
        str | None, Meta(description="`next` of the page before, with the same filters.")
    ] = None


class Spanned(Listed, kw_only=True):
    """A page of a list, of one machine or all, in [start, end)."""

    machine: Annotated[str | None, Meta(description="Name or id.")] = None
    start: Time | None = None
    end: Time | None = None


class Rows(Struct, Generic[T], kw_only=True):
    """A page: `next` is the cursor of the page after it, null at the end."""

    items: list[T]
    next: str | None


class Made(Struct, kw_only=True):
    """What was made, and the event that tells it."""

    id: str
    event_id: str


@dataclass(frozen=True)
class Ask:
    """A request, checked against its declaration."""

    plant: Plant
    person: Person
    path: Any
    query: Any
    body: Any


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one method of a path does; `do` runs in a thread, and its docstring is the summary.

    It takes an Ask; `together`, all that wait at a time, and returns an answer for each.
    """

    method: str
    path: str
    role: str
    do: Callable[..., Any]
    answer: Any
    in_path: type[Struct] = Nothing
    query: type[Struct] = Nothing
    body: Any = None
    loose_body: Any = None  # what is no such body may still be one of these
    csv_body: Callable[[bytes], Any] | None = None  # how a body of text/csv becomes one
    status: int = 200
    together: bool = False
    refusals: tuple[int, ...] = field(default=())  # beside those that every operation has

    @property
    def is_list(self) -> bool:
        """Whether the answer is a page, which may be had as CSV."""
        return getattr(self.answer, "__origin__", None) is Rows

    @property
    def pattern(self) -> str:
        """The path as Tornado matches it."""
        return "/api/v1" + re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", self.path)


def decoded(text: bytes, wanted: Any, loose: Any = None) -> Any:
    """Return JSON as the declared type; raise Refused naming the field that is wrong.

    What is not of that type may still be of a loose one, whose parts are judged later.
    """
    try:
        return msgspec.json.decode(text, type=wanted)
    except msgspec.ValidationError as error:
        if loose is None:
            raise _invalid(error, wanted) from error
        return _decoded_loosely(text, loose)
    except _NO_JSON as error:
        raise _malformed(error) from error


def _decoded_loosely(text: bytes, loose: Any) -> Any:
    try:
        return msgspec.json.Decoder(loose, float_hook=float).decode(text)  # 1e999 is infinite
    except msgspec.ValidationError as error:
        raise _invalid(error, loose) from error
    except _NO_JSON as error:
        raise _malformed(error) from error


_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def _malformed(error: Exception) -> Refused:
    return Refused(400, "malformed", f"the body is no JSON: {error}")


def converted(values: dict[str, str], wanted: type[Struct]) -> Any:
    """Return parameters as the declared type; raise Refused naming the one that is wrong."""
    try:
        return msgspec.convert(values, type=wanted, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(error, wanted) from error


def _invalid(error: msgspec.ValidationError, wanted: Any) -> Refused:
    """Split "Expected `int`, got `str` - at `$.limit`" into field and message; say what is right.

    >>> fault = _invalid(msgspec.ValidationError("Expected `int` - at `$.limit`"), Listed)
    >>> fault.field, fault.message
    ('limit', 'Expected `int`')
    >>> _invalid(msgspec.ValidationError("Invalid RFC3339 - at `$.start`"), Spanned).message
    'Invalid RFC3339; write ISO 8601 with an offset such as 2026-11-22T14:00:00+01:00'
    """
    message, _, place = str(error).partition(" - at ")
    place = place.strip("`").removeprefix("$").removeprefix(".")
    named = re.search(r"(?:required|unknown) field `([^`]+)`", message)
    parts = [part for part in (place, named and named[1]) if part]
    name = ".".join(parts) or None
    return Refused(400, "invalid", message + _right(wanted, name), name)


def _right(wanted: Any, name: str | None) -> str:
    """Return what a field may be, where that can be told in a line."""
    hint = get_type_hints(wanted).get(str(name)) if isinstance(wanted, type) else None
    for kind in (hint, *get_args(hint)):
        if kind is datetime:
            return f"; write ISO 8601 with an offset such as {EXAMPLE}"
        if get_origin(kind) is Literal:
            return f"; it must be one of {', '.join(get_args(kind))}"
    return ""


def cursor_of(key: Key | None) -> str | None:
    """Return a key as the text that the next request brings back.

    >>> key_of(cursor_of((7, "a")))
    (7, 'a')
    """
    if key is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _is_storable(part: Any) -> bool:
    """Whether a part of a key can be compared by every database."""
    if isinstance(part, int):
        return -(2**63) <= part < 2**63
    return isinstance(part, str) and not re.search("[\0\ud800-\udfff]", part)


def key_of(cursor: str | None, *kinds: type) -> Key | None:
    """Return the key in a cursor; raise Refused for one that no page gave."""
    if cursor is None:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        known = isinstance(key, list) and (not kinds or [type(p) for p in key] == list(kinds))
        if known and all(map(_is_storable, key)):
            return tuple(key)
    except (ValueError, binascii.Error, RecursionError):
        pass
    raise Refused(400, "invalid", "cursor is not one that a page gave", "cursor")
