from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from enms_core.modes import Modes
from enms_core.plant import Factory, Machine
from enms_core.sources.simulator import MACHINES, Simulator
from enms_core.store.jobs import MODEL_TYPES
from enms_core.store.times import to_us
from enms_core.training import (
    MODELS,
    STEPS,
    energy_metric,
    out_of_sample,
    train,
    training_frame,
    without_quiet,
)

START = datetime(2026, 3, 2, tzinfo=UTC)
COMPRESSOR = next(m for m in MACHINES if m.name == "Compressor-1")


def wide(days=21, interval=timedelta(minutes=5)):
    rows = Simulator(3).readings(START, START + timedelta(days=days), interval, [COMPRESSOR.name])
    return rows.pivot_table(index="time", columns="metric", values="value")


def test_it_reports_every_step_once_and_in_order():
    told = []
    trained = train(COMPRESSOR, "baseline", wide, lambda step, text: told.append((step, text)))
    assert [step for step, _ in told] == list(STEPS)[:-1]  # who keeps the model tells the last
    assert "Compressor-1" in told[0][1]
    assert "6,048" in told[1][1]
    assert "temperature_c" in told[2][1]
    assert list(STEPS.values()) == sorted(STEPS.values())
    assert set(trained.metrics) == {"rows", "r2", "cv_rmse", "nmbe"}
    assert trained.metrics["rows"] == 21 * 96
    assert trained.metrics == out_of_sample(trained.model)
    assert trained.start == START
    assert trained.end == START + timedelta(days=21, minutes=-15)


@pytest.mark.parametrize("stop", list(STEPS)[:-1])
def test_a_report_that_raises_stops_it(stop):
    class Stop(Exception):
        pass

    def report(step, _message):
        if step == stop:
            raise Stop

    with pytest.raises(Stop):
        train(COMPRESSOR, "baseline", wide, report)


def test_what_is_learned_are_quarters_of_an_hour_in_the_zone_of_the_site():
    frame = wide(2)
    drivers, target = training_frame(COMPRESSOR, frame)
    assert str(target.index.tz) == COMPRESSOR.factory.timezone
    assert len(target) == len(drivers) == 2 * 96
    assert target.iloc[0] == pytest.approx(frame["power_kw"].iloc[:3].mean())
    assert set(drivers) == {"temperature_c", "production_per_h"}


def test_quarters_without_energy_teach_nothing():
    frame = wide(2)
    frame.loc[frame.index[:30], "power_kw"] = None
    drivers, target = training_frame(COMPRESSOR, frame)
    assert len(target) == len(drivers) == 2 * 96 - 10


def test_maintenance_is_a_gap_to_learn_from():
    """Every quarter that it touches is left out, whole."""
    frame = wide(2)
    begin = to_us(START + timedelta(hours=5, minutes=20))
    modes = Modes.of([(begin, "maintenance"), (begin + 3_600_000_000, "running")])
    _, target = training_frame(COMPRESSOR, without_quiet(frame, modes))
    left_out = pd.date_range(START + timedelta(hours=5, minutes=15), periods=5, freq="15min")
    _, every = training_frame(COMPRESSOR, frame)
    assert every.drop(target.index).index.tolist() == left_out.tolist()
    pd.testing.assert_series_equal(target, every.drop(left_out), check_freq=False)


def test_power_comes_before_energy():
    assert energy_metric(pd.Index(["energy_kwh", "power_kw", "temperature_c"])) == "power_kw"
    assert energy_metric(pd.Index(["energy_kwh"])) == "energy_kwh"
    with pytest.raises(ValueError, match="no readings of power_kw or energy_kwh or meter_kwh to"):
        energy_metric(pd.Index(["temperature_c"]))


@pytest.mark.parametrize("days", [0.01, 1, 3])
def test_too_little_says_how_much_would_do(days):
    with pytest.raises(ValueError, match=r"\d"):
        train(COMPRESSOR, "baseline", lambda: wide(days), lambda *_: None)


def test_without_readings_it_says_so():
    nothing = pd.DataFrame(index=pd.DatetimeIndex([], tz="UTC"))
    with pytest.raises(ValueError, match="no readings"):
        train(Machine("New", factory=Factory("F")), "baseline", lambda: nothing, lambda *_: None)


def test_every_kind_of_model_can_be_asked_for():

    assert tuple(MODELS) == MODEL_TYPES
