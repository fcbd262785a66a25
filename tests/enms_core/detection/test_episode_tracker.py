import json
from datetime import UTC, datetime

import pytest

from enms_core.detection import Changed, Closed, EpisodeTracker, Opened, Score

BAND = {"expected": 20.0, "lower": 18.0, "upper": 22.0}


def run(tracker, readings, start=0.0, step=60.0):
    """Feed (value, surprise) pairs; return the steps that told something."""
    told = (
        tracker.take(start + step * i, value, Score(surprise, **BAND))
        for i, (value, surprise) in enumerate(readings)
    )
    return [step for step in told if step is not None]


QUIET, HIGH, LOW, ODD = (20.0, 0.2), (25.0, 5.0), (15.0, 5.0), (23.0, 3.0)


def test_three_of_five_open_and_five_quiet_close():
    steps = run(EpisodeTracker(), [QUIET] * 3 + [HIGH, QUIET, HIGH, HIGH] + [QUIET] * 6)
    opened, closed = steps
    assert isinstance(opened, Opened)
    assert isinstance(closed, Closed)
    assert closed.episode.started_at == datetime.fromtimestamp(180, UTC)
    assert closed.episode.ended_at == datetime.fromtimestamp(360, UTC)
    assert closed.episode.readings == 4
    assert closed.episode.value == 23.75
    assert closed.episode.delta_kwh == pytest.approx(15 * 60 / 3600)
    assert closed.episode.score == 5.0


def test_two_or_both_signs_do_not_open():
    assert run(EpisodeTracker(), [HIGH, HIGH, QUIET, QUIET, QUIET] * 3) == []
    assert run(EpisodeTracker(), [HIGH, LOW] * 2 + [QUIET] * 9) == []


def test_below_is_negative():
    (opened,) = run(EpisodeTracker(), [QUIET] + [LOW] * 3)
    assert opened.episode.sign == -1
    assert opened.episode.delta_kwh == pytest.approx(-15 * 60 / 3600)
    assert opened.episode.peak == opened.episode.delta == -5.0


def test_hysteresis_holds_it_open():
    steps = run(EpisodeTracker(), [QUIET] + [HIGH] * 3 + [ODD, QUIET, QUIET] * 10)
    assert [type(step) for step in steps] == [Opened]


def test_surprise_alone_does_not_open_at_once():
    assert run(EpisodeTracker(), [QUIET, (22.5, 9.0), QUIET]) == []
    assert len(run(EpisodeTracker(), [QUIET, (60.0, 9.0), QUIET])) == 1


def test_growth_is_told():
    steps = run(EpisodeTracker(), [QUIET] + [HIGH] * 3 + [(29.0, 6.0), (29.0, 6.0)])
    assert [type(step) for step in steps] == [Opened, Changed]
    assert steps[-1].episode.peak == 9.0


def test_reaching_a_level_is_told_once_each():
    tracker = EpisodeTracker()
    tracker.levels = (2.0, 3.0, 1000.0)
    steps = run(tracker, [QUIET] + [HIGH] * 60)
    assert [type(step) for step in steps] == [Opened, Changed, Changed]
    assert [step.episode.delta_kw for step in steps] == [5.0] * 3
    assert [level <= s.episode.lasting_kw < level + 0.1
            for level, s in zip((2.0, 3.0), steps[1:], strict=True)] == [True, True]  # fmt: skip


def test_what_lasted_most_stays_when_it_shrinks():
    tracker = EpisodeTracker()
    run(tracker, [QUIET] + [HIGH] * 30 + [(20.5, 3.0)] * 60)
    most = tracker.episode.lasting_kw
    run(tracker, [(20.5, 3.0)] * 200, start=91 * 60.0)
    assert tracker.episode.delta_kw < 2.0
    assert tracker.episode.lasting_kw == most


def test_power_of_a_meter_of_energy():
    (energy,) = run(EpisodeTracker(metric="energy_kwh"), [QUIET] * 3 + [HIGH] * 3, step=900.0)
    assert (energy.episode.delta_kw, energy.episode.interval_s) == (20.0, 900.0)
    (other,) = run(EpisodeTracker(metric="pressure_bar"), [QUIET] + [HIGH] * 3)
    assert (other.episode.delta_kw, other.episode.lasting_kw) == (0.0, 0.0)


def test_state_of_before_there_were_levels_is_read():
    tracker = EpisodeTracker()
    run(tracker, [QUIET] + [HIGH] * 4)
    old = json.loads(tracker.to_json())
    for name in ("lasting_kw", "levels"):
        del old["state"]["_run"][name]
    for part in ("sure", "since"):
        del old["state"]["_run"][part]["delta_kw"]
    read = EpisodeTracker.from_json(json.dumps(old))
    assert read.episode.lasting_kw == 0.0
    run(read, [HIGH], start=300.0)
    assert read.episode.lasting_kw > 0.0


def test_gap_closes_at_the_last_reading():
    tracker = EpisodeTracker()
    run(tracker, [QUIET] + [HIGH] * 4)
    assert tracker.take(240 + 3000, 25.0, Score(5.0, **BAND)) is None  # under an hour
    assert tracker.episode is not None
    assert tracker.episode.delta_kwh == pytest.approx(
        (4 * 5 * 60 + 5 * 180) / 3600
    )  # held 3 intervals
    step = tracker.take(3240 + 3700, 25.0, Score(5.0, **BAND))
    assert isinstance(step, Closed)
    assert step.episode.ended_at == datetime.fromtimestamp(3240, UTC)
    assert tracker.episode is None


def test_five_second_readings_need_a_minute():
    steps = run(EpisodeTracker(), [QUIET] * 5 + [HIGH] * 10, step=5.0)
    assert steps == []
    (opened,) = run(EpisodeTracker(), [QUIET] * 5 + [HIGH] * 14, step=5.0)
    assert opened.episode.started_at == datetime.fromtimestamp(25, UTC)
    assert opened.episode.readings == 13


def test_energy_is_summed_and_other_metrics_cost_nothing():
    (energy,) = run(EpisodeTracker(metric="energy_kwh"), [QUIET] + [HIGH] * 3)
    assert energy.episode.delta_kwh == 15.0
    (other,) = run(EpisodeTracker(metric="pressure_bar"), [QUIET] + [HIGH] * 3)
    assert other.episode.delta_kwh == 0.0


def test_unscored_and_late_readings_tell_nothing():
    nan = float("nan")
    tracker = EpisodeTracker()
    run(tracker, [HIGH] * 2)
    assert tracker.take(120.0, nan, Score(nan, nan, nan, nan)) is None
    assert tracker.take(0.0, 25.0, Score(5.0, **BAND)) is None
    assert isinstance(tracker.take(180.0, 25.0, Score(5.0, **BAND)), Opened)


def test_json_round_trip_at_every_reading():
    readings = [QUIET] * 3 + [HIGH, QUIET, HIGH, HIGH, ODD, (29.0, 6.0)] + [QUIET] * 8 + [LOW] * 4
    kept, steps = EpisodeTracker(k=2, n=4), []
    for i, reading in enumerate(readings):
        steps += run(kept, [reading], start=60.0 * i)
        kept = EpisodeTracker.from_json(kept.to_json())
    assert steps == run(EpisodeTracker(k=2, n=4), readings)
    assert len(steps) == 4


@pytest.mark.parametrize("bad", [{"k": 6}, {"k": 0}, {"leave": 5.0}, {"instant": 1.0}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        EpisodeTracker(**bad)
