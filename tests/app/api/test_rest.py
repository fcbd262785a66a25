import csv
import io
import json

import pandas as pd
import pytest

from enms_core.events import TrainingProgress
from enms_core.store import events, forecasts, machines
from enms_core.store.times import now_us

T = "2026-11-22T13:{:02d}:00+00:00"


def rows(count=3, machine="Pump"):
    return [
        {"machine": machine, "metric": "power_kw", "time": T.format(i), "value": 40.0 + i}
        for i in range(count)
    ]


def tell(served, count, machine_id="m1"):
    with served.server.plant.store.write() as connection:
        for i in range(count):
            job = TrainingProgress(
                job_id=f"j{i}", machine_id=machine_id, progress_pct=5, status="load"
            )
            events.record(connection, job)


def test_readings_are_stored_when_they_are_answered(rest):
    answer = rest.post("/readings", json=rows())
    assert answer.status_code == 200
    assert answer.json() == {"accepted": 3, "duplicates": 0, "refused": 0, "quarantined": []}
    assert rest.post("/readings", json={"rows": rows(4)}).json()["duplicates"] == 3
    found = rest.get("/readings", params={"machine": "Pump"}).json()["items"]
    assert [(row["time"], row["value"]) for row in found] == [
        (T.format(i), 40.0 + i) for i in range(4)
    ]


