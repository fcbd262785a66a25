import html
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pandas as pd
import pytest

from enms_core import connect, worker
from enms_core.bus import Bell
from enms_core.client import resampled
from enms_core.engine import Engine
from enms_core.events import SystemAlert, TrainingProgress, TrainingStarted
from enms_core.plant import Factory, Unknown
from enms_core.settings import Settings
from enms_core.sources.faults import Fault
from enms_core.sources.simulator import MACHINES, Simulator
from enms_core.store import events, progress
from enms_core.store import jobs as stored_jobs
from enms_core.store.times import to_us
from enms_core.training_job import TrainingFailed

START = datetime(2026, 3, 23, tzinfo=UTC)  # a Monday; on Sunday clocks in Berlin go forward
DAYS = 12
SILENT = Bell(lambda: None)
LEAK = Fault("leak", "Compressor-1", START + timedelta(days=10), START + timedelta(days=10.2), 2.0)


@pytest.fixture
def plant(settings):
    """Give a plant without anything."""
    connected = connect(settings)
    yield connected
    connected.store.dispose()


@pytest.fixture
def measured(plant):
    """Give a plant with one compressor, twelve days of its past, judged."""
    model = next(m for m in MACHINES if m.name == "Compressor-1")
    plant.add_machine(model.name, model.type, rated_kw=model.rated_kw, factory=model.factory)
    ten_minutes = timedelta(minutes=10)
    rows = Simulator(3, [LEAK]).readings(
        START, START + timedelta(days=DAYS), ten_minutes, [model.name]
    )
    receipt = plant.write(rows)
    assert receipt.stored == len(rows)
    engine = Engine(plant.store, SILENT)
    while engine.step():
        pass
    return plant


def train_now(plant, machine="Compressor-1"):
    job = plant.train(machine, requested_by="test")
    worker._perform(plant.store, SILENT, job.id)
    return job


# -- machines and readings -----------------------------------------------------------------------


def test_a_plant_says_where_it_is(plant, settings):
    assert repr(plant) == f"Plant({str(settings.home)!r})"


def test_without_settings_the_environment_says_which_plant(tmp_path, monkeypatch):
    monkeypatch.setenv("ENMS_HOME", str(tmp_path / "other"))
    plant = connect()
    assert plant.settings == Settings.from_env({"ENMS_HOME": str(tmp_path / "other")})
    plant.store.dispose()


def test_machines(plant):
    columns = ["id", "name", "type", "rated_kw", "criticality", "factory", "timezone"]
    columns += ["currency", "warning_per_hour", "critical_per_hour"]
    assert list(plant.machines()) == columns
    assert plant.machines().empty
    site = Factory("Works", timezone="Asia/Seoul")
    oven = plant.add_machine("Oven", "other", rated_kw=600.0, factory=site)
    plant.add_machine("Lamp")
    table = plant.machines()
    assert table.set_index("name").loc["Oven"].tolist() == [
        oven.id, "other", 600.0, "B", "Works", "Asia/Seoul", "EUR", 0.9, 3.6
    ]  # fmt: skip
    assert table.set_index("name").loc["Lamp", "factory"] == "Lamp"
    assert plant.machine("Oven") == plant.machine(oven.id) == oven


def test_what_is_wrong_says_what_would_be_right(measured):
    with pytest.raises(Unknown, match="'Compressor-9' is unknown; known are: Compressor-1"):
        measured.readings("Compressor-9", "2026-03-24")
    with pytest.raises(ValueError, match="must be one of baseline"):
        measured.train("Compressor-1", model="forest")
    with pytest.raises(ValueError, match="choose another name"):
        measured.add_machine("Compressor-1")
    with pytest.raises(ValueError, match="must be one of compressor, hvac"):
        measured.add_machine("Pump", "pumpe")
    with pytest.raises(ValueError, match="must be one of info, warning, critical"):
        measured.anomalies(severity="high")
    with pytest.raises(ValueError, match="must be one of open, acknowledged, resolved"):
        measured.anomalies(state="closed")
    with pytest.raises(ValueError, match="neither a time nor a span such as 30min or 1d"):
        measured.events(since="yesterday evening")
    with pytest.raises(ValueError, match="must end after its start"):
        measured.request_detection("Compressor-1", "2026-03-25", "2026-03-24")
    with pytest.raises(Unknown, match="train one first"):
        measured.model("Compressor-1")


