"""The commands of `enms`, one a file.

A command is imported when it is called: a broker need not wait for scikit-learn. Its docstring is
its help, `add_words` declares its arguments, `main` does it and returns an exit code or None.
"""

import signal
import threading

# The parts that `run` starts and keeps up; they log as set, the others only what went wrong.
PARTS = {
    "broker": "broker",
    "engine": "engine",
    "worker": "worker",
    "source": "source",
    "supervise-listen": "supervise_listen",
}
COMMANDS = {
    "run": "run",
    "setup": "setup",
    "machine": "machine",
    "import": "import_file",
    "replay": "replay",
    "train": "train",
    "detect": "detect",
    "simulate": "simulate",
    "events": "events",
    "status": "status",
    "token": "token",
    "user": "user",
    **PARTS,
}


def stopped() -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
