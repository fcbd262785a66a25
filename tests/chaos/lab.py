"""What every fault stands on: a plant of its own, events that flow in it, figures beside limits."""

import asyncio
import contextlib
import inspect
import itertools
import json
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from enms_core.bus import Bell, locator
from enms_core.events import Event
from enms_core.plant import Factory, Machine
from enms_core.store import Store, Unavailable, events, machines
from tests.chaos.client import CHANNELS, Client, account, ended, until
from tests.chaos.plant import Plant
from tests.chaos.producer import event

GUARD_S = 60.0  # against hanging; no promise
MACHINES = ("Pump", "Press", "Compressor")


@dataclass(frozen=True)
class Figure:
    """What was measured, beside the most or the least that it may be.

    >>> Figure("lost", 0, most=0).holds, Figure("recovery", 1.2, most=1.0, unit="s").holds
    (True, False)
    """

    name: str
    value: float
    most: float | None = None
    least: float | None = None
    unit: str = ""  # one of time or memory depends on how busy the machine is

    @property
    def holds(self) -> bool:
        """Whether it is within its limit."""
        is_low = self.most is None or self.value <= self.most
        return is_low and (self.least is None or self.value >= self.least)

    def __str__(self) -> str:
        limit = "at most" if self.most is not None else "at least"
        bound = self.most if self.most is not None else self.least
        beside = "-" if bound is None else f"{limit} {bound:g} {self.unit}"
        said = "" if bound is None else ("pass" if self.holds else "FAIL")
        return f"{self.name:44} {self.value:12.4g} {self.unit:4} {beside:20} {said}".rstrip()


Fault = Callable[..., Awaitable[list[Figure]]]  # of a lab and, with its own default, of `n`


