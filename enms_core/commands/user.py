"""Say who may log in and what they may do."""

import argparse
import getpass
import sys

from enms_core.client import connect
from enms_core.people import ROLES
from enms_core.plant import Unknown
from enms_core.settings import Settings
from enms_core.store import users


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare `add`, `role`, `list` and `remove`."""
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb, text, do in (
        ("add", "Add somebody with a password, or give a new one.", add),
        ("role", "Give another role to somebody who is known.", role),
    ):
        words = verbs.add_parser(verb, help=text)
        words.add_argument("name")
        words.add_argument("--role", choices=ROLES, default="viewer")
        words.set_defaults(verb=do)
        if do is add:
            text = "Another provider vouches for them (ENMS_AUTH=oauth)."
            words.add_argument("--no-password", action="store_true", help=text)
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
    if known.get(args.name) or (args.no_password and args.name in known):
        raise ValueError(f"{args.name} is there already; see enms user role, or remove it first")
    password = None if args.no_password else _password()
    with store.write() as connection:
        users.put(connection, args.name, args.role, password)
    print(f"{args.name} may log in as {args.role}")


def role(settings: Settings, args: argparse.Namespace) -> None:
    """Keep the role; raise Unknown for somebody whom nobody added: a name is soon misspelt."""
    with connect(settings).store.write() as connection:
        if users.person(connection, args.name) is None:
            raise Unknown(
                f"user {args.name!r} is unknown; add them with enms user add NAME --role "
                f"{args.role}, and --no-password where another provider vouches for them"
            )
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
