"""The load that is coming, machine by machine: forecast once a day by a worker, and kept.

In the same round every forecast that is kept is held against what has come since.
"""

from datetime import datetime, timedelta

import pandas as pd

from enms_core.forecasting.accuracy import by_horizon
from enms_core.forecasting.young import LEAST_DAYS, TooLittleHistory
from enms_core.plant import Machine, Unknown
from enms_core.store import Connection, Store, energy, forecasts, progress
from enms_core.store.machines import all_machines
from enms_core.store.times import index_of, to_us

HOURS = 168
HISTORY = timedelta(days=400)
KEEP = timedelta(days=35)  # so long readings may come late and still count in the accuracy
HOUR_S = 3600.0
WHOLE = 0.9  # an hour that was measured for less of its time is a gap


def hourly(connection: Connection, machine: Machine, until: datetime) -> "pd.Series[float]":
    """Return the mean load (kW) of every whole hour before `until`, in the site's zone.

    Gaps are NaN; the first and the last hour were measured.
    """
    begin = to_us(until - HISTORY)
    quarters = energy.frame(connection, machine.id, begin, to_us(until))
    quarters["energy_kwh"] -= quarters["spread_kwh"]  # when it was used is not known
    hours = quarters.groupby(index_of(quarters["start"]).floor("h"))[["energy_kwh", "covered_s"]]
    sums = hours.sum()
    over = sums.index < pd.Timestamp(until).floor("h")
    sums = sums[(sums["covered_s"] >= WHOLE * HOUR_S) & over]
    load = sums["energy_kwh"] / (sums["covered_s"] / HOUR_S)
    return load.asfreq("h").tz_convert(machine.zone) if len(load) else load


def issue(store: Store, now: datetime) -> None:
    """Forecast the load of every machine whose site has had a midnight since its last forecast.

    Why a machine has no forecast is kept, too.
    """
    with store.read() as connection:
        known = all_machines(connection)
    for machine in known:
        _issue(store, machine, now)
    with store.write() as connection:
        forecasts.forget(connection, to_us(now - KEEP))


def _issue(store: Store, machine: Machine, now: datetime) -> None:
    midnight = now.astimezone(machine.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    with store.read() as connection:
        known = forecasts.newest(connection, machine.id)
        if known is not None and known[0] >= to_us(midnight):
            return
        load = hourly(connection, machine, now)
        kept = forecasts.kept(connection, machine.id)
    ahead, reason = _ahead(load, now, machine)
    held = {issued: by_horizon(frame, load) for issued, frame in kept.items() if len(load)}
    with store.write() as connection:
        for issued, found in held.items():
            forecasts.judge(connection, machine.id, issued, found)
        if ahead is not None:
            forecasts.put(connection, machine.id, to_us(now), ahead)
        progress.put(connection, f"forecast:{machine.id}", reason)


def _ahead(
    load: "pd.Series[float]", now: datetime, machine: Machine
) -> tuple[pd.DataFrame | None, str]:
    """Return the forecast of the hours from `now` on, or why there is none."""
    from enms_core.forecast import LoadForecaster  # scikit-learn takes a second to import

    begin = pd.Timestamp(now).floor("h")
    if load.empty or begin - load.index[-1] > pd.Timedelta(days=1):
        return None, "no load was measured within the last day"
    try:
        ahead = LoadForecaster().fit(load).forecast(load, HOURS)
    except TooLittleHistory as short:
        first = (now + timedelta(days=short.missing)).astimezone(machine.zone).date()
        return None, (
            f"{short.days} whole days of its load were measured and it takes {LEAST_DAYS}; "
            f"if no day is missed the first one comes by {first}"
        )
    except ValueError as error:
        return None, str(error)
    return ahead[ahead.index >= begin], ""


def coming(connection: Connection, machine: Machine, hours: int, now: datetime) -> pd.DataFrame:
    """Return the newest forecast from the hour of `now` on: mean, lower, upper, ... in kW.

    Its index is the time in the site's zone. Unknown, with the reason, where there is none.
    """
    known = forecasts.newest(connection, machine.id)
    if known is None:
        reason = progress.get(connection, f"forecast:{machine.id}") or "it is made within an hour"
        raise Unknown(f"{machine.name} has no forecast: {reason}")
    ahead = known[1].tz_convert(machine.zone)
    return ahead[ahead.index >= pd.Timestamp(now).floor("h")].head(hours)
