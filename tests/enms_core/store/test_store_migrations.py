import uuid

import alembic.autogenerate
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext

from enms_core.store import Store, Unavailable, anomalies, migrations, pages, progress, schema
from enms_core.store.machines import all_machines


def differences(store):
    with store.read() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        return alembic.autogenerate.compare_metadata(context, schema.metadata)


def test_the_migrations_make_exactly_the_tables(store):
    assert differences(store) == []
    with store.read() as connection:
        names = set(sa.inspect(connection).get_table_names())
    assert names == {*schema.metadata.tables, "alembic_version"}


def test_a_difference_would_be_seen(store):
    with store.write() as connection:
        connection.exec_driver_sql("ALTER TABLE quarantine ADD COLUMN colour TEXT")
        connection.exec_driver_sql("DROP INDEX ix_anomalies_state")
    assert len(differences(store)) == 2


FACTORIES = "INSERT INTO factories (id, name, timezone, currency, price_per_kwh, carbon_kg_per_kwh)"
MACHINES = "INSERT INTO machines (id, name, type, rated_kw, factory_id)"
ANOMALIES = (
    "INSERT INTO anomalies (id, machine_id, metric, state, severity, score, value, expected, lower,"
    " upper, delta_kwh, delta_cost, started_at, ended_at, reason, model_version)"
)


def test_rows_of_before_consequence_get_defaults(database_url):
    store = Store(database_url)
    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])
    with store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        say = connection.exec_driver_sql
        say(f"{FACTORIES} VALUES (1, 'Works', 'Asia/Seoul', 'KRW', 150.0, 0.4)")
        say(f"{MACHINES} VALUES ('m1', 'Oven', 'boiler', 40.0, 1)")
        for number, metric in enumerate(("power_kw", "energy_kwh")):
            say(
                f"{ANOMALIES} VALUES ('a{number}', 'm1', '{metric}', 'resolved', 'critical', 9.0, "
                f"30.0, 20.0, 19.0, 21.0, 5.0, 750.0, {number}, 1800000000, 'too much', 1)"
            )
    store.migrate()
    assert differences(store) == []
    with store.read() as connection:
        [oven] = all_machines(connection)
        [row] = pages.machines(connection, pages.Wanted(limit=9)).rows
        table = anomalies.table(connection).set_index("id")
        kept = anomalies.get(connection, "a0")
    assert (oven.criticality, oven.factory.severe_from) == ("B", (750.0, 3000.0))
    assert [row[name] for name in pages.LIMITS] == [750.0, 3000.0]
    assert table.loc["a0", "cost_per_hour"] == kept.cost_per_hour == 1500.0
    assert table["cost_per_hour"].isna().tolist() == [True, False]
    assert table["confidence"].isna().all()
    assert (kept.confidence, kept.contributors, table.loc["a0", "contributors"]) == (None, (), [])
    assert kept.severity == "critical"
    store.dispose()


def test_again_changes_nothing(store):
    epoch = store.epoch
    assert uuid.UUID(epoch)
    assert store.migrate().epoch == epoch


def test_another_store_has_another_epoch(store, tmp_path):
    other = Store(f"sqlite:///{tmp_path / 'a' / 'b' / 'other.db'}").migrate()
    assert other.epoch != store.epoch
    other.dispose()


def _migrate(ready, tell, url):
    store = Store(url)
    ready.wait()
    epoch = store.migrate().epoch
    store.dispose()
    tell.put(epoch)


def test_processes_may_migrate_at_once(database_url, at_once):
    epochs = at_once(_migrate, [(database_url,)] * 4)
    assert len(set(epochs)) == 1
    store = Store(database_url)
    assert differences(store) == []
    store.dispose()


def test_a_write_is_all_or_nothing(store):
    def fail():
        with store.write() as connection:
            progress.put(connection, "half", "done")
            raise LookupError("in the middle")

    with pytest.raises(LookupError):
        fail()
    with store.read() as connection:
        assert progress.get(connection, "half", "nothing") == "nothing"


def test_a_committed_write_is_seen_by_others(store, database_url):
    other = Store(database_url)
    with store.write() as connection:
        progress.put(connection, "name", "one")
        progress.put(connection, "name", "two")
        progress.put(connection, "na%me", "three")
    with other.read() as connection:
        assert progress.get(connection, "name") == "two"
        assert progress.starting_with(connection, "na%") == {"na%me": "three"}
    other.dispose()


def test_a_commit_on_sqlite_is_on_the_disk(sqlite_store):
    with sqlite_store.read() as connection:
        ask = connection.exec_driver_sql
        assert ask("PRAGMA journal_mode").scalar() == "wal"
        assert ask("PRAGMA synchronous").scalar() == 2
        assert ask("PRAGMA foreign_keys").scalar() == 1


def test_a_commit_on_postgresql_is_on_the_disk(postgres_store):
    with postgres_store.read() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


@pytest.mark.parametrize(
    "url", ["sqlite:////proc/nowhere.db", "postgresql+psycopg://@/x?host=/nowhere"]
)
def test_a_database_that_is_not_there(url):
    store = Store(url)
    with pytest.raises((Unavailable, OSError)):
        _ = store.epoch
    store.dispose()


def test_an_empty_plant(store):
    with store.read() as connection:
        assert all_machines(connection) == []
