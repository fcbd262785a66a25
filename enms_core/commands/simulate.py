"""Put a fault into the simulated plant, or export its readings as CSV."""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

from enms_core.client import connect
from enms_core.settings import Settings
from enms_core.sources import live
from enms_core.sources.faults import FAULT_KINDS, Fault
from enms_core.sources.simulator import Simulator


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare what to put in, or where to write to."""
    parser.add_argument("--inject", choices=sorted(FAULT_KINDS))
    parser.add_argument("--machine")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--export", type=Path, metavar="FILE")
    parser.add_argument("--days", type=float, default=30.0, help="how much to export")


def main(settings: Settings, args: argparse.Namespace) -> None:
    """Put a fault into the simulated plant, or export its readings as CSV."""
    if args.export:
        end = datetime.now(UTC).replace(second=0, microsecond=0)
        start = end - timedelta(days=args.days)
        names = [args.machine] if args.machine else None
        rows = Simulator(live.SEED).readings(start, end, live.PAST_INTERVAL, machines=names)
        rows.to_csv(args.export, index=False)
        print(f"wrote {len(rows):,} readings to {args.export}")
        return
    if not (args.inject and args.machine):
        raise ValueError("give --inject KIND --machine NAME, or --export FILE")
    now = datetime.now(UTC)
    end = now + timedelta(minutes=args.minutes)
    live.inject(connect(settings).store, Fault(args.inject, args.machine, now, end, args.size))
    print(f"{args.inject} at {args.machine} until {end:%H:%M:%S} UTC")
