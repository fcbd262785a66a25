import asyncio
import contextlib
import json
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.api import streams
from app.api.outbox import HOLDS, Full, Outbox
from app.audience import Message
from enms_core.bus import Bell
from enms_core.events import Envelope, MetricUpdated, SystemAlert, TrainingProgress
from enms_core.store import events, machines, tokens

WAIT_S = 20


@pytest.fixture
def at(served):
    """Open a stream of the served plant."""

    def open_at(name, token=None, origin=None, **query):
        asked = "&".join(f"{key}={value}" for key, value in query.items())
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return connect(
            f"ws://127.0.0.1:{served.port}/api/v1/ws/{name}?{asked}",
            additional_headers=headers,
            origin=origin,
        )

    return open_at


@pytest.fixture
def tell(served):
    """Record and ring trainings of a machine; return the number of the last."""
    bell, made = Bell(served.server.plant.locate), []

    def record(count=1, machine="Pump"):
        with served.server.plant.store.write() as connection:
            owner = machines.find(connection, machine)
            for _ in range(count):
                made.append(machine)
                told = events.record(
                    connection,
                    TrainingProgress(
                        job_id=f"j{len(made)}", machine_id=owner.id, progress_pct=5, status="load"
                    ),
                )
        bell.ring("events")
        return told.seq

    return record


async def heard(socket, kind=None):
    """Return the next message, or the next of a type."""
    while True:
        async with asyncio.timeout(WAIT_S):
            message = json.loads(await socket.recv())
        if kind in (None, message["type"]):
            return message


async def closed(socket):
    """Return the code with which the other side closed."""
    try:
        while True:
            await heard(socket)
    except ConnectionClosed as error:
        return error.rcvd.code


async def test_a_client_is_greeted_and_told(at, tell, served):
    async with at("training", client_id="wall") as first, at("training", client_id="wall") as twin:
        hello = await heard(first)
        assert hello == {
            "type": "connection",
            "status": "connected",
            "client_id": "wall",
            "connection_type": "training",
            "epoch": served.server.plant.store.epoch,
            "seq": 0,
            "recovered": False,
        }
        assert (await heard(twin))["client_id"] == "wall"
        tell(2)
        for each in (first, twin):
            assert [(await heard(each))["seq"] for _ in range(2)] == [1, 2]
        assert "permessage-deflate" in first.response.headers["Sec-WebSocket-Extensions"]


async def test_pings_are_answered_and_nonsense_is_not_understood(at):
    async with at("training") as client:
        await heard(client)
        for text in ("ping", '{"type": "ping"}'):
            await client.send(text)
            assert list(await heard(client)) == ["type", "timestamp"]
        for text in ("pong", "{", '{"type": "eat"}', "[]", "3", b"\xff\x00", "[" * 30_000):
            await client.send(text)
            answer = await heard(client)
            assert answer["type"] == "error"
            assert "subscribe" in answer["message"]


async def test_a_subscription_narrows_what_comes(at, tell):
    async with at("dashboard", machines="Pump") as client, at("dashboard") as other:
        await heard(client)
        await heard(other)
        tell(1, "Press")
        tell(1, "Pump")
        assert (await heard(client, "training_progress"))["seq"] == 2
        await client.send('{"type": "subscribe", "machines": ["Nobody"]}')
        assert "known are: " in (await heard(client, "error"))["message"]
        await client.send('{"type": "subscribe", "machines": "Press"}')
        assert "list of names" in (await heard(client, "error"))["message"]
        await client.send('{"type": "subscribe", "machines": ["Press"]}')
        assert len((await heard(client, "subscribed"))["machines"]) == 1
        tell(1, "Pump")
        tell(1, "Press")
        assert (await heard(client, "training_progress"))["seq"] == 4
        assert [(await heard(other, "training_progress"))["seq"] for _ in range(4)] == [1, 2, 3, 4]


