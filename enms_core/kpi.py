"""Key performance indicators of a machine over a span, from its quarters of an hour.

A quarter belongs to the span in which it starts. Energy is counted where it was measured and never
guessed: `coverage` says how much of the span that is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pandas as pd

from enms_core import slots
from enms_core.plant import Machine
from enms_core.store import Connection, energy, readings
from enms_core.store.times import index_of, to_us

QUARTER_S = 900.0
COUNT = "production_count"
WHOLE = 0.9  # a quarter that was measured for less of its time is no demand
BASE_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Kpis:
    """Figures of a machine in [start, end); None where they cannot be known.

    - `energy_kwh`: measured energy. `coverage`: measured seconds / seconds of the span. What a
      register advanced over a gap is energy, but covers nothing: when it was used is not known.
    - `mean_kw`: energy of the measured hours / measured hours.
    - `peak_kw`: the largest mean power of a quarter of an hour, which begins at `peak_at`.
    - `load_factor`: mean_kw / peak_kw.
    - `base_kw`: the 5 % quantile of the quarters' mean powers.
    - `cost`, `carbon_kg`: energy_kwh times price and carbon factor of the factory.
    - `sec_kwh_per_unit`: specific energy consumption, energy_kwh / production_count. None where
      less than 90 % of the span was measured: its pieces were counted all the same.
    """

    machine: str
    start: datetime
    end: datetime
    energy_kwh: float | None = None
    mean_kw: float | None = None
    peak_kw: float | None = None
    peak_at: datetime | None = None
    load_factor: float | None = None
    base_kw: float | None = None
    coverage: float = 0.0
    cost: float | None = None
    currency: str
    carbon_kg: float | None = None
    production_count: float | None = None
    sec_kwh_per_unit: float | None = None


def of_machine(
    connection: Connection,
    machine: Machine,
    start: datetime,
    end: datetime,
    freq: str | None = None,
) -> Iterator[Kpis]:
    """Yield the figures of a machine in [start, end), or in every bucket of it.

    `freq` is 15min, 1h, 1D, 1W (from Monday) or 1MS (months), by the site's calendar.
    """
    if freq is not None and freq not in slots.LONGEST:
        allowed = ", ".join(slots.LONGEST)
        raise ValueError(f"freq {freq!r} is unknown; it must be one of {allowed}")
    span = to_us(start), to_us(end)
    quarters = energy.frame(connection, machine.id, *span)
    made = readings.frame(connection, machine.id, *span, [COUNT]).get(COUNT)
    starts = quarters["start"].to_numpy()
    quarters["start"] = index_of(starts).tz_convert(machine.zone)
    for first, last in buckets(start, end, freq, machine.zone):
        low, high = starts.searchsorted([to_us(first), to_us(last)])
        count = None if made is None else made[(made.index >= first) & (made.index < last)]
        pieces = None if count is None or count.empty else float(count.sum())
        yield kpis(machine, first, last, quarters.iloc[low:high], pieces)


def kpis(
    machine: Machine,
    start: datetime,
    end: datetime,
    quarters: pd.DataFrame,
    production_count: float | None = None,
) -> Kpis:
    """Return the figures of a span from its quarters.

    Their columns are start (UTC), energy_kwh, covered_s and, if there is any, spread_kwh.

    >>> from datetime import UTC, timedelta
    >>> begin = datetime(2026, 11, 22, 13, tzinfo=UTC)
    >>> quarters = pd.DataFrame({"start": pd.date_range(begin, periods=4, freq="15min"),
    ...     "energy_kwh": [10.0, 10.0, 15.0, 5.0], "covered_s": [900.0] * 4})
    >>> found = kpis(Machine("Press"), begin, begin + timedelta(hours=1), quarters, 80.0)
    >>> found.energy_kwh, found.mean_kw, found.peak_kw, round(found.load_factor, 3)
    (40.0, 40.0, 60.0, 0.667)
    >>> found.coverage, found.sec_kwh_per_unit
    (1.0, 0.5)
    """
    site = machine.factory
    blank = Kpis(
        machine=machine.name,
        start=start,
        end=end,
        currency=site.currency,
        production_count=production_count,
    )
    spread = quarters["spread_kwh"] if "spread_kwh" in quarters else 0.0 * quarters["covered_s"]
    if not (quarters["covered_s"] + spread).any():
        return blank
    known = quarters.assign(energy_kwh=quarters["energy_kwh"] - spread)
    energy, covered_s = float(quarters["energy_kwh"].sum()), float(known["covered_s"].sum())
    coverage = min(1.0, covered_s / (end.timestamp() - start.timestamp()))
    pieces = production_count if coverage >= WHOLE else None
    demand = _demand(known)
    mean = float(known["energy_kwh"].sum()) / (covered_s / 3600.0) if covered_s else None
    peak = None if demand.empty else float(demand.max())
    return Kpis(
        **{
            **vars(blank),
            "energy_kwh": energy,
            "mean_kw": mean,
            "peak_kw": peak,
            "peak_at": None if peak is None else demand.index[int(demand.argmax())].to_pydatetime(),
            "load_factor": mean / peak if mean is not None and peak else None,
            "base_kw": None if demand.empty else float(demand.quantile(BASE_SHARE)),
            "coverage": coverage,
            "cost": energy * site.price_per_kwh,
            "carbon_kg": energy * site.carbon_kg_per_kwh,
            "sec_kwh_per_unit": energy / pieces if pieces else None,
        }
    )


def _demand(quarters: pd.DataFrame) -> "pd.Series[float]":
    """Return the mean power (kW) of the quarters that were measured, by their start."""
    whole = quarters[quarters["covered_s"] >= WHOLE * QUARTER_S]
    power = whole["energy_kwh"] / (whole["covered_s"] / 3600.0)
    return pd.Series(power.to_numpy(float), index=pd.DatetimeIndex(whole["start"]))


def buckets(
    start: datetime, end: datetime, freq: str | None, zone: ZoneInfo
) -> Iterator[tuple[datetime, datetime]]:
    """Yield the spans of [start, end) by the site's calendar; the first and last may be partial.

    >>> berlin = ZoneInfo("Europe/Berlin")
    >>> first, last = datetime(2026, 10, 24, tzinfo=berlin), datetime(2026, 10, 26, tzinfo=berlin)
    >>> [(b.timestamp() - a.timestamp()) / 3600 for a, b in buckets(first, last, "1D", berlin)]
    [24.0, 25.0]
    """
    first, last = (pd.Timestamp(at.astimezone(zone)) for at in (start, end))
    edges = [first, last] if freq is None else slots.edges(first, last, freq)
    for a, b in pairwise(edges):
        if b > first and a < last:
            yield max(a, first).to_pydatetime(), min(b, last).to_pydatetime()
