"""Writes readings of machines of its own, twenty batches a second, and says what is stored.

A batch is an hour of a machine, minute by minute; at ten of every fifth day it uses too much.
What stands on stdout was acknowledged: `plant.write` had returned.
"""

import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from enms_core.client import connect
from enms_core.store import Unavailable

MACHINES = ("Kill-1", "Kill-2", "Kill-3")
PAUSE_S = 0.05
PAST = timedelta(days=60)
ODD_HOUR, ODD_DAY = 10, 5  # what comes every day is soon no surprise


def batch(machine: str, start: datetime) -> pd.DataFrame:
    """Return an hour of a machine; the same whenever it is asked for."""
    times = pd.date_range(start, periods=60, freq="1min")
    random = np.random.default_rng([int(start.timestamp()), MACHINES.index(machine)])
    values = 20.0 + 5.0 * (8 <= start.hour < 18) + random.normal(0.0, 0.3, 60)
    if start.hour == ODD_HOUR and start.toordinal() % ODD_DAY == 0:
        values[15:45] += 30.0
    return pd.DataFrame({"machine": machine, "metric": "power_kw", "time": times, "value": values})


def batches(end: datetime):
    """Yield the batches before `end`, hour after hour, machine after machine."""
    start = end - PAST
    while start < end:
        for machine in MACHINES:
            yield machine, start
        start += timedelta(hours=1)


def main() -> None:
    """Write until killed, or until all is written."""
    plant = connect()
    for machine, start in batches(datetime.now(UTC).replace(minute=0, second=0, microsecond=0)):
        while True:
            try:
                plant.write(batch(machine, start))
                break
            except Unavailable as error:
                sys.stderr.write(f"{error}\n")
        sys.stdout.write(f"{machine} {start.isoformat()}\n")
        sys.stdout.flush()
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
