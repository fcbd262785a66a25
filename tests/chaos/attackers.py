"""Clients that mean harm, in a process of their own: python -m tests.chaos.attackers URL."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import httpx
import websockets

HELD = 300  # sockets that ask for nothing


async def flood(url: str) -> None:
    """Send messages as fast as they are taken."""
    async with websockets.connect(f"{url.replace('http', 'ws', 1)}/api/v1/ws/dashboard") as client:
        while True:
            await client.send("ping")


async def huge_frame(url: str) -> None:
    """Send a message of ten megabytes."""
    address = f"{url.replace('http', 'ws', 1)}/api/v1/ws/dashboard"
    async with websockets.connect(address, compression=None) as client:
        await client.send(b"\0" * 10_000_000)
        await client.recv()


async def bomb(url: str) -> None:
    """Send a message that is small until it is inflated."""
    async with websockets.connect(f"{url.replace('http', 'ws', 1)}/api/v1/ws/dashboard") as client:
        await client.send("0" * 10_000_000)
        await client.recv()


async def half_request(url: str) -> None:
    """Send a request letter by letter, and never its end."""
    place = urlsplit(url)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    for letter in b"GET /api/v1/machines HTTP/1.1\r\nHost: local":
        writer.write(bytes([letter]))
        await asyncio.sleep(0.5)


async def huge_body(url: str) -> None:
    """Post ten megabytes."""
    async with httpx.AsyncClient() as client:
        await client.post(f"{url}/api/v1/readings", content=b"\0" * 10_000_000)


async def hold(url: str) -> None:
    """Hold sockets that ask for nothing."""
    place = urlsplit(url)
    held = [await asyncio.open_connection(place.hostname, place.port) for _ in range(HELD)]
    await asyncio.sleep(3600)
    del held


ATTACKS = (flood, flood, huge_frame, bomb, half_request, huge_body, hold)


async def main(url: str) -> None:
    """Attack in all ways at once, again and again, until killed."""

    async def again(attack: Callable[[str], Awaitable[None]]) -> None:
        while True:
            with contextlib.suppress(OSError, websockets.WebSocketException, httpx.HTTPError):
                await attack(url)
            await asyncio.sleep(0.2)

    chosen = [attack for attack in ATTACKS if sys.argv[2:] in ([], [attack.__name__])]
    await asyncio.gather(*(again(attack) for attack in chosen))


if __name__ == "__main__":
    os.nice(10)  # they take the server's time, not the computer's
    asyncio.run(main(sys.argv[1]))
