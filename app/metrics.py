"""What this server process counts, and what it looks up, for Prometheus."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from enms_core import telemetry
from enms_core.events import Envelope, age_s
from enms_core.telemetry import REGISTRY, SECONDS

EVENTS = Counter("enms_events", "Events that reached a server.", ["channel"], registry=REGISTRY)
ARRIVED = Histogram(
    "enms_commit_to_server_seconds",
    "From an event's commit to a server.",
    buckets=SECONDS,
    registry=REGISTRY,
)
SENT = Histogram(
    "enms_publish_to_send_seconds",
    "From an event's arrival at a server, as it was published, to the WebSocket of a client.",
    buckets=SECONDS,
    registry=REGISTRY,
)
CUT = Counter(
    "enms_clients_cut", "WebSocket clients cut, by close code.", ["code"], registry=REGISTRY
)
GAUGES = {
    "enms_redis_live": ("1 while Redis tells the events, else 0.", None),
    "enms_connections": ("Open connections of this server, by type.", "type"),
    "enms_engine_lag_seconds": ("Readings that wait for the engine, in their own time.", None),
    "enms_jobs": ("Trainings by state.", "state"),
    "enms_alerts_open": ("Alerts about the system itself that last, by type.", "type"),
    "enms_rss_bytes": ("Memory of a part.", "part"),
}
Values = dict[str, float | dict[str, float]]  # by the name of a gauge, and by its label


class Tally:
    """A listener of the hub that counts what comes."""

    def push(self, envelope: Envelope) -> None:
        """Count an event and how long it took to get here."""
        EVENTS.labels(envelope.channel).inc()
        if envelope.seq is not None:
            ARRIVED.observe(age_s(envelope.published_at))

    def restored(self) -> None:
        """Go on counting."""


class _Now(Collector):
    """Values as they are now."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def collect(self) -> Iterable[Metric]:
        """Yield a family of gauges for each."""
        for name, value in self._values.items():
            text, label = GAUGES[name]
            family = GaugeMetricFamily(name, text, labels=[label] if label else None)
            by_label = value if isinstance(value, dict) else {None: value}
            for what, number in by_label.items():
                family.add_metric([] if what is None else [what], number)
            yield family


def exposition(values: Values) -> bytes:
    """Return what all parts counted, and these values, in Prometheus' text format."""
    counted = REGISTRY
    if telemetry.is_shared():
        counted = CollectorRegistry()
        MultiProcessCollector(counted)
    now = CollectorRegistry()
    now.register(_Now(values))
    return generate_latest(counted) + generate_latest(now)
