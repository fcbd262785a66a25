"""Real events and machines for the models of the page."""

from collections.abc import Callable

import pytest

from enms_core.events import AnomalyDetected, Envelope, Event, MetricUpdated
from enms_core.plant import Factory, Machine

Wrap = Callable[..., Envelope]


@pytest.fixture
def wrap() -> Wrap:
    """Wrap events in envelopes, numbered one after the other unless they are latest values."""
    count = 0

    def make(event: Event) -> Envelope:
        nonlocal count
        if isinstance(event, MetricUpdated):
            return Envelope.now(event, seq=None, epoch="e")
        count += 1
        return Envelope.now(event, seq=count, epoch="e")

    return make


@pytest.fixture
def anomaly() -> Callable[..., AnomalyDetected]:
    def make(number: int = 1, severity: str = "warning", **changes: object) -> AnomalyDetected:
        values = {
            "anomaly_id": f"a{number}",
            "machine_id": "m1",
            "machine": "Compressor-1",
            "metric": "power_kw",
            "severity": severity,
            "score": 9.0,
            "value": 41.0,
            "expected": 29.0,
            "lower": 27.0,
            "upper": 31.0,
            "delta_kwh": 4.1,
            "delta_cost": 0.9,
            "started_at": f"2026-11-22T13:{number:02d}:00+00:00",
            "reason": "41 % above expected",
        }
        return AnomalyDetected(**{**values, **changes})

    return make


@pytest.fixture
def nord() -> Factory:
    return Factory("Werk Nord", "Europe/Berlin", "EUR", 0.20, 0.40)


@pytest.fixture
def ohio() -> Factory:
    return Factory("Plant Ohio", "America/New_York", "USD", 0.10, 0.50)


@pytest.fixture
def machines(nord: Factory, ohio: Factory) -> tuple[Machine, ...]:
    return (
        Machine("Compressor-1", "compressor", 75.0, nord, "m1"),
        Machine("Boiler-1", "boiler", 40.0, nord, "m2"),
        Machine("HVAC-Ohio", "hvac", 90.0, ohio, "m3"),
    )
