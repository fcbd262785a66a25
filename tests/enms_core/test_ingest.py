import random
import time
from datetime import UTC, datetime, timedelta

import pandas as pd
import sqlalchemy as sa

from enms_core import ingest as ingesting
from enms_core.bus import Bell, Ear
from enms_core.ingest import Receipt, ingest
from enms_core.readings import COLUMNS
from enms_core.store import Store, schema
from enms_core.store import readings as stored
from enms_core.store.times import to_us

START = datetime(2026, 11, 20, tzinfo=UTC)
SILENT = Bell(lambda: None)


def rows(count, machine="Pump", start=START, metric="power_kw"):
    times = pd.date_range(start, periods=count, freq="1min")
    values = [float(n) for n in range(count)]
    return pd.DataFrame({"machine": machine, "metric": metric, "time": times, "value": values})


def odd(*more):
    good = {"machine": "Pump", "metric": "power_kw", "time": START, "value": 1.0}
    return pd.DataFrame([{**good, **row} for row in more], columns=COLUMNS, dtype=object)


def count(store, table):
    with store.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def adds_up(store, receipt, sent):
    assert receipt.sent == sent == receipt.stored + receipt.duplicates + receipt.quarantined
    assert sum(receipt.reasons.values()) == receipt.quarantined
    assert count(store, schema.readings) == receipt.stored
    assert count(store, schema.quarantine) == receipt.quarantined


def test_all_is_stored(store, plant):
    batch = pd.concat([rows(100), rows(50, "Press", metric="temperature_c")])
    receipt = ingest(store, SILENT, batch)
    assert receipt == Receipt(sent=150, stored=150)
    adds_up(store, receipt, 150)
    with store.read() as connection:
        wide = stored.frame(connection, plant["Pump"].id, 0, to_us(START) * 2)
    assert wide["power_kw"].tolist() == rows(100)["value"].tolist()
    assert wide.index.tolist() == rows(100)["time"].tolist()


def test_the_same_again_is_all_duplicates(store, plant):
    first, again = (ingest(store, SILENT, rows(300)) for _ in range(2))
    assert (first.stored, again) == (300, Receipt(sent=300, duplicates=300))
    adds_up(store, first + again, 600)


def test_duplicates_within_a_batch_are_counted_once(store, plant):
    same = odd({}, {}, {"value": 2.0}, {"time": START + timedelta(hours=0, minutes=1)})
    same.loc[4] = ["Pump", "power_kw", "2026-11-20T01:00:00+01:00", 3.0]  # the first time again
    receipt = ingest(store, SILENT, same)
    assert receipt == Receipt(sent=5, stored=2, duplicates=3)
    adds_up(store, receipt, 5)


def test_what_is_kept_is_what_came_first(store, plant):
    ingest(store, SILENT, odd({"value": 1.0}))
    ingest(store, SILENT, odd({"value": 2.0}))
    with store.read() as connection:
        assert [row[3] for row in stored.latest(connection)] == [1.0]


def test_the_refused_keep_what_was_sent(store, plant):
    before = datetime.now(UTC)
    receipt = ingest(
        store,
        SILENT,
        odd(
            {},
            {"machine": "P\0mp\ud800", "value": None},
            {"value": "1e309"},
            {"time": "2026-11-20T00:00:00", "value": 10**5000},
            {"metric": "speed", "value": [1]},
        ),
    )
    adds_up(store, receipt, 5)
    assert receipt.stored == 1
    with store.read() as connection:
        kept = stored.quarantined(connection)
        assert stored.quarantined_count(connection) == 4
    assert kept["machine"].tolist() == ["Pump"] * 3 + ["P\\0mp\\ud800"]
    assert kept["value"].tolist() == ["[1]", "<int>", "1e309", "None"]
    assert set(kept["reason"]) == set(receipt.reasons)
    assert (pd.to_datetime(kept["received_at"]) >= before).all()


def test_late_readings_are_taken(store, plant):
    ingest(store, SILENT, rows(10))
    late = rows(10, start=START - timedelta(days=3000))
    assert ingest(store, SILENT, late) == Receipt(sent=10, stored=10)
    with store.read() as connection:
        batch = stored.after(connection, 0, 100)
        assert batch["id"].is_monotonic_increasing
        assert batch["time"].tolist()[10:] == [to_us(at) for at in late["time"]]
        assert [row[2] for row in stored.latest(connection)] == [to_us(rows(10)["time"].max())]


def test_nothing_is_nothing(store, plant):
    assert ingest(store, SILENT, rows(0)) == Receipt()


