# ruff: noqa: N806 - X is what scikit-learn calls it

import json

import numpy as np
import pandas as pd
import pytest

from enms_core.baseline import EnergyBaseline


@pytest.fixture(scope="module")
def past():
    """Make a machine that takes 2 kW per 10 parts, and 1 kW per K above 20, for five weeks."""
    times = pd.date_range("2026-06-01", periods=35 * 96, freq="15min", tz="Europe/Berlin")
    rng = np.random.default_rng(5)
    work = (times.hour >= 6) & (times.hour < 22) & (times.day_of_week < 5)
    made = np.where(work, 100.0 + rng.normal(0.0, 10.0, len(times)), 0.0)
    warm = 18.0 + 8.0 * np.sin((times.hour - 9) / 24 * 2 * np.pi) + rng.normal(0, 1.0, len(times))
    X = pd.DataFrame({"temperature_c": warm, "production_per_h": made}, times)
    y = 5.0 + 0.2 * made + np.maximum(warm - 20.0, 0.0) + rng.normal(0, 0.1, len(times))
    return X, pd.Series(y, times)


@pytest.fixture(scope="module")
def model(past):
    return EnergyBaseline().fit(*past)


def row(at="2026-07-07 12:00", **values):
    index = pd.DatetimeIndex([at], tz="Europe/Berlin")
    return pd.DataFrame({"temperature_c": 26.0, "production_per_h": 100.0} | values, index)


def test_a_driver_at_its_usual_value_moves_nothing(model):
    usual = model.explain(row())["usual"]
    found = model.explain(row(**usual.to_dict()))
    assert found["effect"].abs().max() == pytest.approx(0.0, abs=1e-9)


def test_the_effect_is_that_of_one_driver_alone_and_ranks(model):
    found = model.explain(row(production_per_h=50.0))
    assert found.index.tolist() == ["production_per_h", "temperature_c"]
    assert found.loc["production_per_h", "effect"] == pytest.approx(-10.0, rel=0.1)
    for name in found.index:
        put = row(**({"production_per_h": 50.0} | {name: found.loc[name, "usual"]}))
        alone = float(model.predict(row(production_per_h=50.0))[0] - model.predict(put)[0])
        assert found.loc[name, "effect"] == pytest.approx(alone, abs=1e-9)
    hot = model.explain(row(temperature_c=45.0, production_per_h=100.0))
    assert hot.index[0] == "temperature_c"
    assert hot.iloc[0]["effect"] > 10.0


def test_usual_is_that_of_the_time_of_day_and_of_the_kind_of_day(model):
    noon, night, sunday = (
        model.explain(row(at)).loc["production_per_h"]
        for at in ("2026-07-07 12:00", "2026-07-07 03:00", "2026-07-05 12:00")
    )
    assert noon["usual"] == pytest.approx(100.0, abs=3.0)
    assert noon["spread"] == pytest.approx(10.0, abs=2.0)
    assert night["usual"] == sunday["usual"] == 0.0


def test_a_driver_that_is_not_measured_is_not_told(model):
    found = model.explain(row(temperature_c=np.nan))
    assert found.index.tolist() == ["production_per_h"]


def test_the_last_row_is_explained(model, past):
    X, _ = past
    whole, alone = model.explain(X.iloc[:500]), model.explain(X.iloc[[499]])
    pd.testing.assert_frame_equal(whole, alone)


def test_a_model_without_drivers_has_nothing_to_tell(past):
    X, y = past
    model = EnergyBaseline().fit(X[[]], y)
    assert model.explain(X[[]].iloc[:1]).empty
    assert EnergyBaseline.from_json(model.to_json()).explain(X[[]].iloc[:1]).empty


def test_read_back_it_explains_the_same_and_older_models_explain_too(model):
    pd.testing.assert_frame_equal(
        EnergyBaseline.from_json(model.to_json()).explain(row()), model.explain(row())
    )
    old = json.loads(model.to_json())
    del old["usual_"]
    found = EnergyBaseline.from_json(json.dumps(old)).explain(row(production_per_h=50.0))
    assert set(found.index) == {"production_per_h", "temperature_c"}
    assert (found["spread"] == 0.0).all()
    assert found.loc["temperature_c", "usual"] == pytest.approx(24.0, abs=3.0)


def test_a_holiday_is_a_driver(past):
    X, y = past
    model = EnergyBaseline(holidays="DE").fit(X, y)
    assert "holiday" in model.explain(row()).index
