"""Training jobs: asked for by anyone, done by worker processes.

The row in the store is the truth. RQ carries the job's id to a worker, and may lose it: a row that
waits without being in the queue is put there again, and one whose worker went silent ends as
interrupted.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis import Redis
from rq import Queue
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.serializers import JSONSerializer

from enms_core.bus import Bell, Locate
from enms_core.events import TrainingCompleted
from enms_core.store import Store, events, jobs
from enms_core.store.jobs import ACTIVE, Job
from enms_core.store.times import now_us

log = logging.getLogger(__name__)

QUEUE = "enms:training"
OUTLOOK = "outlook"  # the id of the one job that forecasts
LEASE_S = 15.0
SILENT = "The worker went silent; train again."
LONGEST_S = 3600


@contextmanager
def _queue(locate: Locate) -> Iterator[Queue]:
    url = locate()
    if url is None:
        raise ConnectionError("no Redis yet")
    with Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=2.0) as connection:
        yield Queue(QUEUE, connection=connection, serializer=JSONSerializer)


def submit(
    store: Store, bell: Bell, locate: Locate, machine_id: str, model_type: str, requested_by: str
) -> Job:
    """Ask for a training; while one of this machine and type waits or runs, that is returned."""
    with store.write() as connection:
        job = jobs.add(connection, machine_id, model_type, requested_by)
    bell.ring("jobs")
    bell.soon(lambda: enqueue(locate, [job]))  # where Redis is away, `care` does it
    return job


def enqueue(locate: Locate, waiting: list[Job]) -> None:
    """Put those of the waiting jobs into the queue that are not there; raise if Redis is away."""
    with _queue(locate) as queue:
        there = set(queue.job_ids)
        for job in waiting:
            if job.state == "queued" and job.id not in there:
                queue.enqueue_call(
                    "enms_core.worker.perform",
                    args=(job.id,),
                    job_id=job.id,
                    timeout=LONGEST_S,
                    result_ttl=0,
                    failure_ttl=0,
                )


def ask_for_forecasts(locate: Locate) -> None:
    """Have a worker forecast what is due; raise if Redis is away."""
    with _queue(locate) as queue:
        if OUTLOOK not in queue.job_ids:
            queue.enqueue_call(
                "enms_core.worker.look_ahead",
                job_id=OUTLOOK,
                timeout=LONGEST_S,
                result_ttl=0,
                failure_ttl=0,
            )


def cancel(store: Store, bell: Bell, locate: Locate, job_id: str) -> bool:
    """Cancel a job that waits or runs; False if it had ended."""
    if not end(store, bell, job_id, "cancelled"):
        return False
    bell.soon(lambda: _stop(locate, job_id))
    return True


def _stop(locate: Locate, job_id: str) -> None:
    """Stop the worker that has a job; without Redis the job ends at its next step."""
    url = locate()
    if url is None:
        return
    with Redis.from_url(url, socket_timeout=2.0) as connection:
        try:
            send_stop_job_command(connection, job_id, serializer=JSONSerializer)
        except (InvalidJobOperation, NoSuchJobError) as error:
            log.info("job %s was in no worker's hands: %s", job_id, error)


def end(store: Store, bell: Bell, job_id: str, state: str, error: str = "") -> bool:
    """End a job that waits or runs, and tell it; False if it had ended."""
    with store.write() as connection:
        ended = jobs.change(
            connection,
            job_id,
            only_in=ACTIVE,
            state=state,
            ended_at=now_us(),
            error_message=error,
        )
        if ended:
            job = jobs.get(connection, job_id)
            events.record(
                connection,
                TrainingCompleted(
                    job_id=job_id, machine_id=job.machine_id, status=state, error_message=error
                ),
            )
    bell.ring("events")
    return ended


class Care:
    """Sees to it that no job is forgotten; looks again and again."""

    def __init__(
        self,
        store: Store,
        bell: Bell,
        locate: Locate,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._bell, self._locate, self._now = store, bell, locate, clock
        self._signs: dict[str, tuple[int | None, float]] = {}  # job -> sign of life, seen when

    def look(self) -> None:
        """Queue again what waits unqueued; end what runs without a sign of life."""
        with self._store.read() as connection:
            active = jobs.listed(connection, ACTIVE, limit=1000)
        running = [job for job in active if job.state == "running"]
        self._signs = {job.id: self._sign(job) for job in running}
        for job in running:
            if self._now() - self._signs[job.id][1] >= LEASE_S:
                end(self._store, self._bell, job.id, "interrupted", SILENT)
        waiting = [job for job in active if job.state == "queued"]
        if waiting:
            enqueue(self._locate, waiting)

    def _sign(self, job: Job) -> tuple[int | None, float]:
        """Return the newest sign of life and when we saw it, by a clock that does not jump."""
        known = self._signs.get(job.id)
        return known if known and known[0] == job.alive_at else (job.alive_at, self._now())
