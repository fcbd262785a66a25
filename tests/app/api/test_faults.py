"""Degraded, not dead: what the wire answers when the store or Redis does not."""

import asyncio
import sqlite3

import httpx
import pytest
import sqlalchemy as sa
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from enms_core.store import events, pages

ROW = {"machine": "Pump", "metric": "power_kw", "time": "2026-11-22T13:00:00Z", "value": 1.0}


@pytest.fixture
def lock(settings):
    """Hold the write lock of the store, as another process might."""
    holder = sqlite3.connect(settings.database_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    yield holder
    holder.close()


def test_a_locked_store_is_read_and_says_when_to_try_again(rest, lock):
    refused = rest.post("/readings", json=[ROW])
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert refused.json()["message"] == "the store is busy or locked; try again"
    assert rest.get("/readings?machine=Pump").json()["items"] == []
    lock.execute("ROLLBACK")
    assert rest.post("/readings", json=[ROW]).json()["accepted"] == 1


def test_a_full_store_says_so_and_is_read(rest, served):
    assert rest.post("/readings", json=[ROW]).json()["accepted"] == 1
    engine = served.server.wire.store.engine
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    engine.dispose()
    full = f"PRAGMA max_page_count = {pages}"
    sa.event.listen(engine, "connect", lambda dbapi, _record: dbapi.execute(full))
    rows = [
        {**ROW, "time": f"2026-{m:02d}-{d:02d}T{h:02d}:00:00Z"}
        for m in (9, 10)
        for d in range(1, 31)
        for h in range(24)
    ]
    refused = rest.post("/readings", json=rows)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert "full" in refused.json()["message"]
    assert len(rest.get("/readings?machine=Pump").json()["items"]) == 1


def test_what_nobody_foresaw_is_answered_and_counted(rest, served, monkeypatch, faults):
    monkeypatch.setattr(pages, "machines", lambda *_: 1 / 0)
    assert rest.get("/machines").json()["error"] == "internal_server_error"
    assert rest.get("/machines?limit=0").status_code == 400
    assert faults() == {"request": 1}


async def test_a_client_that_fails_is_cut_and_counted(served, eventually, monkeypatch, faults):
    address = f"ws://127.0.0.1:{served.port}/api/v1/ws/events"
    async with connect(address) as broken, connect(address) as other:
        await broken.recv()
        await other.recv()
        clients = served.server.audience._clients
        await asyncio.to_thread(eventually, lambda: len(clients) == 2)
        monkeypatch.setattr(next(iter(clients)), "offer", lambda _message: 1 / 0)
        alert = {"alert_type": "a", "message": "m"}
        async with httpx.AsyncClient() as http:
            await http.post(f"{served.url}/api/v1/alerts", json=alert)
        told = await asyncio.gather(broken.recv(), other.recv(), return_exceptions=True)
    assert sorted(isinstance(each, ConnectionClosed) for each in told) == [False, True]
    assert faults() == {"client": 1}


def test_a_frozen_redis_holds_up_no_request(rest, served, valkey, eventually):
    valkey.freeze()
    try:
        assert rest.post("/readings", json=[ROW], timeout=5).json()["accepted"] == 1
        assert rest.post("/training", json={"machine": "Pump"}, timeout=5).status_code == 202
        alert = {"alert_type": "a", "message": "m"}
        assert rest.post("/alerts", json=alert, timeout=5).status_code == 201
        eventually(lambda: served.server.hub.state == "degraded")
        eventually(lambda: served.server.hub.seq == _last(served))
    finally:
        valkey.thaw()
    eventually(lambda: served.server.hub.state == "live")
    assert rest.get("/jobs").json()["items"][0]["state"] == "queued"


def _last(served):
    with served.server.plant.store.read() as connection:
        return events.last_seq(connection)
