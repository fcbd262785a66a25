"""Give programs a token for the API, list the tokens, or revoke one."""

import argparse

from enms_core.client import connect
from enms_core.people import ROLES
from enms_core.settings import Settings
from enms_core.store import tokens
from enms_core.store.times import iso, now_us

DAY_US = 86_400_000_000


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare `add`, `list` and `revoke`."""
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    new = verbs.add_parser("add", help="Make a token; it is shown once.")
    new.add_argument("name", help="of the program that uses it")
    new.add_argument("--role", choices=ROLES, default="viewer")
    new.add_argument("--days", type=float, help="how long it is valid; for ever by default")
    new.set_defaults(verb=add)
    verbs.add_parser("list", help="List the tokens.").set_defaults(verb=show)
    old = verbs.add_parser("revoke", help="Make a token void.")
    old.add_argument("name")
    old.set_defaults(verb=revoke)


def main(settings: Settings, args: argparse.Namespace) -> None:
    """Do what the verb says."""
    args.verb(settings, args)


def add(settings: Settings, args: argparse.Namespace) -> None:
    """Print the secret, alone on its line, once."""
    expires_at = None if args.days is None else now_us() + int(args.days * DAY_US)
    with connect(settings).store.write() as connection:
        _, secret = tokens.add(connection, args.name, args.role, expires_at)
    print(secret)


def show(settings: Settings, _args: argparse.Namespace) -> None:
    """Print a line for each."""
    with connect(settings).store.read() as connection:
        for token in tokens.listed(connection):
            until = "for ever" if token.expires_at is None else f"until {iso(token.expires_at)}"
            used = "never used" if token.used_at is None else f"used {iso(token.used_at)}"
            print(f"{token.name}  {token.role}  {token.prefix}...  {until}  {used}")


def revoke(settings: Settings, args: argparse.Namespace) -> None:
    """Forget it."""
    with connect(settings).store.write() as connection:
        tokens.revoke(connection, args.name)
    print(f"revoked {args.name}")
