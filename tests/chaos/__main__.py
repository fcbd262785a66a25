"""Kill everything while events flow, or do one fault of the catalogue, and count what came of it.

`python -m tests.chaos --events 100000 --kills 20` kills all parts at random; `python -m tests.chaos
R4 --n 100` does the fault R4 a hundred times on a plant of its own. Either exits with 1 if a limit
was not kept.
"""

import argparse
import inspect
import signal
import sys

from tests.chaos import kills, lab
from tests.chaos.faults import FAULTS


def main() -> int:
    """Do what the words say; return the exit code."""
    listed = "\n".join(f"  {name:4} {inspect.getdoc(fault)}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"faults:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("fault", nargs="?", choices=FAULTS, metavar="FAULT")
    parser.add_argument("--n", type=int, help="how often or how much; each fault has its own")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=100_000, help="without FAULT")
    parser.add_argument("--kills", type=int, default=20, help="without FAULT")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the plant is stopped all the same
    if args.fault is None:
        return kills.main(args.events, args.kills, args.seed)
    return lab.run(args.fault, FAULTS[args.fault], args.n, args.seed)


if __name__ == "__main__":
    sys.exit(main())
