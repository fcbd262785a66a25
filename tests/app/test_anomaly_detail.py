import math

import numpy as np
import pandas as pd
import pytest

from app.models import detail
from app.models.detail import (
    LONGEST_US,
    MOST_POINTS,
    actions,
    around,
    companions,
    figures,
    read,
    span,
)
from app.models.snapshot import Found
from enms_core import triage
from enms_core.contributors import Contributor
from enms_core.plant import Factory, Machine, Unknown
from enms_core.store import anomalies, machines, readings, scores
from enms_core.store.anomalies import Anomaly
from tests.plants import valid

S = 1_000_000
MINUTE, HOUR, DAY = 60 * S, 3600 * S, 86_400 * S
AT = 1_795_356_000 * S  # 14:00 UTC on 22 November 2026
NOW = AT + 5 * DAY
NORD = Factory("Nord", "Europe/Berlin", "EUR", 0.20)


@pytest.fixture
def press(store):
    with store.write() as connection:
        return machines.add(connection, Machine("Press", "other", 20.0, NORD))


def kept(store, machine, **more):
    values = {
        "machine_id": machine.id,
        "metric": "power_kw",
        "state": "open",
        "severity": "warning",
        "score": 6.0,
        "value": 30.0,
        "expected": 20.0,
        "lower": 18.0,
        "upper": 22.0,
        "delta_kwh": 5.0,
        "delta_cost": 1.0,
        "started_at": AT,
        "ended_at": AT + HOUR,
        "reason": "too much",
    }
    anomaly = Anomaly(**{**values, **more})
    with store.write() as connection:
        assert anomalies.add(connection, anomaly)
    return anomaly.id


def measured(store, machine, times):
    rows = [(machine.name, "power_kw", int(at), 20.0 + i % 2) for i, at in enumerate(times)]
    band = {"expected": 20.0, "lower": 18.0, "upper": 22.0, "surprise": 0.1}
    with store.write() as connection:
        readings.add(connection, valid(rows))
        scores.put(connection, machine.id, "power_kw", pd.DataFrame({"time": times, **band}))


def seen(store, anomaly_id, now=NOW):
    with store.read() as connection:
        return read(connection, anomaly_id, now)


