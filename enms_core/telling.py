"""The events that tell of an anomaly."""

from enms_core.events import AnomalyDetected, AnomalyUpdated
from enms_core.plant import Machine
from enms_core.store.anomalies import Anomaly
from enms_core.store.times import iso


def resolved(anomaly: Anomaly, at: int, note: str) -> AnomalyUpdated:
    """Return the event that tells the end of an anomaly."""
    return AnomalyUpdated(
        anomaly_id=anomaly.id,
        machine_id=anomaly.machine_id,
        state="resolved",
        by="engine",
        at=iso(at),
        note=note,
    )


def detected(anomaly: Anomaly, machine: Machine) -> AnomalyDetected:
    """Return the event that tells a new anomaly."""
    return AnomalyDetected(
        anomaly_id=anomaly.id,
        machine_id=machine.id,
        machine=machine.name,
        metric=anomaly.metric,
        severity=anomaly.severity,
        score=anomaly.score,
        value=anomaly.value,
        expected=anomaly.expected,
        lower=anomaly.lower,
        upper=anomaly.upper,
        delta_kwh=anomaly.delta_kwh,
        delta_cost=anomaly.delta_cost,
        started_at=iso(anomaly.started_at),
        reason=anomaly.reason,
        model_version=anomaly.model_version,
        cost_per_hour=anomaly.cost_per_hour,
        confidence=anomaly.confidence,
    )
