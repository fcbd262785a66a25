"""Judge the past of a machine and keep what is found."""

import argparse
from datetime import datetime

import pandas as pd

from enms_core import findings
from enms_core.client import connect
from enms_core.settings import Settings
from enms_core.store.times import to_us


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare the span."""
    parser.add_argument("machine")
    parser.add_argument("--start", required=True, help="such as 2018-07-01, in the site's zone")
    parser.add_argument("--end", required=True, help="the day after the last")


def main(settings: Settings, args: argparse.Namespace) -> None:
    """Judge the past of a machine and keep what is found."""
    plant = connect(settings)
    machine = plant.machine(args.machine)
    start, end = (_local(at, machine.factory.timezone) for at in (args.start, args.end))
    found = findings.detect(plant.store, machine.id, to_us(start), to_us(end))
    plant.bell.ring("events")
    known = plant.anomalies(args.machine)
    inside = known[(known["started_at"] >= start) & (known["started_at"] < end)]
    inside = inside.assign(at=inside["started_at"].dt.tz_convert(machine.zone)).sort_values("at")
    for row in inside.to_dict("records"):
        when, kwh = f"{row['at']:%Y-%m-%d %H:%M}", f"{row['delta_kwh']:+10.1f} kWh"
        print(f"{when}  {row['severity']:8}  {kwh}  {row['reason']}")
    print(f"{len(inside)} anomalies, {len(found)} of them new")


def _local(text: str, timezone: str) -> datetime:
    at = pd.Timestamp(text)
    return (at if at.tzinfo else at.tz_localize(timezone)).to_pydatetime()
