import httpx
import pytest

from app.api import ROUTES
from app.api.base import PUBLIC, Guard, StreamGuard
from enms_core.store import tokens
from enms_core.store.times import now_us

ADMIN, ANALYST, VIEWER = "admin", "analyst", "viewer"


@pytest.fixture
def secret(served):
    """Make a token of a role."""

    def make(role, **more):
        with served.server.plant.store.write() as connection:
            return tokens.add(connection, f"t{now_us()}", role, **more)[1]

    return make


@pytest.fixture
def ask(served):
    """Ask with headers; return the status."""

    def send(path, method="GET", token=None, **headers):
        if token:
            headers["Authorization"] = f"Bearer {token}"
        with httpx.Client(base_url=served.url, timeout=30) as client:
            return client.request(method, path, headers=headers)

    return send


@pytest.fixture
def closed(served, monkeypatch):
    """Let the plant ask everybody who they are."""
    object.__setattr__(served.server.plant, "settings", _Basic(served.settings))


class _Basic:
    def __init__(self, settings):
        self._settings, self.auth = settings, "basic"

    def __getattr__(self, name):
        return getattr(self._settings, name)


def paths():
    """Return every path of the router, with an id where it wants one."""
    one = "00000000-0000-0000-0000-000000000000"
    for pattern, handler, *_ in ROUTES:
        path = pattern.replace("(?P<id>[^/]+)", one).replace("(?P<action>[^/]+)", "acknowledge")
        yield pytest.param(path.replace(".*", "x"), handler, id=pattern)


@pytest.mark.parametrize(("path", "handler"), list(paths()))
def test_every_route_asks_who_it_is(ask, closed, path, handler):
    assert issubclass(handler, Guard), "every handler is made from the one base class"
    if path.startswith("/api/v1/ws/"):
        return  # see test_a_stream_asks_too
    for method in ("GET", "POST", "DELETE", "PUT"):
        status = ask(path, method).status_code
        if path in PUBLIC:
            assert status in (200, 302, 405)
        else:
            assert status in (401, 403), f"{method} {path} answers {status} to a stranger"


def test_the_public_routes_are_those_that_are_listed():
    public = [pattern for pattern, handler, *_ in ROUTES if handler.role is None]
    assert tuple(public) == PUBLIC


UUID = "00000000-0000-0000-0000-000000000000"
ROLES = {
    ("GET", "/api/v1/machines"): VIEWER,
    ("GET", "/api/v1/events"): ANALYST,
    ("POST", "/api/v1/readings"): ANALYST,
    ("POST", "/api/v1/alerts"): ANALYST,
    ("POST", "/api/v1/training"): ANALYST,
    ("POST", f"/api/v1/machines/{UUID}/mode"): ANALYST,
    ("POST", "/api/v1/machines"): ADMIN,
}


@pytest.mark.parametrize("role", [VIEWER, ANALYST, ADMIN])
@pytest.mark.parametrize("closed_too", [True, False])
def test_a_role_may_what_it_may(ask, secret, request, role, closed_too):
    if closed_too:
        request.getfixturevalue("closed")
    token, order = secret(role), [VIEWER, ANALYST, ADMIN]
    for (method, path), needed in ROLES.items():
        answer = ask(path, method, token=token, **{"Content-Type": "application/json"})
        status = answer.status_code
        if order.index(role) >= order.index(needed):
            assert status in (200, 400), f"{method} {path} {status}"
        else:
            assert status == 403, f"{method} {path} {status}"
            assert f"has the role {role}; this needs the role {needed}" in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:5006", "Origin": "http://localhost:5006"}, 200),
        ({"Host": "localhost:5006", "Origin": "http://localhost:9999"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Authorization": "Bearer enms_wrong"}, 401),
        ({"Authorization": "Basic YTpi"}, 401),
        ({"Authorization": "Bearer"}, 401),
    ],
)
def test_an_open_plant_looks_where_it_comes_from(ask, headers, status):
    answer = ask("/api/v1/machines", **headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_is_no_part_of_a_url(ask, secret):
    answer = ask(f"/api/v1/machines?token={secret(ADMIN)}")
    assert answer.status_code == 401
    assert "Authorization: Bearer" in answer.json()["message"]


def test_a_token_that_is_over(ask, secret):
    assert ask("/api/v1/machines", token=secret(ADMIN, expires_at=now_us() - 1)).status_code == 401


def test_the_use_of_a_token_is_noted(ask, secret, served):
    token = secret(VIEWER)
    ask("/api/v1/machines", token=token)
    with served.server.plant.store.read() as connection:
        assert tokens.find(connection, token).used_at is not None


def test_a_forged_cookie_is_nobody(ask, closed):
    assert ask("/api/v1/machines", Cookie="user=anna").status_code == 401


def test_a_plain_request_to_a_stream_costs_nobody_a_stream(ask, secret):
    token = secret(VIEWER)
    for _ in range(25):
        assert ask("/api/v1/ws/dashboard", token=token).status_code in (400, 426)
    assert sum(StreamGuard._streams.values()) == 0
