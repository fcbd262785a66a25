"""A labelled past tells how good a detector is there."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from enms_core.backtest import backtest, compare
from enms_core.plant import Factory, Machine

PRESS = Machine("Press", "other", 60.0, Factory("Works"))
START = pd.Timestamp("2026-09-07T00:00Z")
DAY = pd.Timedelta("1D")
WRONG = [(30, 12.0), (36, -0.0), (41, 15.0)]  # day of a fault, and the kW that it adds for 6 hours


def frame(rows, **more):
    columns = ["started_at", "ended_at", "score", "delta_kwh"]
    return pd.DataFrame([(*row, 5.0, 1.0) for row in rows], columns=columns).assign(**more)


def at(hour):
    return START + pd.Timedelta(hours=hour)


def test_labels_decide_what_counts():
    told = frame([(at(1), at(2)), (at(10), at(12)), (at(20), at(21)), (at(30), at(31))])
    known = frame(
        [(at(0), at(3)), (at(11), at(13)), (at(40), at(44)), (at(20), pd.NaT)],
        label=["true", "false", "true", "expected"],
    )
    found = compare(told, known, 30 * 86_400.0)
    assert found.episodes["label"].tolist() == ["true", "false", "expected", "expected"]
    assert found.recall == 0.5
    assert found.precision == 0.25
    assert found.false_alarms_per_month == 3.0
    assert found.delay_s == 3600.0
    assert found.kwh_found == 1.0


def test_nothing_labelled_is_nothing_known():
    found = compare(frame([(at(1), at(2))]), frame([]).assign(label=[]), 15 * 86_400.0)
    assert (found.precision, found.recall, found.delay_s) == (None, None, None)
    assert (found.false_alarms_per_month, found.kwh_found) == (2.0, 0.0)


@pytest.fixture
def past():
    """Seven weeks of quarter hours; two faults that a person called true, and a quiet day."""
    times = pd.date_range(START, periods=49 * 96, freq="15min")
    busy = (times.hour >= 6) & (times.hour < 22)
    power = np.where(busy, 40.0, 10.0) + np.random.default_rng(5).normal(0, 0.5, len(times))
    rows = []
    for day, kw in WRONG:
        first = START + day * DAY + pd.Timedelta("9h")
        last = first + pd.Timedelta("6h")
        power[(times >= first) & (times < last)] += kw
        rows.append((first, last, 70.0, "true" if kw else "false"))
    labelled = pd.DataFrame(rows, columns=["started_at", "ended_at", "delta_kwh", "label"])
    return pd.DataFrame({"power_kw": power}, times), labelled


def test_the_past_is_judged_again(past):
    wide, labelled = past
    start = (START + 28 * DAY).to_pydatetime()
    found = backtest(PRESS, wide, None, labelled, start)
    assert found.recall == 1.0
    assert found.delay_s <= timedelta(hours=2).total_seconds()
    assert found.kwh_found == 140.0
    assert found.episodes["label"].tolist().count("true") >= 2
    assert (found.episodes["started_at"] >= start).all()
    deaf = backtest(PRESS, wide, None, labelled, start, false_alarms_per_month=1e-30)
    assert len(deaf.episodes) < len(found.episodes)


def test_the_span_is_that_of_the_readings(past):
    wide, labelled = past
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    found = backtest(PRESS, wide, None, labelled, long_ago)
    told = (found.episodes["label"] != "true").sum()
    assert found.false_alarms_per_month == pytest.approx(told * 30 / 49, rel=0.01)


def test_what_cannot_be_judged_is_refused(past):
    wide, labelled = past
    later = datetime(2027, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="no readings of power_kw or energy_kwh"):
        backtest(PRESS, wide[[]], None, labelled, later)
    with pytest.raises(ValueError, match="no readings of power_kw from 2027"):
        backtest(PRESS, wide, None, labelled, later)
    with pytest.raises(ValueError, match="must be one of stream"):
        backtest(PRESS, wide, None, labelled, later, detector="oracle")
