"""Energy baselines: what a machine should use, given the hour, the weather and the production."""

from enms_core.baseline.energy import EnergyBaseline
from enms_core.baseline.features import DRIVERS, driver_frame
from enms_core.baseline.report import BaselineReport, Fit, Notice

__all__ = ["DRIVERS", "BaselineReport", "EnergyBaseline", "Fit", "Notice", "driver_frame"]
