"""A pane of safe markup that changes in place: only what differs is touched in the browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import param
from panel.custom import JSComponent

from app import safe
from enms_core.store.times import now_us


class Markup(JSComponent):
    """Shows a template of `app.safe`; ages tick in the browser, on the server's clock."""

    html = param.String("", doc="Made by app.safe, nothing else.")
    clock = param.Integer(0, doc="The server's time when that was made, in ms.")

    _bundle = Path(__file__).parent / "markup.js"  # its style sheet is the file beside it

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"sizing_mode": "stretch_width", "margin": 0, **params})
        self._on_act: Callable[[str, str], None] | None = None

    def fill(self, template: str, **values: Any) -> None:
        """Show the template with these values; nothing is sent if nothing changed."""
        html = safe.render(template, **values)
        if html != self.html:
            self.param.update(html=html, clock=now_us() // 1000)

    def on_act(self, callback: Callable[[str, str], None]) -> None:
        """Call back with what was pressed, and its key, when somebody presses a `data-act`."""
        self._on_act = callback

    def focus(self, key: str) -> None:
        """Give the keyboard back to what can be pressed and has this key."""
        self._send_msg({"focus": key})

    def _handle_msg(self, data: Any) -> None:
        if self._on_act and isinstance(data, dict):
            self._on_act(str(data.get("act", "")), str(data.get("key", "")))
