import asyncio
import logging
import threading
import time
from contextlib import aclosing, contextmanager

import pytest
import sqlalchemy as sa

from enms_core import bus
from enms_core.bus import Bell, Ear, Follower, Relay, stream_key
from enms_core.events import CHANNELS, Envelope, MetricUpdated, TrainingProgress
from enms_core.store import Store, events, schema

LONGEST_S = 40  # a guard against hanging


def step(number):
    return TrainingProgress(job_id=f"j{number}", machine_id="m", progress_pct=1, status="fit")


def tell(store, numbers):
    """Tell events, one transaction each."""
    for number in numbers:
        with store.write() as connection:
            assert events.record(connection, step(number)) is not None


def tell_together(store, numbers):
    """Tell events in one transaction."""
    with store.write() as connection:
        for number in numbers:
            assert events.record(connection, step(number)) is not None


def newest(epoch="", **values):
    event = MetricUpdated(
        machine_id="m", machine="Pump", values=values, time="2026-11-22T13:00:00Z"
    )
    return Envelope.now(event, seq=None, epoch=epoch)


@pytest.fixture
def relaying(sqlite_store, valkey):
    """Run relays in threads; they are stopped at the end."""
    stop, threads = threading.Event(), []

    def start(count=1, store=sqlite_store):
        for _ in range(count):
            relay = Relay(store, valkey.locate)
            threads.append(threading.Thread(target=relay.run, args=(stop,)))
            threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(LONGEST_S)
        assert not thread.is_alive()


class Reader:
    """Follows in a task and keeps what it gets."""

    def __init__(self, follower):
        self.follower = follower
        self.got = []
        self.states = [follower.state]

    async def run(self):
        async with aclosing(self.follower.follow()) as following:
            async for envelope in following:
                self.got.append(envelope)

    async def watch(self):
        while True:
            if self.follower.state != self.states[-1]:
                self.states.append(self.follower.state)
            await asyncio.sleep(0.005)

    async def until(self, check):
        async with asyncio.timeout(LONGEST_S):
            while not check():
                assert not self.task.done(), self.task
                await asyncio.sleep(0.01)

    async def __aenter__(self):
        self.task = asyncio.create_task(self.run())
        self.watching = asyncio.create_task(self.watch())
        return self

    async def __aexit__(self, *_):
        for task in (self.task, self.watching):
            task.cancel()
        await asyncio.gather(self.task, self.watching, return_exceptions=True)

    @property
    def numbers(self):
        return [envelope.seq for envelope in self.got if envelope.seq is not None]

    async def has(self, count):
        """Wait for so many events and see that they are the first ones, in order, once each."""
        await self.until(lambda: len(self.numbers) >= count)
        assert self.numbers == list(range(1, count + 1))

    async def live(self):
        await self.until(lambda: self.follower.state == "live")


def reader(store, valkey, since=0):
    return Reader(Follower(store, valkey.locate, since))


@contextmanager
def in_thread(work, *args):
    thread = threading.Thread(target=work, args=args)
    thread.start()
    yield
    thread.join(LONGEST_S)
    assert not thread.is_alive()


# -- telling -------------------------------------------------------------------------------------


async def test_all_events_in_order_and_once(sqlite_store, valkey, relaying):
    relaying()
    async with reader(sqlite_store, valkey) as first, reader(sqlite_store, valkey) as second:
        await first.live()
        with in_thread(tell, sqlite_store, range(1, 101)):
            await first.has(100)
        await second.has(100)
    assert first.states == ["connecting", "live"]
    assert [envelope.event for envelope in first.got] == [step(n) for n in range(1, 101)]
    assert {envelope.epoch for envelope in first.got} == {sqlite_store.epoch}


async def test_postgresql_tells_as_well(postgres_store, valkey, relaying):
    relaying(store=postgres_store)
    async with reader(postgres_store, valkey) as follower:
        await asyncio.to_thread(tell_together, postgres_store, range(1, 51))
        await follower.has(50)


