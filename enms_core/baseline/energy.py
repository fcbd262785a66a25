"""The energy baseline: energy from hour of week, weather and production.

A change-point regression (ASHRAE Guideline 14-2014, annex D; Kissock, Haberl and Claridge, ASHRAE
Transactions 109, 2003) with a level for every hour, or half hour, of the week, shrunk
towards the mean. Robust by iterated Huber weights (Huber, Ann. Math. Stat. 35, 1964). Everything is
solved from normal equations in which the calendar block is diagonal.
"""

# ruff: noqa: N803, N806 - X is what scikit-learn calls it

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin

from enms_core.baseline.features import aware_index

Array = npt.NDArray[Any]  # of floats
Ints = npt.NDArray[np.int64]

WEEK_MINUTES = 7 * 24 * 60
MONDAY_MINUTES = 3 * 24 * 60  # 1970-01-01 was a Thursday
SLOT_MINUTES = (60, 30)
ALPHAS = (1.0, 4.0, 16.0, 64.0)  # rows of the overall mean that each slot is mixed with
FIRST_ALPHA = 4.0  # while the balance temperatures are chosen
DRIVER_RIDGE = 1e-6  # of the rows, on standardised drivers: only against collinear ones
KNOTS = 6  # balance temperatures tried, even between the 10 % and 90 % quantiles
FOLDS = 8  # at most; each is a run of whole weeks (of days in less than four weeks)
HUBER, PASSES = 4.0, 3  # high: working hours are skewed, and energy must add up
LEAST_DAYS, LEAST_ROWS, LEAST_COVERAGE = 7, 100, 0.5
TEMPERATURE = "temperature_c"
CONFIDENCE = (0.025, 0.975)


@dataclass(frozen=True)
class Fit:
    """How well predictions fit, after ASHRAE Guideline 14-2014, section 4: fractions, not percent.

    cv_rmse = sqrt(sum((y - p)^2) / (n - k)) / mean(y)
    and nmbe = sum(y - p) / (n - k) / mean(y) with k parameters, 0 where the
    rows were not fitted. They are NaN where the mean of y is zero.
    """

    r2: float
    cv_rmse: float
    nmbe: float


@dataclass(frozen=True)
class BaselineReport:
    """What a fit was made of, and how far it can be trusted."""

    n_rows: int  # used
    n_excluded: int  # with a missing value
    coverage: float  # rows used as a share of those the span could hold
    in_sample: Fit
    out_of_sample: Fit  # each run of weeks predicted from the others
    equation: str
    ranges: dict[str, tuple[float, float]]  # of the drivers in training


@dataclass(frozen=True)
class _Term:
    """A column of the regression: a driver, or the part of it above or below a knot."""

    driver: str
    side: str = ""  # "", "above", "below"
    knot: float = 0.0

    def column(self, values: Array) -> Array:
        if self.side == "above":
            return np.maximum(values - self.knot, 0.0)
        return np.maximum(self.knot - values, 0.0) if self.side == "below" else values

    def __str__(self) -> str:
        if not self.side:
            return self.driver
        pair = (self.driver, f"{self.knot:.1f}")
        left, right = pair if self.side == "above" else pair[::-1]
        return f"max(0, {left} - {right})"


@dataclass
class _Solution:
    """Coefficients of the terms and levels of the slots; `intercept` is their weighted mean."""

    intercept: float
    terms: Array
    slots: Array


