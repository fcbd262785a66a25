"""the wire: tokens, users, alerts; whose an event is; when a model became active."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("alert_type", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
    )
    op.create_index("ix_alerts_closed_at", "alerts", ["closed_at"], unique=False)
    op.create_index("ix_alerts_opened_at", "alerts", ["opened_at"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("name", name="uq_tokens_name"),
        sa.UniqueConstraint("sha256", name="uq_tokens_sha256"),
    )
    op.create_table(
        "users",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )
    op.add_column("models", sa.Column("activated_at", sa.BigInteger(), nullable=True))
    op.execute("UPDATE models SET activated_at = created_at")
    op.add_column("events", sa.Column("machine_id", sa.String(length=36), nullable=True))
    op.create_index("ix_events_machine_id_seq", "events", ["machine_id", "seq"], unique=False)
    _name_the_machines()


def _name_the_machines() -> None:
    events = sa.table("events", sa.column("seq"), sa.column("machine_id"), sa.column("envelope"))
    connection = op.get_bind()
    rows = connection.execute(sa.select(events.c.seq, events.c.envelope)).all()
    found = [
        {"number": seq, "machine": json.loads(envelope)["data"].get("machine_id")}
        for seq, envelope in rows
    ]
    if found:
        connection.execute(
            sa.update(events)
            .where(events.c.seq == sa.bindparam("number"))
            .values(machine_id=sa.bindparam("machine")),
            found,
        )
