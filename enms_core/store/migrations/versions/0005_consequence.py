"""consequence: what an anomaly costs an hour, how sure it is, what goes with it; who matters."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# What an older anomaly of power cost an hour follows from what was kept of it.
COSTS = """
UPDATE anomalies SET cost_per_hour = (value - expected) * (
    SELECT price_per_kwh FROM machines JOIN factories ON factories.id = machines.factory_id
    WHERE machines.id = anomalies.machine_id
) WHERE metric = 'power_kw'
"""


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    criticality = sa.Column("criticality", sa.String(1), nullable=False, server_default="B")
    op.add_column("machines", criticality)
    for name in ("warning_per_hour", "critical_per_hour"):
        op.add_column("factories", sa.Column(name, sa.Float(), nullable=True))
    for name in ("cost_per_hour", "confidence"):
        op.add_column("anomalies", sa.Column(name, sa.Float(precision=53), nullable=True))
    op.add_column("anomalies", sa.Column("contributors", sa.Text(), nullable=True))
    op.execute(COSTS)
