"""Bring the store up to date; fill an empty one from the simulator."""

import argparse
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from enms_core.client import Plant, connect
from enms_core.settings import Settings
from enms_core.sources import live


def add_words(_parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def main(settings: Settings, _args: argparse.Namespace) -> None:
    """Fill the store once; begun but not finished, it goes on."""
    plant = connect(settings)
    if settings.source == "simulator" and not live.is_filled(plant.store):
        fill(plant)


def fill(plant: Plant) -> None:
    """Simulate the past, learn from it, and judge it, with a progress bar each."""
    from enms_core import engine, worker  # scikit-learn takes seconds to import

    steps = {
        "30 days of a simulated plant": live.fill(plant.store, plant.bell, datetime.now(UTC)),
        "Learning what is normal": worker.train_all(plant.store, plant.bell, "setup"),
        "Looking for what was not": engine.catch_up(plant.store, plant.bell),
    }
    columns = (TextColumn("{task.description:30}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        for description, shares in steps.items():
            task = bar.add_task(description, total=1.0)
            for share in shares:
                bar.update(task, completed=share)
    live.finish(plant.store)
