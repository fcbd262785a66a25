"""One handler for all declared routes: checks what was asked, has it done, says what came of it."""

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import msgspec
from tornado.web import stream_request_body

from app import server
from app.api.base import Handler
from app.api.csv_text import as_csv
from app.api.declared import Ask, Operation, Refused, Rows, converted, decoded
from app.api.together import Together
from enms_core.people import Forbidden
from enms_core.plant import Unknown
from enms_core.store import Unavailable, is_full
from enms_core.triage import Conflict

log = logging.getLogger(__name__)

LARGEST_BODY = 1 << 20
WAITS_S = 0.25  # for its turn, and again for the database: then it is said that it is busy
READERS, WRITERS = ThreadPoolExecutor(4, "rest-read"), ThreadPoolExecutor(4, "rest-write")
JSON, CSV = "application/json", "text/csv"


@stream_request_body
class Rest(Handler):
    """Answers one path; each of its methods is an operation."""

    def initialize(self, operations: Sequence[Operation]) -> None:
        """Take what is declared for this path."""
        self._operations = {operation.method: operation for operation in operations}
        self._body = bytearray()
        self._is_read = False

    def needs(self) -> str | None:
        """The role that the operation asks for."""
        operation = self._operations.get(str(self.request.method))
        return operation.role if operation else "viewer"

    async def prepare(self) -> None:
        """Check who asks, before the body is read; one that is too long is never read."""
        await super().prepare()
        if self._finished:
            return
        if self.request.method not in self._operations:
            self.set_header("Allow", ", ".join(self._operations))
            self.refuse(405, f"{self.request.method} is not done here", "method_not_allowed")
            return
        length = self.request.headers.get("Content-Length", "0")
        if length.isdigit() and int(length) > LARGEST_BODY:
            self._too_large()

    def refuse(self, status: int, message: str, error: str = "", field: str | None = None) -> None:
        """Refuse; a body that nobody reads any more ends the connection, and that is said."""
        if not self._is_read:
            self.set_header("Connection", "close")
        super().refuse(status, message, error, field)

    def data_received(self, chunk: bytes) -> None:
        """Keep a part of the body."""
        if self._finished:
            return
        self._body += chunk
        if len(self._body) > LARGEST_BODY:
            self._too_large()

    async def get(self, **path: str) -> None:
        """Do what is declared."""
        await self._do(path)

    async def post(self, **path: str) -> None:
        """Do what is declared."""
        await self._do(path)

    async def delete(self, **path: str) -> None:
        """Do what is declared."""
        await self._do(path)

    async def _do(self, path: dict[str, str]) -> None:
        if self._finished:
            return
        self._is_read = True
        operation = self._operations[str(self.request.method)]
        try:
            ask = self._ask(operation, path)
            self._answer(operation, await _run(operation, ask))
        except Refused as error:
            self.refuse(error.status, error.message, error.error, error.field)
        except Unknown as error:
            self.refuse(404, str(error.args[0]), "unknown")
        except Conflict as error:
            self.refuse(409, str(error), "conflict")
        except Forbidden as error:
            self.refuse(403, str(error), "forbidden")
        except (ValueError, OverflowError) as error:
            self.refuse(400, str(error), "invalid")
        except (Unavailable, TimeoutError) as error:
            log.warning("the store did not answer %s: %s", operation.path, error)
            self.set_header("Retry-After", "1")
            state = "full: its disk has no room" if is_full(error) else "busy or locked"
            self.refuse(503, f"the store is {state}; try again", "unavailable")

    def _ask(self, operation: Operation, path: dict[str, str]) -> Ask:
        return Ask(
            plant=server.current().wire,
            person=self.person,
            path=converted(path, operation.in_path),
            query=converted(self._parameters(), operation.query),
            body=self._decoded(operation),
        )

    def _parameters(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, values in self.request.query_arguments.items():
            if len(values) > 1:
                raise Refused(400, "invalid", f"{name} is given twice", name)
            try:
                found[name] = values[0].decode()
            except UnicodeDecodeError as error:
                raise Refused(400, "invalid", f"{name} is no UTF-8", name) from error
        return found

    def _decoded(self, operation: Operation) -> Any:
        if operation.body is None:
            return None
        kind = self.request.headers.get("Content-Type", "none").split(";")[0].strip().lower()
        if kind == CSV and operation.csv_body:
            return operation.csv_body(bytes(self._body))
        if kind != JSON:
            known = f"{JSON} or {CSV}" if operation.csv_body else JSON
            raise Refused(415, "media_type", f"Content-Type is {kind}; it must be {known}")
        return decoded(bytes(self._body), operation.body, operation.loose_body)

    def _answer(self, operation: Operation, answer: Any) -> None:
        self.set_status(operation.status)
        if isinstance(answer, Rows):
            self._answer_rows(operation, answer)
            return
        self.set_header("Content-Type", JSON)
        self.finish(msgspec.json.encode(answer))

    def _answer_rows(self, operation: Operation, rows: "Rows[Any]") -> None:
        if rows.next:
            query = {**self._parameters(), "cursor": rows.next}
            self.set_header("Link", f'<{_url(self.request.path, query)}>; rel="next"')
        if not self._wants_csv():
            self.set_header("Content-Type", JSON)
            self.finish(msgspec.json.encode(rows))
            return
        columns = [
            field.encode_name for field in msgspec.structs.fields(operation.answer.__args__[0])
        ]
        self.set_header("Content-Type", f"{CSV}; charset=utf-8")
        name = operation.path.strip("/").replace("/", "-")
        self.set_header("Content-Disposition", f'attachment; filename="{name}.csv"')
        self.finish(as_csv(map(msgspec.to_builtins, rows.items), columns))

    def _wants_csv(self) -> bool:
        accepted = self.request.headers.get("Accept", "")
        return CSV in [part.split(";")[0].strip().lower() for part in accepted.split(",")]

    def _too_large(self) -> None:
        self.refuse(413, f"the body is larger than {LARGEST_BODY} bytes; send parts", "too_large")


async def _run(operation: Operation, ask: Ask) -> Any:
    """Have it done in a thread; raise TimeoutError where its turn does not come in time."""
    if operation.together:
        return await _together(operation.do).do(ask, WAITS_S)
    pool = READERS if operation.method == "GET" else WRITERS
    work = functools.partial(_in_turn, operation, ask, time.monotonic() + WAITS_S)
    return await asyncio.get_running_loop().run_in_executor(pool, work)


@functools.cache
def _together(do: Callable[..., Any]) -> Together[Ask]:
    return Together(do.__name__, do)


def _in_turn(operation: Operation, ask: Ask, deadline: float) -> Any:
    if operation.method != "GET" and time.monotonic() > deadline:
        raise TimeoutError
    return operation.do(ask)


def _url(path: str, query: dict[str, str]) -> str:
    return f"{path}?{urlencode(query)}"
