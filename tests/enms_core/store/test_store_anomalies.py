from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from enms_core.store import anomalies, readings, scores
from enms_core.store.anomalies import FOREVER, Anomaly
from tests.plants import valid

AT = 1_700_000_000_000_000
MINUTE = 60_000_000


def anomaly(machine, start=AT, **more):
    values = {
        "machine_id": machine.id,
        "metric": "power_kw",
        "state": "open",
        "severity": "critical",
        "score": 12.0,
        "value": 90.0,
        "expected": 40.0,
        "lower": 35.0,
        "upper": 45.0,
        "delta_kwh": 3.5,
        "delta_cost": 0.7,
        "started_at": start,
        "reason": "too much",
    }
    return Anomaly(**{**values, **more})


def put(store, machine, metric, values, start=AT):
    rows = [(machine.name, metric, start + n * MINUTE, v) for n, v in enumerate(values)]
    with store.write() as connection:
        return readings.add(connection, valid(rows))


# -- anomalies -----------------------------------------------------------------------------------


def test_an_anomaly_is_kept_once(store, plant):
    found = anomaly(plant["Pump"])
    with store.write() as connection:
        assert anomalies.add(connection, found)
        assert not anomalies.add(connection, found)
        assert not anomalies.add(connection, replace(found, severity="info", score=1.0))
        assert anomalies.add(connection, replace(found, started_at=AT + 1))
        assert anomalies.add(connection, anomaly(plant["Press"]))
    with store.read() as connection:
        table = anomalies.table(connection)
        assert anomalies.open_counts(connection) == {"critical": 3}
    assert table["severity"].tolist() == ["critical"] * 3
    assert table["started_at"].iloc[-1] == pd.Timestamp(AT, unit="us", tz="UTC")
    assert table["ended_at"].isna().all()


def test_an_update_twice_is_as_good_as_once(store, plant):
    found = anomaly(plant["Pump"])
    grown = replace(found, delta_kwh=9.0, score=15.0)
    over = grown.ended(AT + MINUTE)
    with store.write() as connection:
        anomalies.add(connection, found)
        for newer in (grown, grown, over, over):
            anomalies.update(connection, newer)
        (row,) = anomalies.table(connection).to_dict("records")
    assert (row["state"], row["delta_kwh"], row["machine"]) == ("resolved", 9.0, "Pump")
    assert row["ended_at"] == pd.Timestamp(AT + MINUTE, unit="us", tz="UTC")


def test_an_update_does_not_undo_what_a_person_did(store, plant):
    found = anomaly(plant["Pump"])
    with store.write() as connection:
        anomalies.add(connection, replace(found, state="acknowledged"))
        anomalies.update(connection, replace(found, score=20.0))
        (row,) = anomalies.table(connection).to_dict("records")
    assert (row["state"], row["score"]) == ("acknowledged", 20.0)


def test_an_update_of_what_is_not_there(store, plant):
    with store.write() as connection:
        anomalies.update(connection, anomaly(plant["Pump"]))
        assert anomalies.table(connection).empty


def test_the_table_is_narrowed(store, plant):
    with store.write() as connection:
        for n in range(5):
            severity = "critical" if n % 2 else "info"
            anomalies.add(connection, anomaly(plant["Pump"], AT + n, severity=severity))
        anomalies.update(connection, anomaly(plant["Pump"], AT, severity="info").ended(AT + 9))
    with store.read() as connection:
        narrow = [
            len(anomalies.table(connection, **by))
            for by in (
                {},
                {"severity": "critical"},
                {"state": "resolved"},
                {"state": "open", "severity": "info"},
                {"machine_id": plant["Press"].id},
                {"limit": 2},
            )
        ]
        newest_first = anomalies.table(connection)["started_at"]
        spans = anomalies.spans(connection, plant["Pump"].id, "power_kw")
    assert narrow == [5, 2, 1, 2, 0, 2]
    assert newest_first.is_monotonic_decreasing
    assert sorted(spans)[:2] == [(AT, AT + 9), (AT + 1, FOREVER)]


# -- scores --------------------------------------------------------------------------------------


