"""Records events of several kinds until told how many; prints a line for each acknowledged one."""

import random
import sys
import time
from datetime import UTC, datetime

from enms_core.bus import Bell, locator
from enms_core.events import AnomalyUpdated, Event, SystemAlert, TrainingProgress
from enms_core.settings import Settings
from enms_core.store import Store, Unavailable, events
from enms_core.store.machines import all_machines


def event(name: str, number: int, machine_id: str) -> Event:
    """Return the event of that number, the same whenever it is made."""
    if number % 3 == 0:
        details = {"by": name, "number": number}
        return SystemAlert(alert_type="chaos", severity="info", message="", details=details)
    if number % 3 == 1:
        return TrainingProgress(
            job_id=f"{name}-{number}", machine_id=machine_id, progress_pct=5, status="load"
        )
    return AnomalyUpdated(
        anomaly_id=f"{name}-{number}",
        machine_id=machine_id,
        state="open",
        by=name,
        at=datetime.now(UTC).isoformat(),
    )


def main(name: str, count: int, pause_s: float) -> None:
    """Record them, several in a transaction; try again what the store did not take."""
    settings, rng = Settings.from_env(), random.Random(name)
    store, bell = Store(settings.database_url), Bell(locator(settings))
    with store.read() as connection:
        machine_ids = [machine.id for machine in all_machines(connection)]
    number = 0
    while number < count:
        batch = [
            event(name, n, rng.choice(machine_ids))
            for n in range(number, min(count, number + rng.randint(1, 8)))
        ]
        try:
            with store.write() as connection:
                told = [events.record(connection, each) for each in batch]
        except Unavailable:
            continue
        bell.ring("events")
        number += len(batch)
        for each in told:
            print(each.event_id if each else "", flush=True)
        time.sleep(pause_s * len(batch))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
