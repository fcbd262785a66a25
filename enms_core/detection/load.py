"""Baseline and detection together: hourly load judged against what weather and calendar explain."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from enms_core.baseline import EnergyBaseline
from enms_core.detection.stream import StreamDetector

LEAST_SHARE = 0.05  # of the mean load: nothing less is expected
OPEN_FOR = "24h"  # an episode is over when a whole day was normal again


def surprise_of_load(
    load: "pd.Series[float]", temperature: "pd.Series[float] | None", train_end: int
) -> npt.NDArray[np.float64]:
    """Return a surprise (-log10 of a tail probability) for every hour of `load` (n,).

    The baseline is fitted on the first `train_end` hours; the detector learns hour after hour, and
    nothing depends on later ones. Both work on square roots, which make the scatter of small and
    large loads alike (Bartlett, Supplement to the J. Royal Stat. Soc. 3, 1936). An hour belongs to
    the episode of the largest surprise of the last 24 hours: a day has to be normal again before it
    is over. `load` and `temperature` (degC; missing for no weather) share a tz-aware hourly
    index. Where the baseline refuses to be fitted the load is judged by itself.

    >>> times = pd.date_range("2026-01-05", periods=60 * 24, freq="1h", tz="UTC")
    >>> load = pd.Series(40.0 + 20.0 * (times.hour > 6), times)
    >>> load += np.random.default_rng(1).normal(size=len(load))
    >>> load.iloc[-50:-40] *= 1.5
    >>> surprise = surprise_of_load(load, None, 30 * 24)
    >>> bool(surprise[-50] > 10.0 > surprise[30 * 24 : -50].max())
    True
    """
    scores = StreamDetector().score(_root(load), _expected(load, temperature, train_end))
    held: pd.Series[float] = scores["surprise"].rolling(OPEN_FOR).max()
    return np.asarray(held, dtype=np.float64)


def _root(values: "pd.Series[float]") -> "pd.Series[float]":
    root: pd.Series[float] = values.clip(lower=0.0) ** 0.5
    return root


def _expected(
    load: "pd.Series[float]", temperature: "pd.Series[float] | None", train_end: int
) -> "pd.Series[float] | None":
    """Return the square root of what the baseline expects; None where it cannot be fitted."""
    drivers = pd.DataFrame(index=load.index)
    if temperature is not None:
        drivers["temperature_c"] = temperature.to_numpy(dtype=float)
    past = load.iloc[:train_end]
    try:
        baseline = EnergyBaseline().fit(drivers.iloc[:train_end], past)
    except ValueError:
        return None
    predicted = pd.Series(np.asarray(baseline.predict(drivers)), load.index)
    return _root(predicted.clip(lower=LEAST_SHARE * float(past.mean())))
