"""modes and meters: operating modes, repaired registers, energy whose time is not known."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "modes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="fk_modes_machine_id"),
        sa.PrimaryKeyConstraint("id", name="pk_modes"),
    )
    op.create_index("ix_modes_machine_id_start", "modes", ["machine_id", "start"])
    figures = ("before", "after", "energy_kwh")
    op.create_table(
        "meter_repairs",
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("metric", sa.String(length=100), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        *(sa.Column(name, sa.Float(precision=53), nullable=False) for name in figures),
        sa.Column("repaired_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["machine_id"], ["machines.id"], name="fk_meter_repairs_machine_id"
        ),
        sa.PrimaryKeyConstraint("machine_id", "metric", "time", name="pk_meter_repairs"),
    )
    op.add_column(
        "energy",
        sa.Column("spread_kwh", sa.Float(precision=53), nullable=False, server_default="0"),
    )
