"""One entrant before one judge: what the command runs in a process of its own.

    python -m tests.benchmarks.peers.judged nab module:Name --judges DIR --data DIR --json FILE

The judge's own `main` does it all, so that everybody has the same protocol; `--quick` gives it
less data. Imports nothing of the product: it also runs where only the peers are installed.
"""

import argparse
import importlib
import sys
from itertools import islice
from pathlib import Path


def _part(name: str) -> bool:
    return name.startswith(("artificialWithAnomaly", "realTraffic"))


def _nab(judge) -> None:
    whole = judge.load_corpus
    judge.load_corpus = lambda root: {r: v for r, v in whole(root).items() if _part(r)}


def _faults(judge) -> None:
    whole = judge.series
    judge.series = lambda data: islice(whole(data), 1)


def _skab(judge) -> None:
    whole = judge.runs
    judge.runs = lambda folder: islice(whole(folder), 2)


def _baselines(judge) -> None:
    whole = judge.meters
    judge.meters = lambda data: islice(whole(data), 1)


def _forecasts(judge) -> None:
    judge.ORIGINS = 5


QUICK = {
    "nab": _nab,
    "faults": _faults,
    "skab": _skab,
    "baselines": _baselines,
    "forecasts": _forecasts,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("judge", choices=QUICK)
    parser.add_argument("use")
    parser.add_argument("--judges", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    sys.path.insert(0, str(asked.judges))
    judge = importlib.import_module(asked.judge)
    if asked.quick:
        QUICK[asked.judge](judge)
    sys.argv = [asked.judge, "--use", asked.use, "--data", str(asked.data)]
    sys.argv += ["--json", str(asked.json)]
    judge.main()


if __name__ == "__main__":
    main()
