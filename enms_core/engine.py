"""The engine: tails new readings, judges them, tells what it found. Its own process.

What it finds and how far it is are committed together, so that a kill between any two steps loses
and doubles nothing. What its monitors learned is kept once a minute; after a restart they learn
the readings since then again, without telling anything twice.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from enms_core import jobs, telemetry
from enms_core.bus import GONE, Bell, Ear, Locate, Relay
from enms_core.detection.monitor import INTERVAL_US, Judged, Monitor
from enms_core.events import Envelope, MetricUpdated, SystemAlert, utc_now
from enms_core.findings import anomaly_id, detect, judge_again, refresh, tell
from enms_core.modes import Modes
from enms_core.plant import ENERGY_METRICS, REGISTER, REGISTER_POWER, Machine
from enms_core.store import (
    Connection,
    Store,
    Unavailable,
    anomalies,
    energy,
    events,
    meters,
    models,
    progress,
    scores,
)
from enms_core.store import modes as stored_modes
from enms_core.store import readings as stored
from enms_core.store.anomalies import Anomaly
from enms_core.store.machines import all_machines
from enms_core.store.times import iso
from enms_core.watch import Watch, expected_at, predict
from enms_core.watchdog import Watchdog

log = logging.getLogger(__name__)

LIVE_BATCH = 20_000
CARE_S = 2.0
OUTLOOK_AFTER_S, OUTLOOK_EVERY_S = 60.0, 3600.0  # when forecasts that are due are asked for
SNAPSHOT_S = 60.0
SNAPSHOT_READINGS = 200_000
WARM_UP_US = 28 * 86_400_000_000  # what a monitor learns from when a model is new
PULSE_S = 1.0
SWEEP_MINUTE = 5


@dataclass
class Pulse:
    """The newest values of machines, told at most once a second each."""

    newest: dict[str, MetricUpdated] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)

    def offer(self, update: MetricUpdated) -> None:
        """Take newer values; they join those that still wait."""
        waiting = self.newest.get(update.machine_id)
        values = {**(waiting.values if waiting else {}), **update.values}
        self.newest[update.machine_id] = replace(update, values=values)

    def due(self, now: float) -> list[MetricUpdated]:
        """Return the updates that may be told at this monotonic time, and forget them."""
        ready = [m for m in self.newest if now - self.told.get(m, -PULSE_S) >= PULSE_S]
        self.told.update(dict.fromkeys(ready, now))
        return [self.newest.pop(m) for m in ready]


class Engine:
    """Turns readings into anomalies, expected values and energy, from where it stopped."""

    def __init__(self, store: Store, bell: Bell) -> None:
        self.store, self.bell = store, bell
        self.pulse = Pulse()
        self.cursor = 0
        self._watches: dict[str, Watch] = {}
        self._series: dict[int, tuple[str, str]] = {}
        self._machines: dict[str, Machine] = {}
        self._models_at, self._modes_at = -1, 0
        self._newest: dict[int, int] = {}  # series -> time (us) of the newest value told
        self._snapshot_at, self._since_snapshot = time.monotonic(), 0
        self._sound = False  # whether the monitors are as far as what was committed
        self._load()

    # -- one step ------------------------------------------------------------------------------

    def step(self, limit: int = LIVE_BATCH) -> int:
        """Take the next batch of readings and return its size; all of it is done, or nothing."""
        if not self._sound:
            self._load()
        self._sound = False  # until all of it is done: the monitors learn before the commit
        with self.store.read() as connection:
            batch = stored.after(connection, self.cursor, limit)
            if len(batch):
                self._machines = {m.id: m for m in all_machines(connection)}
        if len(batch):
            for machine_id, watch in self._watches.items():
                watch.know(self._machines[machine_id])
            self._meet(batch)
            self._adopt_models()
            self._adopt_modes()
            with telemetry.DETECTION.time():
                self._take(batch)
        self._sound = True
        return len(batch)

    def _take(self, batch: pd.DataFrame) -> None:
        judged = {watch.machine.id: result for watch, result in self._judge(batch)}
        cursor = int(batch["id"].iloc[-1])
        self._since_snapshot += len(batch)
        with self.store.write() as connection:
            told = self._record(connection, batch, judged)
            progress.put(connection, "engine:cursor", str(cursor))
            if self._snapshot_due():
                self._snapshot(connection, cursor)
        self.cursor = cursor
        if told:
            self.bell.ring("events")
        self._offer(batch, judged)

    def _judge(self, batch: pd.DataFrame) -> Iterator[tuple[Watch, Judged]]:
        for watch, mine in self._energy_readings(batch):
            times, values = mine["time"].to_numpy(np.int64), mine["value"].to_numpy(float)
            expected = expected_at(self.store, watch, times)
            modes = self._modes(watch, int(times.min()), int(times.max()))
            yield watch, watch.monitor.take(times, values, expected, modes)

    def _energy_readings(self, batch: pd.DataFrame) -> Iterator[tuple[Watch, pd.DataFrame]]:
        """Yield every machine's readings of the metric that is judged, in order of arrival."""
        for number in batch["series_id"].unique().tolist():
            machine_id, metric = self._owner(number)
            watch = self._watches.get(machine_id)
            if watch is not None and watch.monitor.metric == metric:
                yield watch, batch[batch["series_id"] == number]

    def _registers(self, batch: pd.DataFrame) -> Iterator[tuple[Machine, pd.DataFrame]]:
        """Yield the registers of every machine whose energy is known by nothing else."""
        for number in batch["series_id"].unique().tolist():
            machine_id, metric = self._owner(number)
            watch = self._watches.get(machine_id)
            if metric == REGISTER and (watch is None or watch.monitor.metric == REGISTER_POWER):
                yield self._machine(machine_id), batch[batch["series_id"] == number]

    def _modes(self, watch: Watch, first: int, last: int) -> Modes:
        """Return the modes of a machine over a span, as far as they were told and taken up."""
        if not self._modes_at:
            return Modes.of()
        with self.store.read() as connection:
            return stored_modes.over(
                connection, watch.machine.id, first, last + INTERVAL_US, self._modes_at
            )

    def _owner(self, series_id: int) -> tuple[str, str]:
        if series_id not in self._series:
            with self.store.read() as connection:
                self._series = stored.all_series(connection)
        return self._series[series_id]

    def _record(
        self, connection: Connection, batch: pd.DataFrame, judged: dict[str, Judged]
    ) -> int:
        told = 0
        for machine, registers in self._registers(batch):
            meters.recompute(connection, machine, registers["time"].to_numpy(np.int64))
        for watch, mine in self._energy_readings(batch):
            result, metric = judged[watch.machine.id], watch.monitor.metric
            if metric != REGISTER_POWER:
                times = mine["time"].to_numpy(np.int64)
                energy.recompute(connection, watch.machine.id, metric, times)
            scores.put(connection, watch.machine.id, metric, result.band)
            told += sum(tell(connection, watch, step) is not None for step in result.steps)
            told += refresh(connection, watch)
            if result.late is not None:
                _note_late(connection, watch.machine.id, result.late)
        return told

    # -- what it knows --------------------------------------------------------------------------

    def _load(self) -> None:
        """Take up from the last snapshot; learn silently what was judged since.

        A snapshot is kept with the first batch that a new monitor, a new model or new modes judged,
        so that what is learned again is learned by the same.
        """
        self._watches, self._models_at = {}, -1
        with self.store.read() as connection:
            snapshot = json.loads(progress.get(connection, "engine:snapshot", "{}"))
            cursor = int(progress.get(connection, "engine:cursor", "0"))
            self._machines = {m.id: m for m in all_machines(connection)}
            known = {version.id: version for version in models.versions(connection)}
        self._modes_at = int(snapshot.get("modes", 0))
        for machine_id, state in snapshot.get("monitors", {}).items():
            if machine_id in self._machines:
                watch = Watch(self._machines[machine_id], Monitor.from_json(state))
                self._watches[machine_id] = watch
                if watch.monitor.model_id in known:
                    watch.follow(known[watch.monitor.model_id])
        self.cursor = int(snapshot.get("cursor", 0))
        while self.cursor < cursor:
            with self.store.read() as connection:
                batch = stored.after(connection, self.cursor, SNAPSHOT_READINGS)
            batch = batch[batch["id"] <= cursor]
            list(self._judge(batch))
            self.cursor = int(batch["id"].iloc[-1]) if len(batch) else cursor
        self._sound = True

    def _meet(self, batch: pd.DataFrame) -> None:
        """Watch the machines whose energy is measured for the first time, or by a better metric."""
        owners = {self._owner(number)[0] for number in batch["series_id"].unique().tolist()}
        for machine_id in sorted(owners):
            metrics = {metric for owner, metric in self._series.values() if owner == machine_id}
            metric = next((m for m in ENERGY_METRICS if m in metrics), None)
            watch = self._watches.get(machine_id)
            if metric is not None and (watch is None or watch.monitor.metric != metric):
                if watch is not None:
                    self._end(watch, "Its energy is measured otherwise now.")
                machine = self._machine(machine_id)
                monitor = Monitor(metric, machine.factory.timezone)
                self._watches[machine_id] = Watch(machine, monitor)
                self._models_at = -1
                self._since_snapshot = SNAPSHOT_READINGS  # due with this batch

    def _end(self, watch: Watch, because: str) -> None:
        """Close the open anomaly of a machine, if there is one."""
        closed = watch.monitor.tracker.interrupt(because)
        if closed is not None:
            with self.store.write() as connection:
                tell(connection, watch, closed)

    def _machine(self, machine_id: str) -> Machine:
        if machine_id not in self._machines:
            with self.store.read() as connection:
                self._machines = {m.id: m for m in all_machines(connection)}
        return self._machines[machine_id]

    def _adopt_models(self) -> None:
        """Use the active models; a monitor that gets another one learns its residuals first."""
        with self.store.read() as connection:
            newest = models.newest_change(connection)
            if newest == self._models_at:
                return
            active = models.active(connection)
        for machine_id, watch in self._watches.items():
            version = active.get(machine_id)
            if version and (watch.model is None or watch.model.id != version.id):
                watch.follow(version)
                self._warm_up(watch)
                self._since_snapshot = SNAPSHOT_READINGS  # due with the next batch
        self._models_at = newest

    def _adopt_modes(self) -> None:
        """Go by what was told of modes since; an episode that it ended is followed no more."""
        with self.store.read() as connection:
            newest = stored_modes.newest(connection)
            if newest == self._modes_at:
                return
            for watch in self._watches.values():
                episode = watch.monitor.episode
                if episode and anomalies.is_over(connection, anomaly_id(watch, episode)):
                    watch.monitor.tracker.interrupt("")
        self._modes_at = newest
        self._since_snapshot = SNAPSHOT_READINGS  # due with this batch

    def _warm_up(self, watch: Watch) -> None:
        watch.monitor.adopt(watch.model.id if watch.model else "")
        end = watch.monitor.last + 1
        with self.store.read() as connection:
            wide = stored.frame(connection, watch.machine.id, end - WARM_UP_US, end)
        values = wide.get(watch.monitor.metric, pd.Series(dtype=float)).dropna()
        if len(values):
            expected = predict(watch, wide).reindex(values.index)
            modes = self._modes(watch, end - WARM_UP_US, end)
            times = pd.DatetimeIndex(values.index).as_unit("us").asi8
            watch.monitor.learn(values, expected, watch.monitor.judged_as(times, modes))
            log.info("%s follows model version %s", watch.machine.name, watch.monitor.model_id)

    def _snapshot_due(self) -> bool:
        return (
            time.monotonic() - self._snapshot_at >= SNAPSHOT_S
            or self._since_snapshot >= SNAPSHOT_READINGS
        )

    def _snapshot(self, connection: Connection, cursor: int) -> None:
        state = {
            "cursor": cursor,
            "modes": self._modes_at,
            "monitors": {m: watch.monitor.to_json() for m, watch in self._watches.items()},
        }
        progress.put(connection, "engine:snapshot", json.dumps(state))
        self._snapshot_at, self._since_snapshot = time.monotonic(), 0

    def save(self) -> None:
        """Keep what was learned so far."""
        if self._sound:
            with self.store.write() as connection:
                self._snapshot(connection, self.cursor)

    # -- the newest values ----------------------------------------------------------------------

    def _offer(self, batch: pd.DataFrame, judged: dict[str, Judged]) -> None:
        newest = batch.sort_values("time", kind="stable").drop_duplicates("series_id", keep="last")
        values: dict[str, dict[str, float]] = {}
        times: dict[str, int] = {}
        columns = (newest[name].tolist() for name in ("series_id", "time", "value"))
        for number, at, value in zip(*columns, strict=True):
            if at <= self._newest.get(number, -1):
                continue
            self._newest[number] = at
            machine_id, metric = self._owner(number)
            values.setdefault(machine_id, {})[metric] = value
            times[machine_id] = at  # they come oldest first
        for machine_id, known in values.items():
            machine = self._machine(machine_id)
            if machine_id in judged:
                metric = self._watches[machine_id].monitor.metric
                known |= _band_values(metric, judged[machine_id].band)
            self.pulse.offer(
                MetricUpdated(
                    machine_id=machine_id,
                    machine=machine.name,
                    values=known,
                    time=iso(times[machine_id]),
                )
            )

    def tell_newest(self) -> None:
        """Publish the newest values that are due."""
        due = self.pulse.due(time.monotonic())
        epoch = self.store.epoch if due else ""  # it changes where the store was restored
        for update in due:
            self.bell.publish(Envelope.now(update, seq=None, epoch=epoch))

    # -- sweeps ---------------------------------------------------------------------------------

    def sweep(self) -> list[Anomaly]:
        """Judge again what came too late to be judged in order; return what is new.

        Where a past got other modes, what was learned of it is learned again by them, too.
        """
        with self.store.read() as connection:
            late = progress.starting_with(connection, "late:")
            again = progress.starting_with(connection, "again:")
        found: list[Anomaly] = []
        for name, start in again.items():
            if start and self._sound:
                found += self._judge_again(name, int(start))
        for name, start in late.items():
            if not start:
                continue
            machine_id = name.removeprefix("late:")
            end = self._watches[machine_id].monitor.last + 1
            found += detect(self.store, machine_id, int(start), end)
            with self.store.write() as connection:
                progress.put(connection, name, "")
        if found:
            self.bell.ring("events")
        return found

    def _judge_again(self, name: str, start: int) -> list[Anomaly]:
        found: list[Anomaly] = []
        machine_id = name.removeprefix("again:")
        watch = self._watches.get(machine_id)
        with self.store.read() as connection:
            known = stored_modes.newest(connection)
        if watch is not None and start <= watch.monitor.last:
            found, judge = judge_again(self.store, machine_id, start, watch.monitor.last + 1)
            if judge is not None and judge.is_like(watch.monitor):
                watch.monitor.detector, watch.monitor.idle = judge.detector, judge.idle
        with self.store.write() as connection:
            self._snapshot(connection, self.cursor)
            if stored_modes.newest(connection) == known:  # nothing was told meanwhile
                progress.put(connection, name, "")
        return found

    def answer_requests(self) -> None:
        """Run the detections that people asked for, and say what they found."""
        with self.store.read() as connection:
            asked = progress.starting_with(connection, "detect:")
        for name, text in asked.items():
            if text:
                self._answer(name, json.loads(text))

    def _answer(self, name: str, request: dict[str, str | int]) -> None:
        found: list[Anomaly] = []
        what, failed = "all machines", ""
        try:
            found, what = self._detect(request)
        except Unavailable:
            raise  # it is answered when the store is back
        except Exception as error:  # whatever one request meets, the next is answered
            telemetry.ERRORS.labels("detection").inc()
            log.exception("detection failed: %s", request)
            failed = str(error) or type(error).__name__
        alert = SystemAlert(
            alert_type="detection_failed" if failed else "detection_completed",
            severity="warning" if failed else "info",
            message=f"Detection over {what}: {failed or _counted(len(found))}.",
            details={"request": name, "new": len(found), "by": request["by"], "at": utc_now()},
        )
        with self.store.write() as connection:
            events.record(connection, alert)
            progress.put(connection, name, "")
        self.bell.ring("events")

    def _detect(self, request: dict[str, str | int]) -> tuple[list[Anomaly], str]:
        """Return what is new in the span that somebody asked for, and where it was looked for."""
        wanted = str(request["machine_id"])
        found = [
            anomaly
            for machine_id in list(self._watches)
            if wanted in ("", machine_id)
            for anomaly in detect(
                self.store, machine_id, int(request["start"]), int(request["end"])
            )
        ]
        return found, self._machine(wanted).name if wanted else "all machines"


