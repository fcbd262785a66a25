"""Add or list machines; say what one is doing."""

import argparse

from enms_core.client import connect
from enms_core.modes import MODES
from enms_core.plant import CRITICALITIES, MACHINE_TYPES, Factory
from enms_core.settings import Settings


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare `add`, `list` and `mode`."""
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    new = verbs.add_parser("add", help="Add a machine.")
    new.add_argument("name")
    new.add_argument("--type", choices=MACHINE_TYPES, default="other")
    new.add_argument("--rated-kw", type=float)
    new.add_argument(
        "--criticality",
        choices=CRITICALITIES,
        default="B",
        help="A: others stand still without it; C: nothing that is made depends on it",
    )
    new.add_argument("--factory", help="an existing or new one; by default one of the same name")
    new.add_argument("--timezone", help="of a new factory, such as Europe/Berlin; else UTC")
    _add_thresholds(new, "of a new factory")
    new.set_defaults(verb=add)
    verbs.add_parser("list", help="List the machines.").set_defaults(verb=show)
    told = verbs.add_parser("mode", help="Say what a machine is doing, from now or then on.")
    told.add_argument("name")
    told.add_argument("mode", choices=MODES)
    told.add_argument("--at", help="such as 2026-11-22T14:00, in the site's zone; else now")
    told.add_argument("--note", default="")
    told.set_defaults(verb=set_mode)
    heavy = verbs.add_parser("weigh", help="Say how much a machine's anomalies weigh.")
    heavy.add_argument("name")
    heavy.add_argument("--criticality", choices=CRITICALITIES)
    _add_thresholds(heavy, "of its whole factory")
    heavy.set_defaults(verb=weigh)


def _add_thresholds(parser: argparse.ArgumentParser, whose: str) -> None:
    for name, what in (("warning", "a warning"), ("critical", "critical")):
        parser.add_argument(
            f"--{name}-per-hour",
            type=float,
            metavar="MONEY",
            help=f"{whose}: what an anomaly costs an hour that is {what}",
        )


def main(settings: Settings, args: argparse.Namespace) -> None:
    """Do what the verb says."""
    args.verb(settings, args)


def add(settings: Settings, args: argparse.Namespace) -> None:
    """Add it, and its factory where that is new."""
    plant, name = connect(settings), args.factory or args.name
    known = plant.machines().set_index("factory")["timezone"].to_dict()
    factory = Factory(
        name,
        args.timezone or known.get(name, "UTC"),
        warning_per_hour=args.warning_per_hour,
        critical_per_hour=args.critical_per_hour,
    )
    machine = plant.add_machine(
        args.name,
        args.type,
        rated_kw=args.rated_kw,
        factory=factory,
        criticality=args.criticality,
    )
    print(f"added {machine.name} ({machine.id}) at {factory.name}, {factory.timezone}")


def set_mode(settings: Settings, args: argparse.Namespace) -> None:
    """Say what it is doing."""
    connect(settings).set_mode(args.name, args.mode, args.at, args.note)
    print(f"{args.name}: {args.mode} from {args.at or 'now'} on")


def weigh(settings: Settings, args: argparse.Namespace) -> None:
    """Say how much its anomalies weigh."""
    machine = connect(settings).weigh(
        args.name,
        criticality=args.criticality,
        warning_per_hour=args.warning_per_hour,
        critical_per_hour=args.critical_per_hour,
    )
    warning, critical = machine.factory.severe_from
    print(
        f"{machine.name}: criticality {machine.criticality}; at {machine.factory.name} a warning "
        f"from {warning:g}, critical from {critical:g} {machine.factory.currency} an hour on"
    )


def show(settings: Settings, _args: argparse.Namespace) -> None:
    """List the machines."""
    print(connect(settings).machines().drop(columns="id").to_string(index=False))
