"""The anomaly that is looked at: its figures, its course, and what people say of it."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmui

from app.models.anomalies import RecentAnomalies
from app.models.detail import (
    TEACHES,
    Detail,
    actions,
    companions,
    figures,
    needs_reason,
    read,
    span,
)
from app.models.snapshot import Found
from app.models.words import LABELS
from app.server import Server
from app.views.actions import Actions
from app.views.chart import Chart, Shade, offset_ms
from app.views.markup import Markup
from app.views.parts import button
from app.views.place import Place
from app.views.session import Session
from enms_core.events import LONGEST_NOTE, AnomalyUpdated, Envelope
from enms_core.plant import Unknown
from enms_core.store import Unavailable
from enms_core.store.times import now_us
from enms_core.triage import ACTIONS

DRAWER = (Path(__file__).parent / "drawer.css").read_text(encoding="utf-8")
WIDTH = 500
AGAIN_US = 10_000_000  # how often the course of one that lasts is read again
WHY = {True: "Why it was to be expected", False: "Why (if you like)"}  # whether one must say
WORDS = {"acknowledge": "Acknowledge", "resolve": "Resolve", "reopen": "Reopen"}
GONE = "This anomaly is not in the store; it may have been of another plant."
AWAY = "The store does not answer; open it again when it does."


class AnomalyDrawer:
    """Reads in a thread what the address asks for; what is said goes the way of all events."""

    def __init__(
        self,
        server: Server,
        session: Session,
        place: Place,
        recent: RecentAnomalies,
        actions: Actions,
        closed: Callable[[str], None],
    ) -> None:
        self._server, self._session, self._place = server, session, place
        self._recent, self._actions, self._closed = recent, actions, closed
        self._detail: Detail | None = None
        self._fault, self._read_at, self._may = "", 0, False
        self._loading: asyncio.Task[None] | None = None
        self._choice: str | None = None
        self._filled: tuple[str | None, str] = (None, "")  # choice and note as they were said
        self._head, self._said = Markup(), Markup()
        self._chart = Chart(dark=place.theme == "dark")
        self._buttons = {name: self._button(name) for name in ACTIONS}
        self._note = pmui.TextAreaInput(
            label="Why",
            rows=2,
            max_length=LONGEST_NOTE,
            sizing_mode="stretch_width",
            margin=0,
            css_classes=["label-note"],
        )
        self._save = button("Save label", "label-save", lambda _: self._on_save())
        self._course = pn.pane.Bokeh(self._chart.figure, sizing_mode="stretch_width", height=210)
        self._form = _column("form", self._note, _column("does", self._save))
        self._does = _column("does", *self._buttons.values())
        self.layout = self._drawer()
        self._head.on_act(lambda _act, _key: self._close())
        self._said.on_act(lambda _act, key: self._choose(key))
        place.param.watch(self._on_place, "anomaly")
        self._render(now_us())

    def _drawer(self) -> Any:
        body = _column("body", self._head, self._course, self._does, self._said, self._form)
        drawer = pmui.Drawer(
            body,
            anchor="right",
            size=WIDTH,
            css_classes=["anomaly-drawer"],
            open=bool(self._place.anomaly),
            sx={"maxWidth": "100vw", "backgroundImage": "none", "boxShadow": "var(--float)"},
        )
        drawer.param.watch(self._on_open, "open")
        return drawer

    def deliver(self, told: Iterable[Envelope]) -> None:
        """Read the anomaly again if something was said of it."""
        events = (e.event for e in told if isinstance(e.event, AnomalyUpdated))
        if any(event.anomaly_id == self._place.anomaly for event in events):
            self.load()

    def update(self, now: int) -> None:
        """Keep what is shown true; the course of one that lasts goes on."""
        if not self._place.anomaly:
            return
        lasts = self._detail is not None and self._detail.found.lasts
        if lasts and self._loading is None and now - self._read_at > AGAIN_US:
            self.load()
        self._render(now)

    def load(self) -> None:
        """Read what the address asks for; the page goes on meanwhile."""
        if self._loading is not None:
            self._loading.cancel()
        self._loading = self._session.start(self._load(self._place.anomaly))

    def paint(self, *, dark: bool) -> None:
        """Follow the theme."""
        self._chart.paint(dark=dark)
        if self._detail:
            self._shade(self._detail.found)

    async def _load(self, anomaly_id: str) -> None:
        detail, fault, may = await asyncio.to_thread(self._read, anomaly_id)
        self._loading, self._read_at = None, now_us()
        if fault == AWAY and self._detail is not None:
            return  # what is shown stays
        with self._session.writing():
            self._detail, self._fault, self._may = detail, fault, may
            if detail is not None:
                self._draw(detail)
            self._render(now_us())

    def _read(self, anomaly_id: str) -> tuple[Detail | None, str, bool]:
        try:
            with self._server.plant.store.read() as connection:
                return read(connection, anomaly_id, now_us()), "", self._actions.may()
        except Unknown:
            return None, GONE, False
        except Unavailable:
            return None, AWAY, False

    # -- what is chosen -------------------------------------------------------------------------

    def _on_place(self, event: Any) -> None:
        with self._session.writing():
            self.layout.open = bool(event.new)
            if not event.new:
                self._closed(event.old)
                return
            self._detail, self._fault = None, ""
            self._fill(None, "")
            self.load()
            self._render(now_us())

    def _on_open(self, event: Any) -> None:
        if not event.new:
            self._close()

    def _close(self) -> None:
        self._place.anomaly = ""

    def _choose(self, label: str) -> None:
        if label in LABELS:
            self._choice = label
            why = WHY[needs_reason(label)]
            self._note.param.update(label=why, error_state=False, helper_text="")
            self._render(now_us())

    def _on_save(self) -> None:
        label, note = self._choice, self._note.value_input or ""
        if label is None or (needs_reason(label) and not note.strip()):
            text = "Say why, such as stocktaking." if label else "Choose above what it was."
            self._note.param.update(error_state=True, helper_text=text)
            return
        self._note.param.update(error_state=False, helper_text="")
        self._actions.label(self._place.anomaly, label, note)

    def _button(self, action: str) -> Any:
        return button(
            WORDS[action],
            f"{action}-button",
            lambda _: self._actions.act(self._place.anomaly, action),
        )

    # -- what is shown --------------------------------------------------------------------------

    def _render(self, now: int) -> None:
        detail = self._detail
        one = None if detail is None else self._recent.get(detail.found.id) or detail.found
        self._head.fill(
            "detail.html",
            one=one,
            machine=detail and detail.machine,
            figures=figures(one, detail.machine, now) if detail and one else [],
            companions=companions(one) if one else [],
            span=span(one, detail.machine, now) if detail and one else "",
            fault=self._fault,
        )
        if one is not None:
            self._offer(one)
        self._said.fill(
            "label.html",
            one=one,
            may=self._may,
            labels=LABELS,
            teaches=TEACHES,
            choice=self._choice,
        )
        self._course.visible = bool(detail)
        self._form.visible = self._does.visible = bool(detail) and self._may

    def _offer(self, one: Found) -> None:
        """Show what can be done, and in the form what was said, unless somebody writes there."""
        possible = actions(one)
        for action, made in self._buttons.items():
            made.visible = action in possible
        said = (one.label, one.label_note or "")
        if (self._choice, self._note.value_input or "") in (self._filled, said):
            self._fill(*said)

    def _fill(self, choice: str | None, note: str) -> None:
        self._choice, self._filled = choice, (choice, note)
        why = WHY[needs_reason(choice)]
        if (self._note.label, self._note.value_input) != (why, note):
            self._note.param.update(
                label=why, value=note, value_input=note, error_state=False, helper_text=""
            )

    def _draw(self, detail: Detail) -> None:
        site, (start, end) = detail.machine.factory, detail.drawn
        self._chart.load(
            detail.points, offset_ms=offset_ms(site, detail.found.started_at), unit=detail.unit
        )
        self._chart.move(start / 1000, end / 1000)
        self._chart.fit()
        self._shade(detail.found)

    def _shade(self, one: Found) -> None:
        end = None if one.ended_at is None else one.ended_at / 1000
        self._chart.shade([Shade(one.started_at / 1000, end, one.severity, "")])


def _column(name: str, *content: Any) -> pn.Column:
    return pn.Column(
        *content,
        css_classes=[f"drawer-{name}"],
        stylesheets=[DRAWER],
        sizing_mode="stretch_width",
        margin=0,
    )
