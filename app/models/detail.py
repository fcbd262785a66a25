"""One anomaly looked at closely: what was measured around it, its figures, what can be done."""

from dataclasses import dataclass

from app.models import words
from app.models.live_curve import COLUMNS, Points, as_points, with_gaps
from app.models.snapshot import Found
from enms_core.contributors import Contributor
from enms_core.plant import Machine, Metric, Unknown
from enms_core.store import Connection, anomalies, machines, scores
from enms_core.triage import ACTIONS

LEAST_AROUND_US = 30 * 60_000_000  # of the time before and after
LONGEST_US = 2 * 86_400_000_000  # of one that lasts longer the beginning is drawn
MOST_POINTS = 600

TEACHES = {
    "true": "Backtests count it as one that must be found.",
    "false": "Backtests count it as a false alarm. It needs no attention any more.",
    "expected": "Backtests count it as a false alarm. It needs no attention any more.",
}


@dataclass(frozen=True, kw_only=True)
class Detail:
    """An anomaly, its machine, and the points to draw, in the unit of the metric."""

    found: Found
    machine: Machine
    points: Points
    drawn: tuple[int, int]  # from when to when (us)

    @property
    def unit(self) -> str:
        """The unit of the metric as people read it."""
        return Metric(self.found.metric).unit


@dataclass(frozen=True)
class Figure:
    """A number of an anomaly with its name, its unit, and what to compare it with."""

    name: str
    value: str
    unit: str = ""
    note: str = ""


def read(connection: Connection, anomaly_id: str, now_us: int) -> Detail:
    """Read an anomaly and what was measured around it; raise Unknown where there is none."""
    rows = anomalies.table(connection, anomaly_id=anomaly_id).to_dict("records")
    if not rows:
        raise Unknown(f"anomaly {anomaly_id!r} is unknown")
    found = Found.of_row(rows[0])
    drawn = around(found, now_us)
    frame = scores.frame(connection, found.machine_id, found.metric, *drawn)[list(COLUMNS)]
    step = (drawn[1] - drawn[0]) // MOST_POINTS
    if len(frame) > MOST_POINTS:
        frame = frame.resample(f"{step}us").mean().dropna(subset=["value"])
    return Detail(
        found=found,
        machine=machines.find(connection, found.machine_id),
        points=as_points(with_gaps(frame)),
        drawn=drawn,
    )


def around(found: Found, now_us: int) -> tuple[int, int]:
    """Return the span (us) that shows an anomaly with what was before and after it."""
    end = now_us if found.ended_at is None else found.ended_at
    end = min(end, found.started_at + LONGEST_US)
    room = max(LEAST_AROUND_US, (end - found.started_at) // 2)
    return found.started_at - room, min(end + room, now_us) + 1


def figures(found: Found, machine: Machine, now_us: int) -> list[Figure]:
    """Return what there is to say of an anomaly in numbers."""
    unit = Metric(found.metric).unit
    off = words.deviation(found.value, found.expected)
    lasted = (now_us if found.ended_at is None else found.ended_at) - found.started_at
    still = "and goes on" if found.lasts else ""
    version = found.model_version
    band = f"{words.short(found.lower)} to {words.short(found.upper)}"
    return [
        Figure("Measured", words.short(found.value), unit, off),
        Figure("Expected", words.short(found.expected), unit, band),
        Figure("Lasted", words.duration(lasted), note=still),
        Figure("Energy", words.signed(found.delta_kwh, 1), "kWh"),
        Figure("Cost", words.signed(found.delta_cost, 2), machine.factory.currency, _rate(found)),
        Figure(
            "Judged by", "its habit" if version is None else f"model v{version}", note=_sure(found)
        ),
    ]


def _rate(found: Found) -> str:
    return "" if found.cost_per_hour is None else f"{words.signed(found.cost_per_hour, 2)} an hour"


def _sure(found: Found) -> str:
    return "" if found.confidence is None else f"{100 * found.confidence:.3g} % sure"


def companions(found: Found) -> list[Figure]:
    """Return what went with an anomaly, what explains most first, beside what is usual then."""
    return [
        Figure(
            one.name.removesuffix("_per_h").rsplit("_", 1)[0].replace("_", " "),
            words.short(one.value),
            one.unit,
            _beside(one),
        )
        for one in found.contributors
    ]


def _beside(one: Contributor) -> str:
    usual = "" if one.usual is None else f"usually {words.short(one.usual)}"
    effect = "" if one.effect_kw is None else f"{words.signed(one.effect_kw, 1)} kW expected for it"
    return ", ".join(part for part in (usual, effect) if part)


def span(found: Found, machine: Machine, now_us: int) -> str:
    """Return from when to when it lasted, by the clock of its site."""
    times = words.span(found.started_at, found.ended_at, machine.zone, now_us)
    since = "since " if found.ended_at is None else ""
    return f"{since}{times} {words.zone_name(found.started_at, machine.zone)}"


def needs_reason(label: str | None) -> bool:
    """Return whether one who says this must say why."""
    return label == "expected"


def actions(found: Found) -> list[str]:
    """Return what a person can do about it now."""
    return [action for action, (states, _) in ACTIONS.items() if found.state in states]
