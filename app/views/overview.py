"""The overview: is anything wrong, what does it cost, since when, and why."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from app.mailbox import Delivery
from app.models import words
from app.models.anomalies import RecentAnomalies
from app.models.jobs import RunningJobs
from app.models.live_curve import SPANS, LiveCurve, Points, history
from app.models.plant_now import PlantNow
from app.models.snapshot import Found, Snapshot
from app.models.toasts import Toast
from app.server import Server
from app.views.chart import Chart, Shade
from app.views.markup import Markup
from app.views.session import Session
from enms_core.store import Unavailable
from enms_core.store.times import now_us

HERE = Path(__file__).parent
GRID = (HERE / "overview.css").read_text(encoding="utf-8")
CARD = (HERE / "card.css").read_text(encoding="utf-8")
ALL_SITES, ALL_MACHINES = "All sites", "All machines"
WIDTH, HEIGHT = 120.0, 26.0  # of the small curve


class Place(param.Parameterized):
    """What is looked at: it stands in the address, and so survives a reload."""

    site = param.String("")
    machine = param.String("")
    span = param.Selector(default=next(iter(SPANS)), objects=list(SPANS))
    theme = param.Selector(default="light", objects=["light", "dark"])


class Overview:
    """Builds its layout once; `deliver` and `tick` update what it shows."""

    place_names = ("site", "machine", "span", "theme")

    def __init__(
        self, server: Server, session: Session, tell: Callable[[Toast], None], *, dark: bool
    ) -> None:
        self._server, self._session, self._tell = server, session, tell
        self.place = Place(theme="dark" if dark else "light")
        self.plant, self.anomalies, self.jobs = PlantNow(), RecentAnomalies(), RunningJobs()
        self.curve = LiveCurve()
        self._chart = Chart(dark=dark)
        self._seen: Snapshot | None = None
        self._loading: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._build()

    # -- layout ---------------------------------------------------------------------------------

    def _build(self) -> None:
        names = ("tiles", "heading", "machines", "anomalies", "jobs", "curve_head", "jobs_head")
        self._parts = {name: Markup(css_classes=[name.replace("_", "-")]) for name in names}
        self._site = _select([ALL_SITES], "Site", 150)
        self._machine = _select([ALL_MACHINES], "Machine", 190)
        self._train_machine = _select([], "Machine to train", 170)
        self._span = pmui.RadioButtonGroup(
            options=list(SPANS), value=self.place.span, size="small", color="primary",
            aria_label="Span",
        )  # fmt: skip
        self._train = _button("Train", "train-button", self._on_train)
        self._detect = _button("Detect now", "detect-button", self._on_detect)
        self._parts["heading"].show("heading.html", title="Anomalies", hint="")
        self._parts["jobs_head"].show("heading.html", title="Training", hint="")
        self._parts["machines"].on_act(self._on_act)
        for widget in (self._site, self._machine, self._span):
            widget.param.watch(self._on_choice, "value")
        self.controls = [pn.Spacer(sizing_mode="stretch_width"), self._site]
        self.layout = self._layout()
        self._render()

    def _layout(self) -> pn.Column:
        part = self._parts
        chart = pn.pane.Bokeh(self._chart.figure, sizing_mode="stretch_both", min_height=240)
        tiles = part["tiles"]
        tiles.stylesheets = [*tiles.stylesheets, CARD]
        tiles.css_classes = ["tiles", "tiles-area"]
        cards = [
            tiles,
            _card("curve", _bar(part["curve_head"], self._machine, self._span), chart),
            _card("anomalies", _bar(part["heading"], self._detect), part["anomalies"]),
            _card("machines", part["machines"]),
            _card("jobs", _bar(part["jobs_head"], self._train_machine, self._train), part["jobs"]),
        ]
        return pn.Column(
            *cards, css_classes=["overview"], stylesheets=[GRID], sizing_mode="stretch_width"
        )

    # -- what comes -----------------------------------------------------------------------------

    def deliver(self, mail: Delivery) -> None:
        """Take what came and show it."""
        self.anomalies.take(mail.events)
        self.jobs.take(mail.events)
        self.plant.take_updates(mail.updates.values())
        snapshot = self._server.reader.snapshot
        if mail.forgot:
            self._server.reader.ask()
        if snapshot is not None and snapshot is not self._seen:
            self._take_snapshot(snapshot)
        self.plant.take_anomalies(self.anomalies.all_open)
        self._show(now_us())

    def tick(self) -> None:
        """Keep what depends on the time true."""
        self._show(now_us())

    def paint(self, *, dark: bool) -> None:
        """Follow the theme."""
        self.place.theme = "dark" if dark else "light"
        self._chart.paint(dark=dark)
        self._shade(now_us())

    def _take_snapshot(self, snapshot: Snapshot) -> None:
        is_first, self._seen = self._seen is None, snapshot
        for model in (self.plant, self.anomalies, self.jobs):
            model.take_snapshot(snapshot)
        self._offer_choices()
        if is_first:
            self._load()

    def _show(self, now: int) -> None:
        self.plant.refresh(now)
        if self._loading is None and self.plant.is_known:
            self._chart.stream(self.curve.advance(self.plant, now))
        self._chart.move((now - self.curve.width.us) / 1000, now / 1000)
        self._shade(now)
        self._render()

    # -- what is chosen -------------------------------------------------------------------------

    def _offer_choices(self) -> None:
        """Offer the sites and machines there are; take over what the address asks for."""
        sites = [factory.name for factory in self.plant.sites]
        site = self.place.site if self.place.site in sites else ""
        self.plant.site = site
        machines = [machine.name for machine in self.plant.machines]
        machine = self.place.machine if self.place.machine in machines else ""
        self.curve.param.update(machine=machine, span=self.place.span)
        ids = frozenset(m.id for m in self.plant.machines) if site else frozenset()
        self.anomalies.machine_ids = ids
        with param.parameterized.discard_events(self.place):
            self.place.param.update(site=site, machine=machine)
        for widget, options, value in (
            (self._site, [ALL_SITES, *sites], site or ALL_SITES),
            (self._machine, [ALL_MACHINES, *machines], machine or ALL_MACHINES),
            (self._train_machine, machines, self._train_machine.value or machine),
        ):
            chosen = value if value in options else next(iter(options), None)
            if (widget.options, widget.value) != (options, chosen):
                widget.param.update(options=options, value=chosen)
        if self._span.value != self.place.span:
            self._span.value = self.place.span

    def _on_choice(self, _event: Any) -> None:
        site, machine = self._site.value, self._machine.value
        wanted = {
            "site": "" if site == ALL_SITES else site,
            "machine": "" if machine == ALL_MACHINES else machine,
            "span": self._span.value or self.place.span,
        }
        if wanted != {name: getattr(self.place, name) for name in wanted}:
            self.place.param.update(**wanted)
            self._offer_choices()
            self._load()
            self._show(now_us())

    def _on_act(self, act: str, key: str) -> None:
        row = self.plant.row(key) if act == "machine" else None
        if row is not None:
            name = row.machine.name
            self._machine.value = ALL_MACHINES if name == self.curve.machine else name

    # -- the curve ------------------------------------------------------------------------------

    def _load(self) -> None:
        """Load the past of what is chosen, in a thread; the page goes on meanwhile."""
        if self._loading is not None:
            self._loading.cancel()
        self._loading = asyncio.get_running_loop().create_task(self._load_history())

    async def _load_history(self) -> None:
        assert self._seen is not None
        wanted = {m.id for m in self.plant.machines if self.curve.machine in ("", m.name)}
        traces = {m: trace for m, trace in self._seen.traces.items() if m in wanted}
        points: Points | None = None
        try:
            points = await asyncio.to_thread(self._read_history, traces)
        except Unavailable:
            points = {name: [] for name in ("time", "value", "expected", "lower", "upper")}
        with self._session.writing():
            zone = self.plant.factory.timezone
            self._chart.load(points, offset_ms=_offset_ms(zone, self.plant))
            self.curve.start(points)
            self._loading = None
            self._show(now_us())

    def _read_history(self, traces: dict[str, Any]) -> Points:
        with self._server.plant.store.read() as connection:
            return history(connection, traces, self.curve.width, now_us())

    def _shade(self, now: int) -> None:
        since = now - self.curve.width.us
        shown = [m.id for m in self.plant.machines if self.curve.machine in ("", m.name)]
        found = self.anomalies.of(shown, since)
        shades = [_shade_of(one) for one in sorted(found, key=lambda one: one.started_at)]
        self._chart.shade(shades, since / 1000, now / 1000)

    # -- what is shown --------------------------------------------------------------------------

    def _render(self) -> None:
        known, rows = self.plant.is_known, self.anomalies.rows
        now, zones = now_us(), {m.id: m.zone for m in self.plant.machines}
        utc = self.plant.factory.timezone
        part = self._parts
        part["tiles"].show(
            "tiles.html",
            known=known,
            totals=self.plant.totals,
            counts=self.anomalies.counts,
            open=len(self.anomalies.open),
            running=len(self.jobs.running),
        )
        part["machines"].show(
            "machines.html",
            known=known,
            rows=self.plant.rows,
            chosen=self.curve.machine,
            sparks={row.machine.id: _spark(row.curve) for row in self.plant.rows},
        )
        currencies = {m.id: m.factory.currency for m in self.plant.machines}
        part["anomalies"].show(
            "anomalies.html",
            known=known,
            rows=rows,
            open=len(self.anomalies.open),
            hidden=self.anomalies.hidden,
            costs={o.id: _cost(o, currencies.get(o.machine_id, "")) for o in rows},
            kwh={o.id: " ".join(words.energy(o.delta_kwh)) for o in rows},
            times={o.id: _when(o, zones.get(o.machine_id), now) for o in rows},
        )
        del utc
