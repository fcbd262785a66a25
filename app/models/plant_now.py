"""The machines as they are now: what they draw, what was expected, how old the newest value is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import param

from app.models.snapshot import Found, Newest, Snapshot, energy_metric
from enms_core.events import MetricUpdated
from enms_core.plant import Factory, Machine, zone
from enms_core.store.times import to_us

IDLE_SHARE = 0.15  # of the rated power
STALE_INTERVALS = 3
SEVERITIES = ("info", "warning", "critical")


@dataclass(frozen=True, kw_only=True)
class MachineNow:
    """A machine in the table; powers in kW, times in microseconds UTC."""

    machine: Machine
    at: int | None = None
    power: float | None = None
    expected: float | None = None
    lower: float | None = None
    upper: float | None = None
    is_stale: bool = True
    severity: str = ""  # of its worst open anomaly
    curve: tuple[float, ...] = ()

    @property
    def state(self) -> str:
        """One of critical, warning, normal, no data."""
        if self.severity in ("critical", "warning"):
            return self.severity
        return "no data" if self.is_stale else "normal"

    @property
    def mode(self) -> str:
        """Running or idle by its power; no data when the newest value is too old."""
        if self.is_stale or self.power is None:
            return "no data"
        return "running" if self.power >= IDLE_SHARE * (self.machine.rated_kw or 0.0) else "idle"

    @property
    def load(self) -> float | None:
        """The share of the rated power, None where none is rated or nothing is known."""
        if self.is_stale or self.power is None or not self.machine.rated_kw:
            return None
        return self.power / self.machine.rated_kw


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the shown machines draw and drew today, and what was expected of them."""

    power: float | None = None
    expected: float | None = None
    live: int = 0
    machines: int = 0
    at: int | None = None
    kwh: float | None = None
    kwh_expected: float | None = None
    costs: tuple[tuple[str, float], ...] = ()  # by currency, the first site's first
    costs_expected: float | None = None  # in the first currency
    co2_kg: float | None = None
    models: int = 0


