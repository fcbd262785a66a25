"""The pill in the corner: how live the page is, true also when the server is not there."""

from pathlib import Path
from typing import ClassVar

import param
from panel.custom import JSComponent

HERE = Path(__file__).parent


class ConnectionPill(JSComponent):
    """Shows Live, Connecting, Reconnecting, Degraded or Offline; lives in the browser."""

    beat = param.Dict({}, doc="What the server says each second; see `Connection.beat`.")
    boot = param.String("", doc="Names the server's process: with another one the page reloads.")

    zone = param.String("UTC", doc="The site's time zone.")

    _esm = HERE / "pill.js"
    _stylesheets: ClassVar[list[str]] = [(HERE / "pill.css").read_text(encoding="utf-8")]
