"""Detectors of others, in the shape that the judges ask for.

On one series: `score(series)["surprise"]`, causally. On loads: a function of (load, temperature,
where training ends) that gives a surprise per hour. On several sensors: `fit(frame)` and
`predict(frame)`, 1 where abnormal.
"""

import math

import numpy as np
import pandas as pd

WINDOW, STEP = 6400, 100  # of NAB's windowed Gaussian
PROBATION = 0.15, 750  # of a series of NAB: what may be learned from, a share and at most
MEMORY = 24  # readings in the rolling columns


class WindowedGaussian:
    """NAB's baseline: how far out a value is in the normal distribution of the last 6400.

    After Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms: the Numenta Anomaly
    Benchmark" (ICMLA 2015): the score is one less the Gaussian tail probability; once the window is
    full it moves on by 100 readings at a time.
    """

    def score(self, series: pd.Series) -> pd.DataFrame:
        values = series.to_numpy(float)
        surprise = np.zeros(len(values))
        first, last = 0, 0
        mean, spread = 0.0, 1.0
        for at, value in enumerate(values):
            if at:
                surprise[at] = 1 - 0.5 * math.erfc(abs(value - mean) / spread / math.sqrt(2))
            if last - first < WINDOW:
                last = at + 1
            elif at + 1 - last == STEP:
                first, last = first + STEP, at + 1
            else:
                continue
            mean, spread = values[first:last].mean(), values[first:last].std() or 1e-6
        return pd.DataFrame({"surprise": surprise}, series.index)


class RiverGaussian:
    """river's GaussianScorer as it comes: a normal distribution of all before."""

    def score(self, series: pd.Series) -> pd.DataFrame:
        from river.anomaly import GaussianScorer

        scorer, surprise = GaussianScorer(), []
        for value in series.tolist():
            surprise.append(scorer.score_one(None, value))
            scorer.learn_one(None, value)
        return pd.DataFrame({"surprise": surprise}, series.index)


class RiverTrees:
    """river's HalfSpaceTrees as they come, on columns scaled to what was seen so far."""

    def score(self, series: pd.Series) -> pd.DataFrame:
        return pd.DataFrame({"surprise": _half_space(series.to_frame("value"))}, series.index)


class Ecod:
    """PyOD's ECOD as it comes, fitted on NAB's probation."""

    def score(self, series: pd.Series) -> pd.DataFrame:
        known = int(min(PROBATION[0] * len(series), PROBATION[1]))
        return pd.DataFrame({"surprise": _scored(_ecod(), _columns(series), known)}, series.index)


class IsolationForest:
    """PyOD's IForest as it comes, fitted on NAB's probation."""

    def score(self, series: pd.Series) -> pd.DataFrame:
        known = int(min(PROBATION[0] * len(series), PROBATION[1]))
        return pd.DataFrame({"surprise": _scored(_forest(), _columns(series), known)}, series.index)


class EcodOfSensors:
    """PyOD's ECOD as it comes: one training row in ten is called abnormal."""

    def fit(self, frame: pd.DataFrame):
        self.model_ = _ecod().fit(frame.to_numpy())
        return self

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return self.model_.predict(frame.to_numpy())


class ForestOfSensors(EcodOfSensors):
    """PyOD's IForest as it comes: one training row in ten is called abnormal."""

    def fit(self, frame: pd.DataFrame):
        self.model_ = _forest().fit(frame.to_numpy())
        return self


def windowed_gaussian(load: pd.Series, _temperature: object, _train_end: int) -> np.ndarray:
    return WindowedGaussian().score(load)["surprise"].to_numpy()


def river_gaussian(load: pd.Series, _temperature: object, _train_end: int) -> np.ndarray:
    return RiverGaussian().score(load)["surprise"].to_numpy()


def river_trees(load: pd.Series, temperature: pd.Series | None, _train_end: int) -> np.ndarray:
    hours = {"load": load, "hour": load.index.hour, "day": load.index.day_of_week}
    return _half_space(pd.DataFrame(hours | _known(temperature)))


def ecod(load: pd.Series, temperature: pd.Series | None, train_end: int) -> np.ndarray:
    return _scored(_ecod(), _load_columns(load, temperature), train_end)


def isolation_forest(load: pd.Series, temperature: pd.Series | None, train_end: int) -> np.ndarray:
    return _scored(_forest(), _load_columns(load, temperature), train_end)


def _half_space(frame: pd.DataFrame) -> np.ndarray:
    from river.anomaly import HalfSpaceTrees
    from river.preprocessing import MinMaxScaler

    model, surprise = MinMaxScaler() | HalfSpaceTrees(seed=0), []
    for row in frame.to_dict("records"):
        surprise.append(model.score_one(row))
        model.learn_one(row)
    return np.array(surprise)


def _ecod():
    from pyod.models.ecod import ECOD

    return ECOD()


def _forest():
    from pyod.models.iforest import IForest

    return IForest(random_state=0)


def _scored(model, columns: pd.DataFrame, known: int) -> np.ndarray:
    table = columns.to_numpy()
    return model.fit(table[:known]).decision_function(table)


def _columns(series: pd.Series) -> pd.DataFrame:
    recent = series.rolling(MEMORY, min_periods=1)
    columns = {"value": series, "change": series.diff(), "mean": recent.mean()}
    return pd.DataFrame(columns | {"spread": recent.std()}).fillna(0.0)


def _load_columns(load: pd.Series, temperature: pd.Series | None) -> pd.DataFrame:
    before = {"day": load.diff(24), "week": load.diff(168)}
    hours = {"hour": load.index.hour, "weekday": load.index.day_of_week}
    return _columns(load).assign(**before, **hours, **_known(temperature)).fillna(0.0)


def _known(temperature: pd.Series | None) -> dict[str, pd.Series]:
    return {} if temperature is None else {"temperature": temperature}
