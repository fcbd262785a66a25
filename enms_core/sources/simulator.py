"""A plant that behaves like one: eight machines at two sites, seeded, as fast as one asks for it.

Every machine is a few numbers over one model. Each of its signals is a linear function of what
drives it: whether the shift is on, how much work is done, and how far the outdoor air is below or
above the balance temperatures. All of it is a function of seed, machine and time, so live
readings of 5 seconds join a history of 60 seconds and a restart goes on where it stopped.

Pieces are counted by a counter that carries the fraction of a piece on until midnight UTC, when it
starts anew: `production_count` of an interval is the difference of the counter between its end and
its start, so the counts of parts add up to the count of the whole.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from enms_core.plant import Factory, Machine
from enms_core.sources.faults import (
    FAULT_KINDS,
    Episode,
    Fault,
    Signals,
    aware,
    production_factor,
)
from enms_core.sources.weather import DAY, HOUR, MINUTE, SECOND, Climate, Floats, Times, noise

HEAT_BELOW_C = 15.0
COOL_ABOVE_C = 20.0
USUAL_WORK = 0.8  # share of full throughput
PEAK_OF_RATED = 1.3
DECIMALS = 2

WEEK = 7 * DAY
MONDAY = 3 * DAY  # 1970-01-01 was a Thursday
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

WORKDAYS, SATURDAY = (0, 1, 2, 3, 4), (5,)


@dataclass(frozen=True)
class Calendar:
    """The working week in local hours: (days, from, to), and breaks (from, hours) of the crew."""

    shifts: tuple[tuple[tuple[int, ...], float, float], ...]
    breaks: tuple[tuple[float, float], ...] = ()
    ramp_minutes: int = 8

    def occupancy(self, week_hours: Floats) -> Floats:
        """Return how far the shift is on, 0 to 1, at hours since Monday 00:00 local time.

        >>> print(TWO_SHIFTS.occupancy(np.array([5.9, 10.0, 12.25, 23.0, 6 * 24 + 10.0])).round(1))
        [0.  1.  0.4 0.  0. ]
        """
        return np.interp(week_hours * 60, np.arange(7 * 1440), _week(self), period=7 * 1440)


@cache
def _week(calendar: Calendar) -> Floats:
    """One value per minute of the week; people and machines take some minutes to start and stop."""
    minute = np.arange(7 * 1440)
    on = np.zeros(len(minute))
    for days, start, end in calendar.shifts:
        for day in days:
            on[(day * 1440 + np.arange(int(start * 60), int(end * 60))) % len(on)] = 1.0
    for start, hours in calendar.breaks:
        on[(minute % 1440 >= start * 60) & (minute % 1440 < (start + hours) * 60)] *= 0.4
    ramped: Floats = np.mean([np.roll(on, k) for k in range(calendar.ramp_minutes)], axis=0)
    return ramped


TWO_SHIFTS = Calendar(
    ((WORKDAYS, 6, 22), (SATURDAY, 6, 12)), breaks=((9, 0.25), (12, 0.5), (18, 0.5))
)
THREE_SHIFTS = Calendar(
    ((WORKDAYS, 6, 30), (SATURDAY, 6, 12)), breaks=((2, 0.5), (12, 0.5), (18, 0.5))
)
OCCUPIED = Calendar(((WORKDAYS, 5, 22), (SATURDAY, 5, 12.5)), ramp_minutes=30)
OFFICE_AND_HALL = Calendar(((WORKDAYS, 6, 19), (SATURDAY, 7, 12)), ramp_minutes=30)
DAY_SHIFTS = Calendar(((WORKDAYS, 7, 23),), breaks=((11.5, 0.5), (19, 0.5)))


@dataclass(frozen=True)
class Drivers:
    """What drives a machine, one value per instant: shift and work 0 to 1, degrees in K."""

    run: Floats
    work: Floats
    heat: Floats
    cool: Floats


@dataclass(frozen=True)
class Signal:
    """A metric as a linear function of the drivers, in the metric's unit.

    `off` is there always, `run` comes with the shift, `work` at full throughput, `heat` and `cool`
    per K, of which the share `setback` is left when the shift is off. `noise` is relative.
    """

    metric: str
    off: float
    run: float = 0.0
    work: float = 0.0
    heat: float = 0.0
    cool: float = 0.0
    setback: float = 0.5
    noise: float = 0.01

    def values(self, stream: str, times: Times, drivers: Drivers) -> Floats:
        """Return the signal at the times."""
        held = self.setback + (1 - self.setback) * drivers.run
        weather = (self.heat * drivers.heat + self.cool * drivers.cool) * held
        calm = self.off + self.run * drivers.run + self.work * drivers.work + weather
        stream = f"{stream}/{self.metric}"
        wobble = (
            0.45 * noise(f"{stream}/s", times, 15 * SECOND)
            + 0.55 * noise(f"{stream}/min", times, 5 * MINUTE)
            + 0.7 * noise(f"{stream}/h", times, HOUR)
        )
        return np.maximum(calm * (1 + self.noise * wobble), 0.0)


@dataclass(frozen=True)
class Model:
    """A machine with its numbers; `pieces_per_h` at full throughput of what it makes or serves."""

    machine: Machine
    calendar: Calendar
    power: Signal
    physical: Signal
    pieces_per_h: float = 0.0

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it measures."""
        made = ("production_count",) if self.pieces_per_h else ()
        return ("power_kw", "temperature_c", self.physical.metric, *made)

    @property
    def running_kw(self) -> float:
        """The usual power under work, weather apart."""
        return self.power.off + self.power.run + USUAL_WORK * self.power.work

    @property
    def peak_kw(self) -> float:
        """More than this it cannot draw."""
        return PEAK_OF_RATED * (self.machine.rated_kw or self.running_kw)


