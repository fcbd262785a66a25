"""What is looked at: it stands in the address, and so survives a reload."""

from typing import Any

import param

from app.models.live_curve import SPANS


class Place(param.Parameterized):
    """The site, machine, span and theme that were chosen; empty means all."""

    site = param.String("")
    machine = param.String("")
    span: Any = param.Selector(default=next(iter(SPANS)), objects=list(SPANS))
    theme: Any = param.Selector(default="light", objects=["light", "dark"])


IN_ADDRESS = {name: name for name in ("site", "machine", "span", "theme")}
