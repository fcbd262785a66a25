"""A bad line: a TCP proxy that delays, cuts, or swallows what goes through it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

CHUNK = 1 << 16


@dataclass
class Proxy:
    """Listens on `port` and leads to `target`; its faults may change at any time."""

    target: int
    rng: random.Random
    delay_s: tuple[float, float] = (0.0, 0.0)  # each way, uniform
    cut: float = 0.0  # the share of chunks that end their connection
    is_silent: bool = False  # half open: nobody hears the other, and both think all is well
    port: int = 0
    cuts: int = 0
    _ends: set[asyncio.StreamWriter] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Be there."""
        listening = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listening.close()
            self.is_silent = False
            for end in list(self._ends):
                end.transport.abort()
            while self._ends:  # noqa: ASYNC110 (they end by themselves)
                await asyncio.sleep(0.01)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        self._ends |= ends
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            ends.add(back)
            self._ends |= ends
            ways = self._carry(reader, back), self._carry(there, writer)
            carrying = [asyncio.create_task(way) for way in ways]
            await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.transport.abort()
            await asyncio.gather(*carrying, return_exceptions=True)
        except OSError:
            writer.transport.abort()
        finally:
            self._ends -= ends

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one way until an end closes or the line is cut; what waits keeps its order."""
        loop, due = asyncio.get_running_loop(), 0.0
        while data := await reader.read(CHUNK):
            if self.cut and self.rng.random() < self.cut:
                self.cuts += 1
                return
            if not self.is_silent:
                due = max(due, loop.time() + self.rng.uniform(*self.delay_s))
                loop.call_at(due, writer.write, data)
        while self.is_silent:  # noqa: ASYNC110 (nor does it tell that an end is gone)
            await asyncio.sleep(0.1)
