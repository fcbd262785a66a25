"""What once broke the wire: each is a door that stays shut."""

import asyncio
import base64
import contextlib
import json
import socket
import time
from datetime import datetime, timedelta
from itertools import pairwise, product

import httpx
import pytest
from tornado.httpserver import HTTPServer
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app import server
from enms_core.bus import client as redis_client
from enms_core.events import CHANNELS, Envelope, MetricUpdated, SystemAlert, utc_now
from enms_core.plant import Factory, Machine
from enms_core.store import events, machines, tokens

T = "2026-11-22T13:00:00Z"
OPENING = (
    "GET /api/v1/ws/dashboard{} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n"
)


def cursor(*key):
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def opened(served, query="", headers=""):
    """Open a raw stream that reads little."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", served.port))
    raw.sendall(OPENING.format(query, headers).encode())
    return raw


@pytest.fixture
def stream(served):
    def at(query=""):
        return connect(f"ws://127.0.0.1:{served.port}/api/v1/ws/dashboard?{query}")

    return at


# -- what is said is stored or told -------------------------------------------------------------


def test_metric_and_values_of_one_row_both_count(rest):
    row = {"machine": "Pump", "metric": "power_kw", "time": T, "value": 1.0}
    both = {**row, "values": {"temperature_c": 3}}
    answer = rest.post("/readings", json=[both, {**row, "time": utc_now(), "values": {}}])
    assert answer.json()["accepted"] == 3


def test_the_receipt_adds_up_where_not_all_are_named(rest):
    rows = [{"machine": "Nobody", "metric": "power_kw", "time": T, "value": 1}] * 1200
    told = rest.post("/readings", json=rows).json()
    assert (told["accepted"], told["duplicates"], told["refused"]) == (0, 0, 1200)
    assert len(told["quarantined"]) == 1000


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (f"machine,metric,time,value\nPump,power_kw,{T},5,\n", 400),
        (f"machine,time,machine,power_kw\nPump,{T},a,5\n", 400),
        ("machine,time," + ",".join(f"c{i}_kw" for i in range(400)) + "\n" + "P,1\n" * 8000, 400),
        (f"\ufeffmachine,metric,time,value\r\nPump,power_kw,{T},5\r\n", 200),
        ("machine,metric,time,value\n", 200),
    ],
)
def test_a_table_is_a_table(rest, text, status):
    csv = {"Content-Type": "text/csv"}
    assert rest.post("/readings", content=text.encode(), headers=csv).status_code == status


def test_a_last_newline_is_part_of_a_name(rest):
    sent = {"machine": "Pump", "metric": "power_kw\n", "started_at": T, "note": "x"}
    assert rest.post("/anomalies", json=sent).json()["field"] == "metric"
    assert rest.post("/alerts", json={"alert_type": "a\n", "message": "x"}).status_code == 400


def test_a_report_from_long_ago_needs_an_end(rest):
    sent = {"machine": "Pump", "started_at": "1970-01-01T00:00:00Z", "note": "x", "expected": 1}
    assert "at most a year" in rest.post("/anomalies", json=sent).json()["message"]


# -- what is odd is refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        f"/readings?cursor={cursor(1, 10**30)}",
        f"/readings?machine=Pump&start={T}&freq=1h&cursor={cursor(10**18)}",
        f"/events?cursor={cursor(2**63)}",
        f"/anomalies?cursor={cursor(1, chr(0xD800))}",
        f"/machines?cursor={cursor(chr(0))}",
        "/kpis?start=0001-01-01T00:00:00Z&end=0001-01-03T00:00:00Z&freq=1D",
        "/kpis?start=9999-12-31T00:00:00Z&end=9999-12-31T23:59:59Z&freq=1D",
        "/readings?machine=Pump&start=9999-12-31T00:00:00Z&freq=1D",
    ],
)
def test_odd_keys_and_times_are_no_error_of_ours(rest, path):
    assert rest.get(path).status_code in (200, 400)


YEARS = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "1600-01-01T00:00:00Z",
    "1969-12-31T00:00:00Z",
    "2262-04-12T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-12:00",
)


@pytest.mark.parametrize(
    ("path", "freqs"),
    [
        ("/readings", [None, "1min", "1h", "1D"]),
        ("/kpis", [None, "15min", "1D", "1W", "1MS"]),
        *((path, [None]) for path in ("/expected", "/anomalies", "/modes", "/repairs", "/alerts")),
    ],
)
def test_no_year_is_an_error_of_ours(rest, path, freqs):
    odd = []
    for start, end, freq in product(YEARS, [None, *YEARS], freqs):
        query = {"machine": "Pump", "start": start, "end": end, "freq": freq, "limit": 5}
        given = {name: value for name, value in query.items() if value is not None}
        answer = rest.get(path, params=given)
        if answer.status_code not in (200, 400):
            odd.append((answer.status_code, given))
    assert not odd


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://a]b"])
def test_an_origin_that_is_no_url(served, origin):
    answer = httpx.get(f"{served.url}/api/v1/machines", headers={"Origin": origin})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "offer", ["server_max_window_bits=99", "client_max_window_bits=abc", ";;=", "x=y, permessage"]
)
def test_an_odd_offer_of_compression(served, offer):
    with opened(
        served, headers=f"Sec-WebSocket-Extensions: permessage-deflate; {offer}\r\n"
    ) as raw:
        assert raw.recv(4096).startswith(b"HTTP/1.1 101")


async def test_a_parameter_that_is_no_text(stream):
    async with stream("channels=%FF") as client:
        assert json.loads(await client.recv())["type"] == "error"
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd.code == 4400


async def test_too_many_streams_are_told(served):
    with served.server.plant.store.write() as connection:
        _, secret = tokens.add(connection, "wall", "viewer")
    address = f"ws://127.0.0.1:{served.port}/api/v1/ws/dashboard"
    bearer = {"Authorization": f"Bearer {secret}"}
    held = [await connect(address, additional_headers=bearer) for _ in range(20)]
    with pytest.raises(ConnectionClosed) as closed:
        await (await connect(address, additional_headers=bearer)).recv()
    assert (closed.value.rcvd.code, "20 streams" in closed.value.rcvd.reason) == (4429, True)
    for each in held:
        await each.close()


# -- subscriptions ------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["[" * 16_000, "?" * 60_000, "*a" * 15_000])
async def test_a_pattern_is_short(stream, pattern):
    """Python takes minutes to read `[` a thousandfold, and the event loop would wait."""
    async with stream() as client:
        await client.recv()
        await client.send(json.dumps({"type": "subscribe", "channels": [pattern]}))
        async with asyncio.timeout(20):
            told = json.loads(await client.recv())
    assert told["type"] == "error"
    assert len(told["message"]) < 400


async def test_a_refused_subscription_changes_nothing(stream):
    async with stream() as client:
        await client.recv()
        wrong = {"type": "subscribe", "channels": ["training.*"], "machines": ["Nobody"]}
        await client.send(json.dumps(wrong))
        assert json.loads(await client.recv())["type"] == "error"
        await client.send(json.dumps({"type": "subscribe", "machines": ["Pump"] * 8000}))
        told = json.loads(await client.recv())
    assert len(told["channels"]) == len(CHANNELS)
    assert len(told["machines"]) == 1


# -- nothing stays behind -----------------------------------------------------------------------


def test_an_event_does_not_wait_behind_an_answer(served, eventually):
    with opened(served) as raw:
        [client] = eventually(lambda: list(served.server.audience._clients))
        answers = [{"type": "pong", "text": "y" * 600_000}] * 8
        served.soon(lambda: [client._say(answer) for answer in answers])
        eventually(lambda: client.ws_connection.stream.writing())
        with served.server.plant.store.write() as connection:
            alert = SystemAlert(alert_type="wanted", severity="info", message="find me")
            events.record(connection, alert)
        served.server.plant.bell.ring("events")
        eventually(lambda: len(client._outbox) == 1)
        raw.settimeout(20)
        got = b""
        while b"find me" not in got:
            got = got[-100:] + raw.recv(1 << 20)


def test_who_talks_and_does_not_read_is_cut(served, eventually):
    with opened(served):
        [client] = eventually(lambda: list(served.server.audience._clients))
        for _ in range(8):
            served.soon(
                lambda: [client._say({"type": "pong", "x": "y" * 600_000}) for _ in "12345"]
            )
            served.soon(lambda: client._say({"type": "pong"}))
        eventually(lambda: client._is_cut)


def test_a_client_that_still_catches_up_is_cut_by_a_restored_store(served, eventually):
    audience, plant = served.server.audience, served.server.plant
    noise = "".join(chr(33 + i * 7 % 90) for i in range(4000))
    with plant.store.write() as connection:
        for i in range(1500):
            alert = SystemAlert(alert_type="a", severity="info", message=noise, details={"i": i})
            events.record(connection, alert)
    plant.bell.ring("events")
    eventually(lambda: served.server.hub.seq == 1500)
    with opened(served, query=f"?since=0&epoch={plant.store.epoch}"):
        [client] = eventually(lambda: list(audience._present))
        time.sleep(0.5)
        assert client not in audience._clients
        served.soon(served.server.hub._forget)
        eventually(lambda: client._is_cut)


async def test_another_plant_s_values_stay_its_own(served, stream, valkey, eventually):
    await asyncio.to_thread(eventually, lambda: served.server.hub.state == "live")
    async with stream() as client:
        await client.recv()
        update = MetricUpdated(
            machine_id="x", machine="X", values={"power_kw": 1.0}, time=utc_now()
        )
        with redis_client(valkey.url) as publisher:
            for epoch in ("another", served.server.hub.epoch):
                envelope = Envelope.now(update, seq=None, epoch=epoch)
                publisher.publish(envelope.channel, envelope.to_json())
        async with asyncio.timeout(20):
            assert json.loads(await client.recv())["epoch"] == served.server.hub.epoch


# -- nobody is waited for for ever -------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch, request):
    """Let the server wait so long for the next request, and for a body."""
    for name, seconds in zip(("IDLE_S", "BODY_S"), request.param, strict=True):
        monkeypatch.setattr(server, name, seconds)
    server.limit_waiting()
    yield request.getfixturevalue("served")
    HTTPServer.configure(None)


POSTING = (
    "POST /api/v1/readings HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)


def is_closed(raw):
    """Whether the server ends a connection, in its time."""
    raw.settimeout(30)
    with contextlib.suppress(ConnectionError):
        return raw.recv(4096) == b""
    return True


@pytest.mark.parametrize("impatient", [(0.3, 20.0)], indirect=True)
@pytest.mark.parametrize("said", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: loc"])
def test_who_asks_nothing_is_not_waited_for(impatient, said):
    with socket.create_connection(("127.0.0.1", impatient.port)) as raw:
        raw.sendall(said)
        assert is_closed(raw)


@pytest.mark.parametrize("impatient", [(20.0, 0.5)], indirect=True)
def test_a_body_that_comes_byte_by_byte_is_not_waited_for(impatient):
    with socket.create_connection(("127.0.0.1", impatient.port)) as raw:
        raw.sendall(POSTING.format(100_000).encode())
        raw.settimeout(0.05)
        with contextlib.suppress(ConnectionError):
            for _ in range(400):
                raw.sendall(b" ")
                with contextlib.suppress(TimeoutError):
                    if raw.recv(1) == b"":
                        break
            else:
                pytest.fail("the server waits")


@pytest.mark.parametrize("impatient", [(0.3, 20.0)], indirect=True)
async def test_a_slow_upload_and_a_quiet_stream_live_on(impatient):
    rows = [{"machine": "Pump", "metric": "power_kw", "time": T, "value": 1.0}]
    body = json.dumps(rows).encode()
    async with connect(f"ws://127.0.0.1:{impatient.port}/api/v1/ws/dashboard") as client:
        await client.recv()
        reader, writer = await asyncio.open_connection("127.0.0.1", impatient.port)
        writer.write(POSTING.format(len(body)).encode())
        for first in range(0, len(body), 10):
            writer.write(body[first : first + 10])
            await asyncio.sleep(0.1)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await client.send("ping")
        assert json.loads(await client.recv())["type"] == "pong"


# -- buckets where midnight is strange ----------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "start", "end"),
    [
        ("America/Santiago", "2026-09-05T00:00:00-04:00", "2026-09-08T00:00:00-03:00"),
        ("America/Havana", "2026-10-31T00:00:00-04:00", "2026-11-03T00:00:00-05:00"),
        ("Africa/Cairo", "2026-04-23T00:00:00+02:00", "2026-04-26T00:00:00+03:00"),
        ("Asia/Kolkata", "2026-03-28T00:00:00+05:30", "2026-03-31T00:00:00+05:30"),
    ],
)
@pytest.mark.parametrize("freq", ["1h", "1D", "1W", "1MS"])
def test_buckets_where_midnight_is_strange(rest, served, zone, start, end, freq):
    with served.server.plant.store.write() as connection:
        machines.add(connection, Machine("Far", "pump", factory=Factory("Far", zone)))
    asked = {"machine": "Far", "start": start, "end": end, "freq": freq}
    rows = rest.get("/kpis", params=asked).json()["items"]
    spans = [(datetime.fromisoformat(r["start"]), datetime.fromisoformat(r["end"])) for r in rows]
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert (spans[0][0], spans[-1][1]) == tuple(map(datetime.fromisoformat, (start, end)))
    if freq == "1h":
        assert {at.minute for at, _ in spans} == {0}
    if freq == "1D":
        assert len(spans) == 3


def test_a_page_of_kpis_reads_no_more_than_a_page(rest):
    start = datetime.fromisoformat("2026-01-01T00:00:00Z") - timedelta(days=20_000)
    asked = {"start": start.isoformat(), "end": T, "freq": "15min", "limit": 3, "machine": "Pump"}
    first = rest.get("/kpis", params=asked, timeout=20).json()
    second = rest.get("/kpis", params={**asked, "cursor": first["next"]}, timeout=20).json()
    starts = [row["start"] for row in first["items"] + second["items"]]
    times = [datetime.fromisoformat(at) for at in starts]
    assert [b - a for a, b in pairwise(times)] == [timedelta(minutes=15)] * 5