@dataclass
class _Sums:
    """Weighted sums of a set of rows, all that the normal equations need; sets add and subtract."""

    weight: Array  # (slots,)
    target: Array  # (slots,)
    columns: Array  # (slots, terms)
    gram: Array  # (terms, terms)
    cross: Array  # (terms,)
    squares: float

    @classmethod
    def of(cls, columns: Array, slot: Ints, y: Array, w: Array, slots: int) -> Self:
        weighted = columns * w[:, None]
        by_slot = [np.bincount(slot, c, slots) for c in weighted.T]
        return cls(
            np.bincount(slot, w, slots),
            np.bincount(slot, w * y, slots),
            np.array(by_slot).T.reshape(slots, columns.shape[1]),
            weighted.T @ columns,
            weighted.T @ y,
            float(w @ (y * y)),
        )

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(
            *(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    def __sub__(self, other: "_Sums") -> "_Sums":
        return _Sums(
            *(a - b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    def pick(self, terms: Sequence[int]) -> "_Sums":
        """Return the sums with these terms only."""
        at = list(terms)
        return _Sums(
            self.weight,
            self.target,
            self.columns[:, at],
            self.gram[np.ix_(at, at)],
            self.cross[at],
            self.squares,
        )

    def solve(self, alpha: float) -> _Solution:
        """Solve for intercept, terms and slots, `alpha` on the slots, eliminating these first."""
        total = max(float(self.weight.sum()), 1e-12)
        fixed = np.vstack([self.weight, self.columns.T])  # intercept and terms, by slot
        gram = np.block(
            [
                [np.array([[total]]), self.columns.sum(axis=0)[None, :]],
                [self.columns.sum(axis=0)[:, None], self.gram],
            ]
        )
        right = np.concatenate([[self.target.sum()], self.cross])
        shrink = 1.0 / (self.weight + alpha)
        ridge = np.full(len(right), DRIVER_RIDGE * total)
        ridge[0] = 1e-9
        gram = gram - (fixed * shrink) @ fixed.T + np.diag(ridge)
        solved = np.linalg.solve(gram, right - fixed @ (shrink * self.target))
        slots = shrink * (self.target - solved @ fixed)
        return _Solution(float(solved[0]), solved[1:], slots)

    def error(self, found: _Solution) -> float:
        """Return the weighted sum of squared errors of a solution on these rows."""
        level = found.intercept + found.slots
        fit = self.target @ level + self.cross @ found.terms
        own = self.weight @ level**2 + 2 * level @ (self.columns @ found.terms)
        return float(self.squares - 2 * fit + own + found.terms @ self.gram @ found.terms)


class EnergyBaseline(RegressorMixin, BaseEstimator):
    """Expected energy, or power, by hour of week and drivers.

    Every numeric column of X is a driver: `temperature_c` with balance temperatures where they
    predict better, all others linear. X may have no columns: then the calendar alone predicts.

    >>> times = pd.date_range("2026-09-07", periods=28 * 24, freq="1h", tz="Europe/Berlin")
    >>> made = np.where((times.hour >= 6) & (times.hour < 22), 100.0 + 7 * (times.day % 5), 0.0)
    >>> X = pd.DataFrame({"production_per_h": made}, times)
    >>> model = EnergyBaseline().fit(X, 5.0 + 0.2 * made)
    >>> model.report_.equation
    'level of the hour of week (mean 5.0) + 0.2 * production_per_h'
    >>> model.predict(X.iloc[12:14]).round(1).tolist()
    [27.8, 27.8]
    """

    def fit(self, X: pd.DataFrame, y: "pd.Series[float] | Array") -> Self:
        """Learn from rows of drivers X (n, drivers) and energy y (n,).

        X has a tz-aware index in rising order; hours of the week are those of its zone.
        Rows with a missing value are left out and counted. ValueError, its first words naming the
        fault: naive index, unordered index, wrong shape, column not numeric, too little data, flat
        series.
        """
        index = aware_index(X)
        drivers = _numeric(X)
        target = np.asarray(y, dtype=float)
        if target.shape != (len(X),):
            raise ValueError(f"wrong shape: y has shape {target.shape}, X has {len(X)} rows")
        good = np.isfinite(target) & np.isfinite(drivers).all(axis=1)
        coverage = _checked(index, good, target)
        self.columns_ = [str(name) for name in X.columns]
        self.zone_ = str(index.tz)
        drivers, target, used = drivers[good], target[good], index[good]
        self._center(drivers, target)
        folds = _folds(used)
        self._choose(drivers, target, used, folds)
        self._learn(drivers, target, used, folds)
        self._describe(drivers, target, used, len(X), coverage)
        return self

    def predict(
        self, X: pd.DataFrame, return_interval: bool = False
    ) -> Array | tuple[Array, Array, Array]:
        """Return the mean (n,), or mean, lower and upper of the 95 % prediction interval.

        The index may be in any zone. A driver that is missing counts as its training mean, so that
        an expected value always exists. ValueError for a naive index, or other columns than in
        `fit`.
        """
        index = aware_index(X)
        names = [str(name) for name in X.columns]
        if names != self.columns_:
            if sorted(names) != sorted(self.columns_):
                raise ValueError(f"unknown columns: fitted on {self.columns_}, got {names}")
            X = X[self.columns_]
        drivers = _numeric(X)
        drivers = np.where(np.isfinite(drivers), drivers, self.means_)
        slot = _slots(index, self.zone_, self.slot_minutes_)
        mean = self._mean(drivers, slot)
        if not return_interval:
            return mean
        low, high = (mean + q * self.scale_[slot] for q in self.quantiles_)
        return mean, np.maximum(low, self.floor_), high

    def to_json(self) -> str:
        """Return the fitted model; one read from it predicts exactly the same."""
        state = {name: getattr(self, name) for name in _LEARNED}
        state = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in state.items()}
        state["terms_"] = [asdict(term) for term in self.terms_]
        state["report_"] = asdict(self.report_)
        return json.dumps(state)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        model = cls()
        for name in _LEARNED:
            setattr(model, name, np.array(raw[name], float) if name in _ARRAYS else raw[name])
        model.terms_ = [_Term(**term) for term in raw["terms_"]]
        model.report_ = _read_report(raw["report_"])
        return model

    def _center(self, drivers: Array, target: Array) -> None:
        self.means_ = drivers.mean(axis=0)
        self.floor_ = 0.0 if target.min() >= 0.0 else -np.inf

    def _matrix(self, drivers: Array, terms: Sequence[_Term]) -> Array:
        at = {name: i for i, name in enumerate(self.columns_)}
        columns = [term.column(drivers[:, at[term.driver]]) for term in terms]
        return np.column_stack(columns) if columns else np.empty((len(drivers), 0))

    def _choose(self, drivers: Array, y: Array, index: pd.DatetimeIndex, folds: Ints) -> None:
        """Choose balance temperatures, slot length and shrinkage by blocked out-of-sample error."""
        everything = self._candidates(drivers)
        columns = _standardised(self._matrix(drivers, everything))[0]
        lengths = _slot_choices(index)
        slot = _slots(index, self.zone_, lengths[0])
        straight = [i for i, term in enumerate(everything) if not term.side]
        weights = _robust(columns[:, straight], slot, y, FIRST_ALPHA, lengths[0])[1]
        parts = _fold_sums(columns, slot, y, weights, lengths[0], folds)
        picks = self._subsets(everything)
        best = min(picks, key=lambda pick: _blocked([p.pick(pick) for p in parts], FIRST_ALPHA))
        errors: dict[tuple[int, float], float] = {}
        for length in lengths:
            slot = _slots(index, self.zone_, length)
            parts = _fold_sums(columns[:, best], slot, y, weights, length, folds)
            errors |= {(length, alpha): _blocked(parts, alpha) for alpha in ALPHAS}
        self.slot_minutes_, self.alpha_ = min(errors, key=lambda choice: errors[choice])
        self.terms_ = [everything[i] for i in best]

    def _candidates(self, drivers: Array) -> list[_Term]:
        terms = [_Term(name) for name in self.columns_]
        if TEMPERATURE in self.columns_:
            values = drivers[:, self.columns_.index(TEMPERATURE)]
            low, high = np.quantile(values, [0.1, 0.9])
            knots = np.linspace(low, high, KNOTS).tolist() if high - low > 1.0 else []
            terms += [_Term(TEMPERATURE, side, k) for side in ("below", "above") for k in knots]
        return terms

    def _subsets(self, terms: Sequence[_Term]) -> Iterator[list[int]]:
        """Yield the other drivers with a straight temperature, one hinge, or one on each side."""
        temperature = [i for i, t in enumerate(terms) if t.driver == TEMPERATURE]
        base = [i for i in range(len(terms)) if i not in temperature]
        below = [i for i in temperature if terms[i].side == "below"]
        above = [i for i in temperature if terms[i].side == "above"]
        yield base + [i for i in temperature if not terms[i].side]
        yield from ([*base, i] for i in chain(below, above))
        for i in below:
            yield from ([*base, i, j] for j in above if terms[j].knot >= terms[i].knot)

    def _learn(self, drivers: Array, y: Array, index: pd.DatetimeIndex, folds: Ints) -> None:
        raw = self._matrix(drivers, self.terms_)
        columns, center, spread = _standardised(raw)
        slot = _slots(index, self.zone_, self.slot_minutes_)
        found, _ = _robust(columns, slot, y, self.alpha_, self.slot_minutes_)
        self.coefficients_ = found.terms / spread
        self.intercept_ = found.intercept - float(self.coefficients_ @ center)
        self.slots_ = found.slots
        self.unseen_ = np.full(len(y), np.nan)  # each row predicted from the other folds
        for fold in range(int(folds.max()) + 1):
            test, train = folds == fold, folds != fold
            part, _ = _robust(
                columns[train], slot[train], y[train], self.alpha_, self.slot_minutes_
            )
            self.unseen_[test] = _apply(part, columns[test], slot[test])
        self.unseen_ = np.maximum(self.unseen_, self.floor_)
        residual = y - self.unseen_
        self.scale_ = _slot_scale(residual, slot, len(self.slots_))
        self.quantiles_ = np.quantile(residual / self.scale_[slot], CONFIDENCE)

    def _describe(
        self, drivers: Array, y: Array, index: pd.DatetimeIndex, rows: int, coverage: float
    ) -> None:
        slot = _slots(index, self.zone_, self.slot_minutes_)
        parameters = 1 + len(self.terms_) + len(np.unique(slot))
        ranges = zip(drivers.min(axis=0).tolist(), drivers.max(axis=0).tolist(), strict=True)
        self.report_ = BaselineReport(
            n_rows=len(y),
            n_excluded=rows - len(y),
            coverage=coverage,
            in_sample=_fit(y, self._mean(drivers, slot), parameters),
            out_of_sample=_fit(y, self.unseen_, 0),
            equation=self._equation(),
            ranges=dict(zip(self.columns_, ranges, strict=True)),
        )
        del self.unseen_

    def _mean(self, drivers: Array, slot: Ints) -> Array:
        mean = self.intercept_ + self.slots_[slot]
        if self.terms_:
            mean = mean + self._matrix(drivers, self.terms_) @ self.coefficients_
        return np.maximum(mean, self.floor_)

    def _equation(self) -> str:
        hour = "hour" if self.slot_minutes_ == 60 else "half hour"
        text = f"level of the {hour} of week (mean {self.intercept_:.1f})"
        for term, c in zip(self.terms_, self.coefficients_, strict=True):
            text += f" {'-' if c < 0 else '+'} {abs(c):.3g} * {term}"
        return text


_ARRAYS = ("means_", "coefficients_", "slots_", "scale_", "quantiles_")
_LEARNED = (*_ARRAYS, "columns_", "zone_", "floor_", "intercept_", "slot_minutes_", "alpha_")


def _read_report(raw: dict[str, Any]) -> BaselineReport:
    fits = {name: Fit(**raw[name]) for name in ("in_sample", "out_of_sample")}
    ranges = {name: (low, high) for name, (low, high) in raw["ranges"].items()}
    return BaselineReport(**(raw | fits | {"ranges": ranges}))


def _numeric(X: pd.DataFrame) -> Array:
    for name, kind in X.dtypes.items():
        if not pd.api.types.is_numeric_dtype(kind):
            raise ValueError(f"column not numeric: {name!r} is {kind}; drivers must be numbers")
    return X.to_numpy(dtype=float, na_value=np.nan)


def _checked(index: pd.DatetimeIndex, good: npt.NDArray[np.bool_], y: Array) -> float:
    """Return the coverage; raise ValueError where nothing can be learned."""
    if not index.is_monotonic_increasing:
        raise ValueError("unordered index: sort the rows by time")
    used = index[good]
    days = used.normalize().nunique()
    if days < LEAST_DAYS or len(used) < LEAST_ROWS:
        raise ValueError(
            f"too little data: {len(used)} complete rows on {days} days; "
            f"it takes {LEAST_ROWS} on {LEAST_DAYS}"
        )
    spacing = np.median(np.diff(used.as_unit("us").asi8))
    span = (used[-1] - used[0]).total_seconds() * 1e6 + spacing
    coverage = min(1.0, float(len(used) * spacing / span))
    if coverage < LEAST_COVERAGE:
        raise ValueError(
            f"too little data: rows cover {coverage:.0%} of their span; "
            f"it takes {LEAST_COVERAGE:.0%}"
        )
    values = y[good]
    if np.ptp(values) <= 1e-9 * max(1.0, float(np.abs(values).max())):
        raise ValueError(f"flat series: every value is {values[0]:g}; there is nothing to learn")
    return coverage


def _slots(index: pd.DatetimeIndex, zone: str, minutes: int) -> Ints:
    """Return each row's slot of the week in the zone of the site; Monday 00:00 is slot 0."""
    local = index if str(index.tz) == zone else index.tz_convert(zone)
    clock = local.tz_localize(None).as_unit("s").asi8 // 60
    slots: Ints = (clock + MONDAY_MINUTES) % WEEK_MINUTES // minutes
    return slots


def _slot_choices(index: pd.DatetimeIndex) -> list[int]:
    spacing = np.median(np.diff(index.as_unit("us").asi8)) / 60e6
    return [minutes for minutes in SLOT_MINUTES if minutes >= spacing] or [SLOT_MINUTES[0]]


def _folds(index: pd.DatetimeIndex) -> Ints:
    """Number contiguous runs of whole weeks, or of days in less than four weeks, from 0 on."""
    days = index.tz_localize(None).as_unit("s").asi8 // 86400
    days = days - days[0]
    blocks = days // 7 if days[-1] >= 27 else days
    count = min(FOLDS, int(blocks[-1]) + 1)
    folds: Ints = np.unique(blocks * count // (int(blocks[-1]) + 1), return_inverse=True)[1]
    return folds


def _standardised(columns: Array) -> tuple[Array, Array, Array]:
    center = columns.mean(axis=0)
    spread = columns.std(axis=0)
    spread = np.where(spread > 1e-12 * (1.0 + np.abs(center)), spread, 1.0)
    return (columns - center) / spread, center, spread


def _apply(found: _Solution, columns: Array, slot: Ints) -> Array:
    result: Array = found.intercept + found.slots[slot] + columns @ found.terms
    return result


def _robust(
    columns: Array, slot: Ints, y: Array, alpha: float, minutes: int
) -> tuple[_Solution, Array]:
    """Solve with Huber weights, residuals measured by the scale of their slot."""
    slots = WEEK_MINUTES // minutes
    weights = np.ones(len(y))
    found = _Sums.of(columns, slot, y, weights, slots).solve(alpha)
    for _ in range(PASSES):
        residual = y - _apply(found, columns, slot)
        off = np.abs(residual) / _slot_scale(residual, slot, slots)[slot]
        weights = HUBER / np.maximum(off, HUBER)
        found = _Sums.of(columns, slot, y, weights, slots).solve(alpha)
    return found, weights


def _slot_scale(residual: Array, slot: Ints, slots: int) -> Array:
    """Return a standard deviation by slot: the mean absolute residual, shrunk to that of all."""
    size = np.abs(residual)
    overall = max(float(size.mean()), 1e-9)
    near = np.minimum(size, 4 * np.bincount(slot, size, slots)[slot] / np.bincount(slot)[slot])
    count = np.bincount(slot, minlength=slots)
    mean: Array = (np.bincount(slot, near, slots) + 4 * overall) / (count + 4)
    return 1.2533 * mean


def _fold_sums(
    columns: Array, slot: Ints, y: Array, w: Array, minutes: int, folds: Ints
) -> list[_Sums]:
    slots = WEEK_MINUTES // minutes
    return [
        _Sums.of(columns[rows], slot[rows], y[rows], w[rows], slots)
        for rows in (folds == fold for fold in range(int(folds.max()) + 1))
    ]


def _blocked(parts: list[_Sums], alpha: float) -> float:
    """Return the error of every fold predicted from the others."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return sum(part.error((total - part).solve(alpha)) for part in parts)


def _fit(y: Array, predicted: Array, parameters: int) -> Fit:
    residual = y - predicted
    mean, free = float(y.mean()), max(len(y) - parameters, 1)
    squares = float(residual @ residual)
    r2 = 1.0 - squares / float(((y - mean) ** 2).sum())
    if mean == 0.0:
        return Fit(r2, float("nan"), float("nan"))
    return Fit(r2, (squares / free) ** 0.5 / mean, float(residual.sum()) / free / mean)
