"""EnMS core: readings, baselines, detection, training and events.

```python
import enms_core as enms
plant = enms.connect()
```

Names are imported when they are first used: the parts that neither train nor judge then start
without scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enms_core.baseline import EnergyBaseline
    from enms_core.client import Plant, connect
    from enms_core.detection import DETECTORS, MACHINE_DETECTORS, MachineDetector, StreamDetector
    from enms_core.forecast import LoadForecaster
    from enms_core.plant import Factory, Machine, Metric
    from enms_core.settings import Settings
    from enms_core.training_job import TrainingFailed, TrainingJob

_HOME = {
    "DETECTORS": "detection",
    "EnergyBaseline": "baseline",
    "Factory": "plant",
    "LoadForecaster": "forecast",
    "MACHINE_DETECTORS": "detection",
    "Machine": "plant",
    "MachineDetector": "detection",
    "Metric": "plant",
    "Plant": "client",
    "Settings": "settings",
    "StreamDetector": "detection",
    "TrainingFailed": "training_job",
    "TrainingJob": "training_job",
    "connect": "client",
}

__all__ = [
    "DETECTORS",
    "MACHINE_DETECTORS",
    "EnergyBaseline",
    "Factory",
    "LoadForecaster",
    "Machine",
    "MachineDetector",
    "Metric",
    "Plant",
    "Settings",
    "StreamDetector",
    "TrainingFailed",
    "TrainingJob",
    "connect",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
