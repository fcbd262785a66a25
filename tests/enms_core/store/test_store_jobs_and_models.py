import pytest

from enms_core.plant import Factory, Machine
from enms_core.store import Store, jobs, machines, models


def test_machines_in_the_order_of_their_names(store, plant):
    with store.read() as connection:
        known = machines.all_machines(connection)
        assert [machine.name for machine in known] == ["Press", "Pump"]
        assert machines.find(connection, "Pump") == plant["Pump"]
        assert machines.find(connection, plant["Pump"].id) == plant["Pump"]
        with pytest.raises(LookupError, match="known are: Press, Pump"):
            machines.find(connection, "Pimp")
    assert {machine.factory.timezone for machine in known} == {"Europe/Berlin"}


def test_a_name_is_given_once(store, plant):
    with store.write() as connection, pytest.raises(ValueError, match="choose another name"):
        machines.add(connection, Machine("Pump"))


def test_a_factory_has_one_zone(store, plant):
    elsewhere = Machine("Oven", factory=Factory("Works", timezone="Asia/Seoul"))
    with store.write() as connection, pytest.raises(ValueError, match="is in Europe/Berlin"):
        machines.add(connection, elsewhere)


def test_odd_names_survive(store):
    for name in ("'; DROP TABLE machines --", "電動機", "Ofen 3 <b>", "%s ? :x"):
        with store.write() as connection:
            assert machines.add(connection, Machine(name)).name == name


def test_one_training_at_a_time(store, plant):
    pump, press = plant["Pump"].id, plant["Press"].id
    with store.write() as connection:
        first = jobs.add(connection, pump, "baseline", "me")
        assert jobs.add(connection, pump, "baseline", "you") == first
        assert jobs.add(connection, press, "baseline", "me").id != first.id
        assert jobs.add(connection, pump, "forecast", "me").id != first.id
        assert jobs.counts(connection) == {"queued": 3}
        assert jobs.change(connection, first.id, only_in=("queued",), state="running")
        assert jobs.add(connection, pump, "baseline", "you").id == first.id
        assert jobs.change(connection, first.id, only_in=("running",), state="failed")
        second = jobs.add(connection, pump, "baseline", "you")
        assert second.id != first.id
        assert [job.id for job in jobs.listed(connection, ("failed",))] == [first.id]


def test_a_job_that_ended_does_not_change(store, plant):
    with store.write() as connection:
        job = jobs.add(connection, plant["Pump"].id, "baseline", "me")
        done = {"state": "completed", "metrics": {"r2": 0.9}, "model_version": 1}
        assert jobs.change(connection, job.id, only_in=jobs.ACTIVE, **done)
        assert not jobs.change(connection, job.id, only_in=jobs.ACTIVE, state="cancelled")
        kept = jobs.get(connection, job.id)
        assert (kept.state, kept.metrics, kept.model_version) == ("completed", {"r2": 0.9}, 1)
        with pytest.raises(ValueError, match="JSON"):
            jobs.change(connection, job.id, only_in=("completed",), metrics={"r2": float("nan")})
        with pytest.raises(LookupError, match="unknown"):
            jobs.get(connection, "nothing")


def register(connection, machine, job=None, kind="baseline"):
    return models.register(
        connection,
        machine_id=machine.id,
        model_type=kind,
        job_id=job,
        span=(1, 2),
        metrics={"r2": 0.9},
        model="{}",
    )


def test_versions_count_up_and_the_newest_is_active(store, plant):
    pump, press = plant["Pump"], plant["Press"]
    with store.write() as connection:
        assert models.newest_change(connection) == 0
        made = [register(connection, pump) for _ in range(3)]
        assert [version.version for version in made] == [1, 2, 3]
        assert register(connection, press).version == 1
        active = models.active(connection)
        assert active[pump.id] == made[-1]
        states = {v.version: v.state for v in models.versions(connection, pump.id)}
        assert states == {1: "retired", 2: "retired", 3: "active"}
        assert models.newest_change(connection) >= made[-1].created_at


def _work(ready, tell, url, machine_id):
    store = Store(url)
    ready.wait()
    asked, made = set(), []
    for _ in range(10):
        with store.write() as connection:
            asked.add(jobs.add(connection, machine_id, "baseline", "me").id)
        with store.write() as connection:
            machine = machines.find(connection, machine_id)
            made.append(register(connection, machine).version)
    store.dispose()
    tell.put((asked, made))


def test_processes_at_once_share_a_job_and_no_version(store, plant, database_url, at_once):
    told = at_once(_work, [(database_url, plant["Pump"].id)] * 3)
    assert len(set.union(*(asked for asked, _ in told))) == 1
    assert sorted(version for _, made in told for version in made) == list(range(1, 31))
    with store.read() as connection:
        assert models.active(connection)[plant["Pump"].id].version == 30
