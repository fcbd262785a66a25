"""Judge readings as they come and relay events."""

import argparse

from enms_core import engine, supervise
from enms_core.bus import locator
from enms_core.commands import stopped
from enms_core.settings import Settings
from enms_core.store import Store


def add_words(_parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def main(settings: Settings, _args: argparse.Namespace) -> None:
    """Run until told to stop."""
    supervise.die_with_parent()
    engine.run(Store(settings.database_url), locator(settings), stopped())
