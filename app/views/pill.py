"""The pill in the corner: how live the page is, true also when the server is not there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import panel as pn
import param
from panel.custom import JSComponent


class ConnectionPill(JSComponent):
    """Shows Live, Connecting, Reconnecting, Degraded or Offline; lives in the browser."""

    beat = param.Dict({}, doc="What the server says each second; see `Connection.beat`.")
    boot = param.String("", doc="Names the server's process: with another one the page reloads.")
    zone = param.String("UTC", doc="The site's time zone.")

    _bundle = Path(__file__).parent / "pill.js"  # its style sheet is the file beside it

    def on_dark(self, callback: Callable[[], None]) -> None:
        """Call back if the address names no theme and the browser prefers a dark one."""
        self._on_dark = callback

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict) and data.get("dark") is True:
            # It comes while the page is loading, when only a scheduled callback may change it.
            pn.state.execute(self._on_dark, schedule=True)
