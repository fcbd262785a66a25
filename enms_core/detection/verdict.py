"""What a surprise means, and to which sensors it is owed."""

import math

import numpy as np
import pandas as pd

from enms_core.detection.score import MONTH, false_alarms_per_month

CRITICAL, WARNING = 4.0, 3.0  # surprise: one normal row, or stretch, in 10,000; in 1,000


def confidence(surprise: float) -> float:
    """Return the share of normal rows, or stretches, that stay below this surprise.

    >>> confidence(2.0), confidence(0.0)
    (0.99, 0.0)
    """
    return float(1.0 - 10.0**-surprise)


def episode_confidence(surprise: float, interval_s: float) -> float:
    """Return the probability that a day of normal readings shows none so surprising.

    Surprises are calibrated on the series' own past, so those that exceed one are counted as a
    Poisson process. Readings closer than a minute say little more than those of every minute.

    >>> [round(episode_confidence(surprise, 60.0), 3) for surprise in (3.0, 4.0, 5.0, 7.0)]
    [0.237, 0.866, 0.986, 1.0]
    """
    alarms = false_alarms_per_month(surprise, max(interval_s, 60.0)) * 86400.0 / MONTH
    return math.exp(-alarms)


def rarity(surprise: float) -> str:
    """Return info, warning or critical by how rare this is when all is normal.

    It says nothing of money; see `severity` for that. A reference too short to know that something
    is as rare as one in 10,000 never makes a forest say critical.

    >>> rarity(2.1), rarity(3.2), rarity(17.0)
    ('info', 'warning', 'critical')
    """
    if surprise >= CRITICAL:
        return "critical"
    return "warning" if surprise >= WARNING else "info"


def blame(contributions: pd.DataFrame) -> "pd.Series[float]":
    """Return the sensors by their share in the rows given, largest first; none where all are zero.

    `contributions` (rows, sensors) is what a detector returned, or some rows of it.

    >>> blame(pd.DataFrame({"bar": [0.0, 1.0], "kw": [4.0, 3.0]})).to_dict()
    {'kw': 0.875, 'bar': 0.125}
    """
    mean = contributions.mean().fillna(0.0)
    shares = (mean / mean.sum()).replace([np.inf, np.nan], 0.0)
    return shares[shares > 0].sort_values(ascending=False, kind="stable").rename("share")