def test_what_was_not_taken_in_is_named(measured):
    bad = pd.DataFrame(
        {"machine": "Compressor-1", "metric": ["power_kw", "speed"], "time": START, "value": 1.0}
    )
    receipt = measured.write(bad)
    assert (receipt.sent, receipt.duplicates, receipt.quarantined) == (2, 1, 1)
    assert "known unit" in next(iter(receipt.reasons))


def test_readings_are_a_column_a_metric_in_the_zone_of_the_site(measured):
    day = measured.readings("Compressor-1", "2026-03-24", "2026-03-25")
    assert str(day.index.tz) == "Europe/Berlin"
    assert day.index[0] == pd.Timestamp("2026-03-24", tz="Europe/Berlin")
    assert day.index[-1] == pd.Timestamp("2026-03-24 23:50", tz="Europe/Berlin")
    assert set(day) == {"power_kw", "temperature_c", "pressure_bar", "production_count"}
    aware = measured.readings("Compressor-1", "2026-03-24T00:00+01:00", "2026-03-25T00:00+01:00")
    pd.testing.assert_frame_equal(day, aware)
    given = measured.readings("Compressor-1", datetime(2026, 3, 24), datetime(2026, 3, 25))  # noqa: DTZ001
    pd.testing.assert_frame_equal(day, given)


def test_readings_to_now_and_of_nothing(measured):
    assert len(measured.readings("Compressor-1", START)) == DAYS * 144
    for more in ({}, {"freq": "1h"}):
        nothing = measured.readings("Compressor-1", "2020-01-01", "2020-01-02", **more)
        assert nothing.empty
        assert str(nothing.index.tz) == "Europe/Berlin"


def test_a_night_in_spring_has_23_hours(measured):
    hours = measured.readings("Compressor-1", "2026-03-29", "2026-03-30", freq="1h")
    assert len(hours) == 23
    [day] = measured.readings("Compressor-1", "2026-03-29", "2026-03-30", freq="1D").index
    assert day == pd.Timestamp("2026-03-29", tz="Europe/Berlin")


def test_energy_and_counts_are_summed_all_else_is_averaged(measured):
    fine = measured.readings("Compressor-1", "2026-03-24", "2026-03-25")
    hours = measured.readings("Compressor-1", "2026-03-24", "2026-03-25", freq="1h")
    assert list(hours) == list(fine)
    assert hours["power_kw"].iloc[8] == pytest.approx(fine["power_kw"].iloc[48:54].mean())
    assert hours["production_count"].sum() == pytest.approx(fine["production_count"].sum())


def test_of_a_register_the_last_value_of_a_slot_stands():
    times = pd.date_range("2026-11-01", periods=8, freq="15min", tz="UTC")
    frame = pd.DataFrame({"meter_kwh": range(100, 108), "energy_kwh": 1.0}, times, dtype=float)
    assert resampled(frame, "1h").to_dict("list") == {
        "meter_kwh": [103.0, 107.0], "energy_kwh": [4.0, 4.0],
    }  # fmt: skip


def test_a_gap_stays_a_gap(plant):
    plant.add_machine("Meter")
    times = pd.to_datetime(["2026-03-24T00:00Z", "2026-03-24T00:15Z", "2026-03-24T03:00Z"])
    rows = [("Meter", m, t, 2.0) for t in times for m in ("power_kw", "energy_kwh")]
    plant.write(pd.DataFrame(rows, columns=["machine", "metric", "time", "value"]))
    hours = plant.readings("Meter", "2026-03-24", "2026-03-25", freq="1h")
    assert hours["power_kw"].fillna(-1).tolist() == [2.0, -1, -1, 2.0]
    assert hours["energy_kwh"].fillna(-1).tolist() == [4.0, -1, -1, 2.0]


