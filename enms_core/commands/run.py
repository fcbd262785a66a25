"""Fill an empty store, then start and keep up every part; words go on to `panel serve`."""

import argparse

from enms_core import supervise
from enms_core.commands import setup
from enms_core.settings import Settings


def add_words(parser: argparse.ArgumentParser) -> None:
    """Take all words: they are the server's."""
    parser.add_argument("words", nargs=argparse.REMAINDER, help="words for panel serve")


def main(settings: Settings, args: argparse.Namespace) -> int:
    """Return the supervisor's exit code."""
    words = [word for word in args.words if word != "--"]
    supervise.server_command(settings, words)  # what it refuses is refused before the rest is made
    setup.main(settings, args)
    print(f"EnMS opens at {supervise.server_url(words)} in a moment; Ctrl-C stops it.", flush=True)
    return supervise.run(settings, words)