async def test_a_subscription_to_channels_narrows_too(at, tell):
    async with at("dashboard", channels="training.*") as client, at("dashboard") as other:
        await heard(client)
        await heard(other)
        await client.send('{"type": "subscribe", "channels": ["nothing.*"]}')
        assert "training.progress" in (await heard(client, "error"))["message"]
        await other.send('{"type": "subscribe", "channels": ["anomaly.*", "system.alert"]}')
        told = await heard(other, "subscribed")
        assert told["channels"] == ["anomaly.detected", "anomaly.updated", "system.alert"]
        tell(1)
        assert (await heard(client, "training_progress"))["seq"] == 1
        await other.send('{"type": "subscribe", "machines": ["Press"]}')
        assert (await heard(other))["channels"] == told["channels"]  # and no event before it
        await other.send('{"type": "subscribe", "channels": []}')
        assert "training.progress" in (await heard(other))["channels"]
    async with at("training", channels="anomaly.*") as client:
        assert (await heard(client))["type"] == "error"
        assert await closed(client) == streams.NOT_UNDERSTOOD


async def test_every_stream_carries_its_channels(at, served, tell):
    assert {s.name: sorted(s.channels) for s in streams.STREAMS.values()} == {
        "dashboard": sorted(streams.CHANNELS),
        "anomalies": ["anomaly.detected", "anomaly.updated"],
        "training": ["training.completed", "training.progress", "training.started"],
        "events": sorted(set(streams.CHANNELS) - {"metric.updated"}),
    }


@pytest.mark.parametrize("kept", [10_000, 5])
async def test_what_was_missed_follows_in_order(at, tell, served, eventually, kept):
    epoch = served.server.plant.store.epoch
    last = tell(450)
    hub = served.server.hub
    eventually(lambda: hub.seq == last)
    while len(hub._log) > kept:
        hub._log.popleft()  # the rest is in the store only
    async with at("training", since=3, epoch=epoch) as client:
        assert (await heard(client))["recovered"] is True
        tell(2)
        assert [(await heard(client))["seq"] for _ in range(449)] == list(range(4, 453))
    async with at("anomalies", since=3, epoch=epoch) as client:
        assert (await heard(client))["recovered"] is True


@pytest.mark.parametrize("query", [{"since": 1, "epoch": "another"}, {"since": 9}, {"since": 0}])
async def test_what_cannot_be_recovered_is_said(at, tell, eventually, served, query):
    last = tell(2)
    eventually(lambda: served.server.hub.seq == last)
    async with at("training", **query) as client:
        assert (await heard(client))["recovered"] is False


@pytest.mark.parametrize("query", [{"since": "x"}, {"since": "-1"}, {"machines": "Nobody"}])
async def test_a_wrong_parameter_is_told(at, query):
    async with at("training", **query) as client:
        assert (await heard(client))["type"] == "error"
        assert await closed(client) == streams.NOT_UNDERSTOOD


async def test_a_flood_from_a_client_is_ended(at):
    async with at("training") as client:
        await heard(client)
        for _ in range(40):
            await client.send("ping")
        assert await closed(client) == streams.FLOODING


async def test_a_message_that_is_too_large_ends_the_connection(at):
    async with at("training") as client:
        await heard(client)
        await client.send("x" * (streams.LARGEST_IN + 1))
        assert await closed(client) == 1009


