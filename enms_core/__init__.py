"""EnMS core: readings, baselines, detection, training and events.

```python
import enms_core as enms
plant = enms.connect()
```
"""

from enms_core.baseline import EnergyBaseline
from enms_core.client import Plant, connect
from enms_core.detection import DETECTORS, StreamDetector
from enms_core.plant import Factory, Machine, Metric
from enms_core.settings import Settings
from enms_core.training_job import TrainingFailed, TrainingJob

__all__ = [
    "DETECTORS",
    "EnergyBaseline",
    "Factory",
    "Machine",
    "Metric",
    "Plant",
    "Settings",
    "StreamDetector",
    "TrainingFailed",
    "TrainingJob",
    "connect",
]
