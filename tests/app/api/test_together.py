import asyncio
import threading
from itertools import chain

import pytest

from app.api.together import Together
from enms_core.store import Unavailable


class Slow:
    """Doubles numbers, the first time only when it may; keeps what it was asked at a time."""

    def __init__(self):
        self.asked = []
        self.may = threading.Event()
        self.began = threading.Event()

    def __call__(self, numbers):
        self.asked.append(list(numbers))
        self.began.set()
        self.may.wait(10)
        return [2 * number for number in numbers]


async def behind(slow, together, *numbers, patience_s=10.0):
    """Ask for 0, and for the numbers while it is being done; return what came of them."""
    first = asyncio.create_task(together.do(0, 10.0))
    await asyncio.to_thread(slow.began.wait, 10)
    rest = [asyncio.create_task(together.do(n, patience_s)) for n in numbers]
    await asyncio.sleep(0.05)
    slow.may.set()
    return await asyncio.gather(first, *rest, return_exceptions=True)


def test_what_waits_is_done_in_one_go_and_in_order():
    slow = Slow()
    assert asyncio.run(behind(slow, Together("slow", slow), 3, 1, 2)) == [0, 6, 2, 4]
    assert slow.asked == [[0], [3, 1, 2]]


def test_so_many_at_once_and_no_more():
    slow = Slow()
    found = asyncio.run(behind(slow, Together("slow", slow), *range(200)))
    assert found == [0, *range(0, 400, 2)]
    assert [len(some) for some in slow.asked] == [1, *[16] * 12, 8]


def test_who_waited_too_long_is_told_and_nothing_is_done_for_them():
    slow = Slow()
    first, late = asyncio.run(behind(slow, Together("slow", slow), 7, patience_s=0.01))
    assert first == 0
    assert isinstance(late, TimeoutError)
    assert slow.asked == [[0]]


def test_what_one_raises_is_not_told_to_others():
    def halved(numbers):
        if 0 in numbers:
            raise ValueError("nothing of zero")
        return [10 / number for number in numbers]

    async def ask():
        together = Together("halved", halved)
        asked = (together.do(n, 10.0) for n in (5, 0, 2))
        return await asyncio.gather(*asked, return_exceptions=True)

    five, zero, two = asyncio.run(ask())
    assert (five, two) == (2.0, 5.0)
    assert str(zero) == "nothing of zero"


def test_a_store_that_does_not_answer_is_asked_once_for_all():
    asked = []

    def unavailable(numbers):
        asked.append(list(numbers))
        raise Unavailable("COMMIT", {}, Exception("database is locked"))

    async def ask():
        together = Together("unavailable", unavailable)
        together_do = [asyncio.create_task(together.do(n, 10.0)) for n in range(3)]
        return await asyncio.gather(*together_do, return_exceptions=True)

    assert all(isinstance(error, Unavailable) for error in asyncio.run(ask()))
    assert sorted(chain.from_iterable(asked)) == [0, 1, 2]  # none of them twice


def test_it_serves_one_event_loop_after_the_other():
    together = Together("doubled", lambda numbers: [2 * n for n in numbers])
    for n in range(3):
        assert asyncio.run(together.do(n, 10.0)) == 2 * n


def test_who_went_away_disturbs_nobody():
    slow = Slow()

    async def ask():
        together = Together("slow", slow)
        first = asyncio.create_task(together.do(0, 10.0))
        await asyncio.to_thread(slow.began.wait, 10)
        gone, stays = (asyncio.create_task(together.do(n, 10.0)) for n in (1, 2))
        await asyncio.sleep(0.05)
        gone.cancel()
        slow.may.set()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await asyncio.gather(first, stays)

    assert asyncio.run(ask()) == [0, 4]
