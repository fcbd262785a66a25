"""Send the readings of a CSV file as a live stream."""

import argparse

from enms_core.client import connect
from enms_core.commands import import_file, stopped
from enms_core.ingest import Receipt
from enms_core.settings import Settings
from enms_core.sources import csv_file


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `import` and the speed."""
    import_file.add_words(parser)
    parser.add_argument("--speed", type=float, default=1.0, help="seconds of the file in a second")


def main(settings: Settings, args: argparse.Namespace) -> None:
    """Send the readings of a CSV file as a live stream."""
    plant, rows = connect(settings), import_file.rows_of(args)
    receipt = Receipt()
    for due in csv_file.paced(rows, args.speed, stopped()):
        receipt += plant.write(due)
    import_file.print_receipt(receipt)
