"""How much an anomaly matters: what it will cost if nobody acts, and what depends on the machine.

Alarms are ranked by the consequence of not acting and the time there is to act, not by how far a
value is off (ANSI/ISA-18.2, clause on rationalization; EEMUA 191). Wasted energy hurts nobody at
once: what counts is the money that goes on being lost. So

    consequence = money an hour * persistence * criticality of the machine.
"""

import math

from enms_core.plant import CRITICALITIES, SEVERE_KW, Machine

SEVERITIES = ("info", "warning", "critical")
SHORT_S = 600.0  # half of the episodes of a simulated month are over after this
HORIZON_S = 3600.0  # by then somebody can have acted


def persistence(lasted_s: float) -> float:
    """Return the share of the coming hour that an episode is expected to last, 0.3 to 1.

    What has lasted is likely to last: the probability that an episode of age t goes on for u more
    is (t + s) / (t + s + u), that of a Lomax distribution of shape 1 (Lomax, J. Am. Stat. Assoc.
    49, 1954) whose median is s. Its mean over the hour is the share.

    >>> [round(persistence(60.0 * minutes), 2) for minutes in (0, 5, 15, 60, 240, 1440)]
    [0.32, 0.4, 0.51, 0.72, 0.9, 0.98]
    """
    age = (max(lasted_s, 0.0) + SHORT_S) / HORIZON_S
    return age * math.log1p(1.0 / age)


def severe_from(machine: Machine) -> tuple[float, float]:
    """Return the deviation (kW, by its persistence) that is a warning, and the critical one.

    They are the thresholds of its site in money an hour, brought to its criticality. Where power
    has no price they are those of `SEVERE_KW`.

    >>> severe_from(Machine("Fan")), severe_from(Machine("Compressor", criticality="A"))
    ((5.0, 20.0), (2.5, 10.0))
    """
    factor, price = CRITICALITIES[machine.criticality], machine.factory.price_per_kwh
    if price <= 0:
        warning, critical = SEVERE_KW
    else:
        warning, critical = (money / price for money in machine.factory.severe_from)
    return warning / factor, critical / factor


def severity(lasting_kw: float, levels: tuple[float, float]) -> str:
    """Return info, warning or critical for a deviation times its persistence.

    Too little, negative, costs no energy: it is at most a warning, and that from where too much
    would be critical.

    >>> [severity(kw, (5.0, 20.0)) for kw in (4.9, 5.0, 20.0, -19.0, -90.0)]
    ['info', 'warning', 'critical', 'info', 'warning']
    """
    warning, critical = levels
    if lasting_kw >= critical:
        return "critical"
    return "warning" if lasting_kw >= warning or lasting_kw <= -critical else "info"
