"""Visits for the tests of the page; each must have gone without a fault."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from enms_core.client import Plant
from tests.browser import visit as visits
from tests.browser.visit import Visit
from tests.plants import RunningPlant


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Give a Chromium for the tests of a module."""
    with visits.chromium() as browser:
        yield browser


@pytest.fixture
def visit(chromium: Browser, shared: RunningPlant) -> Iterator[Callable[..., Visit]]:
    """Visit the shared plant; afterwards nothing may have failed or asked the outside."""
    made: list[Visit] = []

    def go(**wanted: object) -> Visit:
        made.append(Visit(chromium, shared.url, **wanted))
        return made[-1].live()

    yield go
    faults = [fault for one in made for fault in one.faults]
    for one in made:
        one.close()
    assert not faults


@pytest.fixture
def analyst(shared: RunningPlant) -> Iterator[Plant]:
    """Give the analyst's side of the shared plant."""
    plant = shared.connect()
    yield plant
    plant.store.dispose()
