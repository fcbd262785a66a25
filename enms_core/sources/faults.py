"""Faults that the simulator injects, kept as labels: kind, machine, span and size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

import numpy as np

from enms_core.sources.weather import Floats

Signals = dict[str, Floats]

STOPS_WITH_THE_MACHINE = ("power_kw", "pressure_bar", "flow_m3h", "vibration_mms")


@dataclass(frozen=True)
class Fault:
    """A fault of a machine from `start` up to but not including `end`; `size` 1 is a usual one.

    >>> from datetime import UTC
    >>> leak = Fault("leak", "Compressor-1", datetime(2026, 3, 2, 8, tzinfo=UTC),
    ...              datetime(2026, 3, 2, 14, tzinfo=UTC), size=0.5)
    >>> Fault.from_dict(leak.to_dict()) == leak
    True
    >>> Fault("rust", "Compressor-1", leak.start, leak.end)
    Traceback (most recent call last):
    ...
    ValueError: fault kind 'rust' is unknown; it must be one of leak, drift, stuck_sensor, outage,
    night_setback_lost, bearing_wear, overload
    """

    kind: str
    machine: str
    start: datetime
    end: datetime
    size: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(
                f"fault kind {self.kind!r} is unknown; it must be one of {', '.join(FAULT_KINDS)}"
            )
        aware("start of the fault", self.start)
        aware("end of the fault", self.end)
        if self.end <= self.start:
            raise ValueError(f"fault ends at {self.end}; it must end after its start {self.start}")
        if not 0 < self.size < float("inf"):
            raise ValueError(f"fault size {self.size!r} must be positive; 1.0 is a usual one")

    def to_dict(self) -> dict[str, Any]:
        """Return the label as JSON takes it; times are ISO 8601 with offset."""
        return {
            "kind": self.kind,
            "machine": self.machine,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "size": self.size,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read a label; raise ValueError saying what is wrong. Unknown fields are passed over."""
        try:
            known = {f.name: raw[f.name] for f in fields(cls) if f.name in raw}
            span = {name: datetime.fromisoformat(raw[name]) for name in ("start", "end")}
            return cls(**(known | span))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a fault: {error!r} in {str(raw)[:200]!r}") from error


@dataclass(frozen=True)
class Episode:
    """The part of a machine's course that a fault changes, one value per instant.

    `first` holds the signals when the fault began, `occupied` as they would be with the shift on;
    `progress` goes from 0 to 1 over the span, `running_kw` is the usual power under work.
    """

    signals: Signals
    first: Signals
    occupied: Signals
    progress: Floats
    running_kw: float


def leak(episode: Episode, size: float) -> Signals:
    """Air escapes day and night: +30 % of the running power at all hours, pressure 0.5 bar low."""
    changed = {"power_kw": episode.signals["power_kw"] + 0.30 * size * episode.running_kw}
    if "pressure_bar" in episode.signals:
        changed["pressure_bar"] = np.maximum(episode.signals["pressure_bar"] - 0.5 * size, 0.0)
    return changed


def drift(episode: Episode, size: float) -> Signals:
    """Power creeps up to +25 % at the end of the span."""
    return {"power_kw": episode.signals["power_kw"] * (1 + 0.25 * size * episode.progress)}


def stuck_sensor(episode: Episode, size: float) -> Signals:  # noqa: ARG001 - stuck has no degree
    """The power meter repeats the value it had at the start."""
    return {"power_kw": np.full_like(episode.progress, episode.first["power_kw"][0])}


def outage(episode: Episode, size: float) -> Signals:
    """The machine stands still; a size below 1 leaves the rest of it running."""
    left = max(0.0, 1 - size)
    stopped = [name for name in STOPS_WITH_THE_MACHINE if name in episode.signals]
    return {name: episode.signals[name] * left for name in stopped}


def night_setback_lost(episode: Episode, size: float) -> Signals:  # noqa: ARG001 - lost is lost
    """The machine goes on at night and at the weekend as if the shift were on."""
    return episode.occupied


def bearing_wear(episode: Episode, size: float) -> Signals:
    """Vibration grows to 2.5 times its value by the end of the span, power by 6 %."""
    changed = {"power_kw": episode.signals["power_kw"] * (1 + 0.06 * size * episode.progress)}
    if "vibration_mms" in episode.signals:
        growth = 1 + 1.5 * size * episode.progress
        changed["vibration_mms"] = episode.signals["vibration_mms"] * growth
    return changed


def overload(episode: Episode, size: float) -> Signals:
    """Power +25 % while production rises by 20 % only."""
    return {"power_kw": episode.signals["power_kw"] * (1 + 0.25 * size)}


FAULT_KINDS: dict[str, Callable[[Episode, float], Signals]] = {
    "leak": leak,
    "drift": drift,
    "stuck_sensor": stuck_sensor,
    "outage": outage,
    "night_setback_lost": night_setback_lost,
    "bearing_wear": bearing_wear,
    "overload": overload,
}


def production_factor(fault: Fault) -> float:
    """Return by what the fault multiplies the pieces made."""
    if fault.kind == "outage":
        return max(0.0, 1 - fault.size)
    return 1 + 0.20 * fault.size if fault.kind == "overload" else 1.0


def aware(what: str, at: datetime) -> datetime:
    """Return `at`; raise ValueError where it has no time zone."""
    if at.tzinfo is None:
        raise ValueError(f"{what} {at} has no time zone; give an offset such as +01:00")
    return at
