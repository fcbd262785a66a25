"""Judge the past of a machine and keep what is found."""

import argparse
from datetime import UTC, datetime, timedelta

import pandas as pd

from enms_core import findings
from enms_core.client import connect
from enms_core.plant import Machine
from enms_core.settings import Settings
from enms_core.store.times import to_us


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare the span."""
    parser.add_argument("machine")
    parser.add_argument("--start", help="such as 2018-07-01, in the site's zone; else a week ago")
    parser.add_argument("--end", help="the day after the last; else now")


def main(settings: Settings, args: argparse.Namespace) -> None:
    """Judge the past of a machine and keep what is found."""
    plant = connect(settings)
    machine = plant.machine(args.machine)
    now = datetime.now(UTC)
    start = _local(args.start, machine) if args.start else now - timedelta(days=7)
    end = _local(args.end, machine) if args.end else now
    found = findings.detect(plant.store, machine.id, to_us(start), to_us(end))
    plant.bell.ring("events")
    known = plant.anomalies(args.machine)
    inside = known[(known["started_at"] >= start) & (known["started_at"] < end)]
    inside = inside.assign(at=inside["started_at"].dt.tz_convert(machine.zone)).sort_values("at")
    for row in inside.to_dict("records"):
        when, kwh = f"{row['at']:%Y-%m-%d %H:%M}", f"{row['delta_kwh']:+10.1f} kWh"
        print(f"{when}  {row['severity']:8}  {kwh}  {row['reason']}")
    print(f"{len(inside)} anomalies, {len(found)} of them new")


def _local(text: str, machine: Machine) -> datetime:
    at = pd.Timestamp(text)
    return (at if at.tzinfo else at.tz_localize(machine.zone)).to_pydatetime()