def test_an_unknown_plant_refuses_everything(store):
    receipt = ingest(store, SILENT, rows(3))
    assert receipt == Receipt(sent=3, quarantined=3, reasons={"machine is unknown": 3})


def test_extremes_survive_the_database(store, plant):
    values = [1e15, -1e15, 5e-324, 0.1 + 0.2, 123456789.123456789, -0.0]
    times = [START + timedelta(microseconds=n) for n in range(len(values))]
    pairs = zip(times, values, strict=True)
    ingest(
        store, SILENT, odd(*({"metric": "energy_kwh", "time": at, "value": v} for at, v in pairs))
    )
    with store.read() as connection:
        assert stored.after(connection, 0, 10)["value"].tolist() == values


def test_the_longest_metric_fits(store, plant):
    names = ["a" * 97 + "_kw", "a" * 98 + "_kw"]
    receipt = ingest(store, SILENT, odd(*({"metric": name} for name in names)))
    assert (receipt.stored, receipt.quarantined) == (1, 1)


def test_more_than_a_batch(store, plant, monkeypatch):
    monkeypatch.setattr(ingesting, "BATCH", 7)
    batch = pd.concat([rows(30), odd(*[{"value": None}] * 5), rows(30)])
    receipt = ingest(store, SILENT, batch)
    assert (receipt.stored, receipt.duplicates, receipt.quarantined) == (30, 30, 5)
    adds_up(store, receipt, 65)


def test_it_always_adds_up(store, plant):
    chance = random.Random(3)
    choices = {
        "machine": ["Pump", "Press", "Pump", "Pimp", None],
        "metric": ["power_kw", "energy_kwh", "flow", 5],
        "time": [*(START + timedelta(minutes=n) for n in range(9)), "?", START.replace(year=9999)],
        "value": [1, 2.5, "3", True, float("nan"), 10**5000, "\ud800", b"1"],
    }
    total = Receipt()
    for size in (1, 7, 400, 0, 90):
        batch = [{k: chance.choice(v) for k, v in choices.items()} for _ in range(size)]
        total += ingest(store, SILENT, odd(*batch))
        adds_up(store, total, total.sent)
    assert total.sent == 498
    assert min(total.stored, total.duplicates, total.quarantined) > 0


def test_it_rings(sqlite_store, valkey):
    ear = Ear(valkey.locate, "readings")
    ear.wait(0.01)  # it is listening now
    ingest(sqlite_store, Bell(valkey.locate), rows(1))
    began = time.monotonic()
    ear.wait(20.0)
    assert time.monotonic() - began < 10


# -- many at once --------------------------------------------------------------------------------

EACH, STEP = 300, 20


def _send(ready, tell, url, number):
    store = Store(url)
    shared = rows(EACH)
    own = rows(EACH, "Press", start=START + timedelta(days=number))
    ready.wait()
    total = Receipt()
    for first in range(0, EACH, STEP):
        for batch in (shared, own):
            total += ingest(store, SILENT, batch[first : first + STEP])
        total += ingest(store, SILENT, odd({"value": None}))
    store.dispose()
    tell.put((total.sent, total.stored, total.duplicates, total.quarantined))


def _tail(ready, tell, url, expected):
    """Read what arrives behind a cursor, as the engine does."""
    store = Store(url)
    cursor, seen, end = 0, 0, time.monotonic() + 60
    ready.wait()
    while seen < expected and time.monotonic() < end:
        with store.read() as connection:
            batch = stored.after(connection, cursor, 100)
        cursor = int(batch["id"].iloc[-1]) if len(batch) else cursor
        seen += len(batch)
    store.dispose()
    tell.put((0, seen, 0, 0))


def _work(ready, tell, url, number, expected):
    if number == 0:
        _tail(ready, tell, url, expected)
    else:
        _send(ready, tell, url, number)


def test_processes_that_write_at_once_lose_and_double_nothing(store, plant, database_url, at_once):
    writers, expected = 2, EACH * 3  # what each has alone, and what both have once
    told = at_once(_work, [(database_url, number, expected) for number in range(writers + 1)])
    tailed, *wrote = sorted(told)
    assert tailed == (0, expected, 0, 0), "a cursor passed over a reading"
    sent, new, twice, refused = map(sum, zip(*wrote, strict=True))
    assert sent == new + twice + refused
    assert (new, twice) == (expected, EACH)
    assert count(store, schema.readings) == new
    assert count(store, schema.quarantine) == refused == writers * EACH // STEP
    with store.read() as connection:
        arrived = stored.after(connection, 0, 10**6)
    assert not arrived.duplicated(["series_id", "time"]).any()