def _power(off: float, **drivers: float) -> Signal:
    return Signal("power_kw", off, noise=0.025, **drivers)


NORD = Factory("Werk Nord", "Europe/Berlin", "EUR", 0.21, 0.363)
OHIO = Factory("Plant Ohio", "America/New_York", "USD", 0.11, 0.39)

CLIMATES = {
    NORD.name: Climate(mean_c=9.8, yearly_c=8.8, daily_c=3.4, longitude=10.0),
    OHIO.name: Climate(mean_c=11.5, yearly_c=13.0, daily_c=4.8, longitude=-83.0),
}

MODELS = (
    Model(
        Machine("Compressor-1", "compressor", 75.0, NORD, criticality="A"),
        TWO_SHIFTS,
        _power(13.0, run=12.0, work=34.0, cool=0.15),
        Signal("pressure_bar", 7.2, run=0.1, work=-0.4),
        pieces_per_h=900,
    ),
    Model(
        Machine("HVAC-Main", "hvac", 120.0, NORD),
        OCCUPIED,
        _power(7.0, run=21.0, heat=2.1, cool=3.6, setback=0.4),
        Signal("supply_temperature_c", 17.0, run=2.5, heat=0.45, cool=-0.35),
    ),
    Model(
        Machine("Conveyor-A", "conveyor", 22.0, NORD),
        TWO_SHIFTS,
        _power(0.6, run=7.0, work=9.5),
        Signal("vibration_mms", 0.12, run=1.5, work=0.7, noise=0.04),
        pieces_per_h=900,
    ),
    Model(
        Machine("Hydraulic-Pump-1", "pump", 45.0, NORD),
        TWO_SHIFTS,
        _power(1.2, run=12.0, work=24.0),
        Signal("flow_m3h", 0.0, run=22.0, work=64.0, noise=0.02),
        pieces_per_h=420,
    ),
    Model(
        Machine("Injection-Molding-1", "injection_molding", 60.0, NORD, criticality="A"),
        THREE_SHIFTS,
        _power(3.5, run=14.0, work=34.0),
        Signal("pressure_bar", 6.0, run=112.0, work=28.0, noise=0.015),
        pieces_per_h=240,
    ),
    Model(
        Machine("Boiler-1", "boiler", 40.0, NORD),
        OCCUPIED,
        _power(3.0, run=5.0, work=6.0, heat=0.7, setback=0.6),
        Signal("supply_temperature_c", 46.0, run=8.0, heat=0.9, setback=0.8),
    ),
    Model(
        Machine("Compressor-2", "compressor", 55.0, OHIO, criticality="A"),
        DAY_SHIFTS,
        _power(8.5, run=9.0, work=26.0, cool=0.12),
        Signal("pressure_bar", 7.6, run=0.1, work=-0.45),
        pieces_per_h=600,
    ),
    Model(
        Machine("HVAC-Ohio", "hvac", 90.0, OHIO, criticality="C"),
        OFFICE_AND_HALL,
        _power(5.0, run=15.0, heat=1.4, cool=2.6, setback=0.35),
        Signal("supply_temperature_c", 17.0, run=2.0, heat=0.4, cool=-0.3),
    ),
)

