"""The way in for every source: check, store, ring. Returned means stored on the disk."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pandas as pd

from enms_core import readings, telemetry
from enms_core.bus import Bell
from enms_core.store import Store
from enms_core.store import readings as stored_readings
from enms_core.store.machines import rated_kw

BATCH = 200_000
Batch = pd.DataFrame | readings.Columns
SHOWN = 1_000  # refused readings that a receipt names; all of them are in quarantine


@dataclass(frozen=True)
class Receipt:
    """What became of the readings sent: sent = stored + duplicates + quarantined."""

    sent: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    refused: tuple[dict[str, str], ...] = field(default=(), compare=False)  # as they were sent

    def __add__(self, other: "Receipt") -> "Receipt":
        """Return the receipt of both.

        >>> (Receipt(2, 1, 1) + Receipt(1, 0, 0, 1, {"machine is unknown": 1})).sent
        3
        """
        reasons = dict(self.reasons)
        for reason, count in other.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
        return Receipt(
            self.sent + other.sent,
            self.stored + other.stored,
            self.duplicates + other.duplicates,
            self.quarantined + other.quarantined,
            reasons,
            (self.refused + other.refused)[:SHOWN],
        )


def ingest(store: Store, bell: Bell, rows: pd.DataFrame) -> Receipt:
    """Take rows (columns machine, metric, time, value) in; all of a batch or none of it."""
    receipt = Receipt()
    for first in range(0, len(rows), BATCH):
        receipt += take(store, bell, rows.iloc[first : first + BATCH])
    return receipt


def take(store: Store, bell: Bell, rows: Batch) -> Receipt:
    """Take one batch in, all of it or none: a frame, or plain lists by the names of its columns."""
    return take_all(store, bell, [rows])[0]


def take_all(store: Store, bell: Bell, batches: Sequence[Batch]) -> list[Receipt]:
    """Take batches in by one transaction, all of them or none; return a receipt for each."""
    with store.read() as connection:
        known = rated_kw(connection)
    now = datetime.now(UTC)
    checked = [readings.check(rows, known, now) for rows in batches]
    with store.write() as connection:
        stored = [stored_readings.add(connection, each) for each in checked]
    taken = list(map(_receipt, checked, stored))
    _count(sum(taken, Receipt()))
    bell.ring("readings")
    return taken


def _receipt(checked: readings.Checked, stored: int) -> Receipt:
    return Receipt(
        sent=len(checked) + len(checked.refusals),
        stored=stored,
        duplicates=len(checked) - stored,
        quarantined=len(checked.refusals),
        reasons=dict(Counter(refusal["reason"] for refusal in checked.refusals)),
        refused=tuple(checked.refusals[:SHOWN]),
    )


def _count(taken: Receipt) -> None:
    for outcome in ("stored", "duplicates", "quarantined"):
        telemetry.READINGS.labels(outcome).inc(getattr(taken, outcome))
