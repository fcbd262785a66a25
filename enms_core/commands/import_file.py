"""Store the readings of a CSV file."""

import argparse
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from enms_core.client import connect
from enms_core.ingest import Receipt
from enms_core.settings import Settings
from enms_core.sources import csv_file

ROWS = 10_000  # in one transaction


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare where the readings are and how to read them."""
    parser.add_argument("file", type=Path)
    parser.add_argument("--machine", help="whose readings they are")
    parser.add_argument("--time", default="time", help="the column of the times")
    parser.add_argument("--timezone", help="of times without an offset, such as Europe/Berlin")
    parser.add_argument("--dayfirst", action="store_true", help="31/12/2018, not 12/31/2018")
    parser.add_argument("--ends", action="store_true", help="times label the end of the interval")
    parser.add_argument("--map", type=_pair, action="append", default=[], metavar="COLUMN=METRIC")


def main(settings: Settings, args: argparse.Namespace) -> None:
    """Store the readings of a CSV file."""
    plant, rows = connect(settings), rows_of(args)
    receipt = Receipt()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(args.file.name, total=len(rows))
        for first in range(0, len(rows), ROWS):
            receipt += plant.write(rows.iloc[first : first + ROWS])
            bar.update(task, completed=receipt.sent)
    print_receipt(receipt)


def rows_of(args: argparse.Namespace) -> pd.DataFrame:
    """Return the readings that the words describe."""
    return csv_file.read(
        args.file,
        machine=args.machine,
        time_column=args.time,
        metrics=dict(args.map) or None,
        timezone=args.timezone,
        dayfirst=args.dayfirst,
        ends=args.ends,
    )


def print_receipt(receipt: Receipt) -> None:
    """Say what became of the readings."""
    print(
        f"{receipt.sent} readings: {receipt.stored} stored, {receipt.duplicates} duplicate, "
        f"{receipt.quarantined} quarantined"
    )
    for reason, count in receipt.reasons.items():
        print(f"  {count} x {reason}")


def _pair(text: str) -> tuple[str, str]:
    column, _, metric = text.rpartition("=")
    if not column:
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=METRIC")
    return column, metric
