"""Ask for a training; with --wait, follow it to its end."""

import argparse
import time

from enms_core.client import connect
from enms_core.settings import Settings
from enms_core.store.jobs import ACTIVE, MODEL_TYPES


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare whose and which."""
    parser.add_argument("machine")
    parser.add_argument("--model", choices=MODEL_TYPES, default="baseline")
    parser.add_argument("--wait", action="store_true")


def main(settings: Settings, args: argparse.Namespace) -> None:
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
