import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from enms_core import status
from enms_core.bus import Bell
from enms_core.client import connect
from enms_core.engine import Engine
from enms_core.settings import Settings

SILENT = Bell(lambda: None)


@pytest.fixture
def plant(settings):
    """Give a plant with a pump."""
    connected = connect(settings)
    connected.add_machine("Pump")
    yield connected
    connected.store.dispose()


def send(plant, first, count=10):
    times = pd.date_range(first, periods=count, freq="1min")
    rows = pd.DataFrame({"machine": "Pump", "metric": "power_kw", "time": times, "value": 1.0})
    return plant.write(rows)


def test_where_nothing_was_ever_started(settings):
    report = status.report(settings)
    assert report["engine"] == {"pid": None, "lag_s": 0.0}
    assert report["broker"] == {"pid": None, "kind": None, "url": None}
    assert report["source"] == {"pid": None, "kind": "none"}
    assert (report["newest_reading"], report["events"], report["queue"]) == (None, 0, 0)
    assert json.loads(json.dumps(report)) == report


def test_how_far_the_engine_is_behind(plant, settings):
    first = datetime(2026, 3, 2, tzinfo=UTC)
    send(plant, first)
    assert status.report(settings)["engine"]["lag_s"] == 540.0
    Engine(plant.store, SILENT).step(5)
    assert status.report(settings)["engine"]["lag_s"] == 240.0
    Engine(plant.store, SILENT).step()
    report = status.report(settings)
    assert report["engine"]["lag_s"] == 0.0
    assert report["newest_reading"] == (first + timedelta(minutes=9)).isoformat()


def test_jobs_events_and_what_was_refused(plant, settings):
    plant.train("Pump").cancel()
    plant.train("Pump")
    bad = pd.DataFrame(
        {"machine": "Pimp", "metric": "power_kw", "time": [datetime.now(UTC)], "value": 1.0}
    )
    plant.write(bad)
    report = status.report(settings)
    assert report["jobs"] == {"queued": 1, "cancelled": 1}
    assert (report["queue"], report["events"], report["quarantined"]) == (1, 2, 1)
    assert report["events_per_s"] == pytest.approx(2 / 60, abs=1e-3)


def test_a_password_is_not_told(settings, valkey):
    with valkey.client() as client:
        client.config_set("requirepass", "s3cret")
    with_password = f"unix://:s3cret@{valkey.folder / 's'}"
    report = status.report(
        Settings.from_env({**settings.environment(), "ENMS_REDIS_URL": with_password})
    )
    text = status.as_text(report)
    assert "s3cret" not in text
    assert "s3cret" not in json.dumps(report)
    assert str(valkey.folder) in text


def test_as_text_there_is_a_line_a_part(settings):
    report = status.report(settings)
    report["engine"]["pid"] = 7
    lines = status.as_text(report).splitlines()
    assert [line.split()[0] for line in lines] == list(report)


def test_as_text_it_is_said_that_nothing_runs_and_how_to_start_it(settings, valkey):
    """A Redis that is configured runs by itself: it is no part of the plant."""
    first, *lines = status.as_text(status.report(settings)).splitlines()
    assert first == "Nothing of this plant runs; start it with ./panel_serve.sh, or with enms run."
    assert len(lines) == len(status.report(settings))
    configured = Settings.from_env({**settings.environment(), "ENMS_REDIS_URL": valkey.url})
    assert status.as_text(status.report(configured)).startswith(first)
