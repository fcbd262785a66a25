"""Visits to the page in a real Chromium: what it asked for, what went wrong, what was painted."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, sync_playwright

from tests.plants import wait_until

HERE = Path(__file__).parent
ARTIFACTS = HERE.parents[1] / "artifacts" / "browser"
RECORDER = (HERE / "recorder.js").read_text(encoding="utf-8")
PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LONGEST = """() => {
  const longest = (root) => Math.max(innerHeight, ...[...root.querySelectorAll("*")].map((e) => {
    const scrolls = /auto|scroll/.test(getComputedStyle(e).overflowY)
    const all = scrolls ? innerHeight + e.scrollHeight - e.clientHeight : 0
    return Math.max(all, e.shadowRoot ? longest(e.shadowRoot) : 0)
  }))
  return longest(document)
}"""
HERE_ONLY = {"127.0.0.1", "localhost"}
GUARD_S = 60.0  # against hanging; no promise


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the Chromium that is installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program, "Chromium is not installed; apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One page in a context of its own, and everything that went wrong in it."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        query: str = "",
        size: tuple[int, int] = (1440, 900),
        theme: str = "light",
    ) -> None:
        scheme: Any = theme
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        )
        self.context.add_init_script(RECORDER)
        self.faults: list[str] = []
        self.loads = 0
        self.page = self.context.new_page()
        self._listen(self.page)
        self.page.goto(f"{url}/?theme={theme}{query}", wait_until="commit")

    def _listen(self, page: Page) -> None:
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda socket: self._asked(socket.url))
        page.on("requestfailed", lambda request: self._failed(request.url, request.failure))
        page.on("response", lambda r: r.status >= 400 and self._note(f"{r.status}: {r.url}"))
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._note(f"error: {error}"))
        page.on("domcontentloaded", lambda _: self._loaded())

    def _note(self, fault: str) -> None:
        self.faults.append(fault)

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname not in HERE_ONLY:
            self._note(f"asked the outside: {url}")

    def _failed(self, url: str, why: str | None) -> None:
        """Note it; that the pill asks no longer than 2 s says how busy this machine is."""
        if not (urlsplit(url).path == "/health" and why == "net::ERR_ABORTED"):
            self._note(f"failed: {url} {why}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note(f"console: {message.text} {message.location.get('url', '')}")

    def _loaded(self) -> None:
        self.loads += 1

    def live(self) -> "Visit":
        """Wait until the page is filled and says that it is live."""
        self.find(".pill[data-state=live]").wait_for(timeout=GUARD_S * 1000)
        self.find(".tile-power").wait_for(timeout=GUARD_S * 1000)
        return self

    def find(self, selector: str) -> Locator:
        """Return what the selector finds, in all shadow roots."""
        return self.page.locator(selector)

    def when(self, pattern: str, after: float = 0.0, seconds: float = GUARD_S) -> float:
        """Return when the first thing of this pattern was painted after that time (Unix time)."""
        offset = self.clock_offset()
        wanted = [pattern, (after - offset) * 1000]
        first = "([what, after]) => recorder.first(what, after)"
        record = wait_until(lambda: self.ask(first, wanted), f"{pattern!r} on the page", seconds)
        return record["at"] / 1000 + offset

    def records(self, pattern: str) -> list[str]:
        """Return what of this pattern was painted so far, in order."""
        return [record["what"] for record in self.ask("(what) => recorder.all(what)", pattern)]

    def clock_offset(self) -> float:
        """Return the seconds that the page's clock is behind ours, by its fastest answer."""
        answers = []
        for _ in range(5):
            sent = time.time()
            there = self.ask("recorder.now()") / 1000
            back = time.time()
            answers.append((back - sent, (sent + back) / 2 - there))
        return min(answers)[1]

    def ask(self, expression: str, argument: Any = None) -> Any:
        """Evaluate in the page; ask again where it was just being loaded again."""
        for _ in range(20):
            try:
                return self.page.evaluate(expression, argument)
            except Error as error:
                if "context was destroyed" not in str(error) and "recorder" not in str(error):
                    raise
                self.page.wait_for_timeout(100)
        raise AssertionError(f"the page is loaded again and again: {expression}")

    def shot(self, name: str) -> Path:
        """Keep a picture of the page at its whole length."""
        path = ARTIFACTS / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = self.page.viewport_size
        assert size
        longest = self.page.evaluate(LONGEST)
        self.page.set_viewport_size({**size, "height": longest})
        self.page.wait_for_timeout(500)
        self.page.screenshot(path=path)
        self.page.set_viewport_size(size)
        return path

    def is_wider_than_its_window(self) -> bool:
        """Return whether one has to scroll sideways."""
        roots = "[document.documentElement, document.body, ...document.querySelectorAll('main')]"
        return bool(self.page.evaluate(f"{roots}.some((e) => e.scrollWidth > innerWidth)"))

    def close(self) -> None:
        """Leave."""
        self.context.close()
