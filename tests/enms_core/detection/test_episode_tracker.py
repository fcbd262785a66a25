import json
from datetime import UTC, datetime

import pytest

from enms_core.detection import Changed, Closed, EpisodeTracker, Opened, Score
from enms_core.detection.jumps import NONE, Jump

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


def test_five_second_readings_need_five_minutes():
    steps = run(EpisodeTracker(), [QUIET] * 5 + [HIGH] * 60, step=5.0)
    assert steps == []
    (opened,) = run(EpisodeTracker(), [QUIET] * 5 + [HIGH] * 62, step=5.0)
    assert opened.episode.started_at == datetime.fromtimestamp(25, UTC)
    assert opened.episode.readings == 61


# -- jumps ------------------------------------------------------------------------------------

STEADY = Score(0.3, **BAND)


def jumping(tracker, values, jumps, start=0.0):
    """Feed values five seconds apart; `jumps` are those at some of them, by place."""
    told = (
        tracker.take(start + 5.0 * i, value, STEADY, jumps.get(i, NONE))
        for i, value in enumerate(values)
    )
    return [step for step in told if step is not None]


def test_a_jump_opens_with_the_reading_after_it_if_that_stays():
    tracker = EpisodeTracker()
    (opened,) = jumping(tracker, [19.0] * 5 + [22.0, 22.0], {5: Jump(6.0, 3.0, -1.0)})
    assert opened.episode.started_at == datetime.fromtimestamp(25, UTC)
    assert (opened.episode.readings, opened.episode.score) == (2, 6.0)
    assert (opened.episode.expected, opened.episode.lower, opened.episode.delta) == (19, 17, 3)
    assert opened.episode.delta_kwh == pytest.approx(3.0 * 10 / 3600)


@pytest.mark.parametrize(
    ("after", "jump"),
    [
        (20.2, Jump(9.0, 3.0, 0.0)),  # it fell back
        (23.0, Jump(4.0, 3.0, 0.0)),  # too common: four minutes a month have 4.03
        (20.8, Jump(9.0, 0.9, 0.0)),  # less than a twentieth
    ],
)
def test_not_every_jump_opens(after, jump):
    assert jumping(EpisodeTracker(), [20.0] * 5 + [23.0] + [after] * 20, {5: jump}) == []


def test_the_level_before_a_jump_is_remembered_for_hours():
    tracker = EpisodeTracker()
    hours = [20.0] * 5 + [23.0] * (3 * 720)
    (opened,) = jumping(tracker, hours, {5: Jump(6.0, 3.0, 0.0)})
    assert tracker.episode.delta_kwh == pytest.approx(9.0, rel=0.01)
    back = jumping(tracker, [20.0] * 13, {0: Jump(6.0, -3.0, 3.0)}, start=5.0 * len(hours))
    assert [type(step) for step in back] == [Closed]
    assert back[0].episode.started_at == opened.episode.started_at


def test_after_hours_only_the_band_counts_and_a_jump_back_is_no_news():
    tracker = EpisodeTracker()
    hours = [20.0] * 5 + [23.0] * (5 * 720)
    opened, closed = jumping(tracker, hours, {5: Jump(6.0, 3.0, 0.0)})
    lasted = closed.episode.ended_at - opened.episode.started_at
    assert lasted.total_seconds() == 4 * 3600
    end = 5.0 * len(hours)
    assert jumping(tracker, [20.0] * 9, {0: Jump(6.0, -3.0, 3.0)}, start=end) == []
    (other,) = jumping(tracker, [12.0] * 9, {0: Jump(6.0, -8.0, 0.0)}, start=end + 45)
    assert other.episode.sign == -1


def test_what_creeps_is_not_plainly_wrong_at_once():
    fast, slow = [QUIET] * 9 + [(60.0, 9.0)], [QUIET] * 9 + [(20.0 + i, 9.0) for i in range(40)]
    assert len(run(EpisodeTracker(), fast, step=5.0)) == 1
    assert run(EpisodeTracker(), slow, step=5.0) == []


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


def test_json_round_trip_within_a_jump():
    values = [20.0] * 5 + [23.0] * 8 + [20.0] * 20
    jumps = {5: Jump(6.0, 3.0, 0.0), 13: Jump(6.0, -3.0, 3.0)}
    kept, steps = EpisodeTracker(), []
    for i, value in enumerate(values):
        steps += jumping(kept, [value], {0: jumps.get(i, NONE)}, start=5.0 * i)
        kept = EpisodeTracker.from_json(kept.to_json())
    assert steps == jumping(EpisodeTracker(), values, jumps)
    assert [type(step) for step in steps] == [Opened, Closed]


def test_a_state_from_before_jumps_is_read():
    tracker = EpisodeTracker()
    run(tracker, [HIGH] * 3)
    raw = json.loads(tracker.to_json())
    for name in ("_jump", "_usual", "_known", "_off", "_left"):
        del raw["state"][name]
    assert EpisodeTracker.from_json(json.dumps(raw)).episode == tracker.episode


@pytest.mark.parametrize("bad", [{"k": 6}, {"k": 0}, {"leave": 5.0}, {"instant": 1.0}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        EpisodeTracker(**bad)
