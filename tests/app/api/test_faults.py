"""Degraded, not dead: what the wire answers when the store or Redis does not."""

import sqlite3

import pytest
import sqlalchemy as sa

from enms_core.store import events

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
