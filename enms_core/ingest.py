"""The way in for every source: check, store, ring. Returned means stored on the disk."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pandas as pd

from enms_core import readings, telemetry
from enms_core.bus import Bell
from enms_core.store import Store
from enms_core.store import readings as stored_readings
from enms_core.store.machines import all_machines

BATCH = 200_000
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
    with store.read() as connection:
        names = {machine.name for machine in all_machines(connection)}
    for first in range(0, len(rows), BATCH):
        checked = readings.check(rows.iloc[first : first + BATCH], names, datetime.now(UTC))
        with store.write() as connection:
            stored = stored_readings.add(connection, checked)
        taken = Receipt(
            sent=len(checked.valid) + len(checked.refused),
            stored=stored,
            duplicates=len(checked.valid) - stored,
            quarantined=len(checked.refused),
            reasons={str(k): int(v) for k, v in checked.refused["reason"].value_counts().items()},
            refused=tuple(_named(checked.refused.head(SHOWN))),
        )
        _count(taken)
        receipt += taken
        bell.ring("readings")
    return receipt


def _count(taken: Receipt) -> None:
    for outcome in ("stored", "duplicates", "quarantined"):
        telemetry.READINGS.labels(outcome).inc(getattr(taken, outcome))


def _named(refused: pd.DataFrame) -> list[dict[str, str]]:
    return [{str(k): str(v) for k, v in row.items()} for row in refused.to_dict("records")]