async def test_a_client_that_does_not_read_is_cut_and_resumes(served, tell, eventually):
    """It holds its socket open and takes nothing: what waits for it stays bounded."""
    audience, large = served.server.audience, "x" * 100_000
    bell = Bell(served.server.plant.locate)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", served.port))
        raw.sendall(
            b"GET /api/v1/ws/events HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        eventually(lambda: audience.counts() == {"events": 1})
        for i in range(120):
            with served.server.plant.store.write() as connection:
                events.record(
                    connection, SystemAlert(alert_type=f"t{i}", severity="info", message=large)
                )
            bell.ring("events")
        eventually(lambda: audience.counts() == {})
    async with connect(
        f"ws://127.0.0.1:{served.port}/api/v1/ws/events?since=0"
        f"&epoch={served.server.plant.store.epoch}"
    ) as client:
        assert (await heard(client))["recovered"] is True
        assert [(await heard(client))["seq"] for _ in range(120)] == list(range(1, 121))


async def test_who_may_open_a_stream(at, served):
    with served.server.plant.store.write() as connection:
        _, viewer = tokens.add(connection, "wall", "viewer")
        _, analyst = tokens.add(connection, "gateway", "analyst")
    async with at("events", token="enms_wrong") as client:
        assert await closed(client) == 4401
    async with at("events", token=viewer) as client:
        assert await closed(client) == 4403
    async with at("dashboard", token=viewer) as client:
        assert (await heard(client))["type"] == "connection"
    async with at("events", token=analyst) as client:
        assert (await heard(client))["type"] == "connection"
    with pytest.raises(InvalidStatus, match="403"):
        await at("events", origin="http://elsewhere.example")


async def test_a_revoked_token_is_cut(at, served, monkeypatch):
    monkeypatch.setattr(streams, "RECHECK_S", 0.1)
    with served.server.plant.store.write() as connection:
        _, secret = tokens.add(connection, "wall", "viewer")
    async with at("dashboard", token=secret) as client:
        await heard(client)
        with served.server.plant.store.write() as connection:
            tokens.revoke(connection, "wall")
        assert await closed(client) == 4401


async def test_a_restored_store_lets_clients_come_again(at, served, tell):
    async with at("training") as client:
        hello = await heard(client)
        served.server.plant.store.renew()
        assert await closed(client) == 1001
    again = None
    while again is None:
        async with at("training", since=0, epoch=hello["epoch"]) as client:
            with contextlib.suppress(ConnectionClosed):  # it is still looking for the new store
                again = await heard(client)
    assert again["recovered"] is False
    assert again["epoch"] != hello["epoch"]


async def test_a_server_that_ends_lets_all_clients_go(at, served):
    async with at("training") as client:
        await heard(client)
        served.soon(served.server.audience.dismiss)
        assert await closed(client) == 1001
    async with at("training") as late:
        assert await closed(late) == 1001


def test_the_window_of_a_deflated_stream_is_small(served):
    with socket.create_connection(("127.0.0.1", served.port)) as raw:
        raw.sendall(
            b"GET /api/v1/ws/training HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        )
        with raw.makefile("rb") as answer:
            head = b"".join(iter(answer.readline, b"\r\n"))
            answer.read(2)  # the greeting follows: the stream is open
        assert b"permessage-deflate; server_max_window_bits=12" in head


# -- the outbox ------------------------------------------------------------------------------------


def message(event, seq=1):
    return Message(Envelope.now(event, seq=seq, epoch="e"))


def metric(machine_id, **values):
    event = MetricUpdated(machine_id=machine_id, machine="m", values=values, time="t")
    return message(event, None)


def test_latest_values_coalesce_and_wait_behind_events():
    outbox = Outbox()
    outbox.put(metric("m1", power_kw=1.0, flow_m3h=2.0))
    outbox.put(message(SystemAlert(alert_type="a", severity="info", message="")))
    outbox.put(metric("m1", power_kw=3.0))
    outbox.put(metric("m2", power_kw=4.0))
    assert len(outbox) == 3
    taken = [outbox.take() for _ in range(3)]
    assert outbox.take() is None
    assert [m.envelope.type for m in taken] == ["system_alert", "metric_updated", "metric_updated"]
    assert taken[1].envelope.event.values == {"power_kw": 3.0, "flow_m3h": 2.0}


def test_the_outbox_is_bounded_by_number_and_size():
    few, many = Outbox(), Outbox()
    big = message(SystemAlert(alert_type="a", severity="info", message="x" * 400_000))
    few.put(big)
    few.put(big)
    with pytest.raises(Full):
        few.put(big)
    small = message(SystemAlert(alert_type="a", severity="info", message=""))
    for _ in range(HOLDS):
        many.put(small)
    with pytest.raises(Full):
        many.put(small)
