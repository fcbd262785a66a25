import numpy as np
import pytest

from enms_core.modes import IDLE, QUIET, RUNNING, SETTLE_US, Modes

TOLD = [(1_000, "maintenance"), (2_000, "running"), (2_500, "running"), (3_000, "idle")]
MODES = Modes.of((at * 1_000_000, mode) for at, mode in TOLD)


def us(*seconds):
    return np.array(seconds) * 1_000_000


def test_a_machine_runs_where_nothing_was_told():
    assert Modes.of().at(us(0, 5)).tolist() == [RUNNING, RUNNING]
    assert Modes.of().judged_as(us(0, 5), 900).tolist() == [RUNNING, RUNNING]
    assert not Modes.of().is_quiet(us(0, 5), 900).any()


def test_a_mode_begins_at_its_start_and_lasts_until_the_next():
    assert MODES.at(us(999, 1_000, 1_999, 2_000, 9_999)).tolist() == [
        "running", "maintenance", "maintenance", "running", "idle",
    ]  # fmt: skip


def test_nothing_is_judged_in_a_quiet_mode_or_while_a_change_settles():
    settle = SETTLE_US // 1_000_000
    times = us(999, 1_500, 2_000, 2_000 + settle - 1, 2_000 + settle, 2_501, 3_001, 3_000 + settle)
    assert MODES.judged_as(times).tolist() == [
        RUNNING, "", "", "", RUNNING, RUNNING, "", IDLE,
    ]  # fmt: skip


def test_a_reading_that_reaches_into_a_change_is_not_judged():
    assert MODES.judged_as(us(99, 101), 900_000_000).tolist() == [RUNNING, ""]
    assert MODES.is_quiet(us(99, 100, 1_999, 2_000), 900_000_000).tolist() == [
        False, True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("mode", QUIET)
def test_it_is_as_slow_as_obvious(mode):
    chance = np.random.default_rng(3)
    starts = np.sort(chance.choice(np.arange(1, 5_000), 40, replace=False))
    names = chance.choice([mode, IDLE, RUNNING], 40)
    modes = Modes.of((int(s) * 1_000_000, str(n)) for s, n in zip(starts, names, strict=True))
    for at in chance.integers(0, 6_000, 200):
        [name] = modes.at(us(at))
        assert name == (names[starts <= at][-1] if (starts <= at).any() else RUNNING)
        span = int(chance.integers(0, 900))
        over = [name, *names[(starts > at) & (starts <= at + span)]]
        assert modes.is_quiet(us(at), span * 1_000_000).tolist() == [mode in over]