def test_what_was_measured_around_it_is_read(store, press):
    measured(store, press, np.arange(AT - 2 * HOUR, AT + 3 * HOUR, MINUTE))
    found = seen(store, kept(store, press))
    assert found.drawn == (AT - HOUR // 2, AT + HOUR + HOUR // 2 + 1)
    assert (found.points["time"][0], len(found.points["time"])) == ((AT - HOUR // 2) / 1000, 121)
    assert set(found.points["value"]) == {20.0, 21.0}
    assert set(found.points["upper"]) == {22.0}
    assert (found.machine.name, found.unit) == ("Press", "kW")


def test_a_long_one_is_drawn_from_its_beginning_in_few_points(store, press):
    measured(store, press, np.arange(AT, AT + 3 * DAY, 2 * MINUTE))
    found = seen(store, kept(store, press, ended_at=AT + 4 * DAY))
    assert found.drawn == (AT - LONGEST_US // 2, AT + 3 * LONGEST_US // 2 + 1)
    assert 100 < len(found.points["time"]) <= MOST_POINTS
    assert np.nanmean(found.points["value"]) == pytest.approx(20.5, abs=0.01)


def test_a_gap_stays_a_gap(store, press):
    times = np.arange(AT - HOUR // 2, AT + HOUR, MINUTE)
    measured(store, press, times[(times < AT) | (times > AT + HOUR // 2)])
    values = seen(store, kept(store, press)).points["value"]
    assert sum(math.isnan(value) for value in values) == 2


def test_without_readings_there_is_nothing_to_draw(store, press):
    assert seen(store, kept(store, press)).points["time"] == []


def test_an_unknown_one_is_said_to_be_unknown(store, press):
    kept(store, press)
    with pytest.raises(Unknown, match="'elsewhere'"):
        seen(store, "elsewhere")


def test_one_that_lasts_is_drawn_up_to_now(store, press):
    found = seen(store, kept(store, press, ended_at=None), now=AT + 10 * MINUTE).found
    assert around(found, AT + 10 * MINUTE) == (AT - HOUR // 2, AT + 10 * MINUTE + 1)
    assert span(found, press, AT + 10 * MINUTE) == "since 15:00 CET"
    lasted = figures(found, press, AT + 10 * MINUTE)[2]
    assert (lasted.value, lasted.note) == ("10 min", "and goes on")


def test_figures_carry_units_and_what_to_compare_with(store, press):
    found = seen(store, kept(store, press, model_version=3)).found
    told = {f.name: (f.value, f.unit, f.note) for f in figures(found, press, NOW)}
    assert told == {
        "Measured": ("30.0", "kW", "+50 %"),
        "Expected": ("20.0", "kW", "18.0 to 22.0"),
        "Lasted": ("1 h", "", ""),
        "Energy": ("+5.0", "kWh", ""),
        "Cost": ("+1.00", "EUR", ""),
        "Judged by": ("model v3", "", ""),
    }


def test_a_label_is_read_with_who_said_it_and_why(store, press):
    anomaly_id = kept(store, press)
    plain = seen(store, anomaly_id).found
    assert (plain.label, plain.label_note, plain.labelled_by) == (None, None, None)
    assert plain.model_version is None
    with store.write() as connection:
        triage.label(connection, anomaly_id, "expected", "ana", "stocktaking <b>")
    said = seen(store, anomaly_id).found
    assert (said.label, said.label_note, said.labelled_by) == ("expected", "stocktaking <b>", "ana")
    assert (said.is_open, said.needs_attention) == (True, False)


def test_what_an_event_tells_is_what_the_store_holds(store, press):
    anomaly_id = kept(store, press)
    before = seen(store, anomaly_id).found
    with store.write() as connection:
        told = triage.label(connection, anomaly_id, "false", "ana", "a sensor")
    assert before.changed(told.event) == seen(store, anomaly_id).found


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        ("open", ["acknowledge", "resolve"]),
        ("acknowledged", ["resolve", "reopen"]),
        ("resolved", ["reopen"]),
    ],
)
def test_what_can_be_done_depends_on_the_state(store, press, state, possible):
    found: Found = seen(store, kept(store, press, state=state)).found
    assert actions(found) == possible


def test_who_says_expected_must_say_why():
    assert [label for label in anomalies.LABELS if detail.needs_reason(label)] == ["expected"]
    assert not detail.needs_reason(None)
    assert detail.TEACHES.keys() == set(anomalies.LABELS)


def test_what_went_with_it_and_how_sure_it_is(store, press):
    pressure = Contributor(name="pressure_bar", value=6.7, unit="bar", usual=7.2, deviations=-5.0)
    weather = Contributor(name="temperature_c", value=21.0, unit="°C", usual=12.0, effect_kw=3.0)
    kept_id = kept(
        store, press, cost_per_hour=2.0, confidence=0.9987, contributors=(weather, pressure)
    )
    found = seen(store, kept_id).found
    told = {one.name: one for one in figures(found, press, NOW)}
    assert told["Cost"].note == "+2.00 an hour"
    assert told["Judged by"].note == "99.9 % sure"
    assert [(one.name, one.unit, one.note) for one in companions(found)] == [
        ("temperature", "°C", "usually 12.0, +3.0 kW expected for it"),
        ("pressure", "bar", "usually 7.20"),
    ]


def test_nothing_is_said_of_what_is_not_known(store, press):
    found = seen(store, kept(store, press)).found
    told = {one.name: one for one in figures(found, press, NOW)}
    assert (told["Cost"].note, told["Judged by"].note) == ("", "")
    assert companions(found) == []
