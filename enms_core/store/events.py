"""The outbox and the log of events: one number each, without a hole."""

import sqlalchemy as sa

from enms_core.events import Envelope, Event
from enms_core.store import progress
from enms_core.store.schema import counters, events
from enms_core.store.times import now_us


def record(connection: sa.Connection, event: Event) -> Envelope | None:
    """Number and keep an event within the caller's transaction; None if it was told before."""
    if is_told(connection, event):
        return None
    number = (
        sa.update(counters)
        .where(counters.c.name == "events")
        .values(value=counters.c.value + 1)
        .returning(counters.c.value)
    )
    seq = int(connection.execute(number).scalar_one())
    envelope = Envelope.now(event, seq=seq, epoch=progress.get(connection, "epoch"))
    connection.execute(
        sa.insert(events).values(
            seq=seq,
            event_id=event.event_id,
            channel=event.channel,
            published_at=now_us(),
            envelope=envelope.to_json(),
            machine_id=getattr(event, "machine_id", None),
        )
    )
    return envelope


def is_told(connection: sa.Connection, event: Event) -> bool:
    """Whether this fact is among the events that are kept."""
    known = sa.select(events.c.seq).where(events.c.event_id == event.event_id)
    return connection.execute(known).first() is not None


def after(connection: sa.Connection, seq: int, limit: int) -> list[tuple[int, str, str]]:
    """Return (seq, channel, envelope as JSON) of the events after `seq`, in order."""
    query = (
        sa.select(events.c.seq, events.c.channel, events.c.envelope)
        .where(events.c.seq > seq)
        .order_by(events.c.seq)
        .limit(limit)
    )
    return [tuple(row) for row in connection.execute(query)]


def last_seq(connection: sa.Connection) -> int:
    """Return the number of the newest event, 0 before the first."""
    query = sa.select(counters.c.value).where(counters.c.name == "events")
    return int(connection.execute(query).scalar_one())


def since(connection: sa.Connection, since_us: int) -> list[Envelope]:
    """Return the events published from then on, oldest first."""
    query = (
        sa.select(events.c.envelope).where(events.c.published_at >= since_us).order_by(events.c.seq)
    )
    return [Envelope.from_json(text) for text in connection.execute(query).scalars()]
