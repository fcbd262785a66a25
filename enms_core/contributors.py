"""What goes with an anomaly: values of the machine, how unusual they are, what they explain."""

from collections.abc import Sequence
from dataclasses import dataclass

from enms_core.plant import Metric

UNITS = {"production_per_h": "parts/h", "holiday": ""}  # of what is no metric but made of one
DRIVERS = ("temperature_c", *UNITS)  # causes of energy use; all else goes with it


@dataclass(frozen=True, kw_only=True)
class Contributor:
    """A driver of a machine, or another metric of it, when an anomaly was there.

    `usual` is what it is at this hour of the week, `deviations` how many standard deviations of
    that hour the value is away from it; None where that is not known. `effect_kw`, in the unit of
    the metric that is judged, is by how much this driver moved what was expected away from where
    its usual value would have put it; None for what no model knows.
    """

    name: str
    value: float
    unit: str
    usual: float | None = None
    deviations: float | None = None
    effect_kw: float | None = None

    @property
    def is_driver(self) -> bool:
        """Whether it is a cause of energy use and no consequence."""
        return self.name in DRIVERS


def unit_of(name: str) -> str:
    """Return the unit of a driver or a metric.

    >>> unit_of("production_per_h"), unit_of("pressure_bar")
    ('parts/h', 'bar')
    """
    return UNITS[name] if name in UNITS else Metric(name).unit


def ranked(contributors: Sequence[Contributor]) -> tuple[Contributor, ...]:
    """Return them by their effect, then by how unusual they are, the largest first.

    >>> ranked([Contributor(name="flow_m3h", value=1.0, unit="m³/h", deviations=-9.0),
    ...         Contributor(name="temperature_c", value=21.0, unit="°C", effect_kw=-2.0)])[0].name
    'temperature_c'
    """

    def rank(one: Contributor) -> tuple[bool, float, float]:
        return (one.effect_kw is not None, abs(one.effect_kw or 0.0), abs(one.deviations or 0.0))

    return tuple(sorted(contributors, key=rank, reverse=True))
