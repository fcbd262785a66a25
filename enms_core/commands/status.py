"""Say which parts run and how far they are."""

import argparse
import json

from enms_core import status
from enms_core.settings import Settings


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare the form."""
    parser.add_argument("--json", action="store_true")


def main(settings: Settings, args: argparse.Namespace) -> None:
    """Say which parts run and how far they are."""
    report = status.report(settings)
    print(json.dumps(report, indent=2) if args.json else status.as_text(report))