@dataclass
class Lab:
    """A folder, a random number generator, and a plant that is started when it is asked for."""

    folder: Path
    seed: int = 1
    rng: random.Random = field(init=False)
    _plant: Plant | None = None

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    @property
    def plant(self) -> Plant:
        """A running plant with three machines and no source."""
        if self._plant is None:
            self._plant = self.new_plant("home").start()
        return self._plant

    def new_plant(self, name: str, redis_url: str | None = None) -> Plant:
        """Make a plant that does not run yet, in a home of its own."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        made = Plant(home, "none", redis_url)
        store, site = Store(made.settings.database_url).migrate(), Factory("Works", "Europe/Berlin")
        with store.write() as connection:
            for machine in MACHINES:
                machines.add(connection, Machine(machine, "pump", rated_kw=75.0, factory=site))
        store.dispose()
        return made

    def close(self) -> None:
        """Stop the plant."""
        if self._plant is not None:
            self._plant.stop()


class Traffic:
    """Events that are recorded at a steady pace, and clients that follow them.

    At its end every client has got the last event, or is given up.
    """

    def __init__(
        self, plant: Plant, per_second: float = 50.0, streams: Sequence[str] = tuple(CHANNELS)
    ) -> None:
        self._store, self._bell = Store(plant.settings.database_url), Bell(locator(plant.settings))
        self._pause_s = 1.0 / per_second
        self.clients = [Client(plant.url, stream) for stream in streams]
        self.newest = 0  # the number of the event that was recorded last
        self._name = f"traffic-{time.time_ns()}"
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False
        self._told: list[dict[str, Any]] = []
        with self._store.read() as connection:
            self._first = events.last_seq(connection)
            self._machine_ids = [machine.id for machine in machines.all_machines(connection)]

    async def __aenter__(self) -> "Traffic":
        self._tasks = [asyncio.create_task(client.run()) for client in self.clients]
        assert await until(lambda: all(c.connects for c in self.clients), GUARD_S), "no client"
        self._making = asyncio.create_task(self._make())
        return self

    def stop(self) -> None:
        """Record nothing any more."""
        self._is_over = True

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        await self._making
        self._told = self.envelopes()
        await self.all_got(self._told[-1]["seq"])
        await ended(self._tasks)
        self._store.dispose()

    async def _make(self) -> None:
        for number in itertools.count():
            if self._is_over:
                return
            made = event(self._name, number, self._machine_ids[number % len(self._machine_ids)])
            await asyncio.to_thread(self.tell, made)
            await asyncio.sleep(self._pause_s)

    def tell(self, *told: Event) -> None:
        """Record events, whatever it takes."""
        while True:
            try:
                with self._store.write() as connection:
                    envelopes = [events.record(connection, each) for each in told]
            except Unavailable:
                time.sleep(0.05)
            else:
                break
        self.newest = max(envelope.seq for envelope in envelopes if envelope and envelope.seq)
        self._bell.ring("events")

    async def all_got(self, seq: int) -> bool:
        """Wait until every client has the newest of its events up to that number."""
        envelopes = [e for e in self.envelopes() if e["seq"] <= seq]
        ends = [(c, wanted[-1][0]) for c in self.clients if (wanted := c.wanted(envelopes))]
        return await until(lambda: all((c.since or 0) >= end for c, end in ends), GUARD_S)

    async def recovery(self) -> float:
        """Return the seconds until every client has got what is recorded from now on."""
        began, goal = time.monotonic(), self.newest + 3  # each kind of event once
        await until(lambda: self.newest >= goal, GUARD_S)
        await self.all_got(goal)
        return time.monotonic() - began

    def envelopes(self) -> list[dict[str, Any]]:
        """Return what is in the store since this began."""
        with self._store.read() as connection:
            return [json.loads(row[2]) for row in events.after(connection, self._first, 10_000_000)]

    def figures(self) -> list[Figure]:
        """Return what the clients got wrong, all of them together."""
        last = self._told[-1]["seq"]
        for client in self.clients:
            client.got = [event for event in client.got if event[0] <= last]
        accounts = [account(client, self._told) for client in self.clients]
        for client in self.clients:
            for missing in sorted(set(client.wanted(self._told)) - set(client.got)):
                print(f"{client.stream} lost {missing}; it has closed with {client.closes}")
        return [
            Figure("events that clients should get", sum(a.expected for a in accounts), least=1),
            Figure("lost", sum(a.lost for a in accounts), most=0),
            Figure("doubled", sum(a.doubled for a in accounts), most=0),
            Figure("out of order", sum(a.disordered for a in accounts), most=0),
        ]


async def seconds_until(check: Callable[[], bool]) -> float:
    """Ask in a thread until something is true; return how long that took."""
    began = time.monotonic()
    while not await asyncio.to_thread(check):
        assert time.monotonic() < began + GUARD_S, "it does not become true"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def until_state(plant: Plant, state: str) -> float:
    """Return the seconds until the server says that of its Redis."""
    return await seconds_until(lambda: plant.detail()["redis"] == state)


async def stored_readings(rest: httpx.AsyncClient) -> int:
    """Return how many readings the store holds, by its lists."""
    found, cursor = 0, None
    while True:
        query = {"limit": 10_000, **({"cursor": cursor} if cursor else {})}
        page = (await rest.get("/readings", params=query)).json()
        found, cursor = found + len(page["items"]), page["next"]
        if cursor is None:
            return found


def worst(name: str, seconds: Iterable[float], most: float) -> Figure:
    """Return the longest of some times beside its limit."""
    return Figure(name, max(seconds), most=most, unit="s")


def p99(name: str, seconds: Sequence[float], most: float | None) -> Figure:
    """Return the 99th percentile of some times in milliseconds beside its limit."""
    return Figure(name, 1e3 * float(np.percentile(seconds, 99)), most=most, unit="ms")


def run(name: str, fault: Fault, n: int | None, seed: int) -> int:
    """Do a fault on a plant of its own and print its figures; return the exit code."""
    n = inspect.signature(fault).parameters["n"].default if n is None else n
    print(f"{name}: {inspect.getdoc(fault)}")
    print(f"python -m tests.chaos {name} --n {n} --seed {seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="enms-", ignore_cleanup_errors=True) as folder,
        contextlib.closing(Lab(Path(folder), seed)) as lab,
    ):
        figures = asyncio.run(fault(lab, n))
    print(*figures, sep="\n")
    good = all(figure.holds for figure in figures)
    print(f"{'pass' if good else 'FAIL'}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0 if good else 1
