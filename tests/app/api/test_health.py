import re

import httpx

from enms_core.store import tokens


def test_the_detail_names_parts_and_versions(served):
    found = httpx.get(f"{served.url}/health/detail").json()
    assert found["epoch"] == served.server.plant.store.epoch
    assert found["connections"] == {"page": 0}
    assert set(found["parts"]) == {"broker", "engine", "worker", "server"}
    assert found["store"]["jobs"] == {}
    assert found["versions"]["panel"].startswith("1.")
    assert set(httpx.get(f"{served.url}/health").json()) == {"status", "boot"}


def test_the_detail_is_for_admins(served):
    with served.server.plant.store.write() as connection:
        _, secret = tokens.add(connection, "wall", "analyst")
    bearer = {"Authorization": f"Bearer {secret}"}
    assert httpx.get(f"{served.url}/health/detail", headers=bearer).status_code == 403
    assert httpx.get(f"{served.url}/metrics", headers=bearer).status_code == 200


def test_what_happens_is_counted(rest, served, eventually):
    def metric(name):
        text = httpx.get(f"{served.url}/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    before = metric('enms_events_total{channel="system.alert"}') or 0.0
    rows = [{"machine": "Pump", "metric": "power_kw", "time": "2026-11-22T13:00:00Z", "value": 1}]
    stored = metric('enms_readings_total{outcome="stored"}') or 0.0
    rest.post("/readings", json=rows)
    rest.post("/alerts", json={"alert_type": "a", "message": "m"})
    eventually(lambda: metric('enms_events_total{channel="system.alert"}') == before + 1)
    assert metric('enms_readings_total{outcome="stored"}') == stored + 1
    assert metric("enms_redis_live") == 1.0
    assert metric('enms_jobs{state="queued"}') == 0.0