def test_what_is_no_reading_is_answered_with_its_reason(rest):
    sent = [
        {"machine": "Pump", "time": T.format(1), "values": {"power_kw": 7.5, "speed": 3}},
        {"machine": "Nobody", "metric": "power_kw", "time": T.format(1), "value": 1},
        {"machine": "Pump", "metric": "power_kw", "time": "2026-11-22T13:00:00", "value": 1},
        {"machine": "Pump", "metric": "power_kw", "time": T.format(2), "value": "NaN"},
        {"machine": "Pump", "metric": "power_kw", "time": T.format(3)},
    ]
    answer = rest.post("/readings", json=sent).json()
    assert answer["accepted"] == 1
    assert [row["reason"].split(";")[0] for row in answer["quarantined"]] == [
        "metric 'speed' does not end in a known unit",
        "machine is unknown",
        "time has no zone",
        "value is not a finite number",
        "value is not a finite number",
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"machine,metric,time,value\nPump,power_kw,{T.format(0)},4.5\n",
        f"machine,time,power_kw,temperature_c\nPump,{T.format(0)},4.5,\n",
    ],
)
def test_readings_come_as_csv_too(rest, text):
    answer = rest.post("/readings", content=text, headers={"Content-Type": "text/csv"})
    assert answer.json() == {"accepted": 1, "duplicates": 0, "refused": 0, "quarantined": []}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'[{"machine": "Pump"}]', 400, "[0].time"),
        (b'[{"machine": 3, "time": "x"}]', 400, "[0].machine"),
        (b'{"rows": 3}', 400, "rows"),
        (b'[{"machine": "Pump", "time": "x", "colour": "red"}]', 400, "[0].colour"),
        (b"NaN", 400, None),
        (b"[" * 100_000, 400, "[0]"),
        (b"", 400, None),
        (b'["\\ud800"]', 400, None),
        (b" " * (1 << 20) + b"[]", 413, None),
    ],
)
def test_a_body_that_is_none_is_refused_naming_the_field(rest, body, status, field):
    answer = rest.post("/readings", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["field"] == field
    assert answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/anomalies?limit=0", "limit"),
        ("/anomalies?limit=1&limit=2", "limit"),
        ("/anomalies?colour=red", "colour"),
        ("/anomalies?machine=Nobody", "machine"),
        ("/anomalies?severity=awful", "severity"),
        ("/anomalies?start=2026-11-22T13:00:00", "start"),
        ("/anomalies?start=2026-11-22T13:00:00Z&end=2026-11-22T13:00:00Z", "end"),
        ("/anomalies?cursor=abc", "cursor"),
        ("/anomalies?cursor=WzFd", "cursor"),
        ("/events?channels=none.*", "channels"),
        ("/readings?freq=1h&start=2026-11-22T13:00:00Z", "machine"),
        ("/readings?metric=POWER", "metric"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(rest, path, field):
    answer = rest.get(path)
    assert answer.status_code == 400, answer.text
    assert answer.json()["field"] == field


def test_what_is_not_there_is_said_so(rest):
    assert rest.get("/nothing").json()["error"] == "unknown"
    nobody = "00000000-0000-0000-0000-000000000000"
    assert rest.get(f"/jobs/{nobody}").status_code == 404
    assert rest.delete(f"/jobs/{nobody}").status_code == 404
    assert rest.get("/jobs/..%2f..%2fetc").status_code == 400
    assert rest.post(f"/models/{nobody}/activate").status_code == 404
    assert rest.post(f"/anomalies/{nobody}/acknowledge", json={}).status_code == 404
    assert rest.put("/machines", json={}).status_code == 405
    assert rest.post("/machines", data={"a": "b"}).status_code == 415


def pages(rest, path, limit, **params):
    cursor, found = None, []
    while True:
        given = {**params, "limit": limit, **({"cursor": cursor} if cursor else {})}
        answer = rest.get(path, params=given).json()
        assert len(answer["items"]) <= limit
        found.append(answer["items"])
        cursor = answer["next"]
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_hold_every_row_once(served, rest, limit):
    tell(served, 7)
    rest.post("/readings", json=rows(4) + rows(3, "Press"))
    assert [r["seq"] for page in pages(rest, "/events", limit) for r in page] == list(range(1, 8))
    found = [r for page in pages(rest, "/readings", limit) for r in page]
    assert len({(r["machine"], r["time"]) for r in found}) == len(found) == 7


def test_slots_are_the_same_whole_or_in_pages(rest):
    sent = [
        {"machine": "Pump", "time": T.format(i), "values": {"power_kw": float(i), "units_count": 1}}
        for i in range(60)
        if not 20 <= i < 40
    ]
    rest.post("/readings", json=sent)
    asked = {"machine": "Pump", "freq": "15min", "start": T.format(0), "end": T.format(59)}
    whole = rest.get("/readings", params=asked).json()["items"]
    parts = [r for page in pages(rest, "/readings", 2, **asked) for r in page]
    assert sorted(map(str, parts)) == sorted(map(str, whole))
    power = [r["value"] for r in whole if r["metric"] == "power_kw"]
    assert power == [7.0, 17.0, 42.0, 51.5]  # the third slot has five readings, 40 to 44
    assert [r["value"] for r in whole if r["metric"] == "units_count"] == [15.0, 5.0, 5.0, 14.0]


def test_a_list_is_csv_too_and_runs_no_formula(rest):
    for name in ("=1+1", "@SUM", "Öfen, 'A'\n\"b\""):
        assert rest.post("/machines", json={"name": name, "factory": "Works"}).status_code == 201
    answer = rest.get("/machines?limit=4", headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["name"] for row in table] == ["'=1+1", "'@SUM", "Press", "Pump"]
    link = answer.headers["Link"].split(">")[0].removeprefix("</api/v1")
    [last] = csv.DictReader(io.StringIO(rest.get(link, headers={"Accept": "text/csv"}).text))
    assert last["name"] == "Öfen, 'A'\n\"b\""


def test_a_machine_is_made_once_and_told(rest):
    sent = {"name": "Oven", "type": "boiler", "rated_kw": 40, "factory": "Works"}
    made = rest.post("/machines", json=sent)
    assert made.status_code == 201
    assert rest.post("/machines", json=sent).status_code == 409
    assert (
        rest.post("/machines", json={**sent, "name": "O2", "timezone": "Mars"}).json()["field"]
        == "timezone"
    )
    [told] = rest.get("/events?channels=machine.*").json()["items"]
    assert told["event_id"] == made.json()["event_id"]
    assert told["data"] == {
        "machine_id": made.json()["id"],
        "machine": "Oven",
        "machine_type": "boiler",
        "factory": "Works",
    }


def test_criticality_and_thresholds_are_said_with_a_machine(rest):
    sent = {"name": "Saw", "factory": "Mill", "criticality": "A", "warning_per_hour": 2.0}
    sent["critical_per_hour"] = 8.0
    assert rest.post("/machines", json=sent).status_code == 201
    other = {"name": "Fan", "factory": "Mill"}
    assert rest.post("/machines", json=other).status_code == 201
    known = {row["name"]: row for row in rest.get("/machines").json()["items"]}
    limits = ("criticality", "warning_per_hour", "critical_per_hour")
    assert [known["Saw"][name] for name in limits] == ["A", 2.0, 8.0]
    assert [known["Fan"][name] for name in limits] == ["B", 2.0, 8.0]
    assert [known["Pump"][name] for name in limits] == ["B", 0.9, 3.6]
    for wrong, field in (
        ({"criticality": "D"}, "criticality"),
        ({"warning_per_hour": -1}, "warning_per_hour"),
        ({"factory": "New", "warning_per_hour": 9.0}, "warning_per_hour"),
    ):
        refused = rest.post("/machines", json={**sent, "name": "Lathe", **wrong})
        assert (refused.status_code, refused.json()["field"]) == (400, field)
    refused = rest.post("/machines", json={**other, "name": "Lamp", "warning_per_hour": 3.0})
    assert refused.status_code == 400
    assert "a warning from 2 and critical from 8" in refused.json()["message"]


def test_a_reported_anomaly_lives(rest):
    rest.post("/readings", json=rows(5))
    sent = {"machine": "Pump", "started_at": T.format(0), "ended_at": T.format(30), "note": "hot"}
    answer = rest.post("/anomalies", json=sent)
    assert answer.json()["message"].startswith("value and expected of power_kw")
    made = rest.post("/anomalies", json={**sent, "expected": 30.0})
    assert made.status_code == 201
    assert rest.post("/anomalies", json={**sent, "expected": 30.0}).status_code == 409
    [row] = rest.get("/anomalies?machine=Pump&state=open").json()["items"]
    assert (row["value"], row["delta_kwh"]) == (42.0, 6.0)
    assert row["reason"] == "Reported by local user: hot"
    path = f"/anomalies/{made.json()['id']}"
    assert rest.post(f"{path}/acknowledge", json={"note": "seen"}).json()["state"] == "acknowledged"
    assert rest.post(f"{path}/acknowledge", json={}).status_code == 409
    assert rest.post(f"{path}/resolve", json={}).json()["state"] == "resolved"
    assert rest.post(f"{path}/reopen", json={}).json()["state"] == "open"
    assert rest.post(f"{path}/eat", json={}).json()["field"] == "action"
    told = rest.get("/events?channels=anomaly.updated").json()["items"]
    assert [e["data"]["state"] for e in told] == ["acknowledged", "resolved", "open"]
    assert told[0]["data"]["by"] == "local user"


def test_a_label_says_what_an_anomaly_was(rest):
    sent = {"machine": "Pump", "started_at": T.format(0), "note": "hot", "value": 9, "expected": 3}
    path = f"/anomalies/{rest.post('/anomalies', json=sent).json()['id']}"
    refused = rest.post(f"{path}/label", json={"label": "expected"})
    assert refused.json()["message"] == (
        "note must say why it was to be expected, such as stocktaking"
    )
    assert rest.post(f"{path}/label", json={"label": "maybe"}).json()["field"] == "label"
    assert rest.post(f"{path}/label", json={"label": "false"}).json()["state"] == "open"
    rest.post(f"{path}/label", json={"label": "expected", "note": "stocktaking"})
    [row] = rest.get("/anomalies?machine=Pump").json()["items"]
    assert (row["label"], row["label_note"]) == ("expected", "stocktaking")
    assert row["labelled_by"] == "local user"
    told = rest.get("/events?channels=anomaly.updated").json()["items"]
    assert [e["data"]["note"] for e in told] == [
        "Labelled false.",
        "Labelled expected. stocktaking",
    ]
    missing = f"/anomalies/{'0' * 8}-0000-0000-0000-{'0' * 12}/label"
    assert rest.post(missing, json={"label": "true"}).status_code == 404


def test_an_alert_is_told(rest):
    sent = {"alert_type": "gateway_down", "message": "No answer", "details": {"gateway": "g1"}}
    made = rest.post("/alerts", json=sent)
    assert made.status_code == 201
    [told] = rest.get("/events?channels=system.alert").json()["items"]
    assert told["event_id"] == made.json()["event_id"]
    assert told["data"]["details"]["gateway"] == "g1"


def test_a_training_waits_and_is_cancelled(rest):
    assert rest.post("/training", json={"machine": "Nobody"}).json()["field"] == "machine"
    asked = rest.post("/training", json={"machine": "Pump"})
    assert asked.status_code == 202
    job_id = asked.json()["job_id"]
    assert rest.post("/training", json={"machine": "Pump"}).json()["job_id"] == job_id
    assert rest.get(f"/jobs/{job_id}").json()["state"] == "queued"
    assert rest.delete(f"/jobs/{job_id}").json()["state"] == "cancelled"
    assert rest.delete(f"/jobs/{job_id}").status_code == 409
    assert rest.get("/jobs?state=cancelled").json()["items"][0]["machine"] == "Pump"


def test_the_document_names_every_route(rest):
    document = rest.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert {"get", "post"} == set(document["paths"]["/api/v1/readings"])
    names = [p["name"] for p in document["paths"]["/api/v1/events"]["get"]["parameters"]]
    assert names == ["limit", "cursor", "machine", "start", "end", "since", "channels"]
    assert json.dumps(document).count("#/components/schemas/") > 30


def test_kpis_come_page_by_page(rest, served):
    asked = {"start": T.format(0), "end": "2026-11-23T13:00:00Z", "freq": "1h", "limit": 10}
    found, pages = [], 0
    while True:
        answer = rest.get("/kpis", params=asked).json()
        found, pages = found + answer["items"], pages + 1
        if answer["next"] is None:
            break
        asked["cursor"] = answer["next"]
    assert pages == 5
    assert [row["machine"] for row in found] == ["Press"] * 24 + ["Pump"] * 24
    assert len({(row["machine"], row["start"]) for row in found}) == 48
    assert {(row["energy_kwh"], row["coverage"]) for row in found} == {(None, 0.0)}
    backwards = {"start": T.format(5), "end": T.format(1)}
    assert rest.get("/kpis", params=backwards).json()["field"] == "end"


def test_a_forecast_is_answered_or_why_there_is_none(rest, served):
    assert rest.get("/forecast?machine=Nobody").json()["field"] == "machine"
    missing = rest.get("/forecast?machine=Pump")
    assert (missing.status_code, missing.json()["error"]) == (404, "unknown")
    assert missing.json()["message"].startswith("Pump has no forecast: ")
    hours = pd.date_range(pd.Timestamp.now("UTC").floor("h"), periods=30, freq="1h")
    ahead = pd.DataFrame({name: range(30) for name in forecasts.FIGURES}, index=hours, dtype=float)
    with served.server.plant.store.write() as connection:
        pump = machines.find(connection, "Pump")
        forecasts.put(connection, pump.id, now_us(), ahead)
    asked = {"machine": "Pump", "hours": 26, "limit": 20}
    first = rest.get("/forecast", params=asked).json()
    rest_of_it = rest.get("/forecast", params={**asked, "cursor": first["next"]}).json()
    found = first["items"] + rest_of_it["items"]
    assert [row["mean"] for row in found] == [float(n) for n in range(26)]
    assert rest_of_it["next"] is None
    assert pd.Timestamp(found[0]["time"]) == hours[0]
