"""What the parts of the core count, for Prometheus; `/metrics` of the server shows all of it.

Parts run by the supervisor share what they count through files in `ENMS_HOME/metrics`
(prometheus-client's multiprocess mode): a part that is killed loses no count.
"""

import os
import shutil
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the library's variable; it is read when that is imported
REGISTRY = CollectorRegistry()
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

READINGS = Counter(
    "enms_readings", "Readings that came in, by outcome.", ["outcome"], registry=REGISTRY
)
DETECTION = Histogram(
    "enms_detection_seconds",
    "Judging a batch of new readings, to its commit.",
    buckets=SECONDS,
    registry=REGISTRY,
)
PUBLISHED = Histogram(
    "enms_commit_to_publish_seconds",
    "From an event's commit to its publication through Redis.",
    buckets=SECONDS,
    registry=REGISTRY,
)
FILLED = Counter(
    "enms_gaps_filled", "Events that Redis did not tell and that were looked up.", registry=REGISTRY
)
RECONNECTS = Counter("enms_redis_reconnects", "Times Redis came back.", registry=REGISTRY)
REFUSED = Counter(
    "enms_messages_refused", "Messages on a channel that were no events.", registry=REGISTRY
)
ERRORS = Counter(
    "enms_errors",
    "Faults that ended a piece of work and nothing else, by where; logged each.",
    ["where"],
    registry=REGISTRY,
)


def share(home: Path) -> dict[str, str]:
    """Empty the folder that the parts of a plant share; return the variable that names it."""
    folder = home / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return {FOLDER: str(folder)}


def is_shared() -> bool:
    """Whether this process is a part of a plant that counts together."""
    return FOLDER in os.environ
