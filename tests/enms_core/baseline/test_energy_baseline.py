# ruff: noqa: N803, N806 - X is what scikit-learn calls it
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from enms_core.baseline import EnergyBaseline
from enms_core.baseline.energy import _Sums

ZONE = "Europe/Berlin"


def plant(days=120, freq="1h", seed=1, start="2026-01-05"):
    """Drivers, the true mean (kW), and noisy power of an air-conditioned shop."""
    rng = np.random.default_rng(seed)
    times = pd.date_range(start, periods=days * (pd.Timedelta("1D") // pd.Timedelta(freq)),
                          freq=freq, tz=ZONE)  # fmt: skip
    day, hour = (
        np.arange(len(times)) * (pd.Timedelta(freq) / pd.Timedelta("1D")),
        times.hour.to_numpy(),
    )
    temperature = 12 + 11 * np.sin(day / 9) + 3 * np.sin(hour / 24 * 2 * np.pi)
    working = (times.day_of_week.to_numpy() < 5) & (hour >= 6) & (hour < 22)
    made = np.where(working, 400 + 60 * rng.normal(size=len(times)), 0.0)
    mean = 6 + 4 * working + 0.05 * made + 1.2 * np.maximum(0, temperature - 17)
    X = pd.DataFrame({"temperature_c": temperature, "production_per_h": made}, times)
    return X, mean, mean * rng.normal(1, 0.03, len(times))


@pytest.fixture(scope="module")
def fitted():
    X, mean, y = plant()
    return EnergyBaseline().fit(X, y), X, mean, y


def test_recovers_the_plant(fitted):
    model, X, mean, _ = fitted
    assert np.sqrt(np.mean((model.predict(X) - mean) ** 2)) < 0.03 * mean.mean()
    assert model.report_.out_of_sample.cv_rmse == pytest.approx(0.035, abs=0.01)
    assert abs(model.report_.in_sample.nmbe) < 0.005
    assert "production_per_h" in model.report_.equation
    assert "max(0, temperature_c - 1" in model.report_.equation


def test_metrics_are_those_of_the_guideline(fitted):
    model, X, _, y = fitted
    residual, k = y - model.predict(X), 1 + len(model.terms_) + 168
    fit = model.report_.in_sample
    assert fit.cv_rmse == pytest.approx(np.sqrt(residual @ residual / (len(y) - k)) / y.mean())
    assert fit.nmbe == pytest.approx(residual.sum() / (len(y) - k) / y.mean())
    assert fit.r2 == pytest.approx(1 - residual @ residual / ((y - y.mean()) ** 2).sum())


def test_interval_holds_95_percent_of_new_data(fitted):
    model, *_ = fitted
    X, _, y = plant(days=60, seed=2, start="2026-05-11")
    mean, lower, upper = model.predict(X, return_interval=True)
    assert (lower <= mean).all()
    assert (mean <= upper).all()
    assert ((y >= lower) & (y <= upper)).mean() == pytest.approx(0.95, abs=0.03)


def test_sums_solve_like_ridge_on_the_full_design():
    rng = np.random.default_rng(0)
    n, slots, alpha = 200, 5, 3.0
    columns, slot, y = rng.normal(size=(n, 2)), rng.integers(0, slots, n), rng.normal(5, 2, n)
    w = rng.uniform(0.2, 1.0, n)
    found = _Sums.of(columns, slot, y, w, slots).solve(alpha)
    design = np.hstack([np.ones((n, 1)), columns, np.eye(slots)[slot]])
    penalty = np.diag([0.0, 0, 0] + [alpha] * slots)
    slow = np.linalg.solve(design.T @ (w[:, None] * design) + penalty, design.T @ (w * y))
    fast = np.concatenate([[found.intercept], found.terms, found.slots])
    np.testing.assert_allclose(fast, slow, atol=1e-5)
    error = _Sums.of(columns, slot, y, w, slots).error(found)
    assert error == pytest.approx(w @ (y - design @ fast) ** 2)


def test_faults_in_training_hardly_matter():
    X, mean, y = plant()
    y[500:560] *= 3
    model = EnergyBaseline().fit(X, y)
    assert np.sqrt(np.mean((model.predict(X) - mean) ** 2)) < 0.05 * mean.mean()


def test_calendar_alone_predicts():
    X, _, y = plant()
    model = EnergyBaseline().fit(X[[]], y)
    assert model.predict(X.iloc[:3][[]]).shape == (3,)
    assert model.report_.ranges == {}
    assert 0.1 < model.report_.out_of_sample.cv_rmse < 0.4


def test_half_hours_are_used_where_they_help():
    times = pd.date_range("2026-01-05", periods=60 * 96, freq="15min", tz=ZONE)
    y = np.where(times.hour * 60 + times.minute >= 390, 50.0, 8.0)
    y = y + np.random.default_rng(0).normal(size=len(y))
    model = EnergyBaseline().fit(pd.DataFrame(index=times), y)
    assert model.slot_minutes_ == 30
    assert model.report_.out_of_sample.cv_rmse < 0.05


def test_hours_are_those_of_the_site(fitted):
    model, X, *_ = fitted
    np.testing.assert_array_equal(model.predict(X), model.predict(X.tz_convert("UTC")))


def test_missing_driver_counts_as_its_mean(fitted):
    model, X, *_ = fitted
    gone, mean = X.iloc[:5].copy(), X.iloc[:5].copy()
    gone["temperature_c"] = np.nan
    mean["temperature_c"] = X.temperature_c.mean()
    np.testing.assert_allclose(model.predict(gone), model.predict(mean))


def test_missing_rows_are_left_out_and_counted():
    X, _, y = plant()
    X.iloc[10:20, 0] = np.nan
    y[15:30] = np.nan
    report = EnergyBaseline().fit(X, y).report_
    assert (report.n_rows, report.n_excluded) == (len(y) - 20, 20)
    assert report.coverage == pytest.approx(1 - 20 / len(y))


def test_json_round_trip_predicts_the_same(fitted):
    model, X, *_ = fitted
    again = EnergyBaseline.from_json(model.to_json())
    for a, b in zip(model.predict(X, True), again.predict(X, True), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.report_ == model.report_
    assert not hasattr(clone(model), "report_")


def test_training_ignores_what_is_not_in_it(fitted):
    _, X, _, y = fitted
    part = EnergyBaseline().fit(X.iloc[:2000], y[:2000]).to_json()
    assert part == EnergyBaseline().fit(X.iloc[:2000].copy(), pd.Series(y[:2000])).to_json()


def naive(X, y):
    return X.tz_localize(None), y


def short(X, y):
    return X.iloc[:140], y[:140]


def sparse(X, y):
    return X, np.where(np.arange(len(y)) % 500 < 100, y, np.nan)


def flat(X, y):
    return X, np.full(len(y), 7.0)


def words(X, y):
    return X.assign(mode="idle"), y


def backwards(X, y):
    return X.iloc[::-1], y[::-1]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (naive, "naive index"),
        (short, "too little data"),
        (sparse, "too little data"),
        (flat, "flat series"),
        (words, "column not numeric"),
        (backwards, "unordered index"),
        (lambda X, y: (X, y[:-1]), "wrong shape"),
    ],
)
def test_faults_are_named(fault, reason):
    X, _, y = plant(days=60)
    with pytest.raises(ValueError, match=reason):
        EnergyBaseline().fit(*fault(X, y))


def test_other_columns_than_fitted_are_refused(fitted):
    model, X, *_ = fitted
    with pytest.raises(ValueError, match="unknown columns"):
        model.predict(X[["temperature_c"]])
    reordered = X[["production_per_h", "temperature_c"]]
    np.testing.assert_array_equal(model.predict(reordered), model.predict(X))
