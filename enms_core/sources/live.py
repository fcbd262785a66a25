"""The simulated plant as a source: fills an empty store with its past, then goes on live."""

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from enms_core.bus import Bell
from enms_core.ingest import ingest
from enms_core.sources.faults import Fault
from enms_core.sources.simulator import MACHINES, Simulator, history_faults, maintenance
from enms_core.store import Store, Unavailable, machines, modes, progress, readings
from enms_core.store.times import from_us, to_us

log = logging.getLogger(__name__)

SEED = 7
HISTORY = timedelta(days=30)
PAST_INTERVAL = timedelta(minutes=1)
LIVE_INTERVAL = timedelta(seconds=5)
CATCH_UP_LIVE = timedelta(hours=1)  # a pause up to here is filled as if there had been none
SIMULATED = {machine.name for machine in MACHINES}
SERVICE = "Yearly service."
_FAULTS = "simulator:faults"
_FILLED = "simulator:filled"  # when its past ends while it is being filled, then "yes"


def faults(store: Store) -> list[Fault]:
    """Return the labels of all faults that were ever put into the simulated plant."""
    with store.read() as connection:
        return [Fault.from_dict(raw) for raw in json.loads(progress.get(connection, _FAULTS, "[]"))]


def inject(store: Store, *new: Fault) -> None:
    """Put faults into the simulated plant; raise ValueError for a machine that it has not."""
    Simulator(SEED, new)  # which says so: kept, the fault would stop the source at every start
    with store.write() as connection:
        known = json.loads(progress.get(connection, _FAULTS, "[]"))
        text = json.dumps([*known, *(fault.to_dict() for fault in new)])
        progress.put(connection, _FAULTS, text)


def is_filled(store: Store) -> bool:
    """Return whether `finish` was called."""
    with store.read() as connection:
        return progress.get(connection, _FILLED) == "yes"


def fill(store: Store, bell: Bell, end: datetime) -> Iterator[float]:
    """Give a store the simulated plant and its past before `end`; yield the share done.

    Begun but not finished, it goes on with the end it was first given.
    """
    end = _begin(store, end.replace(second=0, microsecond=0))
    simulator = Simulator(SEED, faults(store))
    for day in range(HISTORY.days):
        first = end - HISTORY + timedelta(days=day)
        ingest(store, bell, simulator.readings(first, first + timedelta(days=1), PAST_INTERVAL))
        yield (day + 1) / HISTORY.days


def finish(store: Store) -> None:
    """Note that the past is there, learned from and judged: it will not be filled again."""
    with store.write() as connection:
        progress.put(connection, _FILLED, "yes")


def _begin(store: Store, end: datetime) -> datetime:
    with store.write() as connection:
        begun = progress.get(connection, _FILLED)
        if begun:
            return datetime.fromisoformat(begun)
        for machine in MACHINES:
            machines.add(connection, machine)
        serviced = maintenance(end)
        known = machines.find(connection, serviced.machine)
        for at, mode in ((serviced.start, "maintenance"), (serviced.end, "running")):
            modes.add(connection, known.id, to_us(at), mode, "simulator", to_us(at), SERVICE)
        labels = [fault.to_dict() for fault in (*history_faults(end), serviced)]
        progress.put(connection, _FAULTS, json.dumps(labels))
        progress.put(connection, _FILLED, end.isoformat())
    return end


def run(store: Store, bell: Bell, stop: threading.Event) -> None:
    """Send every machine's readings each five seconds, one machine after the other."""
    step = LIVE_INTERVAL / len(MACHINES)
    _catch_up(store, bell)
    due = datetime.now(UTC).replace(microsecond=0)
    turn = 0
    while not stop.is_set():
        machine = MACHINES[turn % len(MACHINES)]
        if datetime.now(UTC) - due > LIVE_INTERVAL * 2:  # the machine slept
            _catch_up(store, bell)
            due = datetime.now(UTC).replace(microsecond=0)
        _send(store, bell, machine.name, due, stop)
        turn, due = turn + 1, due + step
        stop.wait(max(0.0, (due - datetime.now(UTC)).total_seconds()))


def _send(store: Store, bell: Bell, machine: str, at: datetime, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            simulator = Simulator(SEED, faults(store))
            rows = simulator.readings(at, at + LIVE_INTERVAL, LIVE_INTERVAL, machines=[machine])
            ingest(store, bell, rows)
        except Unavailable as error:
            log.warning("the store does not answer, readings wait: %s", error)
            stop.wait(0.5)
        else:
            return


def _catch_up(store: Store, bell: Bell) -> None:
    """Send what the machines measured while nobody asked: as live, or by minutes if it is long."""
    end = datetime.now(UTC).replace(microsecond=0)
    simulator = Simulator(SEED, faults(store))
    for name, start in _reached(store).items():
        minutes = (end - start) // PAST_INTERVAL if end - start > CATCH_UP_LIVE else 0
        whole = start + minutes * PAST_INTERVAL
        for first, last, step in ((start, whole, PAST_INTERVAL), (whole, end, LIVE_INTERVAL)):
            if first < last:
                ingest(store, bell, simulator.readings(first, last, step, machines=[name]))


def _reached(store: Store) -> dict[str, datetime]:
    """Return up to when each machine was measured: a count stands for the time that follows it."""
    reached = {}
    with store.read() as connection:
        newest = {m: at for m, metric, at, _ in readings.latest(connection) if metric == "power_kw"}
        for machine in machines.all_machines(connection):
            if machine.name in SIMULATED and machine.id in newest:
                at = newest[machine.id]
                near = to_us(from_us(at) - PAST_INTERVAL)
                times = readings.frame(connection, machine.id, near, at + 1, ["power_kw"]).index
                covered = LIVE_INTERVAL if len(times) > 2 else PAST_INTERVAL
                reached[machine.name] = from_us(at) + covered
    return reached
