import math

import numpy as np
import pandas as pd
import pytest

from app.models.live_curve import COLUMNS, SPANS, LiveCurve, history
from app.models.plant_now import MachineNow, PlantNow
from app.models.trace import Trace
from app.views.chart import fitted
from enms_core.plant import Machine
from enms_core.store import machines as stored_machines
from enms_core.store import readings, scores
from tests.plants import valid

S = 1_000_000
T = 1_795_000_000_000_000


def row(name="Press", at=T, power=10.0, expected=8.0, **more):
    values = {"lower": expected and expected - 3, "upper": expected and expected + 3}
    return MachineNow(
        machine=Machine(name),
        at=at,
        power=power,
        expected=expected,
        is_stale=False,
        **values | more,
    )


def plant(*rows):
    return PlantNow(rows=list(rows))


def started(machine="", span="15 min"):
    curve = LiveCurve(machine=machine, span=span)
    curve.start({"time": [T / 1000 - 60_000], **{name: [1.0] for name in COLUMNS}})
    return curve


def test_a_machine_goes_on_with_every_reading():
    curve = started("Press")
    points = curve.advance(plant(row()))
    assert points == {
        "time": [T / 1000],
        "value": [10.0],
        "expected": [8.0],
        "lower": [5.0],
        "upper": [11.0],
    }
    assert curve.advance(plant(row()))["time"] == []
    assert curve.advance(plant(row(at=T + S)))["time"] == [(T + S) / 1000]


def test_the_plant_is_a_sum_whose_deviations_are_independent():
    points = started().advance(plant(row("A"), row("B", lower=4.0, upper=12.0)))
    assert points["value"] == [20.0]
    assert points["expected"] == [16.0]
    assert points["lower"] == [16.0 - 5.0]
    assert points["upper"] == [16.0 + 5.0]


def test_a_machine_that_is_not_judged_counts_with_what_it_draws():
    unjudged = row("B", power=7.0, expected=None, lower=None, upper=None)
    points = started().advance(plant(row("A"), unjudged))
    assert (points["value"], points["expected"]) == ([17.0], [15.0])
    points = started().advance(plant(unjudged))
    assert math.isnan(points["expected"][0])


def test_the_plant_goes_on_once_a_step():
    curve = started()
    assert len(curve.advance(plant(row()))["time"]) == 1
    assert curve.advance(plant(row(at=T + 4 * S)))["time"] == []
    assert len(curve.advance(plant(row(at=T + 5 * S)))["time"]) == 1


def test_silence_is_a_gap_and_not_a_bridge():
    curve = started("Press")
    curve.advance(plant(row()))
    silent = plant(MachineNow(machine=Machine("Press"), at=T, power=10.0))
    gap = curve.advance(silent)
    assert math.isnan(gap["value"][0])
    assert curve.advance(silent)["time"] == []
    again = curve.advance(plant(row(at=T + 600 * S)))
    assert [math.isnan(v) for v in again["value"]] == [True, True, False]


def test_a_sum_of_other_machines_is_not_joined_to_the_one_before():
    curve = started()
    curve.advance(plant(row("A"), row("B")))
    points = curve.advance(plant(row("A", at=T + 10 * S)))
    assert [math.isnan(v) for v in points["value"]] == [True, True, False]


@pytest.fixture
def filled(store):
    with store.write() as connection:
        ids = {
            name: stored_machines.add(connection, Machine(name, rated_kw=20.0)).id
            for name in ("A", "B")
        }
        for name, step in (("A", 5), ("B", 60)):
            times = np.arange(T - 900 * S, T, step * S)
            if name == "A":  # silent for five minutes
                times = times[(times < T - 600 * S) | (times >= T - 300 * S)]
            rows = [(name, "power_kw", at, 10.0) for at in times.tolist()]
            readings.add(connection, valid(rows))
            band = {"time": times, "expected": 9.0, "lower": 6.0, "upper": 12.0, "surprise": 0.1}
            scores.put(connection, ids[name], "power_kw", pd.DataFrame(band))
    traces = {i: Trace(metric="power_kw", day=0, until=0) for i in ids.values()}
    return store, traces


def test_the_past_of_a_machine_has_its_gap(filled):
    store, traces = filled
    one = dict(list(traces.items())[:1])
    with store.read() as connection:
        points = history(connection, one, SPANS["15 min"], T)
    assert sum(math.isnan(v) for v in points["value"]) == 2
    assert points["time"] == sorted(points["time"])
    assert {v for v in points["upper"] if v == v} == {12.0}


def test_the_past_of_the_plant_is_the_sum_on_a_grid(filled):
    store, traces = filled
    with store.read() as connection:
        points = history(connection, traces, SPANS["15 min"], T)
    values = [v for v in points["value"] if v == v]
    assert set(values) == {10.0, 20.0}
    assert np.unique(np.diff(points["time"])).tolist() == [5000.0]
    assert points["value"][-1] == 20.0
    assert points["upper"][-1] == pytest.approx(18 + math.sqrt(18))


def test_without_machines_there_is_no_past(store):
    with store.read() as connection:
        points = history(connection, {}, SPANS["24 h"], T)
    assert points == {name: [] for name in ("time", *COLUMNS)}


def test_the_axis_stays_while_the_powers_fill_it_well():
    shown = fitted((0, 10), 53.0, 76.0)
    assert fitted(shown, 52.0, 78.0) == shown
    wider = fitted(shown, 53.0, 120.0)
    assert wider[1] >= 120.0
    assert fitted(wider, 53.0, 54.0) != wider
    assert fitted((0, 10), 0.1, 3.0)[0] == 0.0