async def test_since(sqlite_store, valkey, relaying):
    tell_together(sqlite_store, range(1, 31))
    relaying()
    async with reader(sqlite_store, valkey, since=20) as follower:
        await follower.until(lambda: len(follower.got) >= 10)
        assert follower.numbers == list(range(21, 31))


async def test_from_now_on(sqlite_store, valkey, relaying):
    tell_together(sqlite_store, range(1, 31))
    relaying()
    async with reader(sqlite_store, valkey, since=None) as follower:
        await follower.live()
        await asyncio.to_thread(tell, sqlite_store, [31, 32])
        await follower.until(lambda: len(follower.got) >= 2)
        assert follower.numbers == [31, 32]


async def test_a_consumer_that_dawdles_misses_nothing(sqlite_store, valkey, relaying):
    relaying()
    numbers = []
    async with (
        asyncio.timeout(LONGEST_S),
        aclosing(Follower(sqlite_store, valkey.locate, 0).follow()) as following,
    ):
        with in_thread(tell, sqlite_store, range(1, 101)):
            async for envelope in following:
                numbers.append(envelope.seq)
                if len(numbers) % 10 == 0:
                    await asyncio.sleep(0.1)
                if len(numbers) == 100:
                    break
    assert numbers == list(range(1, 101))


async def test_two_relays_double_nothing(sqlite_store, valkey, relaying):
    relaying(2)
    async with reader(sqlite_store, valkey) as follower:
        await follower.live()
        with in_thread(tell, sqlite_store, range(1, 101)):
            await follower.has(100)
        await asyncio.sleep(1)
        await follower.has(100)
    with valkey.client() as client:
        ids = [
            int(entry[0].split(b"-")[0]) for entry in client.xrange(stream_key(sqlite_store.epoch))
        ]
    assert ids == list(range(1, 101))  # fmt: skip


async def test_a_follower_ends_whenever_it_is_cancelled(sqlite_store, valkey):
    tell_together(sqlite_store, range(1, 501))
    for number in range(40):
        following = reader(sqlite_store, valkey, since=(number % 3) * 200)
        task = asyncio.create_task(following.run())
        await asyncio.sleep(0.003 * number)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=LONGEST_S / 4)
        assert done, f"cancelled after {number} steps, it goes on"


async def test_the_wire_carries_the_same_json_as_the_store(sqlite_store, valkey, relaying):
    tell(sqlite_store, [1])
    with valkey.client() as client, client.pubsub() as pubsub:
        pubsub.subscribe(*CHANNELS)
        for _ in CHANNELS:
            pubsub.get_message(timeout=5)
        relaying()
        message = pubsub.get_message(timeout=LONGEST_S)
    with sqlite_store.read() as connection:
        assert (1, message["channel"].decode(), message["data"].decode()) == events.after(
            connection, 0, 5
        )[0]


async def test_newest_values_pass_without_a_number(sqlite_store, valkey, relaying):
    relaying()
    bell = Bell(valkey.locate)
    async with reader(sqlite_store, valkey) as follower:
        await follower.live()
        sent = [newest(sqlite_store.epoch, power_kw=float(n)) for n in range(3)]
        for envelope in sent:
            await asyncio.to_thread(bell.publish, envelope)
        await asyncio.to_thread(tell, sqlite_store, [1])
        await follower.has(1)
        assert [envelope for envelope in follower.got if envelope.seq is None] == sent


async def test_a_newest_value_behind_a_missing_number_is_not_lost(sqlite_store, valkey):
    async with reader(sqlite_store, valkey) as follower:
        await follower.live()
        tell(sqlite_store, [1, 2, 3])
        with sqlite_store.read() as connection:
            told = [(channel, text) for _, channel, text in events.after(connection, 0, 3)]
        value = newest(sqlite_store.epoch, power_kw=7.0)
        with valkey.client() as client, client.pipeline(transaction=False) as pipe:
            for channel, text in [told[0], told[2], (value.channel, value.to_json())]:
                pipe.publish(channel, text)
            pipe.execute()
        await follower.has(3)
        await follower.until(lambda: value in follower.got)


