"""Energy baselines of others, as `fit(X, y)` and `predict(X)` (X: temperature in degC)."""

# ruff: noqa: N803, N806 - X is what scikit-learn calls it

import logging
import warnings
from datetime import timezone

import numpy as np
import pandas as pd

SEGMENTS = 6
OCCUPIED = 0.65  # share of the residuals of an hour of the week that are above the plain line
BALANCE = 10.0, 18.3  # degC (50 and 65 degF), of the line that tells occupied hours


class TimeOfWeekAndTemperature:
    """A level per hour of the week and a broken line in temperature, by least squares.

    After Mathieu et al., "Quantifying changes in building electricity use, with application to
    demand response" (IEEE Trans. Smart Grid 2, 2011): six segments of temperature; hours of the
    week that mostly lie above a plain line of heating and cooling degrees are occupied and have a
    temperature line of their own.
    """

    def fit(self, X: pd.DataFrame, y: pd.Series):
        known = (X["temperature"].notna() & y.notna()).to_numpy()
        X, y = X[known], y[known]
        temperature = X["temperature"].to_numpy()
        self.knots_ = np.linspace(temperature.min(), temperature.max(), SEGMENTS + 1)[1:-1]
        heat, cool = BALANCE
        line = [
            np.ones(len(y)),
            np.maximum(heat - temperature, 0),
            np.maximum(temperature - cool, 0),
        ]
        line = np.column_stack(line)
        above = y.to_numpy() > line @ np.linalg.lstsq(line, y.to_numpy(), rcond=None)[0]
        share = pd.Series(above).groupby(_hour_of_week(X)).mean()
        self.occupied_ = share.reindex(range(168), fill_value=0.0).to_numpy() > OCCUPIED
        self.weights_ = np.linalg.lstsq(self._design(X), y.to_numpy(), rcond=None)[0]
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return self._design(X) @ self.weights_

    def _design(self, X: pd.DataFrame) -> np.ndarray:
        hour, temperature = _hour_of_week(X), X["temperature"].to_numpy()
        bent = np.column_stack(
            [temperature, *(np.maximum(temperature - knot, 0) for knot in self.knots_)]
        )
        occupied = self.occupied_[hour][:, None]
        return np.hstack([np.eye(168)[hour], bent * occupied, bent * ~occupied])


class OpenDsm:
    """OpenDSM's hourly model with its default settings; NaN where it raises.

    It is given standard time all year: with 23- and 25-hour days it raises.
    """

    def fit(self, X: pd.DataFrame, y: pd.Series):
        logging.getLogger("eemeter").setLevel(logging.ERROR)
        from opendsm.eemeter import HourlyBaselineData, HourlyModel

        frame = _standard(X.assign(observed=y))
        try:
            with warnings.catch_warnings(action="ignore"):
                data = HourlyBaselineData(frame, is_electricity_data=True)
                self.model_ = HourlyModel().fit(data, ignore_disqualification=True)
        except Exception as error:  # noqa: BLE001 - whatever it raises is its result
            print(f"OpenDSM raises {type(error).__name__}: {str(error).splitlines()[0]}")
            self.model_ = None
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        if self.model_ is None:
            return np.full(len(X), np.nan)
        from opendsm.eemeter import HourlyReportingData

        frame = _standard(X)
        with warnings.catch_warnings(action="ignore"):
            data = HourlyReportingData(frame, is_electricity_data=True)
            found = self.model_.predict(data, ignore_disqualification=True)
        return found["predicted"].reindex(frame.index).to_numpy()


def _hour_of_week(X: pd.DataFrame) -> np.ndarray:
    return np.asarray(X.index.day_of_week * 24 + X.index.hour)


def _standard(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame in the zone's standard time, its temperature in degF."""
    standard = min(at.utcoffset() for at in frame.index)
    fahrenheit = frame.assign(temperature=frame["temperature"] * 1.8 + 32)
    return fahrenheit.tz_convert(timezone(standard))
