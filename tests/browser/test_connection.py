"""What the pill says while parts of a running plant are away, in a real Chromium."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.steady import Steady
from tests.browser.visit import Visit
from tests.plants import wait_until

log = logging.getLogger(__name__)

TRUE_WITHIN_S = 5.0  # the pill tells the truth within

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.kill]


@pytest.fixture
def page(chromium, shared) -> Iterator[Visit]:
    """Give a live page; here requests may fail, for the server is killed."""
    made = Visit(chromium, shared.url).live()
    yield made
    made.close()


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Let a process hang: it holds its sockets and does not answer."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def told(page: Visit, analyst, machine: Steady) -> None:
    """See to it that an anomaly still finds its way to the page."""
    analyst.write(machine.wrong())
    name = machine.machine.name
    found = wait_until(lambda: analyst.anomalies(name, state="open")["id"].tolist(), name)
    page.when(f"^row:{found[0]}$")


def test_the_pill_says_live_and_explains_itself(page):
    page.find(".pill").click()
    tip = page.find(".tip")
    expect(tip).to_be_visible()
    for text in ("Events arrive as they happen", "since", "last event", "latency"):
        expect(tip).to_contain_text(text)
    page.shot("pill")


def test_a_killed_server_is_noticed_and_comes_back_by_itself(page, shared, analyst):
    machine = Steady(analyst, "Steady after the server")
    pid = shared.pids()["server"]
    with frozen(shared.process.pid):  # the supervisor is sometimes faster than the pill can tell
        killed = time.time()
        os.kill(pid, signal.SIGKILL)
        noticed = page.when("^pill:(reconnecting|offline)$", after=killed) - killed
    page.when("^pill:live$", after=killed + noticed)
    back = time.time() - killed
    log.info("server killed: noticed after %.1f s, live after %.1f s", noticed, back)
    assert noticed < TRUE_WITHIN_S
    told(page, analyst, machine)


def test_a_frozen_redis_is_said_and_its_return_too(page, shared, analyst):
    machine = Steady(analyst, "Steady after Redis")
    pid, at = shared.pids()["broker"], time.time()
    with frozen(pid):
        noticed = page.when("^pill:degraded$", after=at) - at
        expect(page.find(".tip strong")).to_have_text(
            "Redis is away; values are read from the store every 0.5 s."
        )
        time.sleep(max(0.0, at + 8.0 - time.time()))
    thawed = time.time()
    back = page.when("^pill:live$", after=thawed) - thawed
    log.info("Redis frozen: degraded after %.1f s, live %.1f s after it went on", noticed, back)
    assert noticed < TRUE_WITHIN_S
    told(page, analyst, machine)
    assert page.loads == 1
