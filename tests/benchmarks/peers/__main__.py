"""Ours and the peers on the same public data, under the same protocol, in the same run.

    python -m tests.benchmarks.peers [detectors|baselines|forecasts ...] [--quick]

Every entrant is judged in a process of its own by the same judge; printed is a table per judge,
with what a peer's figure is against ours. The peers' packages bound pandas to versions before
ours: they have an environment of their own, and `--python` names its interpreter:

    python -m venv PEERS && PEERS/bin/pip install --group bench
    python -m tests.benchmarks.peers --python PEERS/bin/python
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared"
HERE = "tests.benchmarks.peers"


@dataclass(frozen=True)
class Entrant:
    """Who is judged: `package` must be installed for it; ours needs none."""

    judge: str
    name: str
    use: str
    package: str | None = None

    @property
    def is_ours(self) -> bool:
        return self.use.startswith("enms_core.")


ENTRANTS = (
    Entrant("nab", "StreamDetector", "enms_core.detection:StreamDetector"),
    Entrant("nab", "windowed Gaussian", f"{HERE}.detectors:WindowedGaussian"),
    Entrant("nab", "river GaussianScorer", f"{HERE}.detectors:RiverGaussian", "river"),
    Entrant("nab", "river HalfSpaceTrees", f"{HERE}.detectors:RiverTrees", "river"),
    Entrant("nab", "PyOD ECOD", f"{HERE}.detectors:Ecod", "pyod"),
    Entrant("nab", "PyOD IForest", f"{HERE}.detectors:IsolationForest", "pyod"),
    Entrant("faults", "surprise_of_load", "enms_core.detection:surprise_of_load"),
    Entrant("faults", "windowed Gaussian", f"{HERE}.detectors:windowed_gaussian"),
    Entrant("faults", "river GaussianScorer", f"{HERE}.detectors:river_gaussian", "river"),
    Entrant("faults", "river HalfSpaceTrees", f"{HERE}.detectors:river_trees", "river"),
    Entrant("faults", "PyOD ECOD", f"{HERE}.detectors:ecod", "pyod"),
    Entrant("faults", "PyOD IForest", f"{HERE}.detectors:isolation_forest", "pyod"),
    Entrant("skab", "MachineDetector", "enms_core.detection:MachineDetector"),
    Entrant("skab", "PyOD ECOD", f"{HERE}.detectors:EcodOfSensors", "pyod"),
    Entrant("skab", "PyOD IForest", f"{HERE}.detectors:ForestOfSensors", "pyod"),
    Entrant("baselines", "EnergyBaseline", "enms_core.baseline:EnergyBaseline"),
    Entrant(
        "baselines", "time of week and temperature", f"{HERE}.baselines:TimeOfWeekAndTemperature"
    ),
    Entrant("baselines", "OpenDSM hourly", f"{HERE}.baselines:OpenDsm", "opendsm"),
    Entrant("forecasts", "LoadForecaster", "enms_core.forecast:LoadForecaster"),
    Entrant("forecasts", "the day before", f"{HERE}.forecasts:DayBefore"),
    Entrant("forecasts", "AutoETS", f"{HERE}.forecasts:Ets", "statsforecast"),
    Entrant("forecasts", "AutoTheta", f"{HERE}.forecasts:Theta", "statsforecast"),
    Entrant("forecasts", "MSTL, AutoETS", f"{HERE}.forecasts:Mstl", "statsforecast"),
    Entrant("forecasts", "MSTL, AutoARIMA", f"{HERE}.forecasts:MstlArima", "statsforecast"),
)
SUBJECTS = {
    "detectors": ("nab", "faults", "skab"),
    "baselines": ("baselines",),
    "forecasts": ("forecasts",),
}
DATA = {  # what a judge reads
    "nab": ["nab"],
    "faults": ["school", "office", "meters", "steel"],
    "skab": ["skab"],
    "baselines": ["meters", "school", "office", "vic"],
    "forecasts": ["pjm", "steel", "ett", "school", "vic"],
}
RATIOS = ("cv_rmse", "mase", "fit_ms", "seconds", "readings_per_s")  # all else: differences


def rows_of(judge: str, told: dict) -> dict[str, float]:
    """Return the figures of a judge as one value per line of the table."""
    if judge in ("nab", "faults", "skab"):
        return {name: value for name, value in told.items() if isinstance(value, int | float)}
    return {
        f"{series} {name}" + (f" {number + 1}" if len(values) > 1 else ""): value
        for series, figures in told.items()
        for name, each in figures.items()
        for values in [each if isinstance(each, list) else [each]]
        for number, value in enumerate(values)
    }


def table(found: dict[str, dict[str, float]]) -> str:
    """Return a table of figures: a column per entrant, ours first and the peers against it."""
    names = list(found)
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    ours = found[names[0]]
    for label in ours:
        cells = [f"{ours[label]:g}"]
        cells += [_against(label, found[name].get(label), ours[label]) for name in names[1:]]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _against(label: str, value: float | None, ours: float) -> str:
    if value is None or value != value:
        return "none"
    if any(name in label for name in RATIOS):
        return f"{value:g} (x{value / ours:.2f})"
    return f"{value:g} ({value - ours:+.3g})"


def judged(entrant: Entrant, asked: argparse.Namespace) -> dict[str, float] | None:
    """Run one entrant before its judge, in the interpreter that has it; None where it fails."""
    python = sys.executable if entrant.is_ours else asked.python
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "NUMBA")}
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        command = [python, "-m", f"{HERE}.judged", entrant.judge, entrant.use]
        command += ["--judges", asked.judges, "--data", asked.data, "--json", figures]
        command += ["--quick"] if asked.quick else []
        ended = subprocess.run(command, cwd=ROOT, env=os.environ | threads, stdout=sys.stderr)
        if ended.returncode:
            return None
        return rows_of(entrant.judge, json.loads(figures.read_text()))


def missing(wanted: list[Entrant], asked: argparse.Namespace) -> list[str]:
    """Return what is not there, each with how to get it."""
    judges = dict.fromkeys(entrant.judge for entrant in wanted)
    found = [
        f"{asked.judges / judge}.py is missing: name the folder of the judges with --judges"
        for judge in judges
        if not (asked.judges / f"{judge}.py").exists()
    ]
    found += [
        f"{asked.data / folder} is missing: name the folder of the public data with --data"
        for folder in dict.fromkeys(name for judge in judges for name in DATA[judge])
        if not (asked.data / folder).exists()
    ]
    packages = sorted({entrant.package for entrant in wanted if entrant.package})
    probe = (
        "import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if not u.find_spec(n)))"
    )
    told = subprocess.run(
        [asked.python, "-c", probe, *packages], capture_output=True, text=True, check=True
    )
    return found + [
        f"{name} is missing in {asked.python}: make an environment with `python -m venv PEERS && "
        "PEERS/bin/pip install --group bench`, and name it with --python PEERS/bin/python"
        for name in told.stdout.split()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--judges", type=Path, default=SHARED / "judges")
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--python", default=sys.executable, help="has the peers installed")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the peers, only these")
    parser.add_argument("--quick", action="store_true", help="a small part of the data")
    asked = parser.parse_args()
    unknown = [name for name in asked.subjects if name not in SUBJECTS]
    if unknown:
        parser.error(f"{unknown[0]!r} is none of {', '.join(SUBJECTS)}")
    judges = [judge for subject in asked.subjects or SUBJECTS for judge in SUBJECTS[subject]]
    wanted = [
        entrant
        for entrant in ENTRANTS
        if entrant.judge in judges
        and (entrant.is_ours or asked.only is None or entrant.name in asked.only)
    ]
    faults = missing(wanted, asked)
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 2
    failed = False
    for judge in judges:
        found = {}
        for entrant in (each for each in wanted if each.judge == judge):
            began = time.monotonic()
            print(f"{judge}: {entrant.name} ...", file=sys.stderr, flush=True)
            figures = judged(entrant, asked)
            failed |= figures is None
            found[entrant.name] = figures or {}
            print(f"{judge}: {entrant.name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        print(f"\n{judge}\n\n{table(found)}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
