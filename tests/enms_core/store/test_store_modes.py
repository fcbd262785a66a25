import numpy as np

from enms_core.modes import SETTLE_US
from enms_core.store import modes, pages
from enms_core.store.pages import Wanted

HOUR = 3_600_000_000


def tell(store, machine, *told):
    with store.write() as connection:
        for hour, mode in told:
            modes.add(connection, machine.id, hour * HOUR, mode, "anna", 7, "")


def test_of_one_start_the_newest_word_counts(store, plant):
    pump, press = plant["Pump"], plant["Press"]
    tell(store, pump, (5, "idle"), (2, "fault"), (8, "running"), (2, "maintenance"))
    tell(store, press, (3, "offline"))
    with store.read() as connection:
        frame = modes.frame(connection, pump.id, 0, 99 * HOUR)
        assert frame["mode"].tolist() == ["maintenance", "idle", "running"]
        assert frame["end"].isna().tolist() == [False, False, True]
        assert modes.frame(connection, pump.id, 0, 2 * HOUR).empty
        assert modes.frame(connection, pump.id, 5 * HOUR, 6 * HOUR)["mode"].tolist() == ["idle"]
        assert modes.told_at(connection, pump.id, 2 * HOUR) == ("maintenance", 7)
        assert modes.told_at(connection, pump.id, 3 * HOUR) is None
        assert modes.next_start(connection, pump.id, 2 * HOUR) == 5 * HOUR
        assert modes.next_start(connection, pump.id, 8 * HOUR) is None


def test_a_part_of_the_time_is_as_the_whole(store, plant):
    """Whatever the span, a reading in it is judged as the same."""
    pump = plant["Pump"]
    chance = np.random.default_rng(1)
    words = ["idle", "running", "maintenance"]
    told = [(int(h), str(chance.choice(words))) for h in chance.integers(1, 60, 40)]
    tell(store, pump, *told)
    times = np.arange(0, 62 * HOUR, SETTLE_US // 2)
    with store.read() as connection:
        whole = modes.over(connection, pump.id, 0, int(times[-1]))
        for first in range(0, len(times), 100):
            part = times[first : first + 100]
            some = modes.over(connection, pump.id, int(part[0]), int(part[-1]))
            assert some.at(part).tolist() == whole.at(part).tolist()
            assert some.judged_as(part).tolist() == whole.judged_as(part).tolist()


def test_what_was_told_later_is_left_out_where_that_is_asked(store, plant):
    pump = plant["Pump"]
    tell(store, pump, (1, "idle"))
    with store.read() as connection:
        known = modes.newest(connection)
    tell(store, pump, (1, "fault"), (2, "running"))
    with store.read() as connection:
        before = modes.over(connection, pump.id, 0, 9 * HOUR, known)
        after = modes.over(connection, pump.id, 0, 9 * HOUR)
    at = np.array([HOUR, 3 * HOUR])
    assert before.at(at).tolist() == ["idle", "idle"]
    assert after.at(at).tolist() == ["fault", "running"]


def test_pages_hold_every_mode_once(store, plant):
    tell(store, plant["Pump"], (1, "idle"), (2, "running"), (1, "fault"))
    tell(store, plant["Press"], (1, "offline"))
    rows, after = [], None
    with store.read() as connection:
        while True:
            page = pages.modes(connection, Wanted(limit=1, after=after))
            rows += page.rows
            after = page.next
            if after is None:
                break
    assert [(r["machine"], r["mode"]) for r in rows] == [
        ("Pump", "fault"), ("Press", "offline"), ("Pump", "running"),
    ]  # fmt: skip
    assert rows[0]["start"] == "1970-01-01T01:00:00+00:00"
    assert [r["end"] for r in rows] == ["1970-01-01T02:00:00+00:00", None, None]