MACHINES: tuple[Machine, ...] = tuple(model.machine for model in MODELS)
_BY_NAME = {model.machine.name: model for model in MODELS}

# kind, machine, days before, on a workday, local hour, hours, size
HISTORY: tuple[tuple[str, str, int, bool, float, float, float], ...] = (
    ("leak", "Compressor-1", 11, True, 19.0, 6.0, 1.0),
    ("night_setback_lost", "HVAC-Main", 9, False, 22.0, 7.0, 1.0),
    ("night_setback_lost", "HVAC-Main", 8, False, 22.0, 7.0, 1.0),
    ("outage", "Injection-Molding-1", 6, True, 10.25, 0.75, 1.0),
    ("overload", "Hydraulic-Pump-1", 4, True, 14.0, 3.0, 1.0),
    ("stuck_sensor", "Conveyor-A", 2, True, 21.0, 2.0, 1.0),
)

# As in `HISTORY`: the machine stands still because people work on it, and they said so.
SERVICED = ("outage", "Compressor-2", 5, True, 9.0, 3.0, 1.0)


class Simulator:
    """The plant of `MACHINES`, with faults where they are asked for.

    >>> from datetime import UTC, datetime, timedelta
    >>> noon = datetime(2026, 3, 3, 12, tzinfo=UTC)
    >>> Simulator(seed=7).readings(noon, noon + timedelta(seconds=5), timedelta(seconds=5),
    ...                            machines=["Boiler-1"])["metric"].tolist()
    ['power_kw', 'temperature_c', 'supply_temperature_c']
    """

    def __init__(self, seed: int = 7, faults: Iterable[Fault] = ()) -> None:
        self.seed = seed
        self.faults = tuple(faults)
        _known(fault.machine for fault in self.faults)

    def readings(
        self,
        start: datetime,
        end: datetime,
        interval: timedelta,
        machines: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return columns machine, metric, time (UTC) and value from `start` up to `end`.

        Rows are sorted by time. Values are those of the instant, in the unit that the metric is
        named after; `production_count` is that of the interval which starts there. Raises
        ValueError for times without zone, an interval below a second or an unknown machine.
        """
        models = _known(_BY_NAME if machines is None else machines)
        times, step = _grid(start, end, interval)
        columns = [self._columns(model, times, step) for model in models]
        names = [(m.machine.name, metric) for m in models for metric in m.metrics]
        return _long(times, names, [values for column in columns for values in column])

    def _columns(self, model: Model, times: Times, step: int) -> list[Floats]:
        if not len(times):
            return [np.empty(0) for _ in model.metrics]
        faults = tuple(f for f in self.faults if f.machine == model.machine.name)
        signals = self._signals(model, times, faults)
        if model.pieces_per_h:
            signals["production_count"] = self._pieces(model, times, step, faults)
        return [signals[metric] for metric in model.metrics]

    def _signals(self, model: Model, times: Times, faults: tuple[Fault, ...]) -> Signals:
        """Return all but the pieces, as the faults leave them, one after the other."""
        if not faults:
            return self._healthy(model, times)
        *earlier, fault = faults
        signals = self._signals(model, times, tuple(earlier))
        start, end = _microseconds(fault.start), _microseconds(fault.end)
        inside = (times >= start) & (times < end)
        if inside.any():
            first = self._signals(model, np.array([start]), tuple(earlier))
            episode = Episode(
                signals={name: values[inside] for name, values in signals.items()},
                first=first,
                occupied=self._healthy(model, times[inside], occupied=True),
                progress=(times[inside] - start) / (end - start),
                running_kw=model.running_kw,
            )
            for name, values in FAULT_KINDS[fault.kind](episode, fault.size).items():
                signals[name][inside] = _measured(model, name, values)
        return signals

    def _healthy(self, model: Model, times: Times, occupied: bool = False) -> Signals:
        machine, outdoor = model.machine, self._outdoor(model.machine.factory, times)
        run, work = self._activity(model, times)
        drivers = Drivers(
            np.ones_like(run) if occupied else run,
            work,
            heat=np.maximum(HEAT_BELOW_C - outdoor, 0.0),
            cool=np.maximum(outdoor - COOL_ABOVE_C, 0.0),
        )
        stream = f"{self.seed}/{machine.name}"
        signals = {
            signal.metric: signal.values(stream, times, drivers)
            for signal in (model.power, model.physical)
        } | {"temperature_c": outdoor}
        return {name: _measured(model, name, values) for name, values in signals.items()}

    def _outdoor(self, factory: Factory, times: Times) -> Floats:
        return CLIMATES[factory.name].temperature(f"{self.seed}/{factory.name}/weather", times)

    def _activity(self, model: Model, times: Times) -> tuple[Floats, Floats]:
        """Return how far the shift is on and how much of the full throughput is worked, 0 to 1."""
        site = f"{self.seed}/{model.machine.factory.name}"
        own = f"{self.seed}/{model.machine.name}"
        punctual = 0.03 * noise(f"{site}/punctuality", times, 12 * HOUR)
        punctual += 0.03 * noise(f"{own}/punctuality", times, 12 * HOUR)
        run = model.calendar.occupancy(_week_hours(times, model.machine.zone) + punctual)
        orders = (
            USUAL_WORK
            + 0.06 * noise(f"{site}/orders", times, DAY)
            + 0.05 * noise(f"{site}/pace", times, HOUR)
            + 0.03 * noise(f"{own}/pace", times, 10 * MINUTE)
        )
        return run, run * np.clip(orders, 0.3, 1.0)

    def _pieces(self, model: Model, times: Times, step: int, faults: tuple[Fault, ...]) -> Floats:
        """Return the pieces of each interval; the count is cut where a day or a fault begins."""
        last = times[-1] + step
        days = np.arange(times[0] // DAY, last // DAY + 1)
        ends = [_microseconds(at) for fault in faults for at in (fault.start, fault.end)]
        cuts = np.concatenate([days * DAY, np.array(ends, dtype=np.int64)])
        edges = np.unique(
            np.concatenate([times, times + step, cuts[(cuts > times[0]) & (cuts < last)]])
        )
        counter, factor = self._counter(model, days), _factor(faults, edges[:-1])
        begin, end = counter.cells(edges)
        pieces = np.floor(factor * end) - np.floor(factor * begin)
        total = np.concatenate([[0.0], np.cumsum(pieces)])
        made: Floats = np.subtract(
            total[np.searchsorted(edges, times + step)], total[np.searchsorted(edges, times)]
        )
        return made

    def _counter(self, model: Model, days: Times) -> "Counter":
        minutes = days[:, None] * DAY + np.arange(1440) * MINUTE + MINUTE // 2
        _, work = self._activity(model, minutes.ravel())
        made = np.cumsum(work.reshape(minutes.shape) * model.pieces_per_h / 60, axis=1)
        return Counter(int(days[0]), np.pad(made, ((0, 0), (1, 0))))


@dataclass(frozen=True)
class Counter:
    """Pieces and their fraction since midnight UTC: a row per day, a column per full minute."""

    first_day: int
    made: Floats

    def cells(self, edges: Times) -> tuple[Floats, Floats]:
        """Return the counter at the begin and at the end of each cell, which lies in one day."""
        day = edges[:-1] // DAY
        return self._at(edges[:-1], day), self._at(edges[1:], day)

    def _at(self, times: Times, day: Times) -> Floats:
        minute, rest = np.divmod(times - day * DAY, MINUTE)
        row, after = day - self.first_day, np.minimum(minute + 1, 1440)
        before = self.made[row, minute]
        counter: Floats = before + (self.made[row, after] - before) * (rest / MINUTE)
        return counter


def history_faults(end: datetime) -> tuple[Fault, ...]:
    """Return the labelled faults of a demonstration history that ends at `end`.

    They lie on the local days of their sites, two days to two weeks before `end`.

    >>> faults = history_faults(datetime(2026, 3, 20, tzinfo=UTC))
    >>> print(faults[0].kind, faults[0].start)
    leak 2026-03-09 18:00:00+00:00
    """
    aware("end of the history", end)
    return tuple(_placed(end, *row) for row in HISTORY)


def maintenance(end: datetime) -> Fault:
    """Return the stop of a machine before `end` that was maintenance, which its operators told."""
    return _placed(aware("end of the history", end), *SERVICED)


def _placed(
    end: datetime,
    kind: str,
    machine: str,
    days: int,
    workday: bool,
    hour: float,
    hours: float,
    size: float,
) -> Fault:
    local = end.astimezone(_BY_NAME[machine].machine.zone)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)
    if workday:
        day -= timedelta(days=max(0, day.weekday() - 4))
    start = (day + timedelta(hours=hour)).astimezone(UTC)
    return Fault(kind, machine, start, start + timedelta(hours=hours), size)


def _known(names: Iterable[str]) -> list[Model]:
    names = list(names)
    unknown = [name for name in names if name not in _BY_NAME]
    if unknown:
        raise ValueError(
            f"machine {unknown[0]!r} is not simulated; it must be one of {', '.join(_BY_NAME)}"
        )
    return [_BY_NAME[name] for name in names]


def _grid(start: datetime, end: datetime, interval: timedelta) -> tuple[Times, int]:
    first, last = (_microseconds(aware(*e)) for e in (("start", start), ("end", end)))
    if last < first:
        raise ValueError(f"end {end} lies before start {start}; it must not")
    if interval < timedelta(seconds=1):
        raise ValueError(f"interval {interval} is too short; it must be at least 1 second")
    step = interval // MICROSECOND
    return np.arange(first, last, step, dtype=np.int64), step


def _microseconds(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def _week_hours(times: Times, zone: ZoneInfo) -> Floats:
    """Return hours since Monday 00:00 on the site's clock."""
    local = pd.DatetimeIndex(times.view("M8[us]"), tz="UTC").tz_convert(zone).tz_localize(None)
    hours: Floats = ((local.asi8 + MONDAY) % WEEK) / HOUR
    return hours


def _factor(faults: tuple[Fault, ...], times: Times) -> Floats:
    factor = np.ones(len(times))
    for fault in faults:
        inside = (times >= _microseconds(fault.start)) & (times < _microseconds(fault.end))
        factor[inside] *= production_factor(fault)
    return factor


def _measured(model: Model, metric: str, values: Floats) -> Floats:
    """Return what the sensor shows: bounded power, two decimals."""
    if metric == "power_kw":
        values = np.clip(values, 0.0, model.peak_kw)
    return np.round(values, DECIMALS)


def _long(times: Times, names: list[tuple[str, str]], columns: list[Floats]) -> pd.DataFrame:
    stamps = pd.DatetimeIndex(np.repeat(times, len(names)).view("M8[us]"), tz="UTC")
    return pd.DataFrame(
        {
            "machine": _repeated([machine for machine, _ in names], len(times)),
            "metric": _repeated([metric for _, metric in names], len(times)),
            "time": stamps,
            "value": np.array(columns, dtype=float).T.ravel(),
        }
    )


def _repeated(names: list[str], times: int) -> pd.Series:
    return pd.Series(np.tile(np.array(names, dtype=object), times), dtype="str")
