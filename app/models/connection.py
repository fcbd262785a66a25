"""How the events come, as the pill in the corner tells it."""

from datetime import datetime
from typing import Any

import param

STATES = ("connecting", "live", "degraded")


class Connection(param.Parameterized):
    """The server's side of the connection; the browser adds what only it can know."""

    state: Any = param.Selector(default="connecting", objects=list(STATES))
    since_ms = param.Integer(0, doc="When the state began.")
    last_event_ms = param.Integer(default=None, allow_None=True)
    latency_ms = param.Number(default=None, allow_None=True, doc="Publication to here, median.")
    beats = param.Integer(0, doc="Counts up with every beat.")

    def beat(
        self, state: str, last_event: str | None, latency_ms: float | None, now_ms: int
    ) -> dict[str, object]:
        """Note the state of now and return the beat that tells it to the browser."""
        since = self.since_ms if state == self.state and self.since_ms else now_ms
        at = None if last_event is None else _ms(last_event)
        self.param.update(
            state=state,
            since_ms=since,
            last_event_ms=at,
            latency_ms=latency_ms,
            beats=self.beats + 1,
        )
        return {
            "n": self.beats,
            "state": state,
            "since": since,
            "lastEvent": at,
            "latency": None if latency_ms is None else round(latency_ms),
            "now": now_ms,
        }


def _ms(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp() * 1000)
