"""Train a model of a machine on its own past; tells its progress at real steps."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from enms_core.baseline import EnergyBaseline
from enms_core.baseline.features import driver_frame
from enms_core.modes import Modes
from enms_core.plant import ENERGY_METRICS, REGISTER, Machine

MODELS = {"baseline": EnergyBaseline}

# step -> how far a training is when the step begins
STEPS = {"load": 5, "features": 20, "fit": 40, "validate": 60, "register": 90}

QUARTER_US = 900_000_000

Report = Callable[[str, str], None]  # (step, message); may raise to stop the training
Load = Callable[[], pd.DataFrame]  # the machine's readings: index time (UTC), a column per metric


@dataclass(frozen=True)
class Trained:
    """What came out of a training: the model, the span it learned from, how good it is."""

    model: EnergyBaseline
    start: datetime
    end: datetime
    metrics: dict[str, float]


def train(machine: Machine, model_type: str, load: Load, report: Report) -> Trained:
    """Load, make features, fit and validate; raise ValueError with the reason if it cannot be."""
    report("load", f"Reading the past of {machine.name}.")
    wide = load()
    report("features", f"Making drivers of {len(wide):,} times.")
    drivers, target = training_frame(machine, wide)
    named = ", ".join(drivers.columns) or "the calendar alone"
    report("fit", f"Fitting {len(target):,} quarter hours on {named}.")
    model = MODELS[model_type]().fit(drivers, target)
    report("validate", "Judging it on weeks it has not seen.")
    return Trained(
        model=model,
        start=target.index[0].to_pydatetime(),
        end=target.index[-1].to_pydatetime(),
        metrics=out_of_sample(model),
    )


def energy_metric(columns: "pd.Index[str]") -> str:
    """Return the metric that carries the energy; raise ValueError where there is none."""
    for metric in ENERGY_METRICS:
        if metric in columns:
            return metric
    sent = (*ENERGY_METRICS[:-1], REGISTER)
    raise ValueError(f"no readings of {' or '.join(sent)} to learn from")


def without_quiet(wide: pd.DataFrame, modes: Modes) -> pd.DataFrame:
    """Return the readings without the quarters of an hour that maintenance, fault or offline touch.

    They are gaps to learn from, not zeros.
    """
    quarters = pd.DatetimeIndex(wide.index).as_unit("us").asi8 // QUARTER_US * QUARTER_US
    return wide[~modes.is_quiet(quarters, QUARTER_US - 1)]


def training_frame(machine: Machine, wide: pd.DataFrame) -> "tuple[pd.DataFrame, pd.Series[float]]":
    """Return drivers and energy metric as means of quarter hours, in the site's zone."""
    metric = energy_metric(wide.columns)
    drivers = driver_frame(wide)
    frame = drivers.assign(**{metric: wide[metric]}).tz_convert(machine.zone)
    quarters = frame.resample("15min").mean().dropna(subset=[metric])
    return quarters[list(drivers.columns)], quarters[metric]


def out_of_sample(model: EnergyBaseline) -> dict[str, float]:
    """Return the metrics a person reads, all but the first on data the fit has not seen."""
    report = model.report_
    return {
        "rows": float(report.n_rows),
        "r2": report.out_of_sample.r2,
        "cv_rmse": report.out_of_sample.cv_rmse,
        "nmbe": report.out_of_sample.nmbe,
    }
