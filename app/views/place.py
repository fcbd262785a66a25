"""What is looked at: it stands in the address, and so survives a reload."""

from typing import Any
from urllib.parse import parse_qs

import param

from app.models.live_curve import SPANS


class Place(param.Parameterized):
    """The site, machine, span and theme that were chosen, and the anomaly that is looked at.

    Empty means all machines, and no anomaly.
    """

    site = param.String("")
    machine = param.String("")
    span: Any = param.Selector(default=next(iter(SPANS)), objects=list(SPANS))
    theme: Any = param.Selector(default="light", objects=["light", "dark"])
    anomaly = param.String("")

    def go(self, search: str) -> None:
        """Choose what the query of an address says; what it does not name is as at first.

        >>> place = Place(anomaly="a1")
        >>> place.go("?machine=Boiler-1&span=1+century")
        >>> place.machine, place.anomaly, place.span
        ('Boiler-1', '', '15 min')
        """
        said = {name: values[-1] for name, values in parse_qs(search.lstrip("?")).items()}
        chosen = {name: said.get(name, self.param[name].default) for name in IN_ADDRESS}
        for name in ("span", "theme"):
            if chosen[name] not in self.param[name].objects:
                chosen[name] = self.param[name].default
        self.param.update(**chosen)


IN_ADDRESS = {name: name for name in ("site", "machine", "span", "theme", "anomaly")}
