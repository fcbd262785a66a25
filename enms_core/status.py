"""Which parts run and how far they are: what `enms status` prints."""

from typing import Any

from enms_core import broker, supervise
from enms_core.settings import Settings
from enms_core.store import Store, events, jobs, progress, readings
from enms_core.store.times import iso, now_us

RATE_S = 60
PARTS = ("server", "engine", "worker", "source")
STILL = "Nothing of this plant runs; start it with ./panel_serve.sh, or with enms run."


def report(settings: Settings) -> dict[str, Any]:
    """Return the state of every part; pid and url are None where it does not run."""
    parts = supervise.parts(settings)
    store = Store(settings.database_url).migrate()
    try:
        return _parts(settings, parts) | _store(store, parts)
    finally:
        store.dispose()


def _parts(settings: Settings, parts: dict[str, int | None]) -> dict[str, Any]:
    found = broker.locate(settings)
    return {
        "broker": {
            "pid": found.pid if found else None,
            "kind": found.kind if found else None,
            "url": _without_password(found.url) if found else None,
        },
        "server": {"pid": parts.get("server"), "url": supervise.running_url(settings)},
        "worker": {"pid": parts.get("worker")},
        "source": {"pid": parts.get("source"), "kind": settings.source},
    }


def _store(store: Store, parts: dict[str, int | None]) -> dict[str, Any]:
    with store.read() as connection:
        newest = readings.newest(connection)
        judged = int(progress.get(connection, "engine:cursor", "0"))
        lag = readings.lag_s(connection, judged)
        told = len(events.since(connection, now_us() - RATE_S * 1_000_000))
        return {
            "engine": {"pid": parts.get("engine"), "lag_s": lag},
            "newest_reading": None if newest is None else iso(newest),
            "queue": jobs.counts(connection).get("queued", 0),
            "jobs": jobs.counts(connection),
            "events": events.last_seq(connection),
            "events_per_s": round(told / RATE_S, 3),
            "quarantined": readings.quarantined_count(connection),
        }


def as_text(state: dict[str, Any]) -> str:
    """Return the report as lines for a person; where nothing runs the first says so."""
    lines = [f"{name:16} {_line(value)}" for name, value in state.items()]
    return "\n".join(lines if any(state[part]["pid"] for part in PARTS) else [STILL, *lines])


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={part}" for name, part in value.items())
    return str(value)


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
