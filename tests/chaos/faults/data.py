"""Readings as bad gateways send them: from the future, without a zone, twice, in any order."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from tests.chaos.lab import GUARD_S, MACHINES, Fault, Figure, Lab, stored_readings

PER_REQUEST = 100
START = datetime(2026, 3, 28, tzinfo=UTC)  # the night after it Berlin changes to summer time
ZONES = (UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"))
REASONS = {"future": "in the future", "naive": "no zone", "nobody": "unknown"}

Key = tuple[str, datetime]


async def bad_readings(lab: Lab, n: int = 10_000) -> list[Figure]:
    """n readings: from the future, naive, twice, late, out of order, of nobody; each is told."""
    sent, told, reasons = Counter[str](), Counter[str](), Counter[str]()
    keys: list[Key] = []  # of the valid ones
    rows = [_row(lab.rng, keys, sent) for _ in range(n)]
    lab.rng.shuffle(rows)
    address = f"{lab.plant.url}/api/v1"
    async with httpx.AsyncClient(base_url=address, timeout=GUARD_S) as rest:
        before = await stored_readings(rest)
        for first in range(0, n, PER_REQUEST):
            body = await _sent(rest, rows[first : first + PER_REQUEST])
            told["accepted"] += body["accepted"]
            told["duplicate"] += body["duplicates"]
            told["quarantined"] += len(body["quarantined"])
            reasons.update(row["reason"] for row in body["quarantined"])
        stored = await stored_readings(rest) - before
    refused = {
        kind: sum(count for reason, count in reasons.items() if words in reason)
        for kind, words in REASONS.items()
    }
    return [
        Figure("sent", n),
        Figure("not told of", n - told.total(), 0),
        Figure("stored other than accepted", abs(stored - told["accepted"]), 0),
        Figure("accepted other than valid and new", abs(len(set(keys)) - told["accepted"]), 0),
        *(
            Figure(f"{kind}: refused for another reason", abs(refused[kind] - sent[kind]), 0)
            for kind in REASONS
        ),
    ]


async def _sent(rest: httpx.AsyncClient, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Send readings until they are answered; a busy store says so and has taken none of them."""
    while (answer := await rest.post("/readings", json=rows)).status_code == 503:  # noqa: ASYNC110
        await asyncio.sleep(float(answer.headers["Retry-After"]))
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()
    return told


def _row(rng: random.Random, keys: list[Key], sent: Counter[str]) -> dict[str, Any]:
    """Return a reading; note its kind, and its key if it is a valid one."""
    kind = rng.choice(["valid", "valid", "valid", "again", "future", "naive", "nobody"])
    machine, at = rng.choice(MACHINES), START + timedelta(seconds=rng.randrange(200_000))
    if kind == "again" and keys:
        machine, at = rng.choice(keys)
    sent[kind] += 1
    text = at.isoformat()
    if kind in ("valid", "again"):
        keys.append((machine, at))
        text = at.astimezone(rng.choice(ZONES)).isoformat()
    elif kind == "future":
        text = (datetime.now(UTC) + timedelta(minutes=rng.uniform(15, 10_000))).isoformat()
    elif kind == "naive":
        text = at.replace(tzinfo=None).isoformat()
    else:
        machine = "Nobody"
    return {"machine": machine, "metric": "power_kw", "time": text, "value": rng.uniform(0, 90)}


FAULTS: dict[str, Fault] = {"C2": bad_readings}
