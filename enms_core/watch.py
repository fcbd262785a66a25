"""A machine under watch: its monitor, and the model that says what to expect."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from enms_core.baseline import EnergyBaseline
from enms_core.baseline.features import DRIVERS, driver_frame
from enms_core.contributors import Contributor
from enms_core.detection.consequence import severe_from
from enms_core.detection.monitor import Monitor
from enms_core.plant import Machine
from enms_core.store import Connection, Store, models
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
    contributors: tuple[Contributor, ...] | None = None  # to the open episode, once looked for
    drivers: pd.DataFrame | None = None  # those of the rows that were predicted last

    def __post_init__(self) -> None:
        self.know(self.machine)

    def know(self, machine: Machine) -> None:
        """Take the machine as it is described from now on."""
        self.machine = machine
        self.monitor.tracker.levels = severe_from(machine)

    def follow(self, version: models.ModelVersion) -> None:
        """Expect what this model version says from now on."""
        self.model = version
        self.baseline = EnergyBaseline.from_json(version.model)


def expected_at(store: Store, watch: Watch, times: "np.ndarray") -> "np.ndarray | None":
    """Return what the machine's model expects at these times (us); None where it has no model."""
    if watch.baseline is None or not len(times):
        return None
    with store.read() as connection:
        rows = driver_rows(connection, watch.machine, times)
    expected = predict(watch, rows).reindex(index_of(times))
    return np.asarray(expected.to_numpy(float))


def driver_rows(connection: Connection, machine: Machine, times: "np.ndarray") -> pd.DataFrame:
    """Return the readings of the drivers before and at these times (us), a row each at least."""
    first, last = int(times.min()) - DRIVERS_US, int(times.max()) + 1
    wide = stored.frame(connection, machine.id, first, last, DRIVERS)
    return wide.reindex(wide.index.union(index_of(times)))


def predict(watch: Watch, wide: pd.DataFrame) -> "pd.Series[float]":
    """Return what the machine's model expects at every row of its readings; NaN without a model."""
    if watch.baseline is None:
        return pd.Series(np.nan, index=wide.index)
    watch.drivers = drivers_of(watch, wide)
    return pd.Series(watch.baseline.predict(watch.drivers), index=wide.index)


def drivers_of(watch: Watch, wide: pd.DataFrame) -> pd.DataFrame:
    """Return the drivers that the machine's model knows, at every row of its readings.

    One that is not measured is NaN, so that it counts as usual.
    """
    drivers = driver_frame(wide).tz_convert(watch.machine.zone)
    return (
        drivers
        if watch.baseline is None
        else drivers.reindex(columns=watch.baseline.feature_names_in_)
    )
