"""Load forecasts of others, as `fit(y)` and `forecast(y, hours)` with mean, lower and upper (95 %).

The models of statsforecast are fitted anew at every origin on the weeks before it.
"""

import warnings

import numpy as np
import pandas as pd

DAY, WEEK = 24, 168
WEEKS = 8  # that a model is fitted on


class DayBefore:
    """The same hour of the day before; the band has held 95 % of its errors so far."""

    def fit(self, _y: pd.Series):
        return self

    def forecast(self, y: pd.Series, hours: int) -> pd.DataFrame:
        mean = y.to_numpy()[-DAY:][:hours]
        wide = y.diff(DAY).abs().quantile(0.95)
        return pd.DataFrame({"mean": mean, "lower": mean - wide, "upper": mean + wide})


class _Statsforecast:
    def fit(self, _y: pd.Series):
        return self

    def forecast(self, y: pd.Series, hours: int) -> pd.DataFrame:
        recent = y.to_numpy(float)[-WEEKS * WEEK :]
        with warnings.catch_warnings(action="ignore"):
            told = self._model().forecast(y=recent, h=hours, level=[95])
        columns = {"mean": "mean", "lower": "lo-95", "upper": "hi-95"}
        return pd.DataFrame({name: np.asarray(told[key]) for name, key in columns.items()})


class Ets(_Statsforecast):
    """AutoETS with a season of a day."""

    def _model(self):
        from statsforecast.models import AutoETS

        return AutoETS(season_length=DAY)


class Theta(_Statsforecast):
    """AutoTheta with a season of a day."""

    def _model(self):
        from statsforecast.models import AutoTheta

        return AutoTheta(season_length=DAY)


class Mstl(_Statsforecast):
    """MSTL with seasons of a day and a week, its trend by AutoETS."""

    def _model(self):
        from statsforecast.models import MSTL, AutoETS

        return MSTL([DAY, WEEK], trend_forecaster=AutoETS(model="ZZN"))


class MstlArima(_Statsforecast):
    """MSTL with seasons of a day and a week, its trend by AutoARIMA."""

    def _model(self):
        from statsforecast.models import MSTL, AutoARIMA

        return MSTL([DAY, WEEK], trend_forecaster=AutoARIMA())
