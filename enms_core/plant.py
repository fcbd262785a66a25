"""What a plant is made of: factories, machines and the metrics they measure."""

import re
from dataclasses import dataclass, field, replace
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

# How much depends on a machine, as an ABC analysis of the equipment classes it (the ABC indicator of
# maintenance systems), and by what its anomalies weigh: a class more is twice as much.
CRITICALITIES = {
    "A": 2.0,  # others stand still without it, or people are at risk
    "B": 1.0,  # it can be done without for a shift
    "C": 0.5,  # nothing that is made depends on it
}

# The metrics that carry a machine's energy, the first one present is judged. A cumulative register
# is not judged itself: its mean power from quarter to quarter of an hour is, which the plant derives.
REGISTER, REGISTER_POWER = "meter_kwh", "meter_kw"
ENERGY_METRICS = ("power_kw", "energy_kwh", REGISTER_POWER)
INTERVAL_METRICS = ("energy_kwh", REGISTER_POWER)  # of the time that begins with the reading

SEVERE_KW = (5.0, 20.0)  # what a warning, and critical, is where a site does not say it in money

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
    """A site: one time zone, one currency, one price and one carbon factor of electricity.

    From `warning_per_hour` and `critical_per_hour` on, money an hour in the site's currency, an
    anomaly is a warning, and critical. Where they are not given: from what 5 and 20 kW cost.

    >>> Factory("Works", price_per_kwh=0.2, critical_per_hour=9.0).severe_from
    (1.0, 9.0)
    """

    name: str
    timezone: str = "UTC"
    currency: str = "EUR"
    price_per_kwh: float = 0.18
    carbon_kg_per_kwh: float = 0.35
    id: int | None = None
    warning_per_hour: float | None = None
    critical_per_hour: float | None = None

    def __post_init__(self) -> None:
        _checked_name("factory", self.name)
        zone(self.timezone)
        given = [self.warning_per_hour, self.critical_per_hour]
        if not all(limit is None or 0 < limit < float("inf") for limit in given):
            raise ValueError(
                f"warning and critical from {given} an hour on, at factory {self.name!r}: "
                "both must be positive amounts of money"
            )
        warning, critical = self.severe_from
        if self.price_per_kwh > 0 and warning > critical:
            raise ValueError(
                f"a warning at factory {self.name!r} begins at {warning:g} an hour, above critical "
                f"at {critical:g}; it must begin below"
            )

    @property
    def severe_from(self) -> tuple[float, float]:
        """From how much money an hour on an anomaly is a warning, and critical."""
        return severe_from(self.price_per_kwh, self.warning_per_hour, self.critical_per_hour)


def severe_from(
    price_per_kwh: float, warning: float | None, critical: float | None
) -> tuple[float, float]:
    """Return what is given, or else what `SEVERE_KW` cost an hour.

    >>> severe_from(0.18, None, 5.0)
    (0.9, 5.0)
    """
    usual = [round(kw * price_per_kwh, 9) for kw in SEVERE_KW]
    first, second = (u if g is None else g for u, g in zip(usual, (warning, critical), strict=True))
    return first, second


@dataclass(frozen=True)
class Machine:
    """A significant energy user (SEU) of a factory; `criticality` is A, B or C.

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
    criticality: str = "B"

    def __post_init__(self) -> None:
        _checked_name("machine", self.name)
        if self.type not in MACHINE_TYPES:
            raise ValueError(
                f"type {self.type!r} of machine {self.name!r} is unknown; "
                f"it must be one of {', '.join(MACHINE_TYPES)}"
            )
        if self.criticality not in CRITICALITIES:
            raise ValueError(
                f"criticality {self.criticality!r} of machine {self.name!r} is unknown; "
                f"it must be one of {', '.join(CRITICALITIES)}"
            )
        if self.rated_kw is not None and not 0 < self.rated_kw < float("inf"):
            raise ValueError(
                f"rated power {self.rated_kw!r} kW of machine {self.name!r} must be positive"
            )

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return zone(self.factory.timezone)


def weighed(
    machine: Machine,
    criticality: str | None = None,
    warning_per_hour: float | None = None,
    critical_per_hour: float | None = None,
) -> Machine:
    """Return the machine as its anomalies weigh from now on; what is not given stays.

    >>> weighed(Machine("Saw"), "A", critical_per_hour=9.0).factory.severe_from
    (0.9, 9.0)
    """
    site = machine.factory
    changed = replace(
        site,
        warning_per_hour=warning_per_hour or site.warning_per_hour,
        critical_per_hour=critical_per_hour or site.critical_per_hour,
    )
    return replace(machine, criticality=criticality or machine.criticality, factory=changed)


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
