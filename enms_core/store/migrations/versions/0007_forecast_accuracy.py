"""forecast accuracy: how good a forecast was, once its hours had come."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "forecast_accuracy",
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("horizon", sa.String(length=16), nullable=False),
        sa.Column("hours", sa.Integer(), nullable=False),
        sa.Column("mae", sa.Float(precision=53), nullable=False),
        sa.Column("mase", sa.Float(precision=53), nullable=True),
        sa.Column("nmbe", sa.Float(precision=53), nullable=True),
        sa.Column("coverage_80", sa.Float(precision=53), nullable=False),
        sa.Column("coverage_95", sa.Float(precision=53), nullable=False),
        sa.ForeignKeyConstraint(
            ["machine_id"], ["machines.id"], name="fk_forecast_accuracy_machine_id"
        ),
        sa.PrimaryKeyConstraint("machine_id", "issued_at", "horizon", name="pk_forecast_accuracy"),
    )
