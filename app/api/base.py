"""The one base class of all handlers: who asks from where is checked before anything is done."""

from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def host_of(url: str) -> str:
    """Return the host's name in a URL, without port and brackets; empty where there is none.

    >>> host_of("//[::1]:5006"), host_of("http://localhost:5006"), host_of("null")
    ('::1', 'localhost', '')
    """
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class Handler(RequestHandler):
    """Refuses what another site's page or a re-bound name sent, with 403."""

    @property
    def known_hosts(self) -> frozenset[str]:
        """The names this server answers to: loopback, and those allowed for its WebSockets."""
        origins = getattr(self.application, "websocket_origins", ())
        return LOOPBACK | {host_of(f"//{origin}") for origin in origins}

    def prepare(self) -> None:
        """Check Host, and Origin where the browser sends one."""
        known = self.known_hosts
        origin = self.request.headers.get("Origin")
        if host_of(f"//{self.request.host}") not in known:
            raise HTTPError(403, reason="Host is not one this server answers to")
        if origin is not None and host_of(origin) not in known:
            raise HTTPError(403, reason="Origin is not one this server answers to")

    def set_default_headers(self) -> None:
        """Keep answers out of caches and of other sites' hands."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
