"""What goes with an episode: the drivers when it began, and what else is unusual since."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from enms_core.baseline import DRIVERS
from enms_core.contributors import Contributor, unit_of
from enms_core.detection.episode import Episode
from enms_core.plant import Machine
from enms_core.store import Connection
from enms_core.store import readings as stored
from enms_core.store.times import index_of, to_us
from enms_core.watch import Watch, driver_rows, drivers_of

WEATHER = "temperature_c"
ENOUGH_ROWS = 30  # for what a driver is at the last of them
DIGITS = 3
LATELY = timedelta(hours=1)  # of an episode that lasts longer only so much is looked at
WEEKS = range(1, 5)  # what is usual: the same time of these weeks before ...
AROUND = timedelta(minutes=15)  # ... and so long before and after
FEWEST = 8  # readings, for something to be usual
UNUSUAL = 3.0  # deviations
LEAST_SPREAD = 0.01  # of the usual value: less is not worth a word
SUMMED = ("_count", "_kwh")  # these depend on how often they are read


def drivers(connection: Connection, watch: Watch, episode: Episode) -> list[Contributor]:
    """Return the machine's drivers when the episode began; of one without a model the weather."""
    at = to_us(episode.started_at)
    if watch.baseline is None:
        value = stored.value_at(connection, watch.machine.id, WEATHER, at)
        return (
            [] if value is None else [Contributor(name=WEATHER, value=value, unit=unit_of(WEATHER))]
        )
    hours = episode.interval_s / 3600.0
    per_hour = 1.0 / hours if watch.monitor.metric == "energy_kwh" and hours else 1.0
    known = _driver_frame(connection, watch, at)
    return [
        Contributor(
            name=str(name),
            value=round(value, DIGITS),
            unit=unit_of(str(name)),
            usual=round(usual, DIGITS),
            deviations=round((value - usual) / spread, DIGITS) if spread > 0 else None,
            effect_kw=round(effect * per_hour, DIGITS),
        )
        for name, value, usual, spread, effect in watch.baseline.explain(known).itertuples()
    ]


def _driver_frame(connection: Connection, watch: Watch, at: int) -> pd.DataFrame:
    """Return the drivers up to that time (us): those of the last prediction if it knew enough."""
    index = index_of([at])
    if watch.drivers is not None:
        before = watch.drivers.loc[: index[0]]
        if len(before) >= ENOUGH_ROWS:
            return before.iloc[-1:].set_axis(index.tz_convert(watch.machine.zone))
    return drivers_of(watch, driver_rows(connection, watch.machine, np.array([at])))


def others(connection: Connection, watch: Watch, episode: Episode) -> list[Contributor]:
    """Return the other metrics of the machine that are not as usual lately."""
    names = {
        number: metric
        for number, (owner, metric) in stored.all_series(connection).items()
        if owner == watch.machine.id
        and metric not in (*DRIVERS, watch.monitor.metric)
        and not metric.endswith(SUMMED)
    }
    if not names:
        return []
    first, last = max(episode.started_at, episode.ended_at - LATELY), episode.ended_at
    now = stored.moments(connection, names, [(to_us(first), to_us(last) + 1)])
    before = stored.moments(connection, names, _weeks_before(watch.machine, first, last))
    found = []
    for number in now.keys() & before.keys():
        (_, value, _), (count, usual, spread) = now[number], before[number]
        deviations = (value - usual) / max(spread, LEAST_SPREAD * abs(usual), 1e-9)
        if count >= FEWEST and abs(deviations) >= UNUSUAL:
            name = names[number]
            found.append(
                Contributor(
                    name=name,
                    value=round(value, DIGITS),
                    unit=unit_of(name),
                    usual=round(usual, DIGITS),
                    deviations=round(deviations, DIGITS),
                )
            )
    return found


def _weeks_before(machine: Machine, first: datetime, last: datetime) -> list[tuple[int, int]]:
    """Return the same time, by the clock of the site, in the weeks before."""
    ends = (first.astimezone(machine.zone) - AROUND, last.astimezone(machine.zone) + AROUND)
    return [
        (to_us(ends[0] - timedelta(weeks=week)), to_us(ends[1] - timedelta(weeks=week)))
        for week in WEEKS
    ]
