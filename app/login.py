"""Logging in with a name and a password of the plant's own users, on Panel's login page."""

import asyncio
import math
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlencode

import panel.auth
from panel.auth import BasicLoginHandler, _validate_next_url
from panel.io.state import state

from app import server
from enms_core.store import Unavailable, users

FREE = 5  # failures that cost nothing
FIRST_S, LONGEST_S = 1.0, 900.0
FORGET_S = 3600.0
SWITCH = "PANEL_BASIC_AUTH"  # Panel's variable: there is a login; what it holds is no password
WRONG = "The name or the password is wrong."


@dataclass
class Throttle:
    """Delays who fails often: after five failures a second, then twice as long each time.

    >>> throttle = Throttle()
    >>> for at in range(6):
    ...     throttle.fail(["anna"], at)
    >>> throttle.wait(["anna"], 5.5), throttle.wait(["anna"], 7.0), throttle.wait(["bert"], 5.5)
    (0.5, 0.0, 0.0)
    """

    failures: dict[str, tuple[int, float]] = field(default_factory=dict)  # how many, the last

    def wait(self, keys: Iterable[str], now: float) -> float:
        """Return for how many seconds none of these may try."""
        return max(0.0, *(self._until(key) - now for key in keys))

    def fail(self, keys: Iterable[str], now: float) -> None:
        """Note a failure; forget those of long ago."""
        self.failures = {k: v for k, v in self.failures.items() if now - v[1] < FORGET_S}
        for key in keys:
            self.failures[key] = (self.failures.get(key, (0, now))[0] + 1, now)

    def succeed(self, keys: Iterable[str]) -> None:
        """Forget the failures of these."""
        for key in keys:
            self.failures.pop(key, None)

    def _until(self, key: str) -> float:
        count, last = self.failures.get(key, (0, 0.0))
        if count <= FREE:
            return 0.0
        return last + min(FIRST_S * 2 ** min(count - FREE - 1, 30), LONGEST_S)


_throttle = Throttle()
_CHECKS = ThreadPoolExecutor(1, "password")  # they are slow on purpose


class Login(BasicLoginHandler):
    """Panel's login, against the store's users; a hash is checked beside the event loop."""

    async def post(self) -> None:
        """Log in, or say what is wrong and when to try again."""
        name, password = self.get_argument("username", ""), self.get_argument("password", "")
        keys = (f"user {name}", f"address {self.request.remote_ip}")
        waits_s = _throttle.wait(keys, time.monotonic())
        if waits_s > 0:
            self.set_header("Retry-After", str(math.ceil(waits_s)))
            self._again(f"Too many attempts; try again in {math.ceil(waits_s)} s.")
            return
        _throttle.fail(keys, time.monotonic())  # until it is known: guesses at once count, too
        try:
            check = asyncio.get_running_loop().run_in_executor(
                _CHECKS, _is_password, name, password
            )
            known = await check
        except Unavailable:
            self._again("The store does not answer; try again.")
            return
        if not known:
            self._again(WRONG)
            return
        _throttle.succeed(keys)
        self.set_current_user(name)
        self.redirect(_validate_next_url(self.get_cookie("next_url", state.base_url)))

    def set_current_user(self, user: str) -> None:
        """Give the cookie of this login: for this site only, and over TLS only where there is."""
        super().set_current_user(user)
        secure = self.request.protocol == "https"
        for morsel in self._new_cookie.values():  # Panel names neither of the two
            morsel["samesite"] = "Lax"
            if secure:
                morsel["secure"] = True

    def _again(self, message: str) -> None:
        self.redirect(f"{self._login_endpoint}?{urlencode({'error': message})}")


def asks_store() -> bool:
    """Whether people log in with the passwords of the plant's own users."""
    return bool(os.environ.get(SWITCH))


def install() -> None:
    """Let Panel's basic login ask the store's users, where it was given no users of its own."""
    if asks_store():
        # Panel looks it up when the server starts.
        vars(panel.auth)["BasicLoginHandler"] = Login


def _is_password(name: str, password: str) -> bool:
    with server.current().plant.store.read() as connection:
        return users.is_password(connection, name, password)
