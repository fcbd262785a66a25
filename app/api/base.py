"""The one base class of all handlers: who asks, from where, and may they, before anything is done.

A program sends `Authorization: Bearer TOKEN`, a browser the cookie of its login. An open plant
(`ENMS_AUTH=none`, on loopback only) takes everybody else for the local user.
"""

import asyncio
import json
from collections import Counter
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import urlsplit

from panel.config import config
from tornado.web import HTTPError, RequestHandler

from app import server
from app.login import asks_store
from enms_core import telemetry
from enms_core.people import LOCAL, Forbidden, Person
from enms_core.store import Store, Unavailable, tokens, users

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
PUBLIC = ("/", "/health")  # what answers without a credential; Panel's /login and /static beside it
STREAMS_EACH = 20  # open WebSockets of one token or login
UNKNOWN, FORBIDDEN, TOO_MANY, TRY_AGAIN = 4401, 4403, 4429, 1013


class Stranger(Exception):
    """Nobody known asks."""


def netloc_of(url: str) -> str:
    """Return host and port of a URL; empty where it is none."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def host_of(url: str) -> str:
    """Return the host's name in a URL, without port and brackets; empty where there is none.

    >>> host_of("//[::1]:5006"), host_of("http://localhost:5006"), host_of("null")
    ('::1', 'localhost', '')
    """
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def person_of(login: str | None) -> Person:
    """Return who is behind a login; the local user where an open plant asks for none.

    Raise Stranger for nobody, and for a user who was removed.
    """
    current = server.current()
    if login is None and current.plant.settings.auth == "none":
        return LOCAL
    with current.wire.store.read() as connection:
        found = None if login is None else users.person(connection, login)
    if found is None and (login is None or asks_store()):
        raise Stranger("nobody known asks; log in")
    return found or Person(str(login), users.DEFAULT_ROLE)


class Guard(RequestHandler):
    """Checks Host, Origin, credential and role; `person` is who asks."""

    role: ClassVar[str | None] = "viewer"  # who may at least; None is everybody
    person: Person = Person("nobody", "viewer")

    @property
    def known_hosts(self) -> frozenset[str]:
        """The names this server answers to: loopback, and those allowed for its WebSockets."""
        origins = getattr(self.application, "websocket_origins", ())
        return LOOPBACK | {host_of(f"//{origin}") for origin in origins}

    @property
    def known_origins(self) -> frozenset[str]:
        """Host and port of the pages that may ask: this server's own, as browsers know it."""
        origins = getattr(self.application, "websocket_origins", ())
        return frozenset({self.request.host, *origins})

    def needs(self) -> str | None:
        """The role that this request asks for, None for no role at all."""
        return self.role

    async def prepare(self) -> None:
        """Refuse what comes from elsewhere (403), from a stranger (401) or without right (403)."""
        self.check_source()
        needed = self.needs()
        if needed is None:
            return
        try:
            self.person = await self.identify()
        except Stranger as error:
            self.set_header("WWW-Authenticate", "Bearer")
            self.refuse(401, str(error), "unauthorized")
            return
        except Unavailable:
            self.set_header("Retry-After", "1")
            self.refuse(503, "the store does not answer; try again", "unavailable")
            return
        try:
            self.person.require(needed)
        except Forbidden as error:
            self.refuse(403, str(error), "forbidden")

    def check_source(self) -> None:
        """Refuse another site's page and a re-bound name."""
        known = self.known_hosts
        origin = self.request.headers.get("Origin")
        if host_of(f"//{self.request.host}") not in known:
            raise HTTPError(403, reason="Host is not one this server answers to")
        if origin is not None and netloc_of(origin) not in self.known_origins:
            raise HTTPError(403, reason="Origin is not one this server answers to")

    async def identify(self) -> Person:
        """Return who asks; raise Stranger saying what would be right."""
        if self.get_query_argument("token", None) or self.get_query_argument("access_token", None):
            raise Stranger("a token in the URL ends in logs; send Authorization: Bearer TOKEN")
        kind, _, secret = self.request.headers.get("Authorization", "").partition(" ")
        if kind:
            if kind.lower() != "bearer":
                raise Stranger(f"Authorization {kind[:20]!r} is not known; send Bearer TOKEN")
            return await asyncio.to_thread(_bearer, secret.strip())
        login = self.get_signed_cookie("user", max_age_days=config.oauth_expiry)
        if login is not None:
            self._check_change()
            return await asyncio.to_thread(person_of, login.decode("utf-8", "replace"))
        if server.current().plant.settings.auth == "none":
            return LOCAL
        raise Stranger("nobody known asks; send Authorization: Bearer TOKEN, or log in")

    def _check_change(self) -> None:
        """Let a cookie change something only from this server's own pages."""
        if self.request.method not in ("GET", "HEAD") and not self.request.headers.get("Origin"):
            raise Stranger("a login changes something from a page only; a program needs a token")

    def refuse(self, status: int, message: str, error: str = "", field: str | None = None) -> None:
        """Answer what was wrong and what would be right, and be done."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        name = error or HTTPStatus(status).phrase.lower().replace(" ", "_")
        self.finish(json.dumps({"error": name, "field": field, "message": message}))

    def log_exception(self, *fault: Any) -> None:
        """Log what nobody foresaw, and count it; a refusal is none."""
        if not isinstance(fault[1], HTTPError):
            telemetry.ERRORS.labels("request").inc()
        super().log_exception(*fault)


class Handler(Guard):
    """Answers a request; errors are JSON."""

    def set_default_headers(self) -> None:
        """Keep answers out of caches and of other sites' hands."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def write_error(self, status_code: int, **_kwargs: Any) -> None:
        """Answer an error as JSON, without its traceback."""
        self.refuse(status_code, self._reason)


class StreamGuard(Guard):
    """Lets a WebSocket open; without the right to it `refused` is the code to close it with."""

    refused: int | None = None
    _streams: ClassVar[Counter[str]] = Counter()
    _counted = False

    async def prepare(self) -> None:
        """Refuse what comes from elsewhere (403); find out who asks."""
        self.check_source()
        self.refused = await self.recheck()

    def enter(self) -> int | None:
        """Count this connection; return the code to close it with, None if it may stay."""
        if self.refused is None and self.person is not LOCAL:
            self._counted = True
            self._streams[self.person.name] += 1
            if self._streams[self.person.name] > STREAMS_EACH:
                self.refused = TOO_MANY
        return self.refused

    async def recheck(self) -> int | None:
        """Return the code to close with if the right to this stream is not there any more."""
        try:
            self.person = await self.identify()
        except Stranger:
            return UNKNOWN
        except Unavailable:  # nobody loses a right because the store does not answer
            return None if self._counted else TRY_AGAIN
        return None if self.person.may(self.role or "viewer") else FORBIDDEN

    def leave(self) -> None:
        """Count this connection no more."""
        if self._counted:
            self._counted = False
            self._streams[self.person.name] -= 1


def _bearer(secret: str) -> Person:
    store = server.current().wire.store
    with store.read() as connection:
        token = tokens.find(connection, secret)
    if token is None:
        raise Stranger("this token is unknown, revoked or expired; make one: enms token add NAME")
    if tokens.use_is_old(token):
        _note_use(store, token)
    return Person(token.name, token.role)


def _note_use(store: Store, token: tokens.Token) -> None:
    try:
        with store.write() as connection:
            tokens.note_use(connection, token)
    except Unavailable:
        return  # it is noted at the next request
