"""Train what is asked for."""

import argparse

from enms_core import supervise, worker
from enms_core.bus import locator
from enms_core.settings import Settings


def add_words(_parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def main(settings: Settings, _args: argparse.Namespace) -> None:
    """Take jobs until told to stop."""
    supervise.die_with_parent()
    worker.work(locator(settings), settings.log_level)
