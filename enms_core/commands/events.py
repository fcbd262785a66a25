"""Print events, one JSON a line."""

import argparse
import asyncio

from enms_core.bus import Follower
from enms_core.client import connect
from enms_core.settings import Settings
from enms_core.store import events


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare which events."""
    parser.add_argument("--follow", action="store_true", help="go on with those to come")
    parser.add_argument("--last", type=int, default=10, help="how many past events to print first")
    parser.add_argument("--all", action="store_true", help="follow metric.updated too")


def main(settings: Settings, args: argparse.Namespace) -> None:
    """Print events, one JSON a line."""
    plant = connect(settings)
    with plant.store.read() as connection:
        last = events.last_seq(connection)
        known = events.after(connection, max(0, last - args.last), args.last)
    for _, _, envelope in known:
        print(envelope, flush=True)
    if args.follow:
        asyncio.run(_follow(Follower(plant.store, plant.locate, since=last), args))


async def _follow(follower: Follower, args: argparse.Namespace) -> None:
    async for envelope in follower.follow():
        if args.all or envelope.seq is not None:
            print(envelope.to_json(), flush=True)
