# ruff: noqa: N803, N806 - X is what scikit-learn calls it
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from enms_core.baseline import EnergyBaseline

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
    residual, k = y - model.predict(X), model.report_.n_parameters
    fit = model.report_.in_sample
    assert fit.cv_rmse == pytest.approx(np.sqrt(residual @ residual / (len(y) - k)) / y.mean())
    assert fit.nmbe == pytest.approx(residual.sum() / (len(y) - k) / y.mean())
    assert fit.r2 == pytest.approx(1 - residual @ residual / ((y - y.mean()) ** 2).sum())
    assert fit.autocorrelation == pytest.approx(
        np.corrcoef(residual[1:], residual[:-1])[0, 1], abs=1e-3
    )
    assert fit.guideline_14


def test_interval_holds_95_percent_of_new_data(fitted):
    model, *_ = fitted
    X, _, y = plant(days=60, seed=2, start="2026-05-11")
    mean, lower, upper = model.predict(X, return_interval=True)
    assert (lower <= mean).all()
    assert (mean <= upper).all()
    assert ((y >= lower) & (y <= upper)).mean() == pytest.approx(0.95, abs=0.03)


def tripled(y):
    y[500:560] *= 3


def dead(y):
    y[24 * 30 : 24 * 51] = 0.0


def stuck(y):
    y[24 * 30 : 24 * 51] = y[24 * 30 + 10]


def halved(y):
    y[24 * 30 : 24 * 51] *= 0.5


def spiked(y):
    y[100:2800:270] = 1e6


@pytest.mark.parametrize("fault", [tripled, dead, stuck, halved, spiked])
def test_faults_in_training_hardly_matter(fault):
    X, mean, y = plant()
    fault(y)
    model = EnergyBaseline().fit(X, y)
    assert np.sqrt(np.mean((model.predict(X) - mean) ** 2)) < 0.05 * mean.mean()
    assert [notice.name for notice in model.warnings_] == ["less_than_a_year", "faulty_days"]
    assert model.warnings_[1].figures["days"] == model.report_.n_faulty_days >= 3


def test_closed_days_are_no_fault():
    X, _, y = plant(days=180)
    closed = X.index.normalize().isin(X.index.normalize()[24 * 40 :: 24 * 30])
    y[closed] = 6.0 * np.random.default_rng(6).normal(1, 0.03, closed.sum())
    assert EnergyBaseline().fit(X[["temperature_c"]], y).report_.n_faulty_days == 0


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
    assert model.design_.week.minutes == 30
    assert model.report_.out_of_sample.cv_rmse < 0.05


def test_hours_are_those_of_the_site(fitted):
    model, X, *_ = fitted
    np.testing.assert_array_equal(model.predict(X), model.predict(X.tz_convert("UTC")))


def test_missing_driver_counts_as_its_mean(fitted):
    model, X, *_ = fitted
    gone, mean = X.iloc[:5].copy(), X.iloc[:5].copy()
    gone[:] = np.nan
    mean["temperature_c"] = [X.temperature_c[X.index.hour == hour].mean() for hour in range(5)]
    mean["production_per_h"] = X.production_per_h.mean()
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


def test_recovers_a_balance_temperature():
    times = pd.date_range("2026-01-01", periods=365 * 24, freq="1h", tz=ZONE)
    rng = np.random.default_rng(3)
    day = np.arange(len(times)) / 24
    t = (
        11
        - 10 * np.cos(day * 2 * np.pi / 365)
        + 3 * np.sin(day * 2 * np.pi)
        + rng.normal(0, 2, len(day))
    )
    X = pd.DataFrame({"temperature": t}, times)
    y = 20 + 1.5 * np.maximum(0, 13.0 - t) + rng.normal(0, 1, len(t))
    model = EnergyBaseline().fit(X, y)
    assert min(abs(knot - 13.0) for knot in model.design_.knots) < 2.5
    found = model.predict(X)
    assert np.sqrt(np.mean((found - (y - rng.normal(0, 0, len(t)))) ** 2)) < 1.1
    assert "temperature)" in model.report_.equation


def test_daily_energy_by_weekday_and_balance_temperature():
    times = pd.date_range("2025-01-01", periods=500, freq="1D", tz=ZONE)
    rng = np.random.default_rng(4)
    t = 11 - 9 * np.cos(np.arange(500) * 2 * np.pi / 365) + rng.normal(0, 3, 500)
    mean = 400 + 300 * (times.day_of_week < 5) + 25 * np.maximum(0, 14 - t)
    X = pd.DataFrame({"temperature_c": t}, times)
    model = EnergyBaseline().fit(X.iloc[:365], (mean * rng.normal(1, 0.03, 500))[:365])
    assert model.report_.equation.startswith("level of the day of week")
    assert np.abs(model.predict(X.iloc[365:]) / mean[365:] - 1).mean() < 0.03


def test_operating_calendar_acts_by_time_of_day():
    X, _, y = plant(days=180)
    X = X[["temperature_c"]].assign(works_holiday=0.0)
    off = X.index.normalize().isin(X.index.normalize()[24 * 7 :: 24 * 9])
    X.loc[off, "works_holiday"] = 1.0
    y[off] = 6.0
    model = EnergyBaseline().fit(X, y)
    noon = X[off & (X.index.hour == 12) & (X.index.day_of_week < 4)]
    assert np.abs(model.predict(noon) - 6.0).mean() < 6.0
    assert np.abs(model.predict(noon.assign(works_holiday=0.0)) - 6.0).mean() > 15.0