async def test_a_flood_of_newest_values_leaves_others_their_turn(sqlite_store, valkey):
    async with reader(sqlite_store, valkey) as follower:
        await follower.live()
        with valkey.client() as client, client.pipeline(transaction=False) as pipe:
            for _ in range(2000):
                pipe.publish("metric.updated", newest(sqlite_store.epoch, power_kw=1.0).to_json())
            pipe.execute()
        turns = 0
        while len(follower.got) < 2000:
            await asyncio.sleep(0)
            turns += 1
    assert turns > 2000 / bus.FAIR / 2


async def test_another_plant_on_the_same_redis_is_not_heard(
    sqlite_store, valkey, relaying, tmp_path
):
    other = Store(f"sqlite:///{tmp_path / 'other.db'}").migrate()
    relaying()
    relaying(store=other)
    async with reader(sqlite_store, valkey) as mine, reader(other, valkey) as theirs:
        await mine.live()
        await theirs.live()
        for number in range(1, 21):
            await asyncio.to_thread(tell, sqlite_store, [number])
            await asyncio.to_thread(tell, other, [number, number + 100])
        await mine.has(20)
        await theirs.has(40)
    assert {envelope.epoch for envelope in mine.got} == {sqlite_store.epoch}
    assert {envelope.epoch for envelope in theirs.got} == {other.epoch}
    other.dispose()


async def test_what_is_no_event_is_passed_over(sqlite_store, valkey, relaying, caplog):
    relaying()
    async with reader(sqlite_store, valkey) as follower:
        await follower.live()
        with valkey.client() as client:
            for text in ("", "{", "[]", b"\xff", '{"type": "system_alert", "seq": "x"}'):
                client.publish("system.alert", text)
        await asyncio.to_thread(tell_together, sqlite_store, range(1, 6))
        await follower.has(5)
    assert "passed over" in caplog.text


@pytest.mark.parametrize("relayed", [True, False])
async def test_a_kind_of_a_newer_version_is_passed_over(sqlite_store, valkey, relaying, relayed):
    tell_together(sqlite_store, range(1, 6))
    with sqlite_store.write() as connection:
        known = sa.select(schema.events.c.envelope).where(schema.events.c.seq == 3)
        text = connection.execute(known).scalar_one().replace("training_progress", "shift_ended")
        connection.execute(
            sa.update(schema.events).where(schema.events.c.seq == 3).values(envelope=text)
        )
    if relayed:
        relaying()
    else:
        valkey.kill()
    async with reader(sqlite_store, valkey) as follower:
        await follower.until(lambda: len(follower.got) >= 4)
        assert follower.numbers == [1, 2, 4, 5]


# -- Redis goes and comes ------------------------------------------------------------------------


@pytest.mark.kill
async def test_a_killed_redis_loses_and_doubles_nothing(sqlite_store, valkey, relaying):
    relaying()
    async with reader(sqlite_store, valkey) as follower:
        await follower.live()
        with in_thread(tell, sqlite_store, range(1, 201)):
            for _ in range(3):
                await asyncio.sleep(0.3)
                await asyncio.to_thread(valkey.kill)
                await asyncio.sleep(0.3)
                await asyncio.to_thread(valkey.start)
            await follower.until(lambda: len(follower.numbers) >= 200)
        await follower.live()
        await asyncio.to_thread(tell_together, sqlite_store, range(201, 211))
        await follower.has(210)
    assert "degraded" in follower.states


@pytest.mark.kill
async def test_events_come_from_the_store_while_there_is_no_redis(sqlite_store, valkey, relaying):
    relaying()
    valkey.kill()
    async with reader(sqlite_store, valkey) as follower:
        await asyncio.to_thread(tell_together, sqlite_store, range(1, 251))  # more than one batch
        await follower.has(250)
        assert follower.follower.state == "degraded"
        await asyncio.to_thread(valkey.start)
        await follower.live()
        await asyncio.to_thread(tell_together, sqlite_store, range(251, 261))
        await follower.has(260)
    assert follower.states == ["connecting", "degraded", "live"]


