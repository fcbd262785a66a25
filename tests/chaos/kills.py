"""Kill everything at random times while events flow, and count what the clients got.

Four producers record events, five WebSocket clients of different subscriptions follow and resume,
and meanwhile Valkey (half of the times with its log cut back, as at a power loss), the engine with
its relay, and the server are killed with SIGKILL, Valkey is emptied and frozen. Every acknowledged
event must reach every client that is entitled to it exactly once and in order.

Run it by `python -m tests.chaos --events 100000 --kills 20`.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from enms_core.store import events
from tests.chaos.client import CHANNELS, Client, account, until
from tests.chaos.plant import Plant
from tests.plants import ROOT, settings_of

PRODUCERS = 4
SETTLE_S = 120.0  # a guard: how long the last event may take to reach everybody


def faults(plant: Plant, kills: int, rng: random.Random) -> list[tuple[str, Callable[[], Any]]]:
    """Return what is done to the plant, in random order."""
    chosen: list[tuple[str, Callable[[], Any]]] = []
    for i in range(kills):
        chosen.append(
            [
                ("broker killed", lambda: plant.hurt("broker")),
                ("broker, power cut", lambda: plant.cut_power(rng)),
                ("engine killed", lambda: plant.hurt("engine")),
                ("server killed", lambda: plant.hurt("server")),
            ][i % 4]
        )
    chosen += [("Valkey emptied", plant.empty), ("Valkey frozen", plant.freeze)]
    rng.shuffle(chosen)
    return chosen


async def produce(plant: Plant, count: int, pause_s: float) -> list[str]:
    """Run the producers to their end; return the ids of all acknowledged events."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.producer", f"p{i}", str(count // PRODUCERS)),
            str(pause_s),
            env={**os.environ, **plant.settings.environment()},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            limit=1 << 22,
        )
        for i in range(PRODUCERS)
    ]
    told = await asyncio.gather(*(process.communicate() for process in processes))
    return [line for out, _ in told for line in out.decode().splitlines() if line]


async def disturb(
    plant: Plant, kills: int, clients: list[Client], rng: random.Random
) -> list[tuple[str, float]]:
    """Do the faults one after the other; return how long each took to be over for the clients."""
    took = []
    for name, fault in faults(plant, kills, rng):
        await asyncio.sleep(rng.uniform(0.5, 4.0))
        done = await asyncio.to_thread(fault)
        if isinstance(done, Awaitable):
            await done
        began = time.monotonic()
        await until(lambda b=began: all(c.at and c.at[-1] > b + 0.05 for c in clients), 60.0)
        took.append((name, time.monotonic() - began))
        print(f"  {name:20} events at all clients again after {took[-1][1]:5.2f} s", flush=True)
    return took


async def run(plant: Plant, count: int, kills: int, seed: int) -> bool:
    """Let it all happen; print what came of it and return whether nothing was lost or doubled."""
    rng, store = random.Random(seed), plant.connect().store
    ids = dict(zip(*(plant.connect().machines()[name] for name in ("name", "id")), strict=True))
    some = {name: ids[name] for name in sorted(ids)[:3]}
    clients = [Client(plant.url, stream) for stream in CHANNELS]
    clients.append(Client(plant.url, "dashboard", some))
    with store.read() as connection:
        first = events.last_seq(connection)
    following = [asyncio.create_task(client.run()) for client in clients]
    await until(lambda: all(client.connects for client in clients), 30)
    pause_s = max(0.001, kills * 7.0 * PRODUCERS / count)  # as long as the faults take
    before = plant.rss()
    making = asyncio.create_task(produce(plant, count, pause_s))
    took = await disturb(plant, kills, clients, rng)
    acknowledged = await making
    with store.read() as connection:
        rows = [json.loads(row[2]) for row in events.after(connection, first, 10_000_000)]
    last = rows[-1]["seq"]
    ends = [client.wanted(rows)[-1] for client in clients]
    await until(
        lambda: all(c.got and c.got[-1] == end for c, end in zip(clients, ends, strict=True)),
        SETTLE_S,
    )
    for task in following:
        task.cancel()
    stored = {e["event_id"] for e in rows}
    lost_rows = len(set(acknowledged) - stored)
    print(
        f"\n{len(acknowledged)} acknowledged events, {lost_rows} of them not stored; last is {last}"
    )
    print(
        f"{'client':24} {'expected':>9} {'lost':>5} {'doubled':>8} {'disordered':>11} "
        f"{'stall s':>8}"
    )
    good = lost_rows == 0 and len(acknowledged) >= count // PRODUCERS * PRODUCERS
    for client in clients:
        found = account(client, rows)
        name = f"{client.stream}{' (3 machines)' if client.machines else ''}"
        print(
            f"{name:24} {found.expected:9} {found.lost:5} {found.doubled:8} "
            f"{found.disordered:11} {client.longest_stall():8.2f}   {client.connects} connects, "
            f"{client.unrecovered} not recovered"
        )
        good = good and found.is_right and not client.unrecovered
    after = plant.rss()
    print("RSS MB", {part: f"{before.get(part, 0):.0f} -> {mb:.0f}" for part, mb in after.items()})
    worst = max((seconds for _, seconds in took), default=0.0)
    print(f"recovery: worst {worst:.2f} s; limits: lost 0, doubled 0, disordered 0")
    return good


def main(count: int, kills: int, seed: int) -> int:
    """Run it on a plant of its own; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="enms-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        home.mkdir()
        subprocess.run(
            [sys.executable, "-m", "enms_core", "setup"],
            env={**os.environ, **settings_of(home).environment()},
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        plant = Plant(home)
        try:
            plant.start()
            return 0 if asyncio.run(run(plant, count, kills, seed)) else 1
        finally:
            plant.stop()
