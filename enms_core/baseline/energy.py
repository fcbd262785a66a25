"""The energy baseline: energy from hour of week, weather and production.

A ridge regression with a level for every slot of the week and temperature that bends at balance
temperatures (see `design`), its shape chosen by the error on blocks of days it has not seen (see
`choice`). Days that no load explains are left out first (see `faults`). In the end the level is
shifted so that energy adds up on the unseen blocks; the report shows their error before that. As in
OpenDSM, what limits its use is data: `warnings_` and `disqualification_`, with the underscore of
what scikit-learn's estimators learn.
"""

# ruff: noqa: N803, N806 - X is what scikit-learn calls it

import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from enms_core.baseline.calendar import FOLDS, Week, folds_of, holiday, week_of
from enms_core.baseline.checks import complete_rows, coverage, numeric, target_of
from enms_core.baseline.choice import Fold, choose
from enms_core.baseline.design import Design, Rows, busyness, groups_of, starting_design
from enms_core.baseline.faults import faulty_days
from enms_core.baseline.features import aware_index
from enms_core.baseline.interval import band, slot_scale
from enms_core.baseline.report import BaselineReport, Notice, equation, judged, notices
from enms_core.baseline.sums import Solution
from enms_core.baseline.usual import Usual, usual_of

Array = npt.NDArray[Any]  # of floats
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class EnergyBaseline(RegressorMixin, BaseEstimator):
    """Expected energy, or power, by hour of week and drivers.

    Every numeric column of X is a driver: `temperature_c` (or `temperature`, degC) with balance
    temperatures and its means over the hours before, one that is only ever 0 or 1 (a holiday, a
    mode of the operating calendar) by time of day, all others linear. X may have no columns: then
    the calendar alone predicts. With `holidays`, an ISO 3166 code such as "DE" or "DE-BY", the
    public holidays there are a driver too.

    >>> times = pd.date_range("2026-09-07", periods=28 * 24, freq="1h", tz="Europe/Berlin")
    >>> made = np.where((times.hour >= 6) & (times.hour < 22), 100.0 + 7 * (times.day % 5), 0.0)
    >>> X = pd.DataFrame({"production_per_h": made}, times)
    >>> model = EnergyBaseline().fit(X, 5.0 + 0.2 * made)
    >>> model.report_.equation
    'level of the hour of week (mean 5.0) + 0.2 * production_per_h'
    >>> model.predict(X.iloc[12:14]).round(1).tolist()
    [27.8, 27.8]
    >>> model.warnings_[0].name, model.warnings_[0].message
    ('less_than_a_year', '28 days are not a year: other seasons are unknown')
    """

    def __init__(self, holidays: str | None = None):
        self.holidays = holidays

    def fit(self, X: pd.DataFrame, y: "pd.Series[float] | Array") -> Self:
        """Learn from rows of drivers X (n, drivers) and energy y (n,).

        X has a tz-aware index in rising order; hours of the week are those of its zone. Rows with a
        missing value are left out and counted, and so are days with a fault. ValueError, its first
        words naming the fault: naive index, unordered index, wrong shape, column not numeric, too
        little data, flat series, holidays unknown.
        """
        index, target = aware_index(X), target_of(y, len(X))
        drivers = self._drivers(X)
        good = complete_rows(index, drivers, target)
        week = week_of(index[good])
        design = starting_design(self._names(X), week, week.place(index)[0], drivers)
        rows, target = design.rows(index, drivers)[good], target[good]
        sound = ~faulty_days(rows, target, week)
        self.feature_names_in_ = np.array([str(name) for name in X.columns], dtype=object)
        self.n_features_in_ = X.shape[1]
        self.usual_ = usual_of(week, rows.slot[sound], drivers[good][sound])
        used, own = rows[sound], target[sound]
        seen, unseen = self._learn(design, used, own)
        parameters = week.slots + len(self.solution_.columns)
        self.report_ = BaselineReport(
            n_rows=len(own),
            n_excluded=len(X) - len(own),
            n_faulty_days=len(np.unique(rows.day[~sound])),
            n_parameters=parameters,
            days=int(rows.day[-1] - rows.day[0]) + 1,
            coverage=coverage(index[good]),
            in_sample=judged(own, seen, parameters),
            out_of_sample=judged(own, unseen, 0),
            equation=equation(self.design_, self.solution_, used.slot),
            ranges=_ranges(design.names, drivers[good][sound]),
        )
        self.warnings_, self.disqualification_ = notices(self.report_)
        return self

    def predict(
        self, X: pd.DataFrame, return_interval: bool = False
    ) -> Array | tuple[Array, Array, Array]:
        """Return the mean (n,), or mean, lower and upper of the 95 % prediction interval.

        The index may be in any zone and order. A driver that is missing counts as its training
        mean, a temperature as the mean of its time of day, so that an expected value always exists.
        For hourly rows the mean temperature of the hours before is that of the rows given, so give
        those of a day more. All else of a row depends on nothing but the row.
        ValueError for a naive index, or other columns than in `fit`.
        """
        index, drivers = self._known(X)
        rows = self.design_.rows(index, drivers)
        mean = self._mean(rows)
        if not return_interval:
            return mean
        low, high = (mean + q * self.scale_[rows.slot] for q in self.quantiles_)
        return mean, np.maximum(low, self.floor_), high

    def explain(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return how each driver moved the prediction of the last row, the largest effect first.

        A row per driver that is known: its `value`, what is `usual` at this time of day on
        weekdays or at weekends, the `spread` (standard deviation) of that, and the `effect`: the
        prediction less the one with this driver alone put to its usual value. Effects of drivers
        that act together need not add up. The rows before the last are hours before.
        (One driver at a time: Robnik-Sikonja and Kononenko, IEEE Trans. Knowl. Data Eng. 20, 2008.)

        >>> times = pd.date_range("2026-09-07", periods=28 * 24, freq="1h", tz="Europe/Berlin")
        >>> made = np.where((times.hour >= 6) & (times.hour < 22), 100.0 + 7 * (times.day % 5), 0.0)
        >>> model = EnergyBaseline().fit(pd.DataFrame({"made": made}, times), 5.0 + 0.2 * made)
        >>> model.explain(pd.DataFrame({"made": [50.0]}, times[[12]])).round(1)
              value  usual  spread  effect
        made   50.0  114.0     9.9   -12.8
        """
        index, drivers = self._known(X)
        design, number = self.design_, drivers.shape[1]
        if not number:
            return pd.DataFrame(columns=["value", "usual", "spread", "effect"], dtype=float)
        rows = design.rows(index, drivers)[np.full(number + 1, -1)]
        kind = design.week.kind[rows.slot[0]]
        usual, spread = self.usual_.mean[:, kind], self.usual_.spread[:, kind]
        others = [i for i in range(number) if i != design.temperature]
        for place, i in enumerate(others):
            rows.drivers[place, i] = usual[i]
        if design.temperature >= 0:
            rows.temperature[design.temperature] = usual[design.temperature]
        mean = self._mean(rows)
        value, effect = drivers[-1], mean[-1] - mean[:-1]
        columns = {"value": value, "usual": usual, "spread": spread, "effect": effect}
        order = np.argsort(-np.abs(effect), kind="stable")
        found = pd.DataFrame(columns, index=design.names)
        return found.iloc[order].dropna(subset=["value"])

    def _mean(self, rows: Rows) -> Array:
        columns = np.vstack(self.design_.blocks(rows))
        # Not a matrix product: that of a row would depend on how many rows there are.
        bent = np.sum(self.solution_.columns[:, None] * columns, axis=0)
        mean: Array = bent + self.solution_.levels[rows.slot] + self.shift_
        return np.maximum(mean, self.floor_)

    def outside_range(self, X: pd.DataFrame) -> Bools:
        """Return which rows (n,) have a driver outside of the range that was learned from."""
        low, high = np.array(list(self.report_.ranges.values())).reshape(-1, 2).T
        _, drivers = self._known(X)
        outside: Bools = np.any((drivers < low) | (drivers > high), axis=1)
        return outside

    def to_json(self) -> str:
        """Return the fitted model; one read from it predicts exactly the same."""
        check_is_fitted(self)
        return json.dumps(
            {"holidays": self.holidays} | {k: _plain(getattr(self, k)) for k in LEARNED}
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        model = cls(raw["holidays"])
        for name, read in LEARNED.items():
            if name in raw:
                setattr(model, name, read(raw[name]))
        if "usual_" not in raw:  # learned before there was one
            model.usual_ = _usual_before(model.design_)
        return model

    def _names(self, X: pd.DataFrame) -> list[str]:
        return [*(str(name) for name in X.columns), *(["holiday"] if self.holidays else [])]

    def _drivers(self, X: pd.DataFrame) -> Array:
        drivers = numeric(X)
        if self.holidays is None or not len(X):
            return drivers
        return np.column_stack([drivers, holiday(aware_index(X), self.holidays)])

    def _known(self, X: pd.DataFrame) -> tuple[pd.DatetimeIndex, Array]:
        """Return index and drivers of rows to predict, in the order of `fit`."""
        check_is_fitted(self)
        index, known = aware_index(X), list(self.feature_names_in_)
        X = X.set_axis([str(name) for name in X.columns], axis=1)
        if sorted(X.columns) != sorted(known):
            raise ValueError(f"unknown columns: fitted on {known}, got {list(X.columns)}")
        return index, self._drivers(X[known].tz_convert(self.design_.week.zone))

    def _learn(self, design: Design, rows: Rows, y: Array) -> tuple[Array, Array]:
        """Return the predictions of the rows, and those from blocks without them (n,)."""
        week, fold = design.week, folds_of(rows.day)
        design = replace(
            design,
            busy=busyness(week, rows.slot, y),
            groups=groups_of(design, int(rows.day[-1] - rows.day[0]) + 1),
        )
        parts = [np.flatnonzero(fold == k) for k in range(FOLDS)]
        parts = [part[np.argsort(rows.slot[part], kind="stable")] for part in parts]
        choice = choose(design, [Fold(rows[part], y[part]) for part in parts])
        order = np.concatenate(parts)
        self.design_, self.alpha_, self.solution_ = choice.design, choice.alpha, choice.found
        self.floor_ = 0.0 if y.min() >= 0.0 else -np.inf
        seen, unseen = np.empty((2, len(y)))
        seen[order], unseen[order] = choice.seen, choice.unseen
        off = y - np.maximum(unseen, self.floor_)
        self.shift_ = float(off.mean())
        self.scale_ = slot_scale(off, rows.slot, week.slots)
        self.quantiles_ = band(off - self.shift_, self.scale_[rows.slot])
        return np.maximum(seen + self.shift_, self.floor_), y - off


def _ranges(names: list[str], drivers: Array) -> dict[str, tuple[float, float]]:
    ends = np.column_stack([drivers.min(axis=0), drivers.max(axis=0)]).tolist()
    return {name: (low, high) for name, (low, high) in zip(names, ends, strict=True)}


def _plain(value: Any) -> Any:
    """Return a fitted attribute as JSON can hold it."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def _read_design(raw: dict[str, Any]) -> Design:
    week, busy = Week(**raw["week"]), np.array(raw["busy"])
    usual = np.array(raw["usual"], dtype=float).reshape(-1, week.per_day)
    return Design(**(raw | {"week": week, "busy": busy, "usual": usual}))


def _usual_before(design: Design) -> Usual:
    """Return what a design knows: the mean of every driver, by time of day for the temperature."""
    mean = np.tile(design.usual, 2)
    return Usual(mean, np.zeros_like(mean))


def _read_usual(raw: dict[str, Any]) -> Usual:
    parts = (np.array(raw[name], dtype=float) for name in ("mean", "spread"))
    return Usual(*parts)


def _read_solution(raw: dict[str, Any]) -> Solution:
    return Solution(np.array(raw["levels"]), np.array(raw["columns"]))


def _read_notices(raw: list[dict[str, Any]]) -> list[Notice]:
    return [Notice(**notice) for notice in raw]


# What `fit` learns, and how to read it from JSON.
LEARNED: dict[str, Callable[[Any], Any]] = {
    "feature_names_in_": lambda names: np.array(names, dtype=object),
    "n_features_in_": int,
    "usual_": _read_usual,
    "design_": _read_design,
    "alpha_": float,
    "solution_": _read_solution,
    "shift_": float,
    "floor_": float,
    "scale_": np.array,
    "quantiles_": np.array,
    "report_": BaselineReport.read,
    "warnings_": _read_notices,
    "disqualification_": _read_notices,
}
