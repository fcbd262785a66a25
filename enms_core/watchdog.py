"""What the system notices about itself, told by alerts that open once and say when they are over.

Every round looks at the plant, says what is wrong now, and brings the open alerts to that: so a
restart tells nothing twice, and what has passed meanwhile is closed. Spans are measured by the
monotonic clock: a clock that jumps makes no storm.
"""

import json
import logging
import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import pandas as pd

from enms_core.bus import Bell, Relay
from enms_core.plant import Machine
from enms_core.store import (
    Connection,
    Store,
    Unavailable,
    alerts,
    anomalies,
    forecasts,
    is_full,
    jobs,
    models,
    progress,
    readings,
    scores,
)
from enms_core.store.alerts import Condition
from enms_core.store.machines import all_machines
from enms_core.store.models import ModelVersion
from enms_core.store.times import now_us

log = logging.getLogger(__name__)

EVERY_S = 2.0
REDIS_S = 1.0  # a Redis that is away for less was only slow
SILENT_INTERVALS, SILENT_AT_LEAST_S = 3, 15.0
LIVE_WITHIN_S = 60.0  # how old a machine's readings are at most when they come
MANY = 3  # machines that fall silent together are one alert where they are more
WINDOW_S, REFUSED_SHARE, REFUSED_AT_LEAST = 300.0, 0.01, 10
QUEUE_S = 60.0
CLOCK_S, CLOCK_OVER_S = 60.0, 600.0
DAY_US = 86_400_000_000
DRIFT_EVERY_S, DRIFT_DAYS, DRIFT_LEAST_QUARTERS, DRIFT_RATIO = 3600.0, 7, 3 * 96, 2.0
DRIFT = ("model_drift", "forecast_band")
BAND_DAYS, BAND_LEAST_DAYS, BAND_HOLDS = 28, 14, (0.88, 0.99)  # of a band that promises 95 %
STORE, OTHERS = (
    ("store_locked", "store_full"),
    (
        "redis_lost",
        "machine_silent",
        "plant_silent",
        "quarantine_rate",
        "queue_stuck",
        "clock_wrong",
    ),
)


@dataclass
class Arrivals:
    """When readings of a machine last came, on the monotonic clock, and how often they do."""

    newest_us: int
    at: float
    gaps_s: deque[float] = field(default_factory=lambda: deque(maxlen=5))
    is_live: bool = False

    def note(self, newest_us: int, now: float, wall_us: int) -> None:
        """Note the newest reading's time; one that is newer than the last has arrived."""
        if newest_us <= self.newest_us:
            return
        self.gaps_s.append((newest_us - self.newest_us) / 1e6)
        self.newest_us, self.at = newest_us, now
        late_s = abs(wall_us - newest_us) / 1e6
        self.is_live = late_s <= max(LIVE_WITHIN_S, SILENT_INTERVALS * self.interval_s)

    @property
    def interval_s(self) -> float:
        """The median spacing of the last readings."""
        return statistics.median(self.gaps_s) if self.gaps_s else 0.0

    def is_silent(self, now: float) -> bool:
        """Whether one that was live has been silent for three of its intervals."""
        longest = max(SILENT_AT_LEAST_S, SILENT_INTERVALS * self.interval_s)
        return self.is_live and now - self.at >= longest


def silence(
    silent: Iterable[Machine], alone: set[str], together: dict[str, list[str]]
) -> list[Condition]:
    """Return what is to be told of the machines that are silent now.

    `alone` are the names that were told by themselves, `together` those that were told as a group
    of their factory; what is told goes on as it was.
    """
    names = {machine.name: machine.factory.name for machine in silent}
    groups = {site: members for site, members in together.items() if names.keys() & set(members)}
    grouped = {name for members in groups.values() for name in members}
    fresh: dict[str, list[str]] = defaultdict(list)
    for name, site in sorted(names.items()):
        if name not in alone | grouped:
            fresh[site].append(name)
    found = [_one_silent(name) for name in sorted(names.keys() & (alone - grouped))]
    found += [_many_silent(site, members) for site, members in groups.items()]
    for site, members in fresh.items():
        if len(members) > MANY and site not in groups:
            found.append(_many_silent(site, members))
        else:
            found += [_one_silent(name) for name in members]
    return found


def _one_silent(name: str) -> Condition:
    return Condition(
        alert_type="machine_silent",
        subject=name,
        severity="warning",
        message=f"{name} sends no readings any more.",
        over=f"{name} sends readings again.",
        details={"machine": name},
    )


def _many_silent(site: str, members: list[str]) -> Condition:
    return Condition(
        alert_type="plant_silent",
        subject=site,
        severity="critical",
        message=f"{len(members)} machines of {site} send no readings any more.",
        over=f"All machines of {site} send readings again.",
        details={"machines": members},
    )


def redis_lost(lost_since: float | None, now: float) -> list[Condition]:
    """Return whether Redis is away.

    >>> redis_lost(None, 9.0), len(redis_lost(5.0, 9.0))
    ([], 1)
    """
    if lost_since is None or now - lost_since < REDIS_S:
        return []
    return [
        Condition(
            alert_type="redis_lost",
            subject="broker",
            severity="warning",
            message="Redis does not answer; events wait in the store and pages read from it.",
            over="Redis answers again; what waited was told.",
        )
    ]


