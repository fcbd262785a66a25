"""A machine under watch: its monitor, and the model that says what to expect."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from enms_core.baseline import EnergyBaseline
from enms_core.baseline.features import DRIVERS, driver_frame
from enms_core.detection.monitor import Monitor
from enms_core.plant import Machine
from enms_core.store import Store, models
from enms_core.store import readings as stored
from enms_core.store.times import index_of

DRIVERS_US = 3 * 3_600_000_000  # for so long a driver is held


@dataclass
class Watch:
    """A machine, what judges it, and the model that says what to expect."""

    machine: Machine
    monitor: Monitor
    model: models.ModelVersion | None = None
    baseline: EnergyBaseline | None = None

    def follow(self, version: models.ModelVersion) -> None:
        """Expect what this model version says from now on."""
        self.model = version
        self.baseline = EnergyBaseline.from_json(version.model)


def expected_at(store: Store, watch: Watch, times: "np.ndarray") -> "np.ndarray | None":
    """Return what the machine's model expects at these times (us); None where it has no model."""
    if watch.baseline is None or not len(times):
        return None
    with store.read() as connection:
        wide = stored.frame(
            connection,
            watch.machine.id,
            int(times.min()) - DRIVERS_US,
            int(times.max()) + 1,
            DRIVERS,
        )
    at = index_of(times)
    rows = wide.reindex(wide.index.union(at))
    return np.asarray(predict(watch, rows).reindex(at).to_numpy(float))


def predict(watch: Watch, wide: pd.DataFrame) -> "pd.Series[float]":
    """Return what the machine's model expects at every row of its readings; NaN without a model."""
    if watch.baseline is None:
        return pd.Series(np.nan, index=wide.index)
    drivers = driver_frame(wide).tz_convert(watch.machine.zone)
    return pd.Series(watch.baseline.predict(drivers), index=wide.index)
