"""The live curve of a machine or of all, with the choice of both machine and span."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import panel as pn
import panel_material_ui as pmui

from app.models.anomalies import RecentAnomalies
from app.models.live_curve import COLUMNS, SPANS, LiveCurve, Points, history
from app.models.plant_now import PlantNow
from app.models.snapshot import Found, Snapshot
from app.models.trace import Trace
from app.models.words import deviation
from app.safe import visible
from app.server import Server
from app.views.chart import Chart, Shade, offset_ms
from app.views.markup import Markup
from app.views.parts import bar, card, offer, select
from app.views.place import Place
from app.views.session import Session
from enms_core.plant import Factory, zone
from enms_core.store import Unavailable
from enms_core.store.times import now_us

ALL_MACHINES = "All machines"
SHADES = 4  # of more one sees none


class PowerCard:
    """Loads the past of what is chosen in a thread, and goes on live."""

    def __init__(
        self,
        server: Server,
        session: Session,
        place: Place,
        plant: PlantNow,
        found: RecentAnomalies,
    ) -> None:
        self._server, self._session, self._place = server, session, place
        self._plant, self._found = plant, found
        self._curve = LiveCurve()
        self._chart = Chart(dark=place.theme == "dark")
        self._loading: asyncio.Task[None] | None = None
        self._shades: list[Shade] = []
        self._head = Markup()
        self._machine = select("Machine", 190, "machine-select")
        self._span = pmui.RadioButtonGroup(
            options=list(SPANS),
            value=place.span,
            size="small",
            color="primary",
            margin=0,
            css_classes=["span-select"],
            sx={"& .MuiToggleButton-root": {"px": "12px", "py": "6px", "whiteSpace": "nowrap"}},
        )
        self._machine.param.watch(self._on_machine, "value")
        self._span.param.watch(self._on_span, "value")
        figure = pn.pane.Bokeh(self._chart.figure, sizing_mode="stretch_both", min_height=240)
        top = bar(self._head, self._machine, self._span)
        top.css_classes = [*top.css_classes, "wraps"]
        self.layout = card("curve", top, figure)

    def offer(self) -> None:
        """Offer the machines there are, and show the one that the address asks for."""
        names = [machine.name for machine in self._plant.machines]
        machine = self._place.machine if self._place.machine in names else ""
        offer(self._machine, [ALL_MACHINES, *names], machine or ALL_MACHINES)
        if self._span.value != self._place.span:
            self._span.value = self._place.span

    def load(self, snapshot: Snapshot) -> None:
        """Load the past of what is chosen; the page goes on meanwhile."""
        names = [machine.name for machine in self._plant.machines]
        machine = self._place.machine if self._place.machine in names else ""
        self._curve.param.update(machine=machine, span=self._place.span)
        wanted = {m.id for m in self._plant.machines if machine in ("", m.name)}
        traces = {m: trace for m, trace in snapshot.traces.items() if m in wanted}
        if self._loading is not None:
            self._loading.cancel()
        self._loading = self._session.start(self._load(traces))
        self._show_head()

    def update(self, now: int) -> None:
        """Go on to this moment."""
        if self._loading is None:
            self._chart.stream(self._curve.advance(self._plant))
        self._chart.move((now - self._curve.width.us) / 1000, now / 1000)
        self._chart.fit()
        self._shade(now)

    def paint(self, *, dark: bool) -> None:
        """Follow the theme."""
        self._chart.paint(dark=dark)
        self._shades = []
        self._shade(now_us())

    async def _load(self, traces: dict[str, Trace]) -> None:
        try:
            points = await asyncio.to_thread(self._read, traces)
        except Unavailable:
            points = {name: [] for name in ("time", *COLUMNS)}  # goes on with what comes
        with self._session.writing():
            self._chart.load(points, offset_ms=offset_ms(self._site, now_us()))
            self._curve.start(points)
            self._loading, self._shades = None, []
            self.update(now_us())

    def _read(self, traces: dict[str, Trace]) -> Points:
        with self._server.plant.store.read() as connection:
            return history(connection, traces, self._curve.width, now_us())

    @property
    def _site(self) -> Factory:
        """The site in whose zone the times are shown."""
        chosen = (m.factory for m in self._plant.machines if m.name == self._curve.machine)
        return next(chosen, self._plant.factory)

    def _show_head(self) -> None:
        local = datetime.now(UTC).astimezone(zone(self._site.timezone))
        self._head.fill(
            "curve_head.html",
            machine=self._curve.machine,
            site=self._plant.site,
            zone=f"{self._site.timezone} ({local:%Z})",
        )

    def _shade(self, now: int) -> None:
        ids = [m.id for m in self._plant.machines if self._curve.machine in ("", m.name)]
        found = self._found.of(ids, now - self._curve.width.us)
        shades = [_shade_of(one) for one in found[:SHADES]]
        if any(shade.end is None for shade in shades) or shades != self._shades:
            self._shades = shades
            self._chart.shade(shades)

    def _on_machine(self, event: Any) -> None:
        self._place.machine = "" if event.new in (None, ALL_MACHINES) else event.new

    def _on_span(self, event: Any) -> None:
        self._place.span = event.new or self._place.span


def _shade_of(one: Found) -> Shade:
    end = None if one.ended_at is None else one.ended_at / 1000
    label = f"{visible(one.machine)} {deviation(one.value, one.expected)}".strip()
    severity = "info" if one.is_settled else one.severity
    return Shade(one.started_at / 1000, end, severity, label)