@pytest.mark.kill
async def test_an_emptied_redis(sqlite_store, valkey, relaying):
    relaying()
    async with reader(sqlite_store, valkey) as follower:
        await follower.live()
        with in_thread(tell, sqlite_store, range(1, 101)):
            for _ in range(5):
                await asyncio.sleep(0.1)
                with valkey.client() as client:
                    client.flushall()
            await follower.has(100)
        async with reader(sqlite_store, valkey) as late:
            await late.has(100)


@pytest.mark.kill
async def test_a_redis_that_lost_its_data(sqlite_store, valkey, relaying):
    tell_together(sqlite_store, range(1, 51))
    relaying()
    async with reader(sqlite_store, valkey) as follower:
        await follower.has(50)
        await asyncio.to_thread(valkey.kill)
        for left in valkey.folder.glob("appendonlydir/*"):
            left.unlink()
        await asyncio.to_thread(tell_together, sqlite_store, range(51, 61))
        await asyncio.to_thread(valkey.start)
        await follower.has(60)
        await follower.live()
        await asyncio.to_thread(tell_together, sqlite_store, range(61, 71))
        await follower.has(70)


async def test_a_stream_cut_past_the_follower_is_filled_from_the_store(
    sqlite_store, valkey, relaying, eventually
):
    tell_together(sqlite_store, range(1, 501))
    relaying()
    key = stream_key(sqlite_store.epoch)
    with valkey.client() as client:
        eventually(lambda: client.xlen(key) == 500)
        client.xtrim(key, maxlen=100, approximate=False)
        assert client.xlen(key) == 100
    async with reader(sqlite_store, valkey) as follower:
        await follower.has(500)
        await follower.live()
    with valkey.client() as client:
        client.xdel(key, *[f"{n}-0" for n in range(420, 440)])  # a hole inside of a batch
    async with reader(sqlite_store, valkey, since=410) as follower:
        await follower.until(lambda: len(follower.got) >= 90)
        assert follower.numbers == list(range(411, 501))


async def test_the_relay_fills_the_stream_as_far_as_it_holds(
    sqlite_store, valkey, relaying, eventually, monkeypatch
):
    monkeypatch.setattr(bus, "KEEP", 50)
    tell_together(sqlite_store, range(1, 121))
    relaying()
    with valkey.client() as client:
        key = stream_key(sqlite_store.epoch)
        eventually(lambda: client.exists(key) and client.xrevrange(key, count=1)[0][0] == b"120-0")
        assert client.xlen(key) == 50
    async with reader(sqlite_store, valkey) as follower:
        await follower.has(120)


@pytest.mark.kill
async def test_a_redis_that_hangs(sqlite_store, valkey, relaying):
    relaying()
    async with reader(sqlite_store, valkey) as follower:
        await follower.live()
        await asyncio.to_thread(tell_together, sqlite_store, range(1, 11))
        await follower.has(10)
        valkey.freeze()
        with in_thread(tell, sqlite_store, range(11, 31)):
            await asyncio.sleep(5)
        assert follower.follower.state == "degraded"
        await follower.has(30)
        valkey.thaw()
        await follower.live()
        await asyncio.to_thread(tell_together, sqlite_store, range(31, 41))
        await follower.has(40)
    assert follower.states == ["connecting", "live", "degraded", "live"]


async def test_a_process_that_stood_still_does_not_take_redis_for_lost(
    sqlite_store, valkey, relaying
):
    relaying()
    async with reader(sqlite_store, valkey) as follower:
        await follower.live()
        for _ in range(3):
            time.sleep(bus.TIMEOUT_S + 0.2)  # noqa: ASYNC251 (nothing else can run)
            await asyncio.sleep(0.1)
        await asyncio.to_thread(tell_together, sqlite_store, range(1, 11))
        await follower.has(10)
    assert follower.states == ["connecting", "live"]


