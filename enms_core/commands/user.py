"""Say who may log in and what they may do."""

import argparse
import getpass
import sys

from enms_core.client import connect
from enms_core.people import ROLES
from enms_core.settings import Settings
from enms_core.store import users


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare `add`, `role`, `list` and `remove`."""
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb, text, do in (
        ("add", "Add somebody with a password, or give a new one.", add),
        ("role", "Give a role to somebody whom another provider vouches for.", role),
    ):
        words = verbs.add_parser(verb, help=text)
        words.add_argument("name")
        words.add_argument("--role", choices=ROLES, default="viewer")
        words.set_defaults(verb=do)
    verbs.add_parser("list", help="List who is known.").set_defaults(verb=show)
    old = verbs.add_parser("remove", help="Forget somebody.")
    old.add_argument("name")
    old.set_defaults(verb=remove)


def main(settings: Settings, args: argparse.Namespace) -> None:
    """Do what the verb says."""
    args.verb(settings, args)


def add(settings: Settings, args: argparse.Namespace) -> None:
    """Ask for the password; without a terminal it is the first line of stdin."""
    store = connect(settings).store
    with store.read() as connection:
        known = {user.name: user.has_password for user in users.listed(connection)}
    if known.get(args.name):
        raise ValueError(f"{args.name} is there already; see enms user role, or remove it first")
    password = _password()
    with store.write() as connection:
        users.put(connection, args.name, args.role, password)
    print(f"{args.name} may log in as {args.role}")


def role(settings: Settings, args: argparse.Namespace) -> None:
    """Keep the role."""
    with connect(settings).store.write() as connection:
        users.put(connection, args.name, args.role)
    print(f"{args.name} is {args.role}")


def show(settings: Settings, _args: argparse.Namespace) -> None:
    """Print a line for each."""
    with connect(settings).store.read() as connection:
        for user in users.listed(connection):
            how = "password" if user.has_password else "another provider"
            print(f"{user.name}  {user.role}  {how}")


def remove(settings: Settings, args: argparse.Namespace) -> None:
    """Forget them."""
    with connect(settings).store.write() as connection:
        users.remove(connection, args.name)
    print(f"removed {args.name}")


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise ValueError("the two are not the same; try again")
    return first
