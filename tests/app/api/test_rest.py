import csv
import io
import json

import pandas as pd
import pytest

from app.api import operations
from enms_core.engine import Engine
from enms_core.events import TrainingProgress, utc_now
from enms_core.forecasting.accuracy import Accuracy
from enms_core.plant import Factory, Machine
from enms_core.store import anomalies, events, forecasts, machines
from enms_core.store import readings as stored
from enms_core.store.times import now_us, to_us

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
    ("odd", "reason"),
    [
        ({"time": 1795352400}, "time is not a time"),
        ({"time": None}, "time is not a time"),
        ({"time": {"iso": "x"}}, "time is not a time"),
        ({"machine": 7}, "machine is unknown"),
        ({"machine": None}, "machine is unknown"),
        ({"metric": ["power_kw"]}, "metric ''"),
        ({"value": True}, "value is not a finite number"),
        ({"value": "much"}, "value is not a finite number"),
        ({"value": None}, "value is not a finite number"),
        ({"value": [[1]]}, "value is not a finite number"),
        ({"value": 10**400}, "value is not a finite number"),
        ({"values": {"flow_m3h": False}}, "value is not a finite number"),
        ({"values": [1.0]}, "metric 'values'"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_an_odd_row_is_quarantined_and_the_others_are_stored(rest, served, odd, reason, named):
    """One row of a wrong type once cost the whole batch its place in the store."""
    sent = [*rows(2), {**rows(4)[3], **odd}, rows(3)[2]]
    told = rest.post("/readings", json={"rows": sent} if named else sent).json()
    kept = 4 if "values" in odd else 3  # what else that row says
    assert (told["accepted"], told["duplicates"], told["refused"]) == (kept, 0, 1)
    assert told["quarantined"][0]["reason"].startswith(reason)
    with served.server.plant.store.read() as connection:
        assert stored.quarantined(connection)["reason"].tolist()[0].startswith(reason)


def test_a_number_that_no_computer_holds_is_quarantined(rest):
    text = json.dumps(rows(2)).replace("41.0", "1e999")
    answer = rest.post("/readings", content=text, headers={"Content-Type": "application/json"})
    assert answer.json()["accepted"] == 1
    assert answer.json()["quarantined"][0]["value"] == "inf"


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
        (b'[{"machine": "Pump", "time": true}, {"time": 3}]', 400, "[1].machine"),
        (b'[{"machine": 3, "time": "x"}, 3]', 400, "[1]"),
        (b'[{"machine": "Pump", "time": 3, "value": ' + b"[" * 100_000, 400, None),
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


@pytest.mark.parametrize(
    ("path", "sent", "field", "right"),
    [
        ("/anomalies?severity=awful", None, "severity", "info, warning, critical"),
        ("/anomalies?state=shut", None, "state", "open, acknowledged, resolved"),
        ("/readings?freq=2h", None, "freq", "1min, 5min, 15min, 30min, 1h, 1D"),
        ("/models?state=old", None, "state", "active, retired"),
        ("/anomalies?start=yesterday", None, "start", "such as 2026-11-22T14:00:00+01:00"),
        ("/kpis?start=2026-11-22T13:00:00", None, "start", "such as 2026-11-22T14:00:00+01:00"),
        ("/anomalies/{id}/forget", {}, "action", "acknowledge, resolve, reopen"),
        ("/anomalies/{id}/label", {"label": "wrong"}, "label", "true, false, expected"),
        ("/training", {"machine": "Pump", "model": "oracle"}, "model", "baseline"),
        ("/detections", {"start": "2026-11-22"}, "start", "such as 2026-11-22T14:00:00+01:00"),
        ("/machines", {"name": "A", "factory": "B", "type": "toy"}, "type", "compressor, hvac"),
        ("/alerts", {"alert_type": "a", "message": "b", "severity": 3}, "severity", "info, w"),
    ],
)
def test_a_refusal_says_what_would_be_right(rest, path, sent, field, right):
    path = path.replace("{id}", "00000000-0000-0000-0000-000000000000")
    answer = rest.get(path) if sent is None else rest.post(path, json=sent)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert right in answer.json()["message"]


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


def test_days_where_midnight_is_strange_are_slots_too(rest, served):
    """On its day the clock of Santiago goes from 23:59:59 to 01:00."""
    with served.server.plant.store.write() as connection:
        machines.add(connection, Machine("Far", factory=Factory("Far", "America/Santiago")))
    times = pd.date_range("2026-09-06T12:00-03:00", periods=40, freq="1h")
    sent = [{"machine": "Far", "time": at.isoformat(), "values": {"power_kw": 1}} for at in times]
    assert rest.post("/readings", json=sent).json()["accepted"] == 40
    start = "2026-09-06T02:00:00-03:00"
    for limit in (1000, 1):
        asked = {"machine": "Far", "freq": "1D", "start": start}
        found = [row for page in pages(rest, "/readings", limit, **asked) for row in page]
        assert [row["time"] for row in found] == [
            "2026-09-06T04:00:00+00:00",
            "2026-09-07T03:00:00+00:00",
            "2026-09-08T03:00:00+00:00",
        ]


def test_a_page_of_slots_reads_no_more_than_its_bound(rest, monkeypatch):
    """A page of decades of days would read millions of readings; it ends early, and goes on."""
    kept = stored.frame
    loaded = []

    def frame(*asked):
        loaded.append(len(found := kept(*asked)))
        return found

    sent = [
        {"machine": "Pump", "time": T.format(i), "values": {"power_kw": float(i), "units_count": 1}}
        for i in range(60)
    ]
    sent += [{**row, "time": row["time"].replace("-22T13", "-23T13")} for row in sent]
    rest.post("/readings", json=sent)
    asked = {"machine": "Pump", "freq": "5min", "start": "1970-01-01T00:00:00Z"}
    whole = rest.get("/readings", params={**asked, "limit": 10_000}).json()
    assert (len(whole["items"]), whole["next"]) == (48, None)
    monkeypatch.setattr(operations, "LOADED", 26)
    monkeypatch.setattr(stored, "frame", frame)
    parts = pages(rest, "/readings", 1000, **asked)
    assert sorted(map(str, (row for page in parts for row in page))) == sorted(
        map(str, whole["items"])
    )
    assert loaded == [10] * 12  # the thirteenth time of both metrics is in the third slot
    monkeypatch.setattr(operations, "LOADED", 2)
    parts = pages(rest, "/readings", 1000, **asked)
    assert [len(page) for page in parts] == [2] * 24 + [0]  # a slot at least


def test_slots_of_a_metric_that_is_not_there_are_none(rest):
    rest.post("/readings", json=rows(4))
    asked = {"machine": "Pump", "metric": "flow_m3h", "freq": "1h", "start": T.format(0)}
    assert rest.get("/readings", params=asked).json() == {"items": [], "next": None}


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


def end_of(rest):
    [row] = rest.get("/anomalies").json()["items"]
    return row["ended_at"]


def test_a_reported_anomaly_ends_when_it_is_resolved(rest):
    """Without an end it lasted for ever, for whoever leaves anomalous times out."""
    sent = {"machine": "Pump", "started_at": T.format(0), "note": "hot", "value": 9, "expected": 3}
    path = f"/anomalies/{rest.post('/anomalies', json=sent).json()['id']}"
    rest.post(f"{path}/acknowledge", json={})
    assert end_of(rest) is None
    before = utc_now()
    rest.post(f"{path}/resolve", json={})
    assert before <= end_of(rest) <= utc_now()
    rest.post(f"{path}/reopen", json={})
    assert end_of(rest) is None
    rest.post(f"{path}/resolve", json={})
    assert end_of(rest) > before


def test_the_end_that_was_reported_stays(rest):
    sent = {"machine": "Pump", "started_at": T.format(0), "ended_at": T.format(30), "note": "hot"}
    made = rest.post("/anomalies", json={**sent, "value": 9, "expected": 3}).json()
    for action in ("resolve", "reopen", "acknowledge", "resolve"):
        rest.post(f"/anomalies/{made['id']}/{action}", json={})
        assert end_of(rest) == T.format(30)


def test_the_end_of_what_the_engine_follows_is_the_engine_s(rest, served):
    with served.server.plant.store.write() as connection:
        machine = machines.find(connection, "Pump")
        found = anomalies.Anomaly(
            machine_id=machine.id,
            metric="power_kw",
            state="open",
            severity="warning",
            score=7.5,
            value=9.0,
            expected=3.0,
            lower=2.0,
            upper=4.0,
            delta_kwh=1.0,
            delta_cost=0.2,
            started_at=now_us() - 60_000_000,
            reason="more than expected",
        )
        anomalies.add(connection, found)
    rest.post(f"/anomalies/{found.id}/resolve", json={})
    assert end_of(rest) is None
    with served.server.plant.store.write() as connection:
        anomalies.update(connection, found.ended(now_us()))
    ended = end_of(rest)
    rest.post(f"/anomalies/{found.id}/reopen", json={})
    assert end_of(rest) == ended


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
    assert [(e["data"]["label"], e["data"]["note"]) for e in told] == [
        ("false", ""),
        ("expected", "stocktaking"),
    ]
    missing = f"/anomalies/{'0' * 8}-0000-0000-0000-{'0' * 12}/label"
    assert rest.post(missing, json={"label": "true"}).status_code == 404


def test_a_mode_is_told_and_listed(rest, served):
    machine = rest.get("/machines", params={"machine": "Pump"}).json()["items"][0]["id"]
    for minute, mode in ((30, "running"), (0, "maintenance")):
        answer = rest.post(
            f"/machines/{machine}/mode", json={"mode": mode, "at": T.format(minute), "note": mode}
        )
        assert answer.status_code == 200
    told = answer.json()
    assert (told["id"], told["mode"], told["start"]) == (machine, "maintenance", T.format(0))
    again = rest.post(f"/machines/{machine}/mode", json={"mode": "maintenance", "at": T.format(0)})
    assert again.json() == told
    with served.server.plant.store.read() as connection:
        ids = [json.loads(text)["event_id"] for *_, text in events.after(connection, 0, 100)]
    assert ids.count(told["event_id"]) == 1
    page = rest.get("/modes", params={"machine": "Pump", "limit": 1}).json()
    rest_of_it = rest.get("/modes", params={"machine": "Pump", "cursor": page["next"]}).json()
    first, second = page["items"] + rest_of_it["items"]
    assert first["mode"] == "maintenance"
    assert (first["start"], first["end"]) == (T.format(0), T.format(30))
    assert (second["mode"], second["end"], second["note"]) == ("running", None, "running")
    during = {"start": T.format(40), "end": T.format(50)}
    assert rest.get("/modes", params=during).json()["items"] == [second]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"mode": "asleep"}, "mode"),
        ({"mode": "idle", "at": "2026-11-22T13:00:00"}, "at"),
        ({"mode": "idle", "at": "2999-01-01T00:00:00Z"}, "at"),
        ({"mode": "idle", "at": "1969-01-01T00:00:00Z"}, "at"),
        ({}, "mode"),
    ],
)
def test_a_mode_that_is_none_is_refused(rest, body, field):
    machine = rest.get("/machines").json()["items"][0]["id"]
    answer = rest.post(f"/machines/{machine}/mode", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert rest.get("/modes").json()["items"] == []


def test_a_repaired_register_is_listed(rest, served):
    registers = [
        {"machine": "Pump", "metric": "meter_kwh", "time": T.format(15 * i), "value": value}
        for i, value in enumerate([5000.0, 5010.0, 2.0])
    ]
    assert rest.post("/readings", json=registers).json()["accepted"] == 3
    derived = {**registers[0], "metric": "meter_kw"}
    refused = rest.post("/readings", json=[derived]).json()["quarantined"]
    assert refused[0]["reason"].startswith("meter_kw is derived from meter_kwh")
    plant = served.server.plant
    Engine(plant.store, plant.bell).step()
    [repair] = rest.get("/repairs", params={"machine": "Pump"}).json()["items"]
    assert (repair["kind"], repair["before"], repair["after"]) == ("reset", 5010.0, 2.0)
    assert (repair["time"], repair["since"]) == (T.format(30), T.format(15))
    kpis = rest.get("/kpis", params={"machine": "Pump", "start": T.format(0), "end": T.format(59)})
    [row] = kpis.json()["items"]
    assert (row["energy_kwh"], row["mean_kw"]) == (12.0, 40.0)
    powers = rest.get("/readings", params={"metric": "meter_kw"}).json()["items"]
    assert [(p["time"], p["value"]) for p in powers] == [(T.format(0), 40.0)]


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


def test_how_good_forecasts_were_comes_page_by_page(rest, served):
    assert rest.get("/forecast/accuracy").json()["field"] == "machine"
    assert rest.get("/forecast/accuracy?machine=Nobody").json()["field"] == "machine"
    assert rest.get("/forecast/accuracy?machine=Pump").json() == {"items": [], "next": None}
    begun = to_us(pd.Timestamp(T.format(0)).to_pydatetime())
    with served.server.plant.store.write() as connection:
        pump = machines.find(connection, "Pump")
        for day in range(3):
            found = Accuracy(24, 1.5, None if day else 0.5, 0.01, 0.8, 0.95)
            told = {"day 1": found, "days 2-7": found}
            forecasts.judge(connection, pump.id, begun + day * 86_400_000_000, told)
    asked = {"machine": "Pump", "limit": 4}
    first = rest.get("/forecast/accuracy", params=asked).json()
    last = rest.get("/forecast/accuracy", params={**asked, "cursor": first["next"]}).json()
    found = first["items"] + last["items"]
    assert (len(first["items"]), len(last["items"]), last["next"]) == (4, 2, None)
    assert [row["horizon"] for row in found] == ["day 1", "days 2-7"] * 3
    assert pd.Timestamp(found[0]["issued_at"]) == pd.Timestamp(T.format(0))
    assert [row["mase"] for row in found] == [0.5, 0.5, None, None, None, None]
    later = {"machine": "Pump", "start": "2026-11-24T00:00:00Z"}
    assert len(rest.get("/forecast/accuracy", params=later).json()["items"]) == 2