class PlantNow(param.Parameterized):
    """The machines of a site, or of all, as they are now."""

    site = param.String("", doc="The factory that is shown; empty means all.")
    rows = param.List([], item_type=MachineNow, doc="The machines in the order of their names.")
    totals = param.ClassSelector(class_=Totals, default=Totals())
    is_known = param.Boolean(False, doc="Whether the store was read at all.")

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        self._snapshot = Snapshot(seq=-1)
        self._newest: dict[str, Newest] = {}
        self._expected: dict[str, tuple[int, float, float, float]] = {}
        self._severity: Mapping[str, str] = {}

    @property
    def machines(self) -> list[Machine]:
        """The machines of the site."""
        known = self._snapshot.machines
        return [m for m in known if self.site in ("", m.factory.name)]

    @property
    def sites(self) -> list[Factory]:
        """The factories, in the order in which they were added."""
        return list({m.factory.name: m.factory for m in self._snapshot.machines}.values())

    @property
    def factory(self) -> Factory:
        """The factory whose zone and currency come first."""
        known = self.machines
        return known[0].factory if known else Factory("Plant")

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that comes first."""
        return zone(self.factory.timezone)

    @property
    def is_mixed(self) -> bool:
        """Whether the clocks of the shown machines differ: then a time names its zone."""
        return len({machine.factory.timezone for machine in self.machines}) > 1

    def take_snapshot(self, snapshot: Snapshot) -> None:
        """Take what the store holds; live values that are newer stay."""
        self._snapshot = snapshot
        self.is_known = True
        for machine_id, newest in snapshot.newest.items():
            self._note(machine_id, newest)
        for machine_id, trace in snapshot.traces.items():
            judged = trace.hour.dropna() if len(trace.hour) else trace.hour
            if len(judged):
                last, at = judged.iloc[-1], to_us(judged.index[-1].to_pydatetime())
                band = (at, float(last["expected"]), float(last["lower"]), float(last["upper"]))
                self._expected[machine_id] = max(band, self._expected.get(machine_id, band))

    def take_updates(self, updates: Iterable[MetricUpdated]) -> None:
        """Take live values."""
        for update in updates:
            at, metric = to_us(datetime.fromisoformat(update.time)), energy_metric(update.values)
            if metric is None:
                continue
            self._note(update.machine_id, Newest(at=at, values=update.values))
            names = [f"{which}_{metric}" for which in ("expected", "lower", "upper")]
            if all(name in update.values for name in names):
                expected, lower, upper = (update.values[name] for name in names)
                self._expected[update.machine_id] = (at, expected, lower, upper)

    def take_anomalies(self, found: Iterable[Found]) -> None:
        """Take the anomalies: the worst that needs attention gives a machine its state."""
        worst: dict[str, str] = {}
        for one in found:
            if one.needs_attention:
                severities = (worst.get(one.machine_id, "info"), one.severity)
                worst[one.machine_id] = max(severities, key=SEVERITIES.index)
        self._severity = worst

    def refresh(self, now_us: int) -> None:
        """Bring rows and totals up to this moment."""
        rows = [self._row(machine, now_us) for machine in self.machines]
        self.param.update(rows=rows, totals=self._totals(rows))

    def row(self, machine_id: str) -> MachineNow | None:
        """Return a machine's row, None where it is not shown."""
        return next((row for row in self.rows if row.machine.id == machine_id), None)

    # -------------------------------------------------------------------------------------------

    def _note(self, machine_id: str, newest: Newest) -> None:
        known = self._newest.get(machine_id)
        if known is None or newest.at >= known.at:
            self._newest[machine_id] = newest

    def _row(self, machine: Machine, now_us: int) -> MachineNow:
        trace, newest = self._snapshot.traces.get(machine.id), self._newest.get(machine.id)
        severity = self._severity.get(machine.id, "")
        if trace is None or newest is None:
            return MachineNow(machine=machine, severity=severity)
        limit = STALE_INTERVALS * trace.interval_us
        at, *band = self._expected.get(machine.id, (0, 0.0, 0.0, 0.0))
        factor = trace.to_kw
        known = newest.at - at <= limit
        expected, lower, upper = (value * factor if known else None for value in band)
        return MachineNow(
            machine=machine,
            at=newest.at,
            power=newest.values[trace.metric] * factor,
            expected=expected,
            lower=lower,
            upper=upper,
            is_stale=now_us - newest.at > limit,
            severity=severity,
            curve=self._snapshot.curves.get(machine.id, ()),
        )

    def _totals(self, rows: list[MachineNow]) -> Totals:
        live = [row for row in rows if not row.is_stale and row.power is not None]
        judged = any(row.expected is not None for row in live)
        costs, expected_costs = self._costs()
        kwh = {row.machine.id: self._kwh(row.machine.id) for row in rows}
        known = [pair for pair in kwh.values() if pair[0] is not None]
        return Totals(
            power=_sum(row.power for row in live),
            expected=_sum(_or(row.expected, row.power) for row in live) if judged else None,
            live=len(live),
            machines=len(rows),
            at=max((row.at for row in rows if row.at is not None), default=None),
            kwh=_sum(pair[0] for pair in known),
            kwh_expected=_sum(_or(pair[1], pair[0]) for pair in known)
            if any(pair[1] is not None for pair in known)
            else None,
            costs=tuple(costs.items()),
            costs_expected=expected_costs,
            co2_kg=_sum(
                pair[0] * row.machine.factory.carbon_kg_per_kwh
                for row in rows
                if (pair := kwh[row.machine.id])[0] is not None
            ),
            models=sum(row.machine.id in self._snapshot.models for row in rows),
        )

    def _kwh(self, machine_id: str) -> tuple[float | None, float | None]:
        """Return a machine's energy of today and what was expected of it."""
        kwh = self._snapshot.kwh_today.get(machine_id)
        trace = self._snapshot.traces.get(machine_id)
        ratio = trace.ratio if trace else None
        return kwh, kwh / ratio if kwh is not None and ratio else None

    def _costs(self) -> tuple[dict[str, float], float | None]:
        """Return the cost of today by currency, and the expected one in the first."""
        costs: dict[str, float] = {}
        expected: dict[str, float] = {}
        for machine in self.machines:
            kwh, kwh_expected = self._kwh(machine.id)
            price, currency = machine.factory.price_per_kwh, machine.factory.currency
            if kwh is None:
                continue
            costs[currency] = costs.get(currency, 0.0) + kwh * price
            if kwh_expected is not None:
                expected[currency] = expected.get(currency, 0.0) + kwh_expected * price
            else:
                expected[currency] = expected.get(currency, 0.0) + kwh * price
        return costs, expected.get(next(iter(costs), ""))


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _or(value: float | None, other: float | None) -> float | None:
    return other if value is None else value
