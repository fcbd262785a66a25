"""Nonsense at every door: REST, CSV, WebSocket and the channels of Redis."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from typing import Any

import httpx
import websockets

from enms_core.events import CHANNELS, Envelope, MetricUpdated, SystemAlert
from tests.chaos.lab import GUARD_S, MACHINES, Fault, Figure, Lab, stored_readings
from tests.chaos.plant import Plant

PULSE_S = 0.02
STALL_MS = 100.0
DEEP = "[" * 10_000
ODD: list[Any] = [
    *["", "\x00", "\ud800", "NaN", "Infinity", "1e309", "-0", "9" * 400, "null", "x" * 10_000],
    *["'; DROP TABLE readings; --", "<img src=x onerror=alert(1)>", "=cmd()", "{{7*7}}", "%s%n"],
    *["\u202e", "../../etc/passwd", None, True, [], {}, [[]], {"a": 1}, 10**400, -1, 0.1, 1e300],
]
TEXTS = [odd for odd in ODD if isinstance(odd, str) and odd != "\ud800"]
LETTERS = ["machine", "metric", "time", "value", ",", "\n", '"', "\x00", "\xff", "Pump", "=1", "é"]
AT = "2026-03-22T13:00:{:02d}Z"


async def nonsense(lab: Lab, n: int = 10_000) -> list[Figure]:
    """n inputs that nobody should send, at REST, CSV, WebSocket and Redis; nothing may break."""
    plant, rng = lab.plant, lab.rng
    pids, waits, tally = plant.pids(), [0.0], Counter[str]()
    pulse = asyncio.create_task(_pulse(plant, waits))
    address = f"{plant.url}/api/v1"
    before = plant.metric("enms_messages_refused_total")
    async with httpx.AsyncClient(base_url=address, timeout=GUARD_S) as rest:
        there = await stored_readings(rest)
        for _ in range(n // 4):
            await _rest(rest, rng, tally)
            await _csv(rest, rng, tally)
        stored = await stored_readings(rest) - there
    await _streams(plant, rng, n // 4, tally)
    await asyncio.to_thread(_channels, plant, rng, n // 4, tally)
    refused = await _refused(plant, before, tally["broken on a channel"])
    pulse.cancel()
    return [
        Figure("sent", n),
        Figure("parts that ended", sum(plant.pids()[p] != pid for p, pid in pids.items()), most=0),
        Figure("answers of 5xx", tally["5xx"], most=0),
        Figure("readings sent in answered requests", tally["readings"], least=1),
        Figure("readings not told of", tally["readings"] - tally["told"], most=0),
        Figure("stored other than accepted", abs(stored - tally["accepted"]), most=0),
        Figure("stream messages without an answer", tally["unanswered"], most=0),
        Figure("channel messages not refused", tally["broken on a channel"] - refused, most=0),
        Figure("longest wait for /health", 1e3 * max(waits), most=STALL_MS, unit="ms"),
    ]


async def _pulse(plant: Plant, waits: list[float]) -> None:
    """Ask for /health again and again: its longest wait is longer than any stall of the loop."""
    async with httpx.AsyncClient(base_url=plant.url, timeout=GUARD_S) as client:
        await client.get("/health")
        while True:
            began = time.monotonic()
            await client.get("/health")
            waits.append(time.monotonic() - began)
            await asyncio.sleep(PULSE_S)


async def _rest(rest: httpx.AsyncClient, rng: random.Random, tally: Counter[str]) -> None:
    rows = [_row(rng) for _ in range(rng.randint(0, 3))]
    text = json.dumps(rows)
    spoilt = rng.random()
    if spoilt < 0.2:
        cut = rng.randrange(len(text) + 1)
        text = text[:cut] + rng.choice(["", "\x00", "]", "}", DEEP, "NaN"]) + text[cut:]
    elif spoilt < 0.25:
        text = rng.choice([DEEP, "null", '"x"', "{}", '{"rows": 1}', "[" + "1," * 1000 + "1]"])
    await _post(rest, text.encode(), "application/json", tally)


async def _csv(rest: httpx.AsyncClient, rng: random.Random, tally: Counter[str]) -> None:
    head = "machine,metric,time,value\n" if rng.random() < 0.5 else ""
    text = head + "".join(rng.choice(LETTERS) for _ in range(rng.randint(0, 40)))
    await _post(rest, text.encode("latin-1"), "text/csv", tally)


async def _post(rest: httpx.AsyncClient, body: bytes, kind: str, tally: Counter[str]) -> None:
    answer = await rest.post("/readings", content=body, headers={"Content-Type": kind})
    tally["5xx"] += answer.status_code >= 500
    told = answer.json()
    if answer.status_code != 200:
        tally["5xx"] += not told["message"]
        return
    count = told["accepted"] + told["duplicates"] + told["refused"]
    tally["accepted"] += told["accepted"]
    tally["told"] += count
    tally["readings"] += len(json.loads(body)) if kind == "application/json" else count


def _row(rng: random.Random) -> dict[str, Any]:
    good = rng.random() < 0.2
    return {
        "machine": rng.choice(MACHINES) if good else rng.choice([*MACHINES, _text(rng)]),
        "metric": "power_kw" if good else rng.choice(["power_kw", _text(rng)]),
        "time": AT.format(rng.randrange(60)) if good else rng.choice([AT.format(1), _text(rng)]),
        "value": rng.uniform(0, 90) if good else rng.choice(ODD),
    }


def _text(rng: random.Random) -> Any:
    """Return an odd text; now and then what is none."""
    return rng.choice(TEXTS if rng.random() < 0.95 else ODD)


async def _streams(plant: Plant, rng: random.Random, n: int, tally: Counter[str]) -> None:
    """Send messages at less than the rate that ends a connection; each is answered."""
    address = f"{plant.url.replace('http', 'ws', 1)}/api/v1/ws/dashboard"
    for first in range(0, n, 15):
        async with websockets.connect(address) as socket:
            await socket.recv()
            for _ in range(min(15, n - first)):
                await socket.send(_message(rng))
                if not await _answered(socket):
                    tally["unanswered"] += 1
                    break


def _message(rng: random.Random) -> str | bytes:
    text = rng.choice([odd for odd in ODD if odd != "\ud800"])
    form = rng.choice(['{"type": "subscribe", "machines": [%s]}', '{"type": %s}', "[%s]", "%s"])
    if rng.random() < 0.1:
        return rng.choice([b"\xff\x00", DEEP, b""])
    return form % json.dumps(text)


async def _answered(socket: Any) -> bool:
    with contextlib.suppress(TimeoutError, websockets.ConnectionClosed):
        async with asyncio.timeout(5.0):
            while json.loads(await socket.recv())["type"] not in ("pong", "error", "subscribed"):
                pass
            return True
    return False


def _channels(plant: Plant, rng: random.Random, n: int, tally: Counter[str]) -> None:
    """Publish what are no events, and events with numbers that are not theirs."""
    with plant.redis as publisher:
        for number in range(n):
            kind = rng.random()
            if kind < 0.8:
                publisher.publish(rng.choice(CHANNELS), _broken(rng))
                tally["broken on a channel"] += 1
            else:
                publisher.publish("system.alert", _false_number(rng, number))
            time.sleep(0.0005)


def _broken(rng: random.Random) -> bytes:
    update = MetricUpdated(machine_id="m", machine="m", values={"power_kw": 1.0}, time=AT.format(0))
    raw = Envelope.now(update, seq=None, epoch="e").to_dict()
    spoilt = rng.choice(["type", "data", "published_at", "epoch", "text"])
    if spoilt == "text":
        return json.dumps(rng.choice(ODD)).encode("utf-8", "surrogatepass")
    raw[spoilt] = {"values": {"power_kw": "x"}} if spoilt == "data" else rng.choice([None, 7, [7]])
    return json.dumps(raw).encode()


def _false_number(rng: random.Random, number: int) -> str:
    alert = SystemAlert(alert_type="false", severity="info", message="", details={"n": number})
    seq = rng.choice([-1, 0, 10**15, number])
    return Envelope.now(alert, seq=seq, epoch=rng.choice(["", "another"])).to_json()


async def _refused(plant: Plant, before: float, wanted: int) -> int:
    """Return how many messages the server refused, as soon as it is what is wanted."""
    end, count = time.monotonic() + GUARD_S, 0
    while count < wanted and time.monotonic() < end:
        await asyncio.sleep(0.1)
        count = round(await asyncio.to_thread(plant.metric, "enms_messages_refused_total") - before)
    return count


FAULTS: dict[str, Fault] = {"I1": nonsense}
