"""Tell by a system.alert when a part stopped, and when it runs again."""

import argparse
import sys

from enms_core import supervise
from enms_core.bus import Bell, locator
from enms_core.settings import Settings
from enms_core.store import Store, Unavailable, alerts
from enms_core.store.alerts import Condition


def add_words(_parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def main(settings: Settings, _args: argparse.Namespace) -> None:
    """Listen to the supervisor on stdin."""
    store, bell = Store(settings.database_url), Bell(locator(settings))

    def tell(wrong: list[Condition]) -> None:
        with store.write() as connection:
            told = alerts.settle(connection, supervise.ALERTS, wrong)
        if told:
            bell.ring("events")

    supervise.listen(tell, sys.stdin, sys.stdout, retry_on=(Unavailable, OSError))
