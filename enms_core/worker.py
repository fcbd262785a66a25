"""A worker: takes training jobs from the queue and does them, each in a child process."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pandas as pd
from redis import Redis
from rq import Queue, SpawnWorker, Worker
from rq.serializers import JSONSerializer

from enms_core import outlook, supervise, telemetry
from enms_core.bus import Bell, Locate, locator
from enms_core.events import TrainingCompleted, TrainingProgress, TrainingStarted
from enms_core.jobs import QUEUE, end
from enms_core.settings import Settings
from enms_core.store import Store, Unavailable, events, jobs, machines, models, modes, readings
from enms_core.store.jobs import Job
from enms_core.store.times import now_us, to_us
from enms_core.training import STEPS, Trained, train, without_quiet

log = logging.getLogger(__name__)

BEAT_S = 5.0
LOOK_S = 0.2  # how often a worker looks for a Redis that is not there yet


class Cancelled(Exception):
    """The job is no longer wanted."""


def work(locate: Locate, log_level: str, *, burst: bool = False) -> None:
    """Take jobs from the queue until stopped; with `burst`, until it is empty."""
    while (url := locate()) is None:
        time.sleep(LOOK_S)
    kind = SpawnWorker if sys.platform == "darwin" else Worker
    with Redis.from_url(url) as connection:
        queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
        worker = kind([queue], connection=connection, serializer=JSONSerializer)
        worker.work(burst=burst, logging_level=log_level)


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
    supervise.die_with_parent()
    settings = Settings.from_env()
    store = Store(settings.database_url)
    try:
        _perform(store, Bell(locator(settings)), job_id)
    finally:
        store.dispose()


def look_ahead() -> None:
    """Forecast what is due, in a worker's child process."""
    supervise.die_with_parent()
    store = Store(Settings.from_env().database_url)
    try:
        outlook.issue(store, datetime.now(UTC))
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
        telemetry.ERRORS.labels("job").inc()
        log.exception("job %s failed", job_id)
        end(store, bell, job_id, "failed", str(error) or type(error).__name__)


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
        now = to_us(datetime.now(UTC))
        wide = readings.frame(connection, machine_id, 0, now + 1)
        return without_quiet(wide, modes.over(connection, machine_id, 0, now))


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
