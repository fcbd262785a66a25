"""Send readings from the configured source."""

import argparse
from pathlib import Path

from enms_core import supervise
from enms_core.client import Plant
from enms_core.commands import stopped
from enms_core.settings import Settings
from enms_core.sources import csv_file, live
from enms_core.store import Store


def add_words(_parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def main(settings: Settings, _args: argparse.Namespace) -> None:
    """Send until told to stop."""
    supervise.die_with_parent()
    plant, stop = Plant(settings, Store(settings.database_url)), stopped()
    if settings.source == "simulator":
        live.run(plant.store, plant.bell, stop)
    elif settings.source.startswith("replay:"):
        rows = csv_file.read(Path(settings.source.removeprefix("replay:")))
        for due in csv_file.paced(rows, 1.0, stop):
            plant.write(due)
        stop.wait()
