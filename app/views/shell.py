"""The frame around every page: theme, header, pill, toasts; and the table of pages."""

import time
from typing import Any

import panel as pn
import panel_material_ui as pmui
from panel.util.parameters import edit_readonly

from app import server
from app.mailbox import Delivery
from app.models.connection import Connection
from app.models.toasts import Toast, Toasts
from app.views import theme
from app.views.address import Address
from app.views.markup import Markup
from app.views.overview import Overview
from app.views.pill import ConnectionPill
from app.views.place import IN_ADDRESS, Place
from app.views.session import Session
from app.views.toasts import ToastArea
from enms_core.store.times import now_us

PAGES = {"overview": Overview}


def serve() -> None:
    """Build the page that the address asks for and serve it to this session."""
    pn.extension(reconnect=True, notifications=False, respect_explicit_sizing=True)
    Shell(server.current()).page.servable(title="EnMS")


class Shell:
    """One session's page and what keeps it true."""

    def __init__(self, running: server.Server) -> None:
        self._server = running
        self.connection = Connection()
        self.toasts = Toasts(lambda job_id: self.view.jobs.name_of(job_id))
        self._area, self._pill = ToastArea(), ConnectionPill(boot=server.BOOT)
        place = Place()
        if pn.state.location is not None:
            pn.state.location.sync(place, IN_ADDRESS)
        self.session = Session(running, self.deliver, self.tick)
        self.view = PAGES["overview"](running, self.session, place, self.tell)
        place.param.watch(self._on_anomaly, "anomaly")
        self._area.aside = bool(place.anomaly)
        self.page = self._page(place)

    def tell(self, toast: Toast) -> None:
        """Show a toast that no event told."""
        self._area.add(self.toasts.show([toast], time.monotonic()))

    def deliver(self, mail: Delivery) -> None:
        """Bring what came to the page."""
        self.view.deliver(mail)
        self._area.add(self.toasts.of(mail.events, time.monotonic()))

    def tick(self) -> None:
        """Keep ages and the state of the connection true."""
        before, hub = self.connection.state, self._server.hub
        now_ms = now_us() // 1000
        beat = self.connection.beat(hub.state, hub.last_event, hub.latency_ms, now_ms)
        self._pill.param.update(beat=beat, zone=self.view.plant.factory.timezone)
        if self.connection.state != before:
            self._tell_state(self.connection.state)
        self.view.tick()

    def _on_anomaly(self, event: Any) -> None:
        self._area.aside = bool(event.new)

    def _tell_state(self, state: str) -> None:
        if state == "live":
            self.tell(Toast(kind="success", title="Connected", text="Events arrive live."))
        elif state == "degraded":
            text = "Values are read from the store until it is back."
            self.tell(Toast(kind="warning", title="Redis is away", text=text))

    def _page(self, place: Place) -> Any:
        brand = Markup(css_classes=["brand-box"], align="center")
        brand.fill("brand.html", page=self.view.title)
        colors = {"--font": theme.FONT}
        page = pmui.Page(  # type: ignore[attr-defined]
            title="",
            meta_title="EnMS",
            dark_theme=place.theme == "dark",
            theme_config=theme.THEME,
            busy_indicator=None,
            header=[brand, pn.Spacer(sizing_mode="stretch_width"), *self.view.controls],
            main=[self.view.layout, *self.view.overlays, self._area, self._pill, Address(place)],
            sx={
                "&.mui-light": {**theme.variables(theme.LIGHT), **colors},
                "&.mui-dark": {**theme.variables(theme.DARK), **colors},
                "& .MuiAppBar-root": {
                    "backgroundColor": "var(--surface)",
                    "backgroundImage": "none",
                    "color": "var(--text)",
                    "borderBottom": "1px solid var(--line)",
                    "boxShadow": "none",
                },
                "& .MuiToolbar-root": {"minHeight": "56px !important", "height": "56px"},
                "& main": {"backgroundColor": "var(--ground)"},
            },
        )
        with edit_readonly(page):  # else every callback of any session changes every page
            page.busy = False
        self._pill.on_dark(lambda: page.param.update(dark_theme=True))
        page.param.watch(lambda event: self.view.paint(dark=event.new), "dark_theme")
        return page
