"""What people see on a running plant, in a real Chromium."""

import logging
import re
import time
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from enms_core.client import Plant
from enms_core.events import AnomalyDetected, Event, SystemAlert, TrainingCompleted
from enms_core.store import events
from tests.browser.steady import Steady, plainly_wrong
from tests.plants import wait_until

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
HOSTILE = "<img src=x onerror=window.__xss=1> \u202eevil\u202c \u200fend"
SHOWN = "<img src=x onerror=window.__xss=1> [U+202E]evil[U+202C] \u200fend"
KINDS = {"danger", "warning", "info", "success"}


def break_a_machine(analyst: Plant) -> tuple[str, float, str]:
    """Send a plainly wrong reading of a quiet machine; give its name, the commit, the anomaly."""
    open_now = set(analyst.anomalies(state="open")["machine"])
    known = analyst.machines().dropna(subset="rated_kw")
    name, rated = next((m.name, m.rated_kw) for m in known.itertuples() if m.name not in open_now)
    receipt = analyst.write(plainly_wrong(name, rated))
    committed = time.time()
    assert receipt.stored == 1
    found = wait_until(
        lambda: analyst.anomalies(name, state="open")["id"].tolist(), f"an anomaly of {name}"
    )
    return name, committed, found[0]


def tell(analyst: Plant, *told: Event) -> None:
    """Tell events as the engine tells them."""
    with analyst.store.write() as connection:
        for event in told:
            events.record(connection, event)
    analyst.bell.ring("events")


def alert(severity: str, text: str) -> SystemAlert:
    return SystemAlert(
        alert_type="test", severity=severity, message=text, details={"at": time.time_ns()}
    )


def anomaly(machine_id: str, machine: str, number: int) -> AnomalyDetected:
    return AnomalyDetected(
        anomaly_id=f"made-{time.time_ns()}-{number}",
        machine_id=machine_id,
        machine=machine,
        metric="power_kw",
        severity="critical" if number % 3 == 0 else "warning",
        score=12.0,
        value=90.0,
        expected=30.0,
        lower=25.0,
        upper=35.0,
        delta_kwh=1.0,
        delta_cost=0.2,
        started_at=datetime.now(UTC).isoformat(),
        reason="made for a test",
    )


def until_no_toast(page) -> None:
    expect(page.find(".toast")).to_have_count(0, timeout=20_000)


# -- the way of a reading ------------------------------------------------------------------------


def test_a_wrong_reading_is_told_on_the_page_within_two_seconds(visit, analyst, record_property):
    page = visit()
    before = int(page.find(".tile-anomalies").get_attribute("data-value"))
    name, committed, anomaly_id = break_a_machine(analyst)
    painted = {
        what: page.when(pattern, after=committed - 1.0) - committed
        for what, pattern in {
            "toast": f"^toast:{re.escape(name)}: (critical|warning)$",
            "count": f"^count:{before + 1}$",
            "row": f"^row:{anomaly_id}$",
        }.items()
    }
    log.info("commit to screen, ms: %s", {what: round(1000 * s) for what, s in painted.items()})
    assert max(painted.values()) < 2.0
    assert page.loads == 1


def test_two_tabs_show_the_same_anomalies(visit, analyst):
    tabs = [visit(), visit(theme="dark")]
    name, committed, anomaly_id = break_a_machine(analyst)
    for tab in tabs:
        tab.when(f"^row:{anomaly_id}$", after=committed - 1.0)
        row = tab.find(f"[data-anomaly-id='{anomaly_id}']")
        expect(row).to_contain_text(name)
        expect(row).to_have_attribute("data-state", "open")
    lists = [
        tab.find("[data-anomaly-id]").evaluate_all("rows => rows.map(r => r.dataset.anomalyId)")
        for tab in tabs
    ]
    assert lists[0] == lists[1]


# -- what can be started -------------------------------------------------------------------------


def test_training_is_followed_from_start_to_the_new_version(visit, analyst):
    page, name = visit(query="&machine=Compressor-1"), "Compressor-1"
    before = int(analyst.models(name)["version"].max())
    asked = time.time()
    page.find(".train-button button").click()
    page.when(f"^toast:{name}: training started$", after=asked)
    page.when(f"^toast:{name}: training completed$", after=asked)
    newest = analyst.jobs().iloc[0]
    progress = [int(what.rsplit(":", 1)[1]) for what in page.records(f"^job:{newest.id}:")]
    assert progress == sorted(progress)
    assert len(set(progress)) >= 3, progress
    assert progress[-1] == 100
    row = page.find(f"[data-job-id='{newest.id}']")
    expect(row).to_have_attribute("data-state", "completed")
    expect(row).to_contain_text(f"baseline v{before + 1}")
    expect(row.locator(".end")).to_have_text("active", timeout=10_000)
    expect(row).to_contain_text("CV(RMSE)")
    assert page.loads == 1


