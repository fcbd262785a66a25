"""The browser's back and forward: the page shows what the address says again."""

from pathlib import Path
from typing import Any

import panel as pn
from panel.custom import JSComponent

from app.views.place import Place


class Address(JSComponent):
    """Tells the place when the browser goes back or forward; the address is there already."""

    _bundle = Path(__file__).parent / "address.js"

    def __init__(self, place: Place, **params: Any) -> None:
        super().__init__(**{"width": 0, "height": 0, "margin": 0, "sizing_mode": "fixed", **params})
        self._place = place

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict):
            search = str(data.get("search", ""))
            pn.state.execute(lambda: self._place.go(search))
