"""An anomaly is opened, shared by its address, and labelled, in a real Chromium."""

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.steady import Steady
from tests.browser.visit import Visit
from tests.plants import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOTE = "<img src=x onerror=window.__xss=1> stock\u202etaking"
SHOWN = "<img src=x onerror=window.__xss=1> stock[U+202E]taking"
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
SMALL = """() => {
  const found = []
  const look = (root) => root.querySelectorAll("*").forEach((node) => {
    if (node.matches(".MuiDrawer-paper button, .MuiDrawer-paper textarea:not([aria-hidden]), " +
        ".close, .choice, .anomaly-row, .label-save button")) {
      const box = node.getBoundingClientRect()
      if (box.width && (box.height < 43.5 || box.width < 43.5)) {
        found.push(`${node.className} ${box.width} x ${box.height}`)
      }
    }
    if (node.shadowRoot) { look(node.shadowRoot) }
  })
  look(document)
  return found
}"""


@pytest.fixture(scope="module")
def wrong(shared):
    """Give a machine whose newest reading is plainly wrong, and its anomaly."""
    plant = shared.connect()
    machine = Steady(plant, "Steady to be labelled")
    plant.write(machine.wrong())
    name = machine.machine.name
    found = wait_until(lambda: plant.anomalies(name)["id"].tolist(), "its anomaly")
    plant.store.dispose()
    return found[0]


def address(page: Visit) -> str:
    return parse_qs(urlsplit(page.page.url).query).get("anomaly", [""])[0]


def drawer(page: Visit):
    return page.find(".MuiDrawer-paper")


def opened(page: Visit, anomaly_id: str) -> None:
    expect(drawer(page)).to_have_count(1)
    expect(page.find(".figures")).to_be_visible()
    expect(page.find(".detail-head h2")).to_contain_text("Steady to be labelled")
    wait_until(lambda: address(page) == anomaly_id, "the anomaly in the address")


def test_a_label_is_seen_on_every_page_and_after_a_reload(visit, analyst, wrong):
    page, other = visit(), visit(query=f"&anomaly={wrong}", theme="dark")
    opened(other, wrong)
    row = page.find(f"[data-anomaly-id='{wrong}']")
    count = int(page.find(".tile-anomalies").get_attribute("data-value"))
    row.click()
    opened(page, wrong)

    page.page.get_by_role("radio", name="Expected").click()
    page.find(".label-save button").click()
    expect(page.find(".label-note")).to_contain_text("Say why")
    assert analyst.anomalies()["label"].notna().sum() == 0
    page.find(".label-note textarea").first.fill(NOTE)
    page.find(".label-save button").click()

    for each in (page, other):
        expect(each.find(".said-now")).to_have_text("Expected by local user")
        expect(each.find(".said-note")).to_have_text(SHOWN)
        expect(each.find(".choice[data-key=expected]")).to_have_attribute("aria-checked", "true")
        expect(each.find(".tile-anomalies")).to_have_attribute("data-value", str(count - 1))
        expect(each.find(f"[data-anomaly-id='{wrong}'] .mark")).to_have_text("Expected")
    expect(row).to_have_attribute("data-state", "open")
    page.shot("anomaly-labelled")

    page.page.reload()
    page.live()
    opened(page, wrong)
    expect(page.find(".said-note")).to_have_text(SHOWN)
    [kept] = analyst.anomalies().query("id == @wrong").to_dict("records")
    assert (kept["label"], kept["label_note"], kept["state"]) == ("expected", NOTE, "open")
    for each in (page, other):
        assert each.page.evaluate("window.__xss") is None
        assert each.find("img[src=x]").count() == 0


def test_it_is_opened_and_left_with_the_keyboard_and_with_back(visit, wrong):
    page = visit()
    row = page.find(f"[data-anomaly-id='{wrong}']")
    row.focus()
    page.page.keyboard.press("Enter")
    opened(page, wrong)
    page.page.keyboard.press("Tab")
    expect(page.find(".close:focus")).to_have_count(1)
    page.page.keyboard.press("Escape")
    expect(drawer(page)).to_have_count(0)
    assert address(page) == ""
    expect(row).to_be_focused()
    page.page.go_back()
    opened(page, wrong)
    page.page.go_forward()
    expect(drawer(page)).to_have_count(0)
    assert page.loads == 1


def test_it_is_acknowledged_and_resolved_on_the_page(visit, analyst, wrong):
    page = visit(query=f"&anomaly={wrong}")
    opened(page, wrong)
    row = page.find(f"[data-anomaly-id='{wrong}']")
    for action, state in (("acknowledge", "acknowledged"), ("resolve", "resolved")):
        page.find(f".{action}-button button").click()
        expect(row).to_have_attribute("data-state", state)
        expect(page.find(".detail-head .when")).to_contain_text(state)
    page.find(".reopen-button button").click()
    expect(page.find(".acknowledge-button button")).to_be_visible()
    assert analyst.anomalies().query("id == @wrong")["state"].tolist() == ["open"]


def test_one_that_is_not_there_is_said_to_be_gone(visit):
    page = visit(query="&anomaly=elsewhere")
    expect(drawer(page)).to_contain_text("not in the store")
    page.find(".close[data-act=close]").click()
    expect(drawer(page)).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_its_window_and_a_finger(visit, wrong, theme, size):
    page = visit(size=SIZES[size], theme=theme, query=f"&anomaly={wrong}")
    opened(page, wrong)
    page.page.wait_for_timeout(1000)
    page.shot(f"anomaly-{theme}-{size}")
    assert not page.is_wider_than_its_window()
    if size == "phone":
        assert page.page.evaluate(SMALL) == []
