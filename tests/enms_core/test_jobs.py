from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job as QueuedJob
from rq.serializers import JSONSerializer

from enms_core import jobs, worker
from enms_core.bus import GONE, Bell
from enms_core.events import Envelope
from enms_core.plant import Unknown
from enms_core.store import events
from enms_core.store import jobs as stored

SILENT = Bell(lambda: None)


def submit(store, valkey, machine, by="me"):
    return jobs.submit(store, Bell(valkey.locate), valkey.locate, machine.id, "baseline", by)


def care(store, valkey):
    jobs.Care(store, SILENT, valkey.locate).look()


def queue_of(valkey):
    with Redis.from_url(valkey.url) as connection:
        return Queue(jobs.QUEUE, connection=connection, serializer=JSONSerializer).job_ids


def state(store, job):
    with store.read() as connection:
        return stored.get(connection, job.id).state


def ends(store):
    with store.read() as connection:
        found = [Envelope.from_json(e) for _, _, e in events.after(connection, 0, 1000)]
    return [(e.event.job_id, e.event.status) for e in found if e.channel == "training.completed"]


def test_of_many_who_ask_at_once_all_get_the_same_job(store, plant, valkey):
    with ThreadPoolExecutor(8) as many:
        asked = list(many.map(lambda n: submit(store, valkey, plant["Pump"], f"{n}"), range(16)))
    assert len({job.id for job in asked}) == 1
    assert len({job.requested_by for job in asked}) == 1
    assert set(queue_of(valkey)) == {asked[0].id}
    assert submit(store, valkey, plant["Press"]).id != asked[0].id


def test_what_the_queue_forgot_is_put_there_again(store, plant, valkey):
    waiting = [submit(store, valkey, machine) for machine in plant.values()]
    with valkey.client() as client:
        client.flushall()
    assert queue_of(valkey) == []
    for _ in range(3):
        care(store, valkey)
        assert sorted(queue_of(valkey)) == sorted(job.id for job in waiting)


def test_a_job_waits_in_the_store_while_redis_is_away(store, plant, valkey):
    valkey.stop()
    job = submit(store, valkey, plant["Pump"])
    assert state(store, job) == "queued"
    with pytest.raises(GONE):
        care(store, valkey)
    with pytest.raises(ConnectionError, match="no Redis yet"):
        jobs.Care(store, SILENT, lambda: None).look()
    valkey.start()
    care(store, valkey)
    assert queue_of(valkey) == [job.id]


def test_cancelled_while_redis_is_away_it_is_cancelled(store, plant, valkey):
    job = submit(store, valkey, plant["Pump"])
    valkey.kill()
    assert jobs.cancel(store, SILENT, valkey.locate, job.id)
    assert not jobs.cancel(store, SILENT, valkey.locate, job.id)
    valkey.start()
    care(store, valkey)
    assert state(store, job) == "cancelled"
    assert ends(store) == [(job.id, "cancelled")]


def test_a_job_ends_once(store, plant, valkey):
    job = submit(store, valkey, plant["Pump"])
    with ThreadPoolExecutor(8) as many:
        kinds = ["cancelled", "interrupted", "failed"] * 4
        ended = list(many.map(lambda kind: jobs.end(store, SILENT, job.id, kind), kinds))
    assert ended.count(True) == 1
    assert ends(store) == [(job.id, kinds[ended.index(True)])]


def test_cancelling_what_is_not_there_says_so(store, valkey):
    assert not jobs.cancel(store, SILENT, valkey.locate, "nowhere")
    with store.read() as connection, pytest.raises(Unknown, match="'nowhere' is unknown"):
        stored.get(connection, "nowhere")


def test_what_travels_is_the_id_alone(store, plant, valkey):
    """No pickles: a queue that others can write to runs nothing but `perform` of an id."""
    job = submit(store, valkey, plant["Pump"])
    with Redis.from_url(valkey.url) as connection:
        sent = QueuedJob.fetch(job.id, connection=connection, serializer=JSONSerializer)
    assert (sent.func_name, sent.args, sent.kwargs) == ("enms_core.worker.perform", [job.id], {})
    assert worker.perform.__name__ == "perform"


def test_one_that_runs_is_not_queued_again(store, plant, valkey):
    job = submit(store, valkey, plant["Pump"])
    with valkey.client() as client:
        client.flushall()
    with store.write() as connection:
        stored.change(connection, job.id, only_in=("queued",), state="running", alive_at=2**60)
    care(store, valkey)
    assert queue_of(valkey) == []
