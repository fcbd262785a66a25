import pytest

from app.models.jobs import SHOWN, RunningJobs
from app.models.snapshot import Snapshot
from enms_core.events import TrainingCompleted, TrainingProgress, TrainingStarted
from enms_core.store.jobs import Job


def started(job_id="j1", machine="Press"):
    return TrainingStarted(
        job_id=job_id, machine_id="m1", machine=machine, model_type="baseline", requested_by="ana"
    )


def moved(percent, job_id="j1"):
    return TrainingProgress(
        job_id=job_id, machine_id="m1", progress_pct=percent, status="fit", message="Fitting."
    )


def ended(status="completed", job_id="j1", **more):
    return TrainingCompleted(job_id=job_id, machine_id="m1", status=status, **more)


def stored(job_id="j1", state="queued", **more):
    values = {
        "id": job_id,
        "machine_id": "m1",
        "model_type": "baseline",
        "state": state,
        "requested_by": "ana",
        "progress_pct": 0,
        "step": state,
        "message": "",
        "created_at": 1,
        "started_at": None,
        "ended_at": None,
        "alive_at": None,
        "metrics": {},
        "error_message": "",
        "model_version": None,
    }
    return Job(**{**values, **more})


@pytest.fixture
def model(machines):
    model = RunningJobs()
    model.take_snapshot(Snapshot(seq=0, machines=machines))
    return model


def test_a_training_from_its_start_to_its_end(model, wrap):
    model.take([wrap(started()), wrap(moved(40))])
    (job,) = model.running
    assert (job.machine, job.progress, job.message, job.requested_by) == (
        "Press",
        40,
        "Fitting.",
        "ana",
    )
    model.take([wrap(ended(model_version=2, metrics={"cv_rmse": 0.1}))])
    assert model.running == []
    (job,) = model.rows
    assert (job.state, job.progress, job.version) == ("completed", 100, 2)


def test_progress_of_an_unknown_job_knows_the_machine_by_its_id(model, wrap):
    model.take([wrap(moved(20, "j9"))])
    assert model.running[0].machine == "Compressor-1"
    assert (model.name_of("j9"), model.name_of("none")) == ("Compressor-1", "")


def test_progress_after_the_end_changes_nothing(model, wrap):
    model.take([wrap(started()), wrap(ended("failed", error_message="no")), wrap(moved(60))])
    assert model.rows[0].state == "failed"


def test_a_waiting_job_comes_from_the_store(model, machines):
    model.take_snapshot(Snapshot(seq=1, machines=machines, jobs=(stored(),)))
    assert [(job.state, job.is_active) for job in model.rows] == [("queued", True)]


def test_an_older_snapshot_does_not_undo_an_event(model, machines, wrap):
    envelope = wrap(started())
    model.take([envelope])
    model.take_snapshot(Snapshot(seq=envelope.seq - 1, machines=machines))
    assert len(model.running) == 1


def test_the_list_is_bounded_and_shows_what_runs_first(model, machines):
    jobs = [stored(f"d{i}", "completed", ended_at=i) for i in range(20)]
    model.take_snapshot(Snapshot(seq=1, machines=machines, jobs=(*jobs, stored("r", "running"))))
    assert len(model.rows) == SHOWN
    assert [job.id for job in model.rows[:2]] == ["r", "d19"]


def test_a_site_shows_its_own(model, wrap):
    model.take([wrap(started())])
    model.machine_ids = frozenset({"m3"})
    assert (model.rows, model.running) == ([], [])
