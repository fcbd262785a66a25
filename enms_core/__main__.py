"""The `enms` command: `python -m enms_core --help`."""

import argparse
import asyncio
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from enms_core import broker, engine, findings, jobs, status, supervise
from enms_core.bus import Follower, locator
from enms_core.client import connect
from enms_core.events import SystemAlert
from enms_core.ingest import Receipt
from enms_core.plant import MACHINE_TYPES, Factory
from enms_core.settings import Settings
from enms_core.sources import csv_file, live
from enms_core.sources.faults import FAULT_KINDS, Fault
from enms_core.sources.simulator import Simulator
from enms_core.store import events
from enms_core.store.jobs import ACTIVE
from enms_core.store.times import to_us
from enms_core.training import MODELS
from enms_core.training_job import TrainingFailed

log = logging.getLogger("enms")

IMPORT_ROWS = 10_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code. What a person got wrong is one line on stderr."""
    args, rest = _parser().parse_known_args(argv)
    if rest and args.command is not run_command:
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = [word for word in rest if word != "--"]
    try:
        settings = Settings.from_env()
        _log(settings, args)
        return int(args.command(settings, args) or 0)
    except (
        ValueError,
        LookupError,
        FileNotFoundError,
        TrainingFailed,
        broker.BrokerUnavailable,
    ) as error:
        print(
            f"enms: {error.args[0] if isinstance(error, LookupError) else error}", file=sys.stderr
        )
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 130


def _log(settings: Settings, args: argparse.Namespace) -> None:
    """A part logs as set; a person's command only what went wrong."""
    keeps_running = args.command in PARTS.values() and args.command is not run_command
    logging.basicConfig(
        level=settings.log_level if keeps_running else "WARNING",
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("alembic").setLevel("WARNING")


def _sentence(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, LookupError) and error.args else str(error)


# -- the parts that a supervisor runs ------------------------------------------------------------


def run_command(settings: Settings, args: argparse.Namespace) -> int:
    """Fill an empty store, then start and keep up every part."""
    setup_command(settings, args)
    return supervise.run(settings, args.rest)


def setup_command(settings: Settings, _args: argparse.Namespace) -> None:
    """Bring the store up to date; fill an empty one from the simulator."""
    plant = connect(settings)
    if settings.source != "simulator" or live.is_filled(plant.store):
        return
    steps = {
        "30 days of a simulated plant": live.fill(plant.store, plant.bell, datetime.now(UTC)),
        "Learning what is normal": jobs.train_all(plant.store, plant.bell, "setup"),
        "Looking for what was not": engine.catch_up(plant.store, plant.bell),
    }
    columns = (TextColumn("{task.description:30}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        for description, shares in steps.items():
            task = bar.add_task(description, total=1.0)
            for share in shares:
                bar.update(task, completed=share)


def broker_command(settings: Settings, _args: argparse.Namespace) -> None:
    """Be the embedded Redis, or wait for the configured one to be needed."""
    broker.run(settings)


def engine_command(settings: Settings, _args: argparse.Namespace) -> None:
    """Judge readings as they come and relay events."""
    supervise.die_with_parent()
    engine.run(connect(settings).store, locator(settings), _stopped())


def worker_command(settings: Settings, _args: argparse.Namespace) -> None:
    """Train what is asked for."""
    supervise.die_with_parent()
    connect(settings)
    jobs.work(settings)


def source_command(settings: Settings, _args: argparse.Namespace) -> None:
    """Send readings from the configured source."""
    supervise.die_with_parent()
    plant, stop = connect(settings), _stopped()
    if settings.source == "simulator":
        live.run(plant.store, plant.bell, stop)
    elif settings.source.startswith("replay:"):
        rows = csv_file.read(Path(settings.source.removeprefix("replay:")))
        for due in csv_file.paced(rows, 1.0, stop):
            plant.write(due)
        stop.wait()


def listen_command(settings: Settings, _args: argparse.Namespace) -> None:
    """Tell by a system.alert when a part was restarted (the supervisor's event listener)."""
    plant = connect(settings)

    def tell(alert: SystemAlert) -> None:
        with plant.store.write() as connection:
            events.record(connection, alert)
        plant.bell.ring("events")

    supervise.listen(tell, sys.stdin, sys.stdout)


# -- what a person does --------------------------------------------------------------------------


def machine_add_command(settings: Settings, args: argparse.Namespace) -> None:
    """Add a machine."""
    factory = Factory(args.factory or args.name, args.timezone)
    machine = connect(settings).add_machine(
        args.name, args.type, rated_kw=args.rated_kw, factory=factory
    )
    print(f"added {machine.name} ({machine.id}) at {machine.factory.name}, {args.timezone}")


def machine_list_command(settings: Settings, _args: argparse.Namespace) -> None:
    """List the machines."""
    print(connect(settings).machines().drop(columns="id").to_string(index=False))


def import_command(settings: Settings, args: argparse.Namespace) -> None:
    """Store the readings of a CSV file."""
    plant, rows = connect(settings), _rows(args)
    receipt = Receipt()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(args.file.name, total=len(rows))
        for first in range(0, len(rows), IMPORT_ROWS):
            receipt += plant.write(rows.iloc[first : first + IMPORT_ROWS])
            bar.update(task, completed=receipt.sent)
    _print_receipt(receipt)


def replay_command(settings: Settings, args: argparse.Namespace) -> None:
    """Send the readings of a CSV file as a live stream."""
    plant, rows = connect(settings), _rows(args)
    receipt = Receipt()
    for due in csv_file.paced(rows, args.speed, _stopped()):
        receipt += plant.write(due)
    _print_receipt(receipt)


def train_command(settings: Settings, args: argparse.Namespace) -> None:
    """Ask for a training; with --wait, follow it to its end."""
    plant = connect(settings)
    job = plant.train(args.machine, model=args.model)
    if not args.wait:
        print(f"job {job.id} is {job.state}")
        return
    told = ""
    while (row := job.row).state in ACTIVE:
        if (now := f"{row.progress_pct:3d} %  {row.message or row.state}") != told:
            print(now, flush=True)
            told = now
        time.sleep(0.1)
    model = job.result()
    report = ", ".join(f"{name} {value:.4g}" for name, value in job.row.metrics.items())
    print(f"100 %  version {job.row.model_version}: {report}\n{model.report_.equation}")


def detect_command(settings: Settings, args: argparse.Namespace) -> None:
    """Judge the past of a machine and keep what is found."""
    plant = connect(settings)
    machine = plant.machine(args.machine)
    start, end = (_local(at, machine.factory.timezone) for at in (args.start, args.end))
    found = findings.detect(plant.store, machine.id, to_us(start), to_us(end))
    plant.bell.ring("events")
    known = plant.anomalies(args.machine)
    inside = known[(known["started_at"] >= start) & (known["started_at"] < end)]
    inside = inside.assign(at=inside["started_at"].dt.tz_convert(machine.zone)).sort_values("at")
    for row in inside.to_dict("records"):
        when, kwh = f"{row['at']:%Y-%m-%d %H:%M}", f"{row['delta_kwh']:+10.1f} kWh"
        print(f"{when}  {row['severity']:8}  {kwh}  {row['reason']}")
    print(f"{len(inside)} anomalies, {len(found)} of them new")


def simulate_command(settings: Settings, args: argparse.Namespace) -> None:
    """Put a fault into the simulated plant, or export its readings as CSV."""
    if args.export:
        end = datetime.now(UTC).replace(second=0, microsecond=0)
        start = end - timedelta(days=args.days)
        names = [args.machine] if args.machine else None
        rows = Simulator(live.SEED).readings(start, end, live.PAST_INTERVAL, machines=names)
        rows.to_csv(args.export, index=False)
        print(f"wrote {len(rows):,} readings to {args.export}")
        return
    if not (args.inject and args.machine):
        raise ValueError("give --inject KIND --machine NAME, or --export FILE")
    now = datetime.now(UTC)
    end = now + timedelta(minutes=args.minutes)
    live.inject(connect(settings).store, Fault(args.inject, args.machine, now, end, args.size))
    print(f"{args.inject} at {args.machine} until {end:%H:%M:%S} UTC")


def events_command(settings: Settings, args: argparse.Namespace) -> None:
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


def status_command(settings: Settings, args: argparse.Namespace) -> None:
    """Say which parts run and how far they are."""
    report = status.report(settings)
    print(json.dumps(report, indent=2) if args.json else status.as_text(report))


def _rows(args: argparse.Namespace) -> pd.DataFrame:
    return csv_file.read(
        args.file,
        machine=args.machine,
        time_column=args.time,
        metrics=dict(args.map) or None,
        timezone=args.timezone,
        dayfirst=args.dayfirst,
        ends=args.ends,
    )


def _print_receipt(receipt: Receipt) -> None:
    print(
        f"{receipt.sent} readings: {receipt.stored} stored, {receipt.duplicates} duplicate, "
        f"{receipt.quarantined} quarantined"
    )
    for reason, count in receipt.reasons.items():
        print(f"  {count} x {reason}")


def _local(text: str, timezone: str) -> datetime:
    at = pd.Timestamp(text)
    return (at if at.tzinfo else at.tz_localize(timezone)).to_pydatetime()


def _stopped() -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _pair(text: str) -> tuple[str, str]:
    column, _, metric = text.rpartition("=")
    if not column:
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=METRIC")
    return column, metric


# -- the words of the command line ---------------------------------------------------------------

PARTS: dict[str, Callable[[Settings, argparse.Namespace], int | None]] = {
    "run": run_command,
    "setup": setup_command,
    "broker": broker_command,
    "engine": engine_command,
    "worker": worker_command,
    "source": source_command,
    "supervise-listen": listen_command,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="enms", description="Energy-management analytics.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, part in PARTS.items():
        commands.add_parser(name, help=part.__doc__).set_defaults(command=part)
    _machine_words(commands)
    for name, command in (("import", import_command), ("replay", replay_command)):
        _file_words(commands.add_parser(name, help=command.__doc__), command)
    _training_words(commands)
    _plant_words(commands)
    return parser


def _machine_words(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    machine = commands.add_parser("machine", help="Add or list machines.")
    verbs = machine.add_subparsers(required=True, metavar="VERB")
    add = verbs.add_parser("add", help=machine_add_command.__doc__)
    add.add_argument("name")
    add.add_argument("--type", choices=MACHINE_TYPES, default="other")
    add.add_argument("--rated-kw", type=float)
    add.add_argument("--factory", help="an existing or new one; by default one of the same name")
    add.add_argument("--timezone", default="UTC", help="of the factory, such as Europe/Berlin")
    add.set_defaults(command=machine_add_command)
    verbs.add_parser("list", help=machine_list_command.__doc__).set_defaults(
        command=machine_list_command
    )


def _file_words(
    parser: argparse.ArgumentParser, command: Callable[[Settings, argparse.Namespace], None]
) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument("--machine", help="whose readings they are")
    parser.add_argument("--time", default="time", help="the column of the times")
    parser.add_argument("--timezone", help="of times without an offset, such as Europe/Berlin")
    parser.add_argument("--dayfirst", action="store_true", help="31/12/2018, not 12/31/2018")
    parser.add_argument("--ends", action="store_true", help="times label the end of the interval")
    parser.add_argument("--map", type=_pair, action="append", default=[], metavar="COLUMN=METRIC")
    parser.add_argument("--speed", type=float, default=1.0, help="replay: seconds in a second")
    parser.set_defaults(command=command)


def _training_words(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser("train", help=train_command.__doc__)
    train.add_argument("machine")
    train.add_argument("--model", choices=sorted(MODELS), default="baseline")
    train.add_argument("--wait", action="store_true")
    train.set_defaults(command=train_command)
    detect = commands.add_parser("detect", help=detect_command.__doc__)
    detect.add_argument("machine")
    detect.add_argument("--start", required=True, help="such as 2018-07-01, in the site's zone")
    detect.add_argument("--end", required=True)
    detect.set_defaults(command=detect_command)


def _plant_words(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    simulate = commands.add_parser("simulate", help=simulate_command.__doc__)
    simulate.add_argument("--inject", choices=sorted(FAULT_KINDS))
    simulate.add_argument("--machine")
    simulate.add_argument("--minutes", type=float, default=10.0)
    simulate.add_argument("--size", type=float, default=1.0)
    simulate.add_argument("--export", type=Path, metavar="FILE")
    simulate.add_argument("--days", type=float, default=30.0, help="how much to export")
    simulate.set_defaults(command=simulate_command)
    shown = commands.add_parser("events", help=events_command.__doc__)
    shown.add_argument("--follow", action="store_true")
    shown.add_argument("--last", type=int, default=10, help="how many past events to print first")
    shown.add_argument("--all", action="store_true", help="with metric.updated")
    shown.set_defaults(command=events_command)
    state = commands.add_parser("status", help=status_command.__doc__)
    state.add_argument("--json", action="store_true")
    state.set_defaults(command=status_command)


if __name__ == "__main__":
    sys.exit(main())
