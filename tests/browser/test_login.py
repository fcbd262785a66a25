"""Who is let in: with a password of the plant's own, and by a provider of logins."""

import json
import urllib.error
import urllib.request

import pytest
from bokeh.server.urls import per_app_patterns
from playwright.sync_api import expect

from app.api import ROUTES
from app.api.base import PUBLIC
from enms_core.store import Store, users
from tests.browser.provider import provider
from tests.browser.visit import chromium
from tests.plants import RunningPlant

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAME, PASSWORD = "anna@example.com", "correct horse battery"
ASK = """async ([method, path, body]) => {
  const headers = body ? {"Content-Type": "application/json"} : {}
  const answer = await fetch(path, {method, headers, body})
  return [answer.status, await answer.json()]
}"""
STREAM = """(path) => new Promise((resolve) => {
  const socket = new WebSocket(location.origin.replace("http", "ws") + path)
  socket.onmessage = (event) => resolve(JSON.parse(event.data).type)
  socket.onclose = (event) => resolve(event.code)
})"""


def add(home, name, role, password=None):
    store = Store(f"sqlite:///{home / 'enms.db'}").migrate()
    with store.write() as connection:
        users.put(connection, name, role=role, password=password)
    store.dispose()


@pytest.fixture
def basic(plant_home):
    add(plant_home, NAME, "analyst", PASSWORD)
    plant = RunningPlant(plant_home, "none", env={"ENMS_AUTH": "basic"})
    yield plant.start()
    plant.stop()


@pytest.fixture
def oauth(plant_home):
    add(plant_home, NAME, "analyst")
    with provider(NAME) as address:
        addresses = {
            "PANEL_OAUTH_AUTHORIZE_URL": f"{address}/authorize",
            "PANEL_OAUTH_TOKEN_URL": f"{address}/token",
            "PANEL_OAUTH_USER_URL": f"{address}/user",
        }
        words = ["--oauth-provider=generic", "--oauth-key=enms", "--oauth-secret=a-secret"]
        env = {"ENMS_AUTH": "oauth", **addresses}
        plant = RunningPlant(plant_home, "none", words, env)
        plant._words = [*words, f"--oauth-redirect-uri=http://127.0.0.1:{plant.port}/login"]
        yield plant.start()
        plant.stop()


@pytest.fixture
def page():
    with chromium() as browser:
        yield browser.new_page()


def status(url, method="GET"):
    """Return how a stranger is answered; a redirect counts as the answer that it is."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_args):
            return None

    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=30) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Location", "")


def strangers_are_refused(plant):
    for pattern in per_app_patterns:  # Bokeh's own, of the page
        path = f"/main{pattern[0].removesuffix('/?')}"
        code, place = status(plant.url + path)
        refused = code in (400, 401, 403) or place.partition("?")[0].endswith("/login")
        assert refused, f"{path} answers {code} {place} to a stranger"
    for pattern, *_ in ROUTES:
        if "(" not in pattern and "*" not in pattern and pattern not in PUBLIC:
            assert status(plant.url + pattern)[0] in (400, 401, 403, 405, 426), pattern


def the_page_lives(page):
    page.locator(".pill[data-state=live]").wait_for(timeout=60_000)
    assert page.evaluate(ASK, ["GET", "/api/v1/machines", None])[0] == 200
    machine = page.evaluate(ASK, ["GET", "/api/v1/machines", None])[1]["items"][0]["name"]
    asked = json.dumps({"machine": machine})
    code, answer = page.evaluate(ASK, ["POST", "/api/v1/training", asked])
    assert (code, answer["requested_by"]) == (202, NAME)
    refused = page.evaluate(ASK, ["POST", "/api/v1/machines", json.dumps({"name": "X"})])
    assert refused[0] == 403, "an analyst adds no machines"
    assert page.evaluate(STREAM, "/api/v1/ws/events") == "connection"


def test_a_password_of_the_plant_lets_in(basic, page):
    strangers_are_refused(basic)
    page.goto(basic.url)
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill("wrong horse battery")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    the_page_lives(page)
    cookie = next(c for c in page.context.cookies() if c["name"] == "user")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    logged = "".join(path.read_text() for path in (basic.home / "logs").glob("*.log"))
    assert PASSWORD not in logged
    assert cookie["value"] not in logged


def test_a_viewer_looks_at_an_anomaly_and_cannot_say_what_it_was(basic, page):
    add(basic.home, "wall", "viewer", PASSWORD)
    plant = basic.connect()
    anomaly_id = plant.anomalies(limit=1)["id"][0]
    plant.store.dispose()
    page.goto(basic.url)
    page.get_by_label("Name").fill("wall")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.locator(".pill[data-state=live]").wait_for(timeout=60_000)
    page.goto(f"{basic.url}/?anomaly={anomaly_id}")
    expect(page.locator(".said")).to_contain_text("one must be an analyst", timeout=60_000)
    expect(page.locator(".figures")).to_be_visible()
    for hook in (".choice", ".label-save button", ".acknowledge-button button"):
        expect(page.locator(hook)).to_be_hidden()


def test_a_provider_of_logins_lets_in(oauth, page):
    strangers_are_refused(oauth)
    page.goto(oauth.url)
    the_page_lives(page)