# -- what was judged -----------------------------------------------------------------------------


def test_expected_is_the_band_behind_the_line(measured):
    band = measured.expected("Compressor-1", "2026-03-30", "2026-04-01")
    assert list(band) == ["value", "expected", "lower", "upper", "surprise"]
    assert len(band) == 288
    assert (band["lower"] <= band["upper"]).all()
    assert str(band.index.tz) == "Europe/Berlin"
    early = measured.expected("Compressor-1", "2026-03-23", "2026-03-23 12:00")
    assert early["value"].notna().all()
    assert early["expected"].isna().all()  # too little was known yet


def test_anomalies_are_intervals(measured):
    found = measured.anomalies("Compressor-1")
    assert (found["ended_at"] >= found["started_at"]).all()
    assert found["started_at"].is_monotonic_decreasing
    during = (found["started_at"] < LEAK.end) & (found["ended_at"] > LEAK.start)
    assert during.any()
    assert {"reason", "delta_kwh", "delta_cost", "severity", "machine"} <= set(found)
    assert len(measured.anomalies(limit=1)) == 1
    assert measured.anomalies(state="open").empty
    assert set(measured.anomalies(severity="critical")["severity"]) <= {"critical"}
    assert list(measured.anomalies(state="open")) == list(found)


def test_events_by_channel_and_time(measured):
    found = measured.events(channels=["anomaly.*"])
    assert list(found)[:3] == ["seq", "channel", "published_at"]
    assert set(found["channel"]) == {"anomaly.detected", "anomaly.updated"}
    assert found["seq"].is_monotonic_increasing
    assert measured.events(channels=["training.*"]).empty
    assert list(measured.events(channels=["training.*"])) == ["seq", "channel", "published_at"]
    for all_of_them in ("1d", "30 min", "1.5h", "2w", timedelta(hours=1), START, START.isoformat()):
        assert len(measured.events(since=all_of_them)) == len(measured.events())
    later = datetime.now(UTC) + timedelta(hours=1)
    assert measured.events(since=later).empty
    assert measured.events(since="0s").empty


def test_a_detection_is_asked_for(measured):
    number = measured.request_detection("Compressor-1", "2026-03-30", "2026-04-02")
    with measured.store.read() as connection:
        request = json.loads(progress.get(connection, f"detect:{number}"))
    assert request["start"] == to_us(datetime.fromisoformat("2026-03-30T00:00+02:00"))
    assert request["end"] == to_us(datetime.fromisoformat("2026-04-02T00:00+02:00"))
    engine = Engine(measured.store, SILENT)
    engine.answer_requests()
    [told] = measured.events(channels=["system.alert"]).to_dict("records")
    assert told["alert_type"] == "detection_completed"
    assert told["details"]["request"] == f"detect:{number}"
    assert measured.request_detection() != number


# -- trainings -----------------------------------------------------------------------------------


def test_a_training_and_its_model(measured):
    assert measured.jobs().empty
    assert measured.models().empty
    assert {"machine", "state", "created_at"} <= set(measured.jobs())
    assert {"machine", "version", "state", "train_start"} <= set(measured.models("Compressor-1"))
    job = train_now(measured)
    assert job.state == "completed"
    model = job.result(timeout=1)
    assert model.report_.equation == measured.model("Compressor-1").report_.equation
    [row] = measured.jobs().to_dict("records")
    assert (row["machine"], row["requested_by"], row["state"]) == (
        "Compressor-1", "test", "completed"
    )  # fmt: skip
    assert row["created_at"] <= row["started_at"] <= row["ended_at"] <= datetime.now(UTC)
    [version] = measured.models().to_dict("records")
    assert (version["version"], version["state"]) == (1, "active")
    assert version["train_start"] == START
    assert 0 < version["r2"] <= 1
    assert {"model", "metrics"}.isdisjoint(version)


