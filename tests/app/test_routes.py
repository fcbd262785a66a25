import json

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from app.api import ROUTES
from app.server import BOOT


class Served(Application):
    websocket_origins = ("plant.example:5006",)


@pytest.fixture
async def ask():
    server = HTTPServer(Served(ROUTES))
    socket, port = bind_unused_port()
    server.add_sockets([socket])
    client = AsyncHTTPClient(force_instance=True)

    async def get(path, **headers):
        request = HTTPRequest(
            f"http://127.0.0.1:{port}{path}", headers=headers, follow_redirects=False
        )
        return await client.fetch(request, raise_error=False)

    yield get
    client.close()
    server.stop()
    await server.close_all_connections()


async def test_health_names_the_process_and_is_not_cached(ask):
    answer = await ask("/health")
    assert json.loads(answer.body) == {"status": "ok", "boot": BOOT}
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("host", ["localhost:5006", "[::1]:5006", "plant.example", "127.0.0.1"])
async def test_known_hosts_are_answered(ask, host):
    assert (await ask("/health", Host=host)).code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "localhost", "Origin": "http://evil.example"},
        {"Host": "localhost", "Origin": "null"},
    ],
)
async def test_others_are_refused(ask, headers):
    answer = await ask("/health", **headers)
    assert answer.code == 403
    assert BOOT not in answer.body.decode()


async def test_the_root_leads_to_the_page_with_its_query(ask):
    answer = await ask("/?site=Nord")
    assert (answer.code, answer.headers["Location"]) == (302, "main?site=Nord")
