import json

import numpy as np
import pytest

from enms_core.detection.jumps import FINE_SECONDS, Jumps

DAY = 17_280  # readings of 5 seconds


def wander(count, seconds=5.0, seed=1):
    """Return power that wanders by more than a kW, in small steps."""
    random = np.random.default_rng(seed)
    keep = np.exp(-seconds / 3600.0)
    out, last = [], 0.0
    for shock in random.normal(0.0, np.sqrt(1 - keep**2), count).tolist():
        last = keep * last + shock
        out.append(20.0 + last)
    return out


def judged(jumps, power, seconds=5.0, start=0.0, expected=20.0):
    return [jumps.take(start + seconds * i, kw, expected) for i, kw in enumerate(power)]


@pytest.fixture(scope="module")
def known():
    jumps = Jumps()
    judged(jumps, wander(3 * DAY))
    return json.dumps(jumps.to_dict())


def again(known):
    return Jumps.from_dict(json.loads(known))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_jump_is_seen_though_the_level_is_usual(known, sign):
    jumps = again(known)
    power = wander(DAY, seed=2)
    start, i = 5.0 * 3 * DAY, DAY // 2
    assert max(jump.surprise for jump in judged(jumps, power[:i], start=start)) < 5.5
    before = np.mean(power[i - 6 : i])
    jump = jumps.take(start + 5.0 * i, before + sign * 0.8, 20.0)
    assert jump.surprise > 5.1
    assert jump.height == pytest.approx(sign * 0.8)
    assert jump.before == pytest.approx(before - 20.0)


def test_what_is_expected_explains_a_jump(known):
    jumps, start = again(known), 5.0 * 3 * DAY
    judged(jumps, [20.0] * 9, start=start)
    assert jumps.take(start + 45, 28.0, 28.0).surprise == 0.0  # both
    judged(jumps, [20.0] * 9, start=start + 50)
    assert jumps.take(start + 95, 20.0, 12.0).surprise == 0.0  # only what is expected


def test_after_a_gap_nothing_is_a_jump(known):
    jumps, start = again(known), 5.0 * 3 * DAY
    assert jumps.take(start + 600, 40.0, 20.0).surprise == 0.0


def test_it_says_nothing_before_a_day_nor_of_coarse_readings():
    young = Jumps()
    judged(young, wander(DAY // 2))
    assert young.take(5.0 * DAY, 60.0, 20.0).surprise == 0.0
    coarse, pace = Jumps(), 2 * FINE_SECONDS
    judged(coarse, wander(3 * 1440, pace), pace)
    assert coarse.take(pace * 3 * 1440, 60.0, 20.0).surprise == 0.0


def test_finer_readings_go_on_with_the_shares_of_coarser_ones():
    jumps = Jumps()
    minutes = 7 * 1440
    judged(jumps, wander(minutes, 60.0), 60.0)
    start = 60.0 * minutes
    fine = judged(jumps, wander(720, seed=3), start=start)
    assert max(jump.surprise for jump in fine) < 5.1
    assert jumps.take(start + 3600, 30.0, 20.0).surprise > 5.1


def test_jumps_that_are_usual_are_no_news():
    jumps = Jumps()
    cycling = np.repeat(np.random.default_rng(4).permuted(np.tile([12.0, 40.0], DAY // 24)), 36)
    told = judged(jumps, cycling.tolist())
    assert max(jump.surprise for jump in told[DAY:]) < 4.0


def test_it_goes_on_from_its_state_exactly():
    power = wander(2 * DAY, seed=5)
    whole, parts = Jumps(), Jumps()
    told = judged(whole, power)
    mine = []
    for start in range(0, len(power), 1777):
        mine += judged(parts, power[start : start + 1777], start=5.0 * start)
        parts = again(json.dumps(parts.to_dict(), allow_nan=False))
    assert mine == told
    assert parts.to_dict() == whole.to_dict()
    assert Jumps.from_dict(Jumps().to_dict()).to_dict() == Jumps().to_dict()


def test_the_first_minute_of_finer_readings_is_judged_by_the_coarser_ones():
    jumps, minutes = Jumps(), 7 * 1440
    judged(jumps, wander(minutes, 60.0), 60.0)
    start = 60.0 * minutes
    fine = judged(jumps, wander(12, seed=3), start=start)
    assert max(jump.surprise for jump in fine) < 5.1
    assert jumps.take(start + 60, 30.0, 20.0).surprise > 5.1
