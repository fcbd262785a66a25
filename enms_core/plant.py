"""What a plant is made of: factories, machines and the metrics they measure."""

import re
from dataclasses import dataclass, field
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MACHINE_TYPES = (
    "compressor",
    "hvac",
    "motor",
    "pump",
    "injection_molding",
    "conveyor",
    "boiler",
    "other",
)

# The unit is the last part of a metric's name: suffix -> unit as people read it.
UNITS = {
    "kw": "kW",
    "kwh": "kWh",
    "kvar": "kvar",
    "kvarh": "kvarh",
    "a": "A",
    "v": "V",
    "hz": "Hz",
    "pf": "",
    "c": "°C",
    "bar": "bar",
    "m3h": "m³/h",
    "m3": "m³",
    "kg": "kg",
    "t": "t",
    "pct": "%",
    "rpm": "1/min",
    "mms": "mm/s",
    "count": "",
    "h": "h",
}

# The metrics that carry a machine's energy, the first one present is judged. A cumulative register
# is not judged itself: its mean power from quarter to quarter of an hour is, which the plant derives.
REGISTER, REGISTER_POWER = "meter_kwh", "meter_kw"
ENERGY_METRICS = ("power_kw", "energy_kwh", REGISTER_POWER)
INTERVAL_METRICS = ("energy_kwh", REGISTER_POWER)  # of the time that begins with the reading

_METRIC = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
NAME_LENGTH = 200


class Unknown(LookupError):
    """There is no machine, job or model of that name."""


@dataclass(frozen=True)
class Metric:
    """A quantity a machine measures; its name ends in its unit.

    >>> Metric("flow_m3h").unit
    'm³/h'
    >>> Metric("speed")
    Traceback (most recent call last):
    ...
    ValueError: metric 'speed' does not end in a known unit; write for example power_kw, energy_kwh, temperature_c
    """

    name: str

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and _METRIC.fullmatch(self.name)) or (
            self.name.rsplit("_", 1)[1] not in UNITS
        ):
            raise ValueError(
                f"metric {str(self.name)[:60]!r} does not end in a known unit; "
                "write for example power_kw, energy_kwh, temperature_c"
            )

    @property
    def unit(self) -> str:
        """The unit as people read it, empty for a count."""
        return UNITS[self.name.rsplit("_", 1)[1]]


@dataclass(frozen=True)
class Factory:
    """A site: one time zone, one currency, one price and one carbon factor of electricity."""

    name: str
    timezone: str = "UTC"
    currency: str = "EUR"
    price_per_kwh: float = 0.18
    carbon_kg_per_kwh: float = 0.35
    id: int | None = None

    def __post_init__(self) -> None:
        _checked_name("factory", self.name)
        zone(self.timezone)


@dataclass(frozen=True)
class Machine:
    """A significant energy user (SEU) of a factory.

    >>> Machine("Compressor-1", "compressor", rated_kw=75.0).factory.timezone
    'UTC'
    >>> Machine("Press", "squeezer")
    Traceback (most recent call last):
    ...
    ValueError: type 'squeezer' of machine 'Press' is unknown; it must be one of compressor, hvac, \
motor, pump, injection_molding, conveyor, boiler, other
    """

    name: str
    type: str = "other"
    rated_kw: float | None = None
    factory: Factory = field(default_factory=lambda: Factory("Plant"))
    id: str = ""

    def __post_init__(self) -> None:
        _checked_name("machine", self.name)
        if self.type not in MACHINE_TYPES:
            raise ValueError(
                f"type {self.type!r} of machine {self.name!r} is unknown; "
                f"it must be one of {', '.join(MACHINE_TYPES)}"
            )
        if self.rated_kw is not None and not 0 < self.rated_kw < float("inf"):
            raise ValueError(
                f"rated power {self.rated_kw!r} kW of machine {self.name!r} must be positive"
            )

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return zone(self.factory.timezone)


@cache
def zone(name: str) -> ZoneInfo:
    """Return the IANA time zone; raise ValueError with an example where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"time zone {name!r} is unknown; give an IANA name such as Europe/Berlin"
        ) from None


def _checked_name(kind: str, name: str) -> None:
    if not isinstance(name, str) or not name.strip() or len(name) > NAME_LENGTH or "\0" in name:
        raise ValueError(
            f"{kind} name {str(name)[:60]!r} must be 1 to {NAME_LENGTH} characters without NUL"
        )