def test_versions_count_up_and_the_old_ones_stay(measured):
    for _ in range(2):
        train_now(measured)
    assert measured.models("Compressor-1")["version"].tolist() == [2, 1]
    assert measured.models()["state"].tolist() == ["active", "retired"]
    assert measured.model("Compressor-1", 1).report_.n_rows > 0
    with pytest.raises(Unknown, match="no such model"):
        measured.model("Compressor-1", 3)


def test_a_second_request_joins_the_first(measured):
    assert measured.train("Compressor-1").id == measured.train("Compressor-1").id
    assert len(measured.jobs()) == 1


def test_waiting_for_a_result_ends(measured):
    job = measured.train("Compressor-1")
    with pytest.raises(TimeoutError, match=f"job {job.id} is still queued, at 0 %"):
        job.result(timeout=0.3)
    assert repr(job) == "Compressor-1 baseline: 0 % queued"
    assert job.cancel()
    assert not job.cancel()
    with pytest.raises(TrainingFailed, match="training of Compressor-1 cancelled"):
        job.result()
    assert measured.jobs()["state"].tolist() == ["cancelled"]


def test_a_failed_training_says_why(plant):
    plant.add_machine("Empty")
    job = train_now(plant, "Empty")
    with pytest.raises(TrainingFailed, match="training of Empty failed: no readings of power_kw"):
        job.result(timeout=1)
    assert "no readings of power_kw" in repr(job)


def test_a_job_as_text_and_html(plant, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda what, display_id: shown.append(what))
    plant.add_machine("Ofen <b>3</b>")
    job = plant.train("Ofen <b>3</b>")
    with plant.store.write() as connection:
        stored_jobs.change(
            connection, job.id, only_in=("queued",),
            state="running", progress_pct=40, message="Fitting <i>now</i>.",
        )  # fmt: skip
    assert repr(job) == "Ofen <b>3</b> baseline: 40 % running, Fitting <i>now</i>."
    with plant.store.write() as connection:
        stored_jobs.change(
            connection, job.id, only_in=("running",), state="completed", model_version=3
        )
    assert repr(job) == "Ofen <b>3</b> baseline: 40 % completed, version 3"
    with plant.store.write() as connection:
        stored_jobs.change(
            connection, job.id, only_in=("completed",), state="failed", error_message="<script>"
        )
    job._ipython_display_()
    markup = shown[0]._repr_html_()
    assert "<script>" not in markup
    assert html.escape("Ofen <b>3</b>") in markup
    assert 'value="40"' in markup
    assert repr(shown[0]) == repr(job)


def test_a_shown_job_stays_true(plant, monkeypatch, eventually):
    updates = []
    cell = SimpleNamespace(update=lambda what: updates.append(repr(what)))
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: cell)
    monkeypatch.setattr("enms_core.training_job.POLL_S", 0.02)
    plant.add_machine("Pump")
    job = plant.train("Pump")
    job._ipython_display_()
    job.cancel()
    eventually(lambda: updates)
    assert updates[-1] == "Pump baseline: 0 % cancelled"


def test_events_of_a_training_are_a_frame(plant):
    with plant.store.write() as connection:
        for event in (
            TrainingStarted(
                job_id="j", machine_id="m", machine="M", model_type="baseline", requested_by="me"
            ),
            TrainingProgress(job_id="j", machine_id="m", progress_pct=5, status="load"),
            SystemAlert(alert_type="a", severity="info", message=""),
        ):
            events.record(connection, event)
    frame = plant.events(channels=["training.*"])
    assert frame["channel"].tolist() == ["training.started", "training.progress"]
    assert frame["progress_pct"].isna().tolist() == [True, False]
