from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from enms_core.bus import Bell
from enms_core.detection.monitor import Monitor
from enms_core.ingest import ingest
from enms_core.sources.simulator import MACHINES, Simulator
from enms_core.store import machines, models
from enms_core.store.times import to_us
from enms_core.watch import Watch, expected_at, predict
from enms_core.worker import train_all

START = datetime(2026, 3, 2, tzinfo=UTC)
FIVE_MINUTES = timedelta(minutes=5)
SILENT = Bell(lambda: None)


@pytest.fixture
def watch(sqlite_store) -> Watch:
    """Give a compressor with ten days of a past, not trained yet."""
    model = next(m for m in MACHINES if m.name == "Compressor-1")
    with sqlite_store.write() as connection:
        machine = machines.add(connection, model)
    rows = Simulator(3).readings(
        START, START + timedelta(days=10), FIVE_MINUTES, machines=[machine.name]
    )
    ingest(sqlite_store, SILENT, rows)
    return Watch(machine, Monitor("power_kw", machine.factory.timezone))


def times(first=9.0, last=9.5):
    span = pd.date_range(
        START + timedelta(days=first), START + timedelta(days=last), freq="5min", inclusive="left"
    )
    return span.as_unit("us").asi8


def trained(store, watch):
    list(train_all(store, SILENT, "test"))
    with store.read() as connection:
        [version] = models.versions(connection)
    watch.follow(version)
    return watch


def test_without_a_model_nothing_is_expected(sqlite_store, watch):
    assert expected_at(sqlite_store, watch, times()) is None
    wide = pd.DataFrame({"power_kw": [1.0]}, pd.DatetimeIndex([START]))
    assert predict(watch, wide).isna().all()


def test_a_model_expects_about_what_is_measured(sqlite_store, watch):
    at = times()
    expected = expected_at(sqlite_store, trained(sqlite_store, watch), at)
    power = _power(at)
    assert np.isfinite(expected).all()
    assert np.abs(expected - power).mean() < 0.1 * power.mean()
    assert expected_at(sqlite_store, watch, np.array([], dtype=np.int64)) is None


def _power(at):
    rows = Simulator(3).readings(
        START + timedelta(days=9),
        START + timedelta(days=9.5),
        FIVE_MINUTES,
        machines=["Compressor-1"],
    )
    power = rows[rows["metric"] == "power_kw"]
    assert power["time"].tolist() == [pd.Timestamp(us, unit="us", tz=UTC) for us in at]
    return power["value"].to_numpy()


@pytest.mark.parametrize("parts", [1, 3, 144])
def test_what_is_expected_does_not_depend_on_who_else_is_asked_for(sqlite_store, watch, parts):
    trained(sqlite_store, watch)
    at = times()
    whole = expected_at(sqlite_store, watch, at)
    pieces = [expected_at(sqlite_store, watch, part) for part in np.array_split(at, parts)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(expected_at(sqlite_store, watch, at[::-1]), whole[::-1])


def test_a_time_without_readings_takes_the_drivers_before_it(sqlite_store, watch):
    trained(sqlite_store, watch)
    between = np.array([to_us(START + timedelta(days=9, minutes=2))])
    assert np.isfinite(expected_at(sqlite_store, watch, between)).all()
