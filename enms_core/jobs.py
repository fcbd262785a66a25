"""Training jobs: asked for by anyone, done by worker processes.

The row in the store is the truth. RQ carries the job's id to a worker, and may lose it: a row that
waits without being in the queue is put there again, and one whose worker went silent ends as
interrupted.
"""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pandas as pd
from redis import Redis
from rq import Queue, SpawnWorker, Worker
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.serializers import JSONSerializer

from enms_core import broker
from enms_core.bus import GONE, Bell, Locate, locator
from enms_core.events import TrainingCompleted, TrainingProgress, TrainingStarted
from enms_core.settings import Settings
from enms_core.store import Store, Unavailable, events, jobs, machines, models, readings
from enms_core.store.jobs import ACTIVE, Job
from enms_core.store.times import now_us, to_us
from enms_core.training import STEPS, Trained, train

log = logging.getLogger(__name__)

QUEUE = "enms:training"
BEAT_S = 5.0
LEASE_S = 15.0
LONGEST_S = 3600


class Cancelled(Exception):
    """The job is no longer wanted."""


def submit(
    store: Store, bell: Bell, locate: Locate, machine_id: str, model_type: str, requested_by: str
) -> Job:
    """Ask for a training; while one of this machine and type waits or runs, that is returned."""
    with store.write() as connection:
        job = jobs.add(connection, machine_id, model_type, requested_by)
    bell.ring("jobs")
    try:
        enqueue(locate, [job])
    except GONE as error:
        log.warning("job %s waits in the store, Redis does not answer: %s", job.id, error)
    return job


def enqueue(locate: Locate, waiting: list[Job]) -> None:
    """Put those of the waiting jobs into the queue that are not there; raise if Redis is away."""
    url = locate()
    if url is None:
        raise ConnectionError("no Redis yet")
    with Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=2.0) as connection:
        queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
        there = set(queue.job_ids)
        for job in waiting:
            if job.state == "queued" and job.id not in there:
                queue.enqueue_call(
                    "enms_core.jobs.perform",
                    args=(job.id,),
                    job_id=job.id,
                    timeout=LONGEST_S,
                    result_ttl=0,
                    failure_ttl=0,
                )


def cancel(store: Store, bell: Bell, locate: Locate, job_id: str) -> bool:
    """Cancel a job that waits or runs; False if it had ended."""
    if not _end(store, bell, job_id, "cancelled"):
        return False
    try:
        url = locate()
        if url:
            with Redis.from_url(url, socket_timeout=2.0) as connection:
                send_stop_job_command(connection, job_id, serializer=JSONSerializer)
    except (*GONE, InvalidJobOperation, NoSuchJobError) as error:
        log.info("job %s ends at its next step: %s", job_id, error)
    return True


def work(settings: Settings, *, burst: bool = False) -> None:
    """Take jobs from the queue until stopped; with `burst`, until it is empty."""
    kind = SpawnWorker if sys.platform == "darwin" else Worker
    with Redis.from_url(broker.ensure(settings).url) as connection:
        queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
        worker = kind([queue], connection=connection, serializer=JSONSerializer)
        worker.work(burst=burst, logging_level=settings.log_level)


def train_all(store: Store, bell: Bell, requested_by: str) -> Iterator[float]:
    """Train a baseline of every machine here and now, without a worker; yield the share done."""
    with store.read() as connection:
        known = machines.all_machines(connection)
    for number, machine in enumerate(known, start=1):
        with store.write() as connection:
            job = jobs.add(connection, machine.id, "baseline", requested_by)
        _perform(store, bell, job.id)
        yield number / len(known)


def perform(job_id: str) -> None:
    """Do one job, in a worker's child process."""
    os.nice(10)
    settings = Settings.from_env()
    store = Store(settings.database_url)
    try:
        _perform(store, Bell(locator(settings)), job_id)
    finally:
        store.dispose()