@dataclass
class Clock:
    """Notices when the wall clock moves against the monotonic one."""

    offset: float | None = None
    jumped: tuple[float, float] | None = None  # when (monotonic), by how much

    def check(self, now: float, wall: float) -> list[Condition]:
        """Return whether the clock jumped within the last ten minutes."""
        offset = wall - now
        if self.offset is not None and abs(offset - self.offset) > CLOCK_S:
            self.jumped = (now, offset - self.offset)
        self.offset = offset
        if self.jumped is None or now - self.jumped[0] > CLOCK_OVER_S:
            return []
        seconds = self.jumped[1]
        way = "forward" if seconds > 0 else "back"
        by = timedelta(seconds=abs(round(seconds)))
        return [
            Condition(
                alert_type="clock_wrong",
                subject="clock",
                severity="warning",
                message=f"The clock of this computer jumped {way} by {by}; times of readings "
                "may be wrong.",
                over="The clock has been steady for ten minutes.",
                details={"seconds": round(seconds)},
            )
        ]


def model_drift(
    connection: Connection, machine: Machine, version: ModelVersion, until_us: int
) -> list[Condition]:
    """Return whether a model errs far more than it did on the unseen weeks of its training.

    The error is CV(RMSE) = sqrt(mean((y - expected)^2)) / mean(y) of quarter-hour means (ASHRAE
    Guideline 14-2014, 5.2.11.3) over the last seven days since the model is in use, without the
    anomalies of that time; at least three days of data are needed.
    """
    start = max(until_us - DRIFT_DAYS * DAY_US, version.activated_at or 0)
    metric = readings.energy_metric(connection, machine.id)
    band = scores.frame(connection, machine.id, metric, start, until_us)[["value", "expected"]]
    for begin, end in anomalies.spans(connection, machine.id, metric):
        times = pd.DatetimeIndex(band.index).as_unit("us").asi8
        band = band[(times < begin) | (times > end)]
    quarters = band.dropna().resample("15min").mean().dropna()
    was = version.metrics.get("cv_rmse")
    if len(quarters) < DRIFT_LEAST_QUARTERS or not was:
        return []
    errors = quarters["value"] - quarters["expected"]
    now = float((errors**2).mean() ** 0.5 / quarters["value"].mean())
    if not now > DRIFT_RATIO * was:  # an improvement is no drift
        return []
    return [
        Condition(
            alert_type="model_drift",
            subject=machine.name,
            severity="warning",
            message=f"The model of {machine.name} errs by {100 * now:.0f} % of the mean, on unseen "
            f"weeks of its training it was {100 * was:.0f} %; train a new one.",
            over=f"The model of {machine.name} fits again.",
            details={
                "machine": machine.name,
                "cv_rmse": round(now, 4),
                "validated": round(was, 4),
                "model_version": version.version,
            },
        )
    ]


def forecast_band(connection: Connection, machine: Machine, until_us: int) -> list[Condition]:
    """Return whether the 95 % band of the forecasts of a day held far more or less of the hours.

    Counted are the first days of the forecasts of the last four weeks; at least two weeks of them
    are needed. A machine whose load never changes tells nothing.
    """
    judged = forecasts.accuracy(connection, machine.id, until_us - BAND_DAYS * DAY_US, until_us)
    judged = judged[(judged["horizon"] == "day 1") & judged["mase"].notna()]
    hours = judged["hours"].sum()
    if hours < BAND_LEAST_DAYS * 24:
        return []
    held = float((judged["coverage_95"] * judged["hours"]).sum() / hours)
    least, most = BAND_HOLDS
    if least <= held <= most:
        return []
    says = "too narrow: expect more" if held < least else "wider than it need be"
    return [
        Condition(
            alert_type="forecast_band",
            subject=machine.name,
            severity="warning" if held < least else "info",
            message=f"The 95 % band of the day-ahead forecasts of {machine.name} held "
            f"{100 * held:.1f} % of the last {hours} hours; it is {says}.",
            over=f"The 95 % band of the forecasts of {machine.name} holds what it promises.",
            details={"machine": machine.name, "coverage_95": round(held, 4), "hours": int(hours)},
        )
    ]


@dataclass
class Quarantine:
    """Notices when too much of what arrives is refused."""

    seen: deque[tuple[float, int, int]] = field(default_factory=deque)  # when, refused, arrived

    def check(self, connection: Connection, now: float) -> list[Condition]:
        """Return whether over the last five minutes too many readings were refused."""
        self.seen.append((now, readings.last_refused_id(connection), readings.last_id(connection)))
        while self.seen[0][0] < now - WINDOW_S:
            self.seen.popleft()
        (_, refused_then, stored_then), (_, refused_now, stored_now) = self.seen[0], self.seen[-1]
        refused, stored = refused_now - refused_then, stored_now - stored_then
        if refused < REFUSED_AT_LEAST or refused <= REFUSED_SHARE * (refused + stored):
            return []
        reason = readings.top_reason(connection, refused_then)
        return [
            Condition(
                alert_type="quarantine_rate",
                subject="readings",
                severity="warning",
                message=f"{refused} of the last {refused + stored} readings went to quarantine, "
                f"most often because: {reason}.",
                over="Readings are taken in again.",
                details={"refused": refused, "arrived": refused + stored, "reason": reason},
            )
        ]


