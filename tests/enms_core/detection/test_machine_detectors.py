"""What every detector of a whole machine promises, checked on every member of MACHINE_DETECTORS."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from enms_core.detection import MACHINE_DETECTORS, blame, confidence

TRAIN = 1000
FAULT = slice(1600, 1700)


def compressor(rows=2000, seed=3):
    """Power, flow, pressure and temperature under a changing load, each with noise of its own."""
    rng = np.random.default_rng(seed)
    time = np.arange(rows)
    load = 2 + np.sin(time / 25) + 0.3 * np.sin(time / 7)
    sensors = {"kw": 20 * load, "m3_per_h": 5 * load, "bar": 6 + 0.2 * load, "degc": 40 + load}
    noise = {"kw": 1.5, "m3_per_h": 0.4, "bar": 0.02, "degc": 0.5}
    frame = pd.DataFrame({n: v + noise[n] * rng.normal(size=rows) for n, v in sensors.items()})
    return frame.set_index(pd.date_range("2026-10-01", periods=rows, freq="1min", tz="UTC"))


@pytest.fixture(scope="module")
def normal():
    return compressor()


@pytest.fixture
def make(request):
    return MACHINE_DETECTORS[request.param]


def split(frame):
    return frame.iloc[:TRAIN], frame.iloc[TRAIN:]


def flags_are_one_integer_a_row(make, normal):
    train, judged = split(normal)
    flags = make().fit(train).predict(judged)
    assert flags.shape == (len(judged),)
    assert flags.dtype.kind == "i"
    assert set(flags) <= {0, 1}


def normal_rows_seldom_alarm(make, normal):
    train, judged = split(normal)
    assert make().fit(train).predict(judged).mean() <= 0.02


def a_gross_fault_is_found_and_blamed(make, normal):
    train, judged = split(normal)
    faulty = judged.copy()
    faulty.iloc[FAULT.start - TRAIN : FAULT.stop - TRAIN, 2] += 1.5
    detector = make().fit(train)
    flags = pd.Series(detector.predict(faulty), faulty.index)
    span = normal.index[FAULT][20:]
    assert flags[span].mean() > 0.9
    assert blame(detector.contributions(faulty).loc[span]).index[0] == "bar"
    assert confidence(detector.surprise(faulty)[span].median()) >= 0.99


def rows_to_come_change_nothing(make, normal):
    train, judged = split(normal)
    detector = make().fit(train)
    whole = detector.contributions(judged)
    for rows in (1, 137, 600):
        part = judged.iloc[:rows]
        pd.testing.assert_frame_equal(detector.contributions(part), whole.iloc[:rows])
        pd.testing.assert_series_equal(
            detector.surprise(part), detector.surprise(judged).iloc[:rows]
        )


def judging_teaches_nothing(make, normal):
    train, judged = split(normal)
    detector = make().fit(train)
    before = detector.to_json()
    detector.predict(judged * 3)
    assert detector.to_json() == before


def missing_values_are_survived(make, normal):
    holes = normal.mask(np.random.default_rng(0).random(normal.shape) < 0.1)
    holes.iloc[50:90, 0] = np.inf
    holes.iloc[1200] = np.nan
    train, judged = split(holes)
    detector = make().fit(train)
    assert np.isnan(detector.surprise(judged).iloc[200])
    assert detector.surprise(judged).isna().mean() < 0.05
    assert detector.predict(judged)[200] == 0
    assert detector.predict(judged).mean() <= 0.02
    whole = judged.notna().all(axis=1)
    assert detector.contributions(judged)[whole].notna().all(axis=None)
    assert detector.contributions(judged).where(judged.isna()).isna().all(axis=None)


def absurd_values_are_survived(make, normal):
    absurd = normal.copy()
    absurd.iloc[500, 1], absurd.iloc[1200, 0], absurd.iloc[1300, 1] = 1e300, 1e300, -1e300
    train, judged = split(absurd)
    flags = make().fit(train).predict(judged)
    assert np.delete(flags, np.r_[200:230, 300:330]).mean() <= 0.02


def a_constant_and_a_dead_sensor_are_named(make, normal):
    more = normal.assign(setpoint=6.0, dead=np.nan)
    train, judged = split(more)
    detector = make().fit(train)
    assert detector.unjudged_ == ["setpoint", "dead"]
    assert detector.to_json().count("setpoint") == 1
    pd.testing.assert_series_equal(
        detector.surprise(judged), make().fit(train[normal.columns]).surprise(judged)
    )


def one_sensor_is_enough(make, normal):
    train, judged = split(normal[["kw"]])
    judged = judged.copy()
    judged.iloc[500:] = 200.0
    flags = make().fit(train).predict(judged)
    assert flags[:500].mean() <= 0.02
    assert flags[530:].mean() > 0.9


def units_do_not_matter(make, normal):
    other = normal * [1000.0, 1 / 3600, 14.5, 1.8] + [0.0, 0.0, 0.0, 32.0]
    flags, same = (make().fit(f[:TRAIN]).predict(f[TRAIN:]) for f in (normal, other))
    assert (flags != same).mean() < 0.005


def columns_come_in_any_order_with_others_between(make, normal):
    train, judged = split(normal)
    detector = make().fit(train)
    shuffled = judged[["degc", "bar", "m3_per_h", "kw"]].assign(note="")
    pd.testing.assert_frame_equal(detector.contributions(shuffled), detector.contributions(judged))


def clone_is_untrained(make, normal):
    trained = make().fit(normal)
    assert clone(trained).get_params() == trained.get_params()
    for ask in ("surprise", "predict", "contributions"):
        with pytest.raises(NotFittedError):
            getattr(clone(trained), ask)(normal)


def json_round_trip_says_the_very_same(make, normal):
    train, judged = split(normal)
    detector = make().fit(train)
    again = make.from_json(detector.to_json())
    assert again.to_json() == detector.to_json()
    assert again.unjudged_ == detector.unjudged_
    pd.testing.assert_series_equal(
        again.surprise(judged), detector.surprise(judged), check_exact=True
    )


def same_input_same_output(make, normal):
    assert make().fit(normal).to_json() == make().fit(normal).to_json()


def fitting_anew_forgets(make, normal):
    detector = make().fit(normal[["kw"]] * 5).fit(normal)
    assert detector.to_json() == make().fit(normal).to_json()


def what_cannot_be_learned_is_refused_by_name(make, normal):
    refused = {
        "too few rows": normal.iloc[:99],
        "too few rows:": normal.iloc[:0],
        "no sensor varies": normal * 0 + 3.0,
        "sensor not numeric": normal.assign(kw="much"),
        "sensors of one name": pd.concat([normal, normal], axis=1),
        "unordered rows": normal.iloc[::-1],
    }
    for fault, frame in refused.items():
        with pytest.raises(ValueError, match=f"^{fault}"):
            make().fit(frame)
    with pytest.raises(ValueError, match=r"^sensor missing: \['kw'\]"):
        make().fit(normal).predict(normal.drop(columns="kw"))


def no_rows_get_no_verdict(make, normal):
    assert make().fit(normal).predict(normal.iloc[:0]).shape == (0,)


CHECKS = (
    flags_are_one_integer_a_row,
    normal_rows_seldom_alarm,
    a_gross_fault_is_found_and_blamed,
    rows_to_come_change_nothing,
    judging_teaches_nothing,
    missing_values_are_survived,
    absurd_values_are_survived,
    a_constant_and_a_dead_sensor_are_named,
    one_sensor_is_enough,
    units_do_not_matter,
    columns_come_in_any_order_with_others_between,
    clone_is_untrained,
    json_round_trip_says_the_very_same,
    same_input_same_output,
    fitting_anew_forgets,
    what_cannot_be_learned_is_refused_by_name,
    no_rows_get_no_verdict,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("make", sorted(MACHINE_DETECTORS), indirect=True)
def test_machine_detector(make, check, normal):
    check(make, normal)
