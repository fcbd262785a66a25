"""A client that follows a stream whatever happens, and what it should have got."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatch
from typing import Any

import websockets

CHANNELS = {"dashboard": "*", "anomalies": "anomaly.*", "training": "training.*", "events": "*"}


@dataclass
class Client:
    """A client that resumes for ever; notes what it got and when."""

    url: str
    stream: str
    machines: dict[str, str] = field(default_factory=dict)  # name -> id; none means all
    since: int | None = None
    first: int = 0  # the newest event when it came: it gets what is after that
    epoch: str = ""
    got: list[tuple[int, str]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)  # from the commit to here
    closes: list[int] = field(default_factory=list)  # the codes with which the server closed
    connects: int = 0
    unrecovered: int = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self._follow()
            except websockets.ConnectionClosed as error:
                self.closes.append(error.rcvd.code if error.rcvd else 1006)
            except (OSError, websockets.WebSocketException, TimeoutError):
                pass
            await asyncio.sleep(random.uniform(0.1, 0.4))

    async def _follow(self) -> None:
        query = f"machines={','.join(self.machines)}"
        if self.since is not None:
            query += f"&since={self.since}&epoch={self.epoch}"
        address = f"{self.url.replace('http', 'ws', 1)}/api/v1/ws/{self.stream}?{query}"
        async with websockets.connect(address, ping_interval=5, ping_timeout=5) as socket:
            hello = json.loads(await socket.recv())
            self.connects += 1
            self.unrecovered += self.since is not None and not hello["recovered"]
            self.epoch = hello["epoch"]
            if self.since is None:
                self.since = self.first = hello["seq"]
            async for text in socket:
                message = json.loads(text)
                if message.get("seq") is not None:
                    self.got.append((message["seq"], message["event_id"]))
                    self.at.append(time.monotonic())
                    committed = datetime.fromisoformat(message["published_at"]).timestamp()
                    self.late_s.append(time.time() - committed)
                    self.since = message["seq"]
            self.closes.append(socket.close_code or 1006)

    def is_entitled(self, envelope: dict[str, Any]) -> bool:
        """Return whether an event is for this client."""
        if not fnmatch(envelope["channel"], CHANNELS[self.stream]):
            return False
        owner = envelope["data"].get("machine_id")
        return not self.machines or owner is None or owner in self.machines.values()

    def wanted(self, envelopes: list[dict[str, Any]]) -> list[tuple[int, str]]:
        """Return number and id of the events that this client should get."""
        mine = [e for e in envelopes if e["seq"] > self.first and self.is_entitled(e)]
        return [(e["seq"], e["event_id"]) for e in mine]

    def longest_stall(self) -> float:
        """Return the longest time between two events, in seconds."""
        return max((b - a for a, b in zip(self.at, self.at[1:], strict=False)), default=0.0)


@dataclass(frozen=True)
class Account:
    """What a client got beside what it is entitled to."""

    expected: int
    lost: int
    doubled: int
    disordered: int

    @property
    def is_right(self) -> bool:
        """Whether it got each event once and in order."""
        return not (self.lost or self.doubled or self.disordered)


def account(client: Client, envelopes: list[dict[str, Any]]) -> Account:
    """Compare what a client got with the events of the store."""
    wanted = client.wanted(envelopes)
    return Account(
        expected=len(wanted),
        lost=len(set(wanted) - set(client.got)),
        doubled=sum(n - 1 for n in Counter(client.got).values()),
        disordered=sum(a[0] >= b[0] for a, b in zip(client.got, client.got[1:], strict=False)),
    )


async def until(check: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is true, no longer than that; return whether it is."""
    end = time.monotonic() + seconds
    while not check() and time.monotonic() < end:  # noqa: ASYNC110 (nothing tells it)
        await asyncio.sleep(0.02)
    return check()


async def ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End tasks and wait for it, whatever they say."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
