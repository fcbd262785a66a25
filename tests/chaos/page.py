"""A page as the server knows it: loaded, its WebSocket open, its document pulled; no browser.

Chromium is too heavy to open fifty. It behaves as `app/views/pill.js` does: when no beat came for
three seconds it asks /health, and loads again when another server process answers there; this one
asks at once where its socket is closed.
"""

import asyncio
import contextlib
import json
import random
import re
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import ClientConnection

from tests.chaos.client import ended

BEAT_LATE_S, LOST_S, LOOK_S, ASK_S = 3.0, 15.0, 0.5, 2.0
GUARD_S = 60.0  # against hanging; no promise
GONE = (OSError, httpx.HTTPError, websockets.WebSocketException, TimeoutError)
READY = {
    "events": [
        {
            "kind": "MessageSent",
            "msg_type": "bokeh_event",
            "msg_data": {
                "type": "event",
                "name": "document_ready",
                "values": {"type": "map", "entries": []},
            },
        }
    ]
}


@dataclass
class Page:
    """A session; `lived` are the times at which it was live for the first time after a load."""

    url: str
    loads_s: list[float] = field(default_factory=list)
    lived: list[float] = field(default_factory=list)
    patches: int = 0
    boot: str = ""

    async def run(self) -> None:
        """Load, read what comes, load again when the server is another one, for ever."""
        while True:
            try:
                socket = await self.open()
            except GONE:
                await asyncio.sleep(LOOK_S)
                continue
            try:
                with contextlib.suppress(*GONE):
                    await self._read(socket)
            finally:
                socket.transport.abort()
            await self._until_another()

    async def open(self) -> ClientConnection:
        """Load the page and its document; return its socket once it is ready."""
        began = time.monotonic()
        async with httpx.AsyncClient(base_url=self.url, timeout=GUARD_S) as client:
            self.boot = (await client.get("/health")).json()["boot"]
            answer = await client.get("/", follow_redirects=True)
        answer.raise_for_status()
        found = re.search(r'"token":\s*"([^"]+)"', answer.text)
        assert found, "the page has no token"
        place = str(answer.url).rstrip("/").replace("http", "ws", 1).split("?")[0]
        socket = await websockets.connect(
            f"{place}/ws",
            subprotocols=["bokeh", found[1]],  # type: ignore[list-item]
            max_size=None,
            max_queue=1,
            open_timeout=GUARD_S,
            ping_interval=None,
        )
        await self._until(socket, "ACK")
        await self._send(socket, "PULL-DOC-REQ", {})
        await self._until(socket, "PULL-DOC-REPLY")
        await self._send(socket, "PATCH-DOC", READY)
        self.loads_s.append(time.monotonic() - began)
        return socket

    async def _read(self, socket: ClientConnection) -> None:
        """Count the patches, the first of them is a beat: the page is live.

        Return when none came for a while and another server answers.
        """
        heard = time.monotonic()
        while True:
            patch = asyncio.create_task(self._until(socket, "PATCH-DOC"))
            try:
                while not (await asyncio.wait({patch}, timeout=BEAT_LATE_S))[0]:
                    is_lost = time.monotonic() - heard > LOST_S
                    if await self._is_another() or is_lost:
                        return
                await patch
            finally:
                await ended([patch])
            heard = time.monotonic()
            self.patches += 1
            if len(self.lived) < len(self.loads_s):
                self.lived.append(heard)

    async def _until_another(self) -> None:
        """Ask who is there every half second, until another process answers."""
        while not await self._is_another():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S * random.uniform(0.5, 1.5))

    async def _is_another(self) -> bool:
        try:
            async with httpx.AsyncClient(base_url=self.url, timeout=ASK_S) as client:
                return bool((await client.get("/health")).json()["boot"] != self.boot)
        except httpx.HTTPError:
            return False

    async def _send(self, socket: ClientConnection, kind: str, content: dict[str, Any]) -> None:
        header = {"msgid": str(random.getrandbits(64)), "msgtype": kind}
        for part in (header, {}, content):
            await socket.send(json.dumps(part))

    async def _until(self, socket: ClientConnection, kind: str) -> None:
        """Read messages up to one of this kind; each is three frames and its buffers."""
        while True:
            header = json.loads(await socket.recv())
            for _ in range(2 + 2 * header.get("num_buffers", 0)):
                await socket.recv()
            if header["msgtype"] == kind:
                return