def test_detection_is_asked_for_and_holds_up_nothing(visit, analyst):
    page = visit()
    asked = time.time()
    page.find(".detect-button button").click()
    page.when("^toast:Detection over all machines asked for$", after=asked)
    expect(page.find(".toast[data-kind=info]")).not_to_have_count(0)
    _, committed, anomaly_id = break_a_machine(analyst)
    live = page.when(f"^row:{anomaly_id}$", after=committed - 1.0)
    answered = page.when("^toast:Detection over all machines: ", after=asked)
    assert live < answered


# -- toasts --------------------------------------------------------------------------------------


def test_toasts_are_of_four_kinds_closable_and_at_most_five(visit, analyst):
    page = visit()
    until_no_toast(page)
    machine_id = analyst.machines()["id"][0]
    done = TrainingCompleted(
        job_id=f"made-{time.time_ns()}", machine_id=machine_id, status="completed", model_version=1
    )
    tell(analyst, *(alert(s, f"Alert: {s}") for s in ("critical", "warning", "info")), done)
    toasts = page.find(".toast")
    expect(toasts).to_have_count(4)
    looks = dict(
        toasts.evaluate_all(
            "all => all.map(t => [t.dataset.kind, getComputedStyle(t).borderLeftColor])"
        )
    )
    assert looks.keys() == KINDS
    assert len(set(looks.values())) == 4
    page.shot("toasts")
    page.find(".toast[data-kind=info] .close").click()
    expect(toasts).to_have_count(3)
    for number in range(5):
        tell(analyst, alert("info", f"Another alert {number}"))
        time.sleep(0.2)
    page.when("^toast:.*messages$")
    assert toasts.count() <= 5
    assert max(int(what.split(":")[1]) for what in page.records("^toasts:")) <= 5


def test_many_anomalies_at_once_are_one_toast(visit, analyst):
    page = visit()
    until_no_toast(page)
    known = analyst.machines()[["id", "name"]].values.tolist()
    before, at = len(page.records("^toast:")), time.time()
    tell(analyst, *(anomaly(*known[i % len(known)], i) for i in range(12)))
    page.when(r"^toast:\d+ anomalies", after=at)
    time.sleep(0.5)
    told = page.records("^toast:")[before:]
    grouped = [int(found[1]) for what in told if (found := re.match(r"toast:(\d+) anom", what))]
    alone = [what for what in told if not re.match(r"toast:\d+ anom", what)]
    assert page.find(".toast").count() <= 3
    assert max(grouped) + len(alone) == 12


# -- what must never happen ----------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_stays_at_home_and_in_its_window(visit, theme, size):
    page = visit(size=SIZES[size], theme=theme)
    expect(page.find(".bone")).to_have_count(0)
    page.page.wait_for_timeout(2500)
    page.shot(f"{theme}-{size}")
    assert not page.is_wider_than_its_window()


def test_a_hostile_name_is_shown_and_runs_nothing(visit, analyst):
    hostile = Steady(analyst, HOSTILE)
    page = visit(query="&machine=" + HOSTILE.replace(" ", "%20").replace("=", "%3D"))
    row = page.find(f"tr[data-key='{hostile.machine.id}'] .who")
    expect(row).to_have_text(SHOWN, timeout=20_000)
    analyst.write(hostile.wrong())
    found = wait_until(lambda: analyst.anomalies(HOSTILE)["id"].tolist(), "its anomaly")
    page.when(f"^row:{found[0]}$")
    expect(page.find(f"[data-anomaly-id='{found[0]}'] .title")).to_contain_text(SHOWN)
    page.when("^toast:<img src=x onerror=window.__xss=1>")
    page.find(".train-select [role=combobox]").click()
    option = page.find("[role=listbox] li").filter(has_text="<img src=x")
    expect(option).to_have_count(1)
    page.shot("hostile-name")
    option.click()
    page.find(".train-button button").click()
    page.when("^toast:<img .*: training ")
    assert page.page.evaluate("window.__xss") is None
    assert page.find("img[src=x]").count() == 0
