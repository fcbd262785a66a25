"""labels: what people know of anomalies."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "labels",
        sa.Column("anomaly_id", sa.String(length=36), nullable=False),
        sa.Column("label", sa.String(length=16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("labelled_by", sa.Text(), nullable=False),
        sa.Column("labelled_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["anomaly_id"], ["anomalies.id"], name="fk_labels_anomaly_id"),
        sa.PrimaryKeyConstraint("anomaly_id", name="pk_labels"),
    )
