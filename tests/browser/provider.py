"""A provider of logins (OAuth 2.0 authorization code, RFC 6749 4.1) that vouches for one person."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

CODE, TOKEN = "a-code", "an-access-token"


class _Provider(BaseHTTPRequestHandler):
    email: str

    def do_GET(self) -> None:
        """Send the browser back with a code, or say whom a token stands for."""
        asked = parse_qs(urlsplit(self.path).query)
        if self.path.startswith("/authorize"):
            answer = urlencode({"code": CODE, "state": asked["state"][0]})
            self.send_response(302)
            self.send_header("Location", f"{asked['redirect_uri'][0]}?{answer}")
            self.end_headers()
        elif self.headers["Authorization"] == f"Bearer {TOKEN}":
            self._say(200, {"email": self.email})
        else:
            self._say(401, {"error": "invalid_token"})

    def do_POST(self) -> None:
        """Give a token for the code."""
        body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if (body["code"], body["client_secret"]) == ([CODE], ["a-secret"]):
            self._say(200, {"access_token": TOKEN, "token_type": "Bearer"})
        else:
            self._say(400, {"error": "invalid_grant"})

    def _say(self, status: int, answer: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


@contextmanager
def provider(email: str) -> Iterator[str]:
    """Run a provider that vouches for this person; give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Provider", (_Provider,), {"email": email}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