async def test_a_store_that_goes_away_meanwhile(postgres, postgres_store, valkey, caplog):
    tell_together(postgres_store, range(1, 11))
    admin = sa.create_engine(postgres, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = postgres_store.engine.url.database

    def may_connect(allowed):
        with admin.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )

    epoch = postgres_store.epoch
    with caplog.at_level(logging.CRITICAL, "sqlalchemy.pool"):
        async with reader(postgres_store, valkey, since=10) as follower:
            await follower.live()
            await asyncio.to_thread(may_connect, False)
            with valkey.client() as client:  # a number that is far ahead: there is a gap to fill
                ahead = Envelope.now(step(99), seq=12, epoch=epoch).to_json()
                client.xadd(stream_key(epoch), {"e": ahead}, id="12-0")
            await asyncio.sleep(1.5)
            assert follower.got == []
            assert not follower.task.done()
            await asyncio.to_thread(may_connect, True)
            await asyncio.to_thread(tell, postgres_store, [11, 12])
            await follower.until(lambda: len(follower.got) >= 2)
            assert [envelope.event for envelope in follower.got] == [step(11), step(12)]


# -- the doorbell --------------------------------------------------------------------------------


def lasted(work, *args):
    began = time.monotonic()
    work(*args)
    return time.monotonic() - began


def test_an_ear_wakes_at_once(valkey):
    ear, bell = Ear(valkey.locate, "readings"), Bell(valkey.locate)
    ear.wait(0.01)
    ringing = threading.Timer(0.2, bell.ring, ["readings"])
    ringing.start()
    assert lasted(ear.wait, 20.0) < 10
    ringing.join()


def test_rings_in_between_are_one(valkey):
    ear, bell = Ear(valkey.locate, "readings"), Bell(valkey.locate)
    ear.wait(0.01)
    for _ in range(50):
        bell.ring("readings")
    time.sleep(0.3)  # all of them have arrived
    assert lasted(ear.wait, 20.0) < 10
    assert lasted(ear.wait, 0.3) > 0.2


def test_an_ear_hears_only_its_own_topic(valkey):
    ear, bell = Ear(valkey.locate, "readings"), Bell(valkey.locate)
    ear.wait(0.01)
    bell.ring("events")
    assert lasted(ear.wait, 0.3) > 0.2


NOWHERE = [
    lambda: None,
    lambda: "",
    lambda: "unix:///nowhere/at/all",
    lambda: "redis://127.0.0.1:1",
]


@pytest.mark.parametrize("locate", NOWHERE, ids=["none", "empty", "socket", "port"])
def test_without_a_redis_they_only_wait(locate):
    bell, ear = Bell(locate), Ear(locate, "readings")
    assert lasted(bell.ring, "readings") < 1
    assert lasted(bell.publish, newest(power_kw=1.0)) < 1
    assert 0.15 < lasted(ear.wait, 0.2) < 10


@pytest.mark.kill
def test_a_bell_outlives_redis(valkey):
    ear, bell = Ear(valkey.locate, "readings"), Bell(valkey.locate)
    bell.ring("readings")
    ear.wait(0.01)
    valkey.kill()
    assert max(lasted(bell.ring, "readings") for _ in range(20)) < 1
    assert lasted(ear.wait, 0.2) < 10
    valkey.start()
    time.sleep(1.1)  # a bell is quiet for a second after it failed
    ear.wait(0.01)
    bell.ring("readings")
    assert lasted(ear.wait, 20.0) < 10


@pytest.mark.kill
@pytest.mark.parametrize("rang", [True, False], ids=["connected", "not connected"])
def test_a_bell_does_not_wait_for_a_redis_that_hangs(valkey, rang):
    ear, bell = Ear(valkey.locate, "readings"), Bell(valkey.locate)
    if rang:
        bell.ring("readings")
        ear.wait(0.01)
    valkey.freeze()
    assert sum(lasted(bell.ring, "readings") for _ in range(100)) < 1
    assert lasted(ear.wait, 0.2) < 10


async def test_a_relay_without_a_redis_ends_when_told(sqlite_store):
    stop = threading.Event()
    with in_thread(Relay(sqlite_store, lambda: None).run, stop):
        tell(sqlite_store, [1])
        await asyncio.sleep(0.6)
        stop.set()
