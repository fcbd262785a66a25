"""Does what many ask at the same time in one go: one commit for all that waits."""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from enms_core.store import Unavailable

log = logging.getLogger(__name__)

A = TypeVar("A")
MOST = 16  # asked by so many at once


@dataclass(frozen=True)
class _Asked(Generic[A]):
    what: A
    deadline: float  # monotonic: later than this its turn is not worth waiting for
    answer: "asyncio.Future[Any]"


class Together(Generic[A]):
    """A thread that takes whatever waits and does it in one go, in the order in which it came.

    >>> async def ask():
    ...     doubled = Together("double", lambda numbers: [2 * n for n in numbers])
    ...     return await asyncio.gather(*(doubled.do(n, patience_s=1.0) for n in range(3)))
    >>> asyncio.run(ask())
    [0, 2, 4]
    """

    def __init__(self, name: str, do: Callable[[Sequence[A]], Sequence[Any]]) -> None:
        self._do = do
        self._waiting: queue.SimpleQueue[_Asked[A]] = queue.SimpleQueue()
        self._name = name
        self._thread: threading.Thread | None = None

    async def do(self, what: A, patience_s: float) -> Any:
        """Have it done; raise what it raises, TimeoutError where its turn comes too late."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        asked = _Asked(what, time.monotonic() + patience_s, loop.create_future())
        self._waiting.put(asked)
        return await asked.answer

    def _run(self) -> None:
        while True:
            asked = [self._waiting.get()]
            while len(asked) < MOST and not self._waiting.empty():
                asked.append(self._waiting.get())
            self._answer(asked)

    def _answer(self, asked: list[_Asked[A]]) -> None:
        now = time.monotonic()
        late = [each for each in asked if each.deadline < now]
        _settle([(each.answer, TimeoutError()) for each in late])
        asked = [each for each in asked if each.deadline >= now]
        if asked:
            _settle(list(zip((each.answer for each in asked), self._done(asked), strict=True)))

    def _done(self, asked: list[_Asked[A]]) -> Sequence[Any]:
        """Return an answer to each; what one of them raises is nobody else's."""
        try:
            return self._do([each.what for each in asked])
        except Unavailable as error:
            return [error] * len(asked)
        except Exception as error:  # told to who asked; the thread goes on
            if len(asked) == 1:
                log.exception("what was asked could not be done")
                return [error]
            return [answer for each in asked for answer in self._done([each])]


def _settle(answers: "list[tuple[asyncio.Future[Any], Any]]") -> None:
    """Give the answers to their event loop, all in one call of it."""
    for loop in {answer.get_loop() for answer, _ in answers}:
        mine = [(answer, said) for answer, said in answers if answer.get_loop() is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_set, mine)


def _set(answers: "list[tuple[asyncio.Future[Any], Any]]") -> None:
    for answer, said in answers:
        if answer.done():  # who asked is gone
            continue
        if isinstance(said, Exception):
            answer.set_exception(said)
        else:
            answer.set_result(said)
