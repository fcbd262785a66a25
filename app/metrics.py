"""What this server process counts, for Prometheus."""

import time
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from enms_core.events import Envelope

REGISTRY = CollectorRegistry()
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

EVENTS = Counter("enms_events", "Events that reached this server.", ["channel"], registry=REGISTRY)
ARRIVAL = Histogram(
    "enms_commit_to_server_seconds",
    "From an event's commit to this server.",
    buckets=SECONDS,
    registry=REGISTRY,
)
SENT = Histogram(
    "enms_commit_to_send_seconds",
    "From an event's commit to the WebSocket of a client.",
    buckets=SECONDS,
    registry=REGISTRY,
)
CUT = Counter(
    "enms_clients_cut", "WebSocket clients cut, by close code.", ["code"], registry=REGISTRY
)
GAPS = Gauge("enms_gaps_filled", "Events missed and filled in.", registry=REGISTRY)
RECONNECTS = Gauge("enms_redis_reconnects", "Times Redis came back.", registry=REGISTRY)
READINGS = Counter(
    "enms_readings", "Readings that came over REST, by outcome.", ["outcome"], registry=REGISTRY
)
CONNECTIONS = Gauge("enms_connections", "Open connections, by type.", ["type"], registry=REGISTRY)
JOBS = Gauge("enms_jobs", "Trainings by state.", ["state"], registry=REGISTRY)
LAG = Gauge("enms_engine_lag_seconds", "Readings that wait for the engine.", registry=REGISTRY)
LIVE = Gauge("enms_redis_live", "1 while Redis tells the events, else 0.", registry=REGISTRY)
RSS = Gauge("enms_rss_bytes", "Memory of a part.", ["part"], registry=REGISTRY)


class Tally:
    """A listener of the hub that counts what comes."""

    def push(self, envelope: Envelope) -> None:
        """Count an event and how long it took to get here."""
        EVENTS.labels(envelope.channel).inc()
        if envelope.seq is not None:
            ARRIVAL.observe(age_s(envelope))

    def restored(self) -> None:
        """Go on counting."""


def age_s(envelope: Envelope) -> float:
    """Return the seconds since an event was committed, on this computer's clock."""
    return max(0.0, time.time() - datetime.fromisoformat(envelope.published_at).timestamp())