def queue_stuck(connection: Connection) -> list[Condition]:
    """Return whether a training waits although no other runs."""
    active = jobs.listed(connection, jobs.ACTIVE, limit=1000)
    oldest = min((job.created_at for job in active if job.state == "queued"), default=None)
    is_busy = any(job.state == "running" for job in active)
    if oldest is None or is_busy or now_us() - oldest < QUEUE_S * 1e6:
        return []
    return [
        Condition(
            alert_type="queue_stuck",
            subject="trainings",
            severity="warning",
            message="Trainings wait and no worker takes them.",
            over="Trainings are worked on again.",
        )
    ]


class Watchdog:
    """Looks at the plant round by round; the only author of its kinds of alerts."""

    def __init__(
        self,
        store: Store,
        bell: Bell,
        relay: Relay,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._bell, self._relay = store, bell, relay
        self._now, self._wall = clock, wall
        self._arrivals: dict[str, Arrivals] = {}
        self._clock, self._quarantine = Clock(), Quarantine()
        self._trouble: Condition | None = None
        self._drift_at: float | None = None

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.wait(EVERY_S):
            self.step()

    def step(self) -> None:
        """Look once; while the store takes no writes remember that, and tell it afterwards."""
        began_us = int(self._wall() * 1e6)
        try:
            told = self._look()
        except Unavailable as error:
            log.warning("the store does not take writes: %s", error)
            self._trouble = self._trouble or _trouble(error, began_us)
            return
        if told:
            self._bell.ring("events")

    def _look(self) -> int:
        now = self._now()
        with self._store.read() as connection:
            conditions = [
                *redis_lost(self._relay.lost_since, now),
                *self._clock.check(now, self._wall()),
                *self._quarantine.check(connection, now),
                *queue_stuck(connection),
                *self._silent(connection, now),
            ]
        with self._store.write() as connection:
            progress.put(connection, "alive:engine", json.dumps(self._wall()))
            troubles = [self._trouble] if self._trouble else []
            told = alerts.settle(connection, STORE, troubles)
            told += alerts.settle(connection, STORE, []) if troubles else 0
            told += alerts.settle(connection, OTHERS, conditions)
        self._trouble = None
        return told + self._look_for_drift(now)

    def _look_for_drift(self, now: float) -> int:
        """Judge the models in use and the forecasts, once an hour."""
        if self._drift_at is not None and now - self._drift_at < DRIFT_EVERY_S:
            return 0
        until_us = int(self._wall() * 1e6)
        with self._store.read() as connection:
            in_use = models.active(connection)
            found = []
            for machine in all_machines(connection):
                if machine.id in in_use:
                    found += model_drift(connection, machine, in_use[machine.id], until_us)
                found += forecast_band(connection, machine, until_us)
        with self._store.write() as connection:
            told = alerts.settle(connection, DRIFT, found)
        self._drift_at = now
        return told

    def _silent(self, connection: Connection, now: float) -> list[Condition]:
        """Return what is to be told of machines that send nothing any more."""
        machines = {machine.id: machine for machine in all_machines(connection)}
        heard = self._listen(connection, now)
        open_now = alerts.opened(connection, ("machine_silent", "plant_silent"))
        alone = {a.subject for a in open_now if a.alert_type == "machine_silent"}
        together = {
            a.subject: a.details["machines"] for a in open_now if a.alert_type == "plant_silent"
        }
        waited_for = alone.union(*together.values())
        silent = [
            machine
            for machine_id, machine in machines.items()
            if (known := self._arrivals.get(machine_id))
            and (known.is_silent(now) or (machine.name in waited_for and machine_id not in heard))
        ]
        return silence(silent, alone, together)

    def _listen(self, connection: Connection, now: float) -> set[str]:
        """Note what has arrived; return the machines that have sent since this watch began."""
        newest: dict[str, int] = {}
        for machine_id, _metric, at, _value in readings.latest(connection):
            newest[machine_id] = max(at, newest.get(machine_id, 0))
        wall_us = int(self._wall() * 1e6)
        for machine_id, at in newest.items():
            known = self._arrivals.setdefault(machine_id, Arrivals(at, now))
            known.note(at, now, wall_us)
        return {machine_id for machine_id, known in self._arrivals.items() if known.gaps_s}


def _trouble(error: Unavailable, since_us: int) -> Condition:
    kind = "full" if is_full(error) else "locked"
    return Condition(
        alert_type=f"store_{kind}",
        subject="store",
        severity="critical",
        message=f"The store takes no writes: it is {kind}. Readings are refused until it does.",
        over="The store takes writes again.",
        since_us=since_us,
    )
