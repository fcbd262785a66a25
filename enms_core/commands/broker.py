"""Be the embedded Redis, or wait until one is needed."""

import argparse

from enms_core import broker, supervise
from enms_core.settings import Settings


def add_words(_parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def main(settings: Settings, _args: argparse.Namespace) -> None:
    """Become the server."""
    supervise.die_with_parent()
    broker.run(settings)
