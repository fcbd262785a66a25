"""The `enms` command: `python -m enms_core --help`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from enms_core.broker import BrokerUnavailable
from enms_core.commands import COMMANDS, PARTS
from enms_core.plant import Unknown
from enms_core.settings import Settings
from enms_core.store import Unavailable
from enms_core.training_job import TrainingFailed

# What a person or the surroundings got wrong: its message says what would be right.
EXPECTED = (
    BrokerUnavailable,
    OSError,
    TrainingFailed,
    Unavailable,
    Unknown,
    ValueError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code. What a person got wrong is one line on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in COMMANDS:
        _overview().parse_args(words)
        return 2
    name, *words = words
    command = import_module(f"enms_core.commands.{COMMANDS[name]}")
    parser = argparse.ArgumentParser(prog=f"enms {name}", description=command.__doc__)
    command.add_words(parser)
    args = parser.parse_args(words)
    try:
        settings = Settings.from_env()
        _log(settings.log_level if name in PARTS else "WARNING")
        return int(command.main(settings, args) or 0)
    except BrokenPipeError:
        return 130
    except EXPECTED as error:
        print(f"enms: {(str(error) or type(error).__name__).splitlines()[0]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _overview() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="enms", description="Energy-management analytics.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        commands.add_parser(name, help=import_module(f"enms_core.commands.{module}").__doc__)
    return parser


def _log(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel("WARNING")


if __name__ == "__main__":
    sys.exit(main())
