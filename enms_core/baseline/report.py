"""What a fit was made of, how well it predicts, and what limits its use."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from enms_core.baseline.design import VARIED, Design, main_terms
from enms_core.baseline.sums import Solution

Array = npt.NDArray[Any]  # of floats
Ints = npt.NDArray[np.int64]
CV_RMSE_LIMIT, NMBE_LIMIT = 0.30, 0.10  # ASHRAE Guideline 14-2014, hourly data
GOOD_COVERAGE = 0.9  # what OpenDSM asks for
YEAR_DAYS = 330


@dataclass(frozen=True)
class Fit:
    """How well predictions fit, after ASHRAE Guideline 14-2014, section 4: fractions, not percent.

    cv_rmse = sqrt(sum((y - p)^2) / (n - k)) / mean(y)
    and nmbe = sum(y - p) / (n - k) / mean(y) with k parameters, 0 where the
    rows were not fitted. They are NaN where the mean of y is zero; load that feeds back counts by
    the size of its mean in cv_rmse.
    """

    r2: float
    cv_rmse: float
    nmbe: float
    autocorrelation: float  # of the residuals of rows that follow each other
    guideline_14: bool  # cv_rmse at most 30 % and nmbe at most 10 %, the limits for hourly data


@dataclass(frozen=True)
class Notice:
    """Something that limits the use of a model, as data: name, sentence and figures."""

    name: str
    message: str
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BaselineReport:
    """What a fit was made of, and how far it can be trusted."""

    n_rows: int  # used
    n_excluded: int  # with a missing value, or on a faulty day
    n_faulty_days: int
    n_parameters: int
    days: int  # from the first to the last
    coverage: float  # rows used as a share of those the span could hold
    in_sample: Fit
    out_of_sample: Fit  # each block of days predicted from the others
    equation: str
    ranges: dict[str, tuple[float, float]]  # of the drivers in training

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Self:
        """Read what `asdict` and JSON made of a report."""
        fits = {name: Fit(**raw[name]) for name in ("in_sample", "out_of_sample")}
        ranges = {name: (low, high) for name, (low, high) in raw["ranges"].items()}
        return cls(**(raw | fits | {"ranges": ranges}))


def judged(y: Array, predicted: Array, parameters: int) -> Fit:
    """Judge predictions of rows in the order of time."""
    residual = y - predicted
    mean, free = float(y.mean()), max(len(y) - parameters, 1)
    squares, spread = float(residual @ residual), float(((y - mean) ** 2).sum())
    r2 = 1.0 - squares / spread if spread else float("nan")
    follows = _autocorrelation(residual)
    if abs(mean) <= 1e-9 * float(np.abs(y).max()):
        return Fit(r2, float("nan"), float("nan"), follows, False)
    cv_rmse, nmbe = (squares / free) ** 0.5 / abs(mean), float(residual.sum()) / free / mean
    passed = cv_rmse <= CV_RMSE_LIMIT and abs(nmbe) <= NMBE_LIMIT
    return Fit(r2, cv_rmse, nmbe, follows, passed)


def equation(design: Design, found: Solution, slot: Ints) -> str:
    """Return the main effects as a formula, and in words what they vary with.

    `slot` (n,) is that of the rows learned from.
    """
    called = {1: "day", 24: "hour", 48: "half hour"}[design.week.per_day]
    mean = found.columns[0] + found.levels[slot].mean()
    text = f"level of the {called} of week (mean {mean:.1f})"
    for term, at in main_terms(design):
        c = found.columns[at]
        text += f" {'-' if c < 0 else '+'} {abs(c):.3g} * {term}"
    varied = [group for group in design.groups if group in VARIED]
    return f"{text}; varied by {', '.join(varied)}" if varied else text


def notices(report: BaselineReport) -> tuple[list[Notice], list[Notice]]:
    """Return warnings, and what disqualifies the model from proving savings."""
    warnings = []
    if report.coverage < GOOD_COVERAGE:
        share = report.coverage
        text = f"rows cover {share:.0%} of their span; {GOOD_COVERAGE:.0%} would be right"
        warnings.append(Notice("coverage", text, {"coverage": share, "limit": GOOD_COVERAGE}))
    if report.days < YEAR_DAYS:
        text = f"{report.days} days are not a year: other seasons are unknown"
        warnings.append(Notice("less_than_a_year", text, {"days": float(report.days)}))
    if report.n_faulty_days:
        text = f"{report.n_faulty_days} days were left out: no load explains them"
        warnings.append(Notice("faulty_days", text, {"days": float(report.n_faulty_days)}))
    return warnings, [n for n in _guideline(report.out_of_sample) if n is not None]


def _guideline(fit: Fit) -> list[Notice | None]:
    return [
        _beyond("cv_rmse", "CV(RMSE)", fit.cv_rmse, CV_RMSE_LIMIT),
        _beyond("nmbe", "NMBE", fit.nmbe, NMBE_LIMIT),
    ]


def _beyond(name: str, called: str, value: float, limit: float) -> Notice | None:
    if abs(value) <= limit:
        return None
    text = f"out-of-sample {called} is {value:.1%}; ASHRAE Guideline 14 asks for {limit:.0%}"
    return Notice(name, text, {name: value, "limit": limit})


def _autocorrelation(residual: Array) -> float:
    """Return the correlation of each residual with the one before it; NaN if they never vary."""
    off = residual - residual.mean()
    spread = float(off @ off)
    return float(off[1:] @ off[:-1]) / spread if spread else float("nan")