def test_public_holidays():
    X, _, y = plant(days=500)
    off = (X.index.month == 1) & (X.index.day == 1) | (X.index.month == 5) & (X.index.day == 1)
    y[off] = 6.0
    model = EnergyBaseline(holidays="DE-BY").fit(X[["temperature_c"]], y)
    assert model.report_.ranges["holiday"] == (0.0, 1.0)
    again = EnergyBaseline.from_json(model.to_json())
    assert again.get_params() == {"holidays": "DE-BY"}
    np.testing.assert_array_equal(
        again.predict(X[["temperature_c"]]), model.predict(X[["temperature_c"]])
    )
    with pytest.raises(ValueError, match="holidays unknown"):
        EnergyBaseline(holidays="XX").fit(X, y)


def test_season_is_learned_from_a_year_only():
    times = pd.date_range("2025-01-01", periods=730 * 24, freq="1h", tz=ZONE)
    season = 50 + 20 * np.cos(times.day_of_year / 365.25 * 2 * np.pi)
    y = season + np.random.default_rng(5).normal(0, 1, len(times))
    X = pd.DataFrame(index=times)
    year, later = slice(0, 365 * 24), slice(365 * 24, None)
    model = EnergyBaseline().fit(X.iloc[year], y[year])
    assert "season" in model.report_.equation
    assert np.abs(model.predict(X.iloc[later]) - season[later]).max() < 3.0
    half = EnergyBaseline().fit(X.iloc[: 180 * 24], y[: 180 * 24])
    assert "season" not in half.report_.equation


def test_clock_changes_are_only_days_of_23_and_25_hours():
    times = pd.date_range("2026-01-05", "2026-12-28", freq="1h", tz=ZONE, inclusive="left")
    y = np.where((times.hour >= 6) & (times.hour < 22), 50.0, 8.0)
    y = y + np.random.default_rng(0).normal(size=len(y))
    model = EnergyBaseline().fit(pd.DataFrame(index=times), y)
    changes = pd.date_range("2026-10-25", "2026-10-26", freq="1h", tz=ZONE, inclusive="left")
    found = model.predict(pd.DataFrame(index=changes))
    assert len(found) == 25
    np.testing.assert_allclose(
        found, np.where((changes.hour >= 6) & (changes.hour < 22), 50, 8), atol=2.5
    )


def test_gaps_are_not_zeros():
    X, mean, y = plant(days=120)
    y[np.random.default_rng(7).random(len(y)) < 0.2] = np.nan
    y[24 * 20 : 24 * 35] = np.nan
    model = EnergyBaseline().fit(X, y)
    assert abs(model.predict(X).mean() / mean.mean() - 1) < 0.01
    assert model.warnings_[0].name == "coverage"


def test_rows_outside_of_the_learned_range_are_flagged(fitted):
    model, X, *_ = fitted
    assert not model.outside_range(X).any()
    hot = X.iloc[:3].copy()
    hot.iloc[1, 0] = 60.0
    hot.iloc[2, 1] = np.nan
    assert model.outside_range(hot).tolist() == [False, True, False]


def test_what_cannot_prove_savings_is_disqualified(fitted):
    model, X, _, y = fitted
    assert model.disqualification_ == []
    noise = np.random.default_rng(8).exponential(10.0, len(y))
    wild = EnergyBaseline().fit(X, noise)
    assert [notice.name for notice in wild.disqualification_] == ["cv_rmse"]
    assert not wild.report_.out_of_sample.guideline_14


def test_rows_may_come_in_any_order(fitted):
    model, X, *_ = fitted
    mixed = X.sample(frac=1.0, random_state=0)
    np.testing.assert_allclose(model.predict(mixed), model.predict(X.loc[mixed.index].sort_index())[
        np.argsort(np.argsort(mixed.index))])  # fmt: skip


def test_rows_of_minutes_do_not_depend_on_each_other():
    X, _, y = plant(days=60, freq="15min")
    model = EnergyBaseline().fit(X, y)
    whole = model.predict(X)
    for size in (1, 7, 211):
        parts = [model.predict(X.iloc[at : at + size]) for at in range(0, 1000, size)]
        np.testing.assert_array_equal(np.concatenate(parts)[:1000], whole[:1000])


NEEDS_TIMES = "X is a table with a time-zone-aware index, which arrays do not have"
ON_ARRAYS = (
    "check_complex_data",
    "check_dict_unchanged",
    "check_dont_overwrite_parameters",
    "check_dtype_object",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_estimator_sparse_tag",
    "check_estimators_dtypes",
    "check_estimators_empty_data_messages",
    "check_estimators_fit_returns_self",
    "check_estimators_nan_inf",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_fit2d_predict1d",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
    "check_regressor_data_not_an_array",
    "check_regressors_int",
    "check_regressors_no_decision_function",
    "check_regressors_train",
    "check_requires_y_none",
    "check_supervised_y_2d",
)


@parametrize_with_checks(
    [EnergyBaseline()], expected_failed_checks=lambda _: dict.fromkeys(ON_ARRAYS, NEEDS_TIMES)
)
def test_contract(estimator, check):
    check(estimator)
