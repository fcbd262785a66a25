"""Energy baselines: what a machine should use, given the hour, the weather and the production."""

from enms_core.baseline.energy import BaselineReport, EnergyBaseline, Fit
from enms_core.baseline.features import DRIVERS, driver_frame

__all__ = ["DRIVERS", "BaselineReport", "EnergyBaseline", "Fit", "driver_frame"]