def _counted(new: int) -> str:
    return {0: "nothing new", 1: "1 new anomaly"}.get(new, f"{new} new anomalies")


def _note_late(connection: Connection, machine_id: str, at: int) -> None:
    name = f"late:{machine_id}"
    known = progress.get(connection, name)
    progress.put(connection, name, str(min(at, int(known)) if known else at))


def _band_values(metric: str, band: pd.DataFrame) -> dict[str, float]:
    known = band.dropna()
    if known.empty:
        return {}
    newest = known.iloc[-1]
    return {f"{name}_{metric}": float(newest[name]) for name in ("expected", "lower", "upper")}


def catch_up(store: Store, bell: Bell) -> Iterator[float]:
    """Judge all readings that wait, before anybody watches; yield the share done."""
    engine = Engine(store, bell)
    with store.read() as connection:
        last = stored.last_id(connection)
    while engine.step(SNAPSHOT_READINGS):
        yield min(1.0, engine.cursor / last)  # what is derived arrives meanwhile
    engine.save()


def run(store: Store, locate: Locate, stop: threading.Event) -> None:
    """Run engine, relay and the care for jobs until told to stop."""
    bell = Bell(locate)
    engine = Engine(store, bell)
    relay = Relay(store, locate)
    watchdog = Watchdog(store, bell, relay)
    threads = [
        threading.Thread(target=relay.run, args=(stop,), name="relay"),
        threading.Thread(target=watchdog.run, args=(stop,), name="watchdog"),
        threading.Thread(target=_answer, args=(engine, locate, stop), name="answer"),
        threading.Thread(target=_care, args=(store, locate, stop), name="care"),
    ]
    for thread in threads:
        thread.start()
    try:
        _tail(engine, Ear(locate, "readings"), stop)
        engine.save()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _tail(engine: Engine, ear: Ear, stop: threading.Event) -> None:
    next_sweep = _next_sweep(datetime.now(UTC))
    while not stop.is_set():
        try:
            while engine.step():
                engine.tell_newest()
            engine.tell_newest()
            if datetime.now(UTC) >= next_sweep:
                next_sweep = _next_sweep(datetime.now(UTC))
                engine.sweep()
        except Unavailable as error:
            log.warning("the store does not answer, the engine waits: %s", error)
        ear.wait()


def _next_sweep(now: datetime) -> datetime:
    """Return the next time at five past the hour."""
    this = now.replace(minute=SWEEP_MINUTE, second=0, microsecond=0)
    return this if this > now else this + timedelta(hours=1)


def _answer(engine: Engine, locate: Locate, stop: threading.Event) -> None:
    """Answer requests beside the tailing: judging a past again takes seconds per machine."""
    ear = Ear(locate, "readings")
    while not stop.is_set():
        try:
            engine.answer_requests()
        except Unavailable as error:
            log.warning("the store does not answer, requests wait: %s", error)
        ear.wait()


def _care(store: Store, locate: Locate, stop: threading.Event) -> None:
    care, ask_at = jobs.Care(store, Bell(locate), locate), time.monotonic() + OUTLOOK_AFTER_S
    while not stop.wait(CARE_S):
        try:
            care.look()
            if time.monotonic() >= ask_at:
                jobs.ask_for_forecasts(locate)
                ask_at = time.monotonic() + OUTLOOK_EVERY_S
        except (*GONE, Unavailable) as error:
            log.info("care for jobs waits: %s", error)
