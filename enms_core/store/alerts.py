"""Alerts: what is wrong with the system itself. Each opens once, and tells when it is over."""

import json
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from enms_core.events import SystemAlert
from enms_core.store import events
from enms_core.store.schema import alerts
from enms_core.store.times import iso, now_us


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Something that is wrong now; the same type and subject are the same alert while it lasts."""

    alert_type: str
    subject: str  # what is concerned: a part, a machine's name, ...
    severity: str
    message: str
    over: str  # what is told when it has passed
    since_us: int | None = None  # where it began before it was noticed
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert as it stands; times in microseconds UTC, `closed_at` is None while it lasts."""

    id: str
    alert_type: str
    subject: str
    severity: str
    message: str
    details: dict[str, Any]
    opened_at: int
    closed_at: int | None


def settle(
    connection: sa.Connection, alert_types: Collection[str], conditions: Iterable[Condition]
) -> int:
    """Bring the open alerts of these types to the conditions that hold now; return how many told.

    What is new is opened and told, what no longer holds is closed and told, all within the
    caller's transaction; what goes on is not told again.
    """
    known = {(a.alert_type, a.subject): a for a in opened(connection, alert_types)}
    holding = {(c.alert_type, c.subject): c for c in conditions}
    told = 0
    for key, condition in holding.items():
        if key not in known:
            raise_alert(connection, condition)
            told += 1
    for key, alert in known.items():
        if key not in holding:
            _close(connection, alert)
            told += 1
    return told


def raise_alert(connection: sa.Connection, condition: Condition) -> Alert:
    """Open an alert and tell it."""
    now = now_us()
    alert = Alert(
        id=str(uuid.uuid4()),
        alert_type=condition.alert_type,
        subject=condition.subject,
        severity=condition.severity,
        message=condition.message,
        details={**condition.details, "over": condition.over},
        opened_at=min(now, condition.since_us or now),
        closed_at=None,
    )
    row = {**vars(alert), "details": json.dumps(alert.details, allow_nan=False)}
    connection.execute(sa.insert(alerts).values(row))
    events.record(connection, told(alert))
    return alert


def opened(connection: sa.Connection, alert_types: Collection[str] = ()) -> list[Alert]:
    """Return the alerts that last, oldest first, all or those of some types."""
    query = sa.select(alerts).where(alerts.c.closed_at.is_(None)).order_by(alerts.c.opened_at)
    if alert_types:
        query = query.where(alerts.c.alert_type.in_(alert_types))
    return [_alert(row) for row in connection.execute(query).mappings()]


def told(alert: Alert) -> SystemAlert:
    """Return the event that tells an alert's beginning, or its end.

    >>> lost = Alert(id="a", alert_type="redis_lost", subject="broker", severity="warning",
    ...     message="Redis does not answer.", details={"over": "Redis answers again."},
    ...     opened_at=0, closed_at=2_000_000)
    >>> told(lost).message, told(lost).details["state"]
    ('Redis answers again.', 'over')
    """
    over = alert.closed_at is not None
    details = {
        **{name: value for name, value in alert.details.items() if name != "over"},
        "alert_id": alert.id,
        "subject": alert.subject,
        "state": "over" if over else "open",
        "since": iso(alert.opened_at),
    }
    if alert.closed_at is not None:
        details["until"] = iso(alert.closed_at)
    return SystemAlert(
        alert_type=alert.alert_type,
        severity="info" if over else alert.severity,
        message=alert.details["over"] if over else alert.message,
        details=details,
    )


def _close(connection: sa.Connection, alert: Alert) -> None:
    ended = Alert(**{**vars(alert), "closed_at": now_us()})
    connection.execute(
        sa.update(alerts).where(alerts.c.id == alert.id).values(closed_at=ended.closed_at)
    )
    events.record(connection, told(ended))


def _alert(row: sa.RowMapping) -> Alert:
    return Alert(**{**row, "details": json.loads(row["details"])})
