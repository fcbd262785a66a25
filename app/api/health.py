"""Is the server there, how are its parts, and what do they count?"""

import asyncio
import json
from collections import Counter
from importlib.metadata import version
from typing import Any

import psutil  # type: ignore[import-untyped]
from prometheus_client import CONTENT_TYPE_LATEST

from app import metrics, server
from app.api.base import Handler
from app.server import BOOT
from enms_core import supervise
from enms_core.store import Unavailable, alerts, events, jobs, progress, readings

VERSIONS = ("enms-analytics", "panel", "bokeh", "tornado", "redis", "pandas", "scikit-learn")
STATES = ("queued", "running", "completed", "failed", "cancelled", "interrupted")


class Health(Handler):
    """Public, without detail."""

    role = None

    def get(self) -> None:
        """Answer with the name of this process."""
        self.write({"status": "ok", "boot": BOOT})


class Detail(Handler):
    """How every part is."""

    role = "admin"

    async def get(self) -> None:
        """Answer with parts, connections, lag, queue, open alerts and versions."""
        self.write(json.dumps(await asyncio.to_thread(detail), allow_nan=False))
        self.set_header("Content-Type", "application/json")


class Metrics(Handler):
    """What Prometheus reads."""

    async def get(self) -> None:
        """Answer in Prometheus' text format."""
        text = await asyncio.to_thread(lambda: metrics.exposition(gauges()))
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.write(text)


def detail() -> dict[str, Any]:
    """Return how the parts are; what the store cannot tell now is null."""
    current = server.current()
    parts = supervise.parts(current.plant.settings)
    return {
        "status": "ok" if current.hub.state == "live" else "degraded",
        "boot": BOOT,
        "redis": current.hub.state,
        "epoch": current.hub.epoch,
        "seq": current.hub.seq,
        "latency_ms": current.hub.latency_ms,
        "connections": connections(),
        "parts": {name: {"pid": pid, "rss_bytes": _rss(pid)} for name, pid in parts.items()},
        "store": _store(),
        "versions": {name: version(name) for name in VERSIONS},
    }


def connections() -> dict[str, int]:
    """Return the open connections of this process, by type."""
    current = server.current()
    return {"page": len(current.mailboxes), **current.audience.counts()}


def gauges() -> metrics.Values:
    """Return what is looked up, not counted; what the store cannot tell now is left out."""
    current = server.current()
    parts = supervise.parts(current.plant.settings)
    found: metrics.Values = {
        "enms_redis_live": float(current.hub.state == "live"),
        "enms_connections": {kind: float(count) for kind, count in connections().items()},
        "enms_rss_bytes": {name: float(_rss(pid) or 0) for name, pid in parts.items()},
    }
    store = _store()
    if store:
        found["enms_engine_lag_seconds"] = store["engine_lag_s"]
        found["enms_jobs"] = {state: float(store["jobs"].get(state, 0)) for state in STATES}
        found["enms_alerts_open"] = {kind: float(n) for kind, n in Counter(store["alerts"]).items()}
    return found


def _store() -> dict[str, Any] | None:
    try:
        with server.current().wire.store.read() as connection:
            judged = int(progress.get(connection, "engine:cursor", "0"))
            return {
                "engine_lag_s": readings.lag_s(connection, judged),
                "events": events.last_seq(connection),
                "jobs": jobs.counts(connection),
                "quarantined": readings.quarantined_count(connection),
                "alerts": [alert.alert_type for alert in alerts.opened(connection)],
            }
    except Unavailable:
        return None


def _rss(pid: int | None) -> int | None:
    try:
        return None if pid is None else int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
