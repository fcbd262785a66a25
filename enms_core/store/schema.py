"""The tables. Times are integers: microseconds since 1970-01-01 UTC."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where the key is called INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")
Time = BigInteger

factories = Table(
    "factories",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("timezone", String(64), nullable=False),
    Column("currency", String(8), nullable=False),
    Column("price_per_kwh", Float, nullable=False),
    Column("carbon_kg_per_kwh", Float, nullable=False),
    Column("warning_per_hour", Float),
    Column("critical_per_hour", Float),
)

machines = Table(
    "machines",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("type", String(32), nullable=False),
    Column("rated_kw", Float),
    Column("factory_id", RowId, ForeignKey("factories.id"), nullable=False),
    Column("criticality", String(1), nullable=False, server_default="B"),
)

series = Table(
    "series",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("machine_id", String(36), ForeignKey("machines.id"), nullable=False),
    Column("metric", String(100), nullable=False),
    UniqueConstraint("machine_id", "metric"),
)

# `id` is the order of arrival: what the engine tails. Writers hold the writers' lock until they
# commit, so that ids become visible in their order on every database.
readings = Table(
    "readings",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("series_id", RowId, ForeignKey("series.id"), nullable=False),
    Column("time", Time, nullable=False),
    Column("value", Float(53), nullable=False),
    UniqueConstraint("series_id", "time"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("machine", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("time", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("received_at", Time, nullable=False),
)

# What was expected of a reading when it was judged.
scores = Table(
    "scores",
    metadata,
    Column("series_id", RowId, ForeignKey("series.id"), primary_key=True),
    Column("time", Time, primary_key=True),
    Column("expected", Float(53), nullable=False),
    Column("lower", Float(53), nullable=False),
    Column("upper", Float(53), nullable=False),
    Column("surprise", Float(53), nullable=False),
)

# What a machine was doing from `start` on, as it was told; of one start the newest word counts.
modes = Table(
    "modes",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("machine_id", String(36), ForeignKey("machines.id"), nullable=False),
    Column("start", Time, nullable=False),
    Column("mode", String(16), nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_at", Time, nullable=False),
    Column("note", Text, nullable=False),
    Index(None, "machine_id", "start"),
)

# Registers of meters that could not simply be subtracted: what was counted between `since` and
# `time` instead.
meter_repairs = Table(
    "meter_repairs",
    metadata,
    Column("machine_id", String(36), ForeignKey("machines.id"), primary_key=True),
    Column("metric", String(100), primary_key=True),
    Column("time", Time, primary_key=True),
    Column("since", Time, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("before", Float(53), nullable=False),
    Column("after", Float(53), nullable=False),
    Column("energy_kwh", Float(53), nullable=False),
    Column("repaired_at", Time, nullable=False),
)

# Energy per quarter of an hour, labelled by its start; `covered_s` says how much of it is known.
# `spread_kwh` is the part of the energy that is known only as a sum over a longer time.
energy = Table(
    "energy",
    metadata,
    Column("machine_id", String(36), ForeignKey("machines.id"), primary_key=True),
    Column("start", Time, primary_key=True),
    Column("energy_kwh", Float(53), nullable=False),
    Column("covered_s", Float(53), nullable=False),
    Column("spread_kwh", Float(53), nullable=False, server_default="0"),
)

anomalies = Table(
    "anomalies",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("machine_id", String(36), ForeignKey("machines.id"), nullable=False),
    Column("metric", String(100), nullable=False),
    Column("state", String(16), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("score", Float(53), nullable=False),
    Column("value", Float(53), nullable=False),
    Column("expected", Float(53), nullable=False),
    Column("lower", Float(53), nullable=False),
    Column("upper", Float(53), nullable=False),
    Column("delta_kwh", Float(53), nullable=False),
    Column("delta_cost", Float(53), nullable=False),
    Column("started_at", Time, nullable=False),
    Column("ended_at", Time),
    Column("reason", Text, nullable=False),
    Column("model_version", Integer),
    Column("cost_per_hour", Float(53)),
    Column("confidence", Float(53)),
    Column("contributors", Text),
    UniqueConstraint("machine_id", "metric", "started_at"),
    Index(None, "state"),
    Index(None, "started_at"),
)

# What a person knows of an anomaly: the newest word counts.
labels = Table(
    "labels",
    metadata,
    Column("anomaly_id", String(36), ForeignKey("anomalies.id"), primary_key=True),
    Column("label", String(16), nullable=False),
    Column("note", Text, nullable=False),
    Column("labelled_by", Text, nullable=False),
    Column("labelled_at", Time, nullable=False),
)

# The outbox and the log: `seq` counts up by one without a hole, in the order of commits.
events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False, unique=True),
    Column("channel", String(64), nullable=False),
    Column("published_at", Time, nullable=False),
    Column("envelope", Text, nullable=False),
    Column("machine_id", String(36)),
    Index(None, "published_at"),
    Index(None, "machine_id", "seq"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("machine_id", String(36), ForeignKey("machines.id"), nullable=False),
    Column("model_type", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("progress_pct", Integer, nullable=False),
    Column("step", String(32), nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("started_at", Time),
    Column("ended_at", Time),
    Column("alive_at", Time),
    Column("metrics", Text),
    Column("error_message", Text, nullable=False),
    Column("model_version", Integer),
    Index(None, "state"),
)

models = Table(
    "models",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("machine_id", String(36), ForeignKey("machines.id"), nullable=False),
    Column("model_type", String(32), nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Time, nullable=False),
    Column("job_id", String(36), ForeignKey("jobs.id"), unique=True),
    Column("train_start", Time, nullable=False),
    Column("train_end", Time, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("activated_at", Time),
    UniqueConstraint("machine_id", "model_type", "version"),
)

# What was forecast, when: the mean load (kW) of the hour that begins at `time`, with its bands.
forecasts = Table(
    "forecasts",
    metadata,
    Column("machine_id", String(36), ForeignKey("machines.id"), primary_key=True),
    Column("issued_at", Time, primary_key=True),
    Column("time", Time, primary_key=True),
    Column("mean", Float(53), nullable=False),
    Column("lower", Float(53), nullable=False),
    Column("upper", Float(53), nullable=False),
    Column("lower_80", Float(53), nullable=False),
    Column("upper_80", Float(53), nullable=False),
)

# How good a forecast was over the hours of a horizon that have come.
forecast_accuracy = Table(
    "forecast_accuracy",
    metadata,
    Column("machine_id", String(36), ForeignKey("machines.id"), primary_key=True),
    Column("issued_at", Time, primary_key=True),
    Column("horizon", String(16), primary_key=True),
    Column("hours", Integer, nullable=False),
    Column("mae", Float(53), nullable=False),
    Column("mase", Float(53)),
    Column("nmbe", Float(53)),
    Column("coverage_80", Float(53), nullable=False),
    Column("coverage_95", Float(53), nullable=False),
)

# How far the engine is, and what its detectors have learned by then.
progress = Table(
    "progress",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("value", Text, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# What is wrong with the system itself: opened once, closed when it is over.
alerts = Table(
    "alerts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("alert_type", String(64), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("opened_at", Time, nullable=False),
    Column("closed_at", Time),
    Index(None, "opened_at"),
    Index(None, "closed_at"),
)

# Of a token only its hash is kept; `prefix` is how a person knows it again.
tokens = Table(
    "tokens",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("used_at", Time),
)

# Who logs in; without a password where another provider vouches for the name.
users = Table(
    "users",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text),
    Column("created_at", Time, nullable=False),
)
