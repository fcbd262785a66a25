"""forecasts: what was forecast, and when."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    figures = ("mean", "lower", "upper", "lower_80", "upper_80")
    op.create_table(
        "forecasts",
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Float(precision=53), nullable=False) for name in figures),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="fk_forecasts_machine_id"),
        sa.PrimaryKeyConstraint("machine_id", "issued_at", "time", name="pk_forecasts"),
    )
