"""Very many WebSocket clients in one process, and how late what they get is.

They speak the protocol themselves, permessage-deflate included: five thousand messages a second
leave the server its core. A line on stdin asks for the figures so far, as JSON on stdout; the line
`anew` begins them anew, the end of stdin ends the run.

    python -m tests.chaos.crowd http://127.0.0.1:5006 dashboard 500
"""

import asyncio
import base64
import json
import os
import struct
import sys
import time
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import numpy as np

MARK = b'"published_at":"'
AT_ONCE = 50  # connections that are being made at a time
END_OF_FLATE = b"\x00\x00\xff\xff"
TEXT, CLOSE, PING = 0x1, 0x8, 0x9


@dataclass
class Figures:
    """What the crowd saw."""

    late_s: list[float] = field(default_factory=list)
    open: int = 0
    closed: int = 0
    connect_s: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Return the figures, latencies in milliseconds."""
        late = 1e3 * np.array(self.late_s or [0.0])
        percentiles = {f"p{p}": float(np.percentile(late, p)) for p in (50, 99)}
        return {
            "messages": len(self.late_s),
            "open": self.open,
            "closed": self.closed,
            "connect_s": self.connect_s,
            **percentiles,
            "max": float(late.max()),
        }


class Member(asyncio.Protocol):
    """One client: shakes hands, reads frames, answers pings."""

    def __init__(self, figures: Figures, path: str, host: str) -> None:
        self._figures, self._path, self._host = figures, path, host
        self._buffer = b""
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._shook = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Take what came apart."""
        now = time.time()
        self._buffer += data
        if not self._shook:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert b" 101 " in head.split(b"\r\n")[0], head
            self._buffer, self._shook = rest, True
            self._figures.open += 1
            self.ready.set_result(None)
        while (frame := self._frame()) is not None:
            self._take(*frame, now)

    def connection_lost(self, _error: Exception | None) -> None:
        """Count it."""
        self._figures.closed += 1
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("refused"))

    def _frame(self) -> tuple[int, bool, bytes] | None:
        """Return kind, whether it is deflated, and the payload of the next frame."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = struct.unpack(">H" if start == 4 else ">Q", buffer[2:start])[0]
        if len(buffer) < start + size:
            return None
        self._buffer = buffer[start + size :]
        return buffer[0] & 0x0F, bool(buffer[0] & 0x40), buffer[start : start + size]

    def _take(self, kind: int, is_deflated: bool, payload: bytes, now: float) -> None:
        if kind == PING:
            mask = os.urandom(4)
            masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
            self._transport.write(bytes([0x8A, 0x80 | len(payload)]) + mask + masked)
        elif kind == CLOSE:
            self._transport.close()
        elif kind == TEXT:
            if is_deflated:
                payload = self._inflate.decompress(payload + END_OF_FLATE)
            at = payload.find(MARK)
            if at >= 0:
                text = payload[at + len(MARK) : payload.index(b'"', at + len(MARK))].decode()
                self._figures.late_s.append(now - datetime.fromisoformat(text).timestamp())


async def gather(url: str, stream: str, count: int) -> None:
    """Connect all, say so, and read until stdin ends."""
    place, loop, figures = urlsplit(url), asyncio.get_running_loop(), Figures()
    path, turn = f"/api/v1/ws/{stream}", asyncio.Semaphore(AT_ONCE)

    async def join() -> None:
        async with turn:
            _, member = await loop.create_connection(
                lambda: Member(figures, path, place.netloc), place.hostname, place.port
            )
            await member.ready

    began = time.monotonic()
    await asyncio.gather(*(join() for _ in range(count)))
    figures.connect_s = time.monotonic() - began
    print(json.dumps(figures.summary()), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(figures.summary()), flush=True)
        if line.strip() == "anew":
            figures.late_s.clear()


if __name__ == "__main__":
    asyncio.run(gather(sys.argv[1], sys.argv[2], int(sys.argv[3])))