def _perform(store: Store, bell: Bell, job_id: str) -> None:
    job = _start(store, bell, job_id)
    if job is None:
        return
    try:
        with _beating(store, job_id):
            with store.read() as connection:
                machine = machines.find(connection, job.machine_id)
            trained = train(
                machine,
                job.model_type,
                load=lambda: _history(store, job.machine_id),
                report=lambda step, message: _report(store, bell, job, step, message),
            )
            _report(store, bell, job, "register", "Keeping the new version.")
            _complete(store, bell, job, trained)
    except Cancelled:
        log.info("job %s is not wanted any more", job_id)
    except Exception as error:  # the boundary of a job: whatever fails is the job's result
        log.exception("job %s failed", job_id)
        _end(store, bell, job_id, "failed", str(error) or type(error).__name__)


def _start(store: Store, bell: Bell, job_id: str) -> Job | None:
    with store.write() as connection:
        now = now_us()
        if not jobs.change(
            connection, job_id, only_in=("queued",), state="running", started_at=now, alive_at=now
        ):
            return None
        job = jobs.get(connection, job_id)
        machine = machines.find(connection, job.machine_id)
        events.record(
            connection,
            TrainingStarted(
                job_id=job.id,
                machine_id=job.machine_id,
                machine=machine.name,
                model_type=job.model_type,
                requested_by=job.requested_by,
            ),
        )
    bell.ring("events")
    return job


def _history(store: Store, machine_id: str) -> pd.DataFrame:
    with store.read() as connection:
        return readings.frame(connection, machine_id, 0, to_us(datetime.now(UTC)) + 1)


def _report(store: Store, bell: Bell, job: Job, step: str, message: str) -> None:
    percent = STEPS[step]
    with store.write() as connection:
        if not jobs.change(
            connection,
            job.id,
            only_in=("running",),
            step=step,
            message=message,
            progress_pct=percent,
        ):
            raise Cancelled
        events.record(
            connection,
            TrainingProgress(
                job_id=job.id,
                machine_id=job.machine_id,
                progress_pct=percent,
                status=step,
                message=message,
            ),
        )
    bell.ring("events")


def _complete(store: Store, bell: Bell, job: Job, trained: Trained) -> None:
    """Keep the version, end the job and tell it: one transaction."""
    with store.write() as connection:
        version = models.register(
            connection,
            machine_id=job.machine_id,
            model_type=job.model_type,
            job_id=job.id,
            span=(to_us(trained.start), to_us(trained.end)),
            metrics=trained.metrics,
            model=trained.model.to_json(),
        )
        if not jobs.change(
            connection,
            job.id,
            only_in=("running",),
            state="completed",
            progress_pct=100,
            step="completed",
            message="",
            ended_at=now_us(),
            metrics=trained.metrics,
            model_version=version.version,
        ):
            raise Cancelled
        events.record(
            connection,
            TrainingCompleted(
                job_id=job.id,
                machine_id=job.machine_id,
                status="completed",
                model_version=version.version,
                metrics=trained.metrics,
            ),
        )
    bell.ring("events")
    bell.ring("readings")


def _end(store: Store, bell: Bell, job_id: str, state: str, error: str = "") -> bool:
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


def care(store: Store, bell: Bell, locate: Locate) -> None:
    """Queue again what waits unqueued; end what runs without a sign of life."""
    with store.read() as connection:
        active = jobs.listed(connection, ACTIVE, limit=1000)
    silent = now_us() - int(LEASE_S * 1e6)
    for job in active:
        if job.state == "running" and (job.alive_at or 0) < silent:
            _end(store, bell, job.id, "interrupted", "The worker went silent; train again.")
    waiting = [job for job in active if job.state == "queued"]
    if waiting:
        enqueue(locate, waiting)


@contextmanager
def _beating(store: Store, job_id: str) -> Iterator[None]:
    """Show a sign of life every few seconds."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_S):
            try:
                with store.write() as connection:
                    jobs.change(connection, job_id, only_in=("running",), alive_at=now_us())
            except Unavailable as error:
                log.warning("job %s: %s", job_id, error)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
