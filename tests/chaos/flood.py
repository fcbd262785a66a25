"""Publishes newest values faster than anybody reads: -m tests.chaos.flood URL EPOCH RATE S."""

import sys
import time

from enms_core.bus import client
from enms_core.events import Envelope, MetricUpdated

AT_ONCE = 200
MACHINES = 50


def message(number: int, epoch: str) -> tuple[str, str]:
    """Return channel and text of a newest value."""
    machine = f"machine-{number % MACHINES}"
    update = MetricUpdated(
        machine_id=machine,
        machine=machine,
        values={"power_kw": float(number % 100)},
        time="2026-11-24T00:00:00+00:00",
    )
    return update.channel, Envelope.now(update, seq=None, epoch=epoch).to_json()


def main(url: str, epoch: str, rate: int, seconds: float) -> None:
    """Publish, `rate` a second; print how many it were."""
    sent, began, made = 0, time.monotonic(), [message(i, epoch) for i in range(1000)]
    with client(url, timeout=30.0) as redis:
        while (passed := time.monotonic() - began) < seconds:
            if sent > rate * passed:
                time.sleep(AT_ONCE / rate)
                continue
            pipe = redis.pipeline(transaction=False)
            for i in range(sent, sent + AT_ONCE):
                pipe.publish(*made[i % len(made)])
            pipe.execute()
            sent += AT_ONCE
    print(sent)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