def band(expected, start=AT):
    return pd.DataFrame(
        {
            "time": [start + n * MINUTE for n in range(len(expected))],
            "expected": expected,
            "lower": 0.0,
            "upper": 99.0,
            "surprise": 1.5,
        }
    )


def test_the_band_stands_beside_the_readings(store, plant):
    pump = plant["Pump"]
    put(store, pump, "power_kw", [1.0, 2.0, 3.0, 4.0])
    with store.write() as connection:
        scores.put(connection, pump.id, "power_kw", band([10.0, np.nan, 30.0]))
        scores.put(connection, pump.id, "power_kw", band([11.0]))  # the later judgement wins
        frame = scores.frame(connection, pump.id, "power_kw", AT, AT + 4 * MINUTE)
        part = scores.frame(connection, pump.id, "power_kw", AT + MINUTE, AT + 2 * MINUTE)
    np.testing.assert_equal(frame["expected"].to_numpy(), [11.0, np.nan, 30.0, np.nan])
    assert frame["value"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert frame["surprise"].notna().tolist() == [True, False, True, False]
    assert str(frame.index.dtype) == "datetime64[us, UTC]"
    assert part["value"].tolist() == [2.0]


def test_a_band_of_nothing(store, plant):
    pump = plant["Pump"]
    with store.write() as connection:
        scores.put(connection, pump.id, "power_kw", band([np.nan]))
        frame = scores.frame(connection, pump.id, "power_kw", 0, 2 * AT)
    assert frame.empty
    assert list(frame.columns) == ["value", "expected", "lower", "upper", "surprise"]
    assert str(frame.index.dtype) == "datetime64[us, UTC]"


# -- readings ------------------------------------------------------------------------------------


def test_the_latest_of_every_series(store, plant):
    pump, press = plant["Pump"], plant["Press"]
    with store.read() as connection:
        assert readings.latest(connection) == []
        assert readings.newest(connection) is None
    put(store, pump, "power_kw", [1.0, 2.0])
    put(store, pump, "temperature_c", [20.0])
    put(store, press, "power_kw", [5.0, 6.0, 7.0])
    put(store, press, "power_kw", [4.0], start=AT - MINUTE)  # late
    with store.read() as connection:
        assert sorted(readings.latest(connection), key=lambda row: row[3]) == [
            (pump.id, "power_kw", AT + MINUTE, 2.0),
            (press.id, "power_kw", AT + 2 * MINUTE, 7.0),
            (pump.id, "temperature_c", AT, 20.0),
        ]
        assert readings.newest(connection) == AT + 2 * MINUTE


def test_a_frame_has_a_column_per_metric(store, plant):
    pump = plant["Pump"]
    put(store, pump, "power_kw", [1.0, 2.0, 3.0])
    put(store, pump, "temperature_c", [20.0], start=AT + MINUTE)
    with store.read() as connection:
        wide = readings.frame(connection, pump.id, AT, AT + 2 * MINUTE)
        narrow = readings.frame(connection, pump.id, AT, AT + 2 * MINUTE, ["temperature_c"])
        none = readings.frame(connection, pump.id, 0, AT)
    assert wide["power_kw"].tolist() == [1.0, 2.0]
    np.testing.assert_equal(wide["temperature_c"].to_numpy(), [np.nan, 20.0])
    assert list(narrow.columns) == ["temperature_c"]
    assert none.empty
    assert {str(f.index.dtype) for f in (wide, narrow, none)} == {"datetime64[us, UTC]"}


@pytest.mark.parametrize(("at", "value"), [(AT - 1, None), (AT, 1.0), (AT + MINUTE, 2.0)])
def test_the_value_at_a_time(store, plant, at, value):
    put(store, plant["Pump"], "temperature_c", [1.0, 2.0])
    with store.read() as connection:
        found = readings.value_at(connection, plant["Pump"].id, "temperature_c", at)
    assert found == value


def test_a_value_is_not_older_than_an_hour(store, plant):
    put(store, plant["Pump"], "temperature_c", [1.0])
    with store.read() as connection:
        ages = [59 * MINUTE, 61 * MINUTE]
        found = [
            readings.value_at(connection, plant["Pump"].id, "temperature_c", AT + age)
            for age in ages
        ]
    assert found == [1.0, None]
