"""The overview: is anything wrong, what does it cost, since when, and why."""

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import panel as pn

from app.mailbox import Delivery
from app.models import words
from app.models.anomalies import RecentAnomalies
from app.models.jobs import RunningJobs
from app.models.plant_now import PlantNow
from app.models.snapshot import Found, Snapshot
from app.models.toasts import Toast
from app.server import Server
from app.views.actions import Actions
from app.views.anomaly_drawer import AnomalyDrawer
from app.views.markup import Markup
from app.views.parts import CARD, bar, button, card, heading, offer, select
from app.views.place import Place
from app.views.power_card import PowerCard
from app.views.session import Session
from enms_core.store.times import now_us

GRID = (Path(__file__).parent / "overview.css").read_text(encoding="utf-8")
ALL_SITES = "All sites"
WIDTH, HEIGHT = 120.0, 26.0  # of the small curve


class Overview:
    """Builds its layout once; `deliver` and `tick` update what it shows."""

    title = "Overview"

    def __init__(
        self, server: Server, session: Session, place: Place, tell: Callable[[Toast], None]
    ) -> None:
        self._server, self._session, self._place = server, session, place
        self.plant, self.anomalies, self.jobs = PlantNow(), RecentAnomalies(), RunningJobs()
        self._actions = Actions(server, session, tell)
        self._machines, self._anomalies, self._jobs = Markup(), Markup(), Markup()
        self._drawer = AnomalyDrawer(
            server, session, place, self.anomalies, self._actions, self._anomalies.focus
        )
        self._power = PowerCard(server, session, place, self.plant, self.anomalies)
        self._seen: Snapshot | None = None
        self._tiles = Markup(css_classes=["tiles", "tiles-area"], stylesheets=[CARD])
        self._machines.on_act(self._on_act)
        self._site = select("Site", 160, "site-select")
        self._site.param.watch(self._on_site, "value")
        self._trained = select("Machine to train", 180, "train-select")
        place.param.watch(self._on_place, ["site", "machine", "span"])
        self._anomalies.on_act(self._on_act)
        self.controls, self.overlays = [self._site], [self._drawer.layout]
        self.layout = self._layout()
        self._render(now_us())

    def _layout(self) -> pn.Column:
        train = button("Train", "train-button", lambda _: self._actions.train(self._trained.value))
        detect = button("Detect now", "detect-button", lambda _: self._actions.detect(None))
        return pn.Column(
            self._tiles,
            self._power.layout,
            card("anomalies", bar(heading("Anomalies"), detect), self._anomalies),
            card("machines", self._machines),
            card("jobs", bar(heading("Training"), self._trained, train), self._jobs),
            css_classes=["overview"],
            stylesheets=[GRID],
            sizing_mode="stretch_width",
        )

    def deliver(self, mail: Delivery) -> None:
        """Take what came and show it."""
        for model in (self.anomalies, self.jobs):
            model.take(mail.events)
        self.plant.take_updates(mail.updates.values())
        self._drawer.deliver(mail.events)
        if mail.forgot:
            self._server.reader.ask()
        snapshot = self._server.reader.snapshot
        if snapshot is not None and snapshot is not self._seen:
            self._take(snapshot)
        self.tick()

    def tick(self) -> None:
        """Keep what depends on the time true."""
        now = now_us()
        self.plant.take_anomalies(self.anomalies.all_open)
        self.plant.refresh(now)
        if self._seen is not None:
            self._power.update(now)
            self._drawer.update(now)
        self._render(now)

    def paint(self, *, dark: bool) -> None:
        """Follow the theme."""
        self._place.theme = "dark" if dark else "light"
        with self._session.writing():
            self._power.paint(dark=dark)
            self._drawer.paint(dark=dark)

    def _take(self, snapshot: Snapshot) -> None:
        is_first = self._seen is None
        grown = is_first or snapshot.traces.keys() != self._seen.traces.keys()  # type: ignore[union-attr]
        self._seen = snapshot
        for model in (self.plant, self.anomalies, self.jobs):
            model.take_snapshot(snapshot)
        self._offer()
        if is_first and self._place.anomaly:
            self._drawer.load()
        if grown:
            self._power.load(snapshot)

    def _offer(self) -> None:
        """Offer the sites and machines there are; show what the address asks for."""
        sites = [factory.name for factory in self.plant.sites]
        self.plant.site = self._place.site if self._place.site in sites else ""
        shown = frozenset(machine.id for machine in self.plant.machines)
        self.anomalies.machine_ids = self.jobs.machine_ids = shown
        offer(self._site, [ALL_SITES, *sites], self.plant.site or ALL_SITES)
        names = [machine.name for machine in self.plant.machines]
        offer(self._trained, names, self._trained.value or self._place.machine)
        self._power.offer()

    # -- what is chosen -------------------------------------------------------------------------

    def _on_site(self, event: Any) -> None:
        self._place.site = "" if event.new in (None, ALL_SITES) else event.new

    def _on_place(self, *_events: Any) -> None:
        if self._seen is None:
            return
        with self._session.writing():
            self._offer()
            self._power.load(self._seen)
            self.tick()

    def _on_act(self, act: str, key: str) -> None:
        if act == "anomaly":
            self._place.anomaly = key
        row = self.plant.row(key) if act == "machine" else None
        if row is not None:
            name = row.machine.name
            self._place.machine = "" if name == self._place.machine else name

    # -- what is shown --------------------------------------------------------------------------

    def _render(self, now: int) -> None:
        known, opened = self.plant.is_known, self.anomalies.open
        self._tiles.fill(
            "tiles.html",
            known=known,
            totals=self.plant.totals,
            counts=self.anomalies.counts,
            open=len(opened),
            running=len(self.jobs.running),
            mixed=self.plant.is_mixed,
        )
        self._machines.fill(
            "machines.html",
            known=known,
            rows=self.plant.rows,
            chosen=self._place.machine,
            sparks={row.machine.id: _spark(row.curve) for row in self.plant.rows},
        )
        self._render_anomalies(now)
        self._render_jobs(now)

    def _render_anomalies(self, now: int) -> None:
        rows = self.anomalies.rows
        machines = {machine.id: machine for machine in self.plant.machines}
        rows = [one for one in rows if one.machine_id in machines]
        of = {one.id: machines[one.machine_id] for one in rows}
        self._anomalies.fill(
            "anomalies.html",
            known=self.plant.is_known,
            rows=rows,
            labels=words.LABELS,
            open=len(self.anomalies.open),
            hidden=self.anomalies.hidden,
            live=self.plant.totals.live,
            costs={one.id: _cost(one, of[one.id].factory.currency) for one in rows},
            kwh={one.id: f"{words.signed(one.delta_kwh, 1)} kWh" for one in rows},
            times={one.id: self._when(one, of[one.id].zone, now) for one in rows},
        )

    def _render_jobs(self, now: int) -> None:
        rows, zone = self.jobs.rows, self.plant.zone
        models = self._seen.models if self._seen else {}
        self._jobs.fill(
            "jobs.html",
            known=self.plant.is_known,
            rows=rows,
            active={j.id for j in rows if j.version and models.get(j.machine_id) == j.version},
            times={j.id: self._clock(j.ended_at or j.created_at, zone, now) for j in rows},
        )

    def _when(self, one: Found, zone: ZoneInfo, now: int) -> str:
        times = words.span(one.started_at, one.ended_at, zone, now)
        return f"{times} {words.zone_name(one.started_at, zone)}" if self.plant.is_mixed else times

    def _clock(self, us: int, zone: ZoneInfo, now: int) -> str:
        at = words.clock(us, zone, now)
        return f"{at} {words.zone_name(us, zone)}" if self.plant.is_mixed else at


def _cost(one: Found, currency: str) -> str:
    """Return what it costs an hour while it lasts; of one that is over, what it has cost."""
    if one.lasts and one.cost_per_hour is not None:
        return f"{words.signed(one.cost_per_hour, 2)} {currency}/h"
    return f"{words.signed(one.delta_cost, 2)} {currency}"


@lru_cache(maxsize=1024)
def _spark(curve: tuple[float, ...]) -> str:
    """Return the small curve as a path; a gap is a gap."""
    known = [value for value in curve if not math.isnan(value)]
    if not known:
        return ""
    low, high = min(known), max(known)
    scale = (HEIGHT - 4) / max(high - low, 0.1 * high, 1e-9)
    step, pen, parts = WIDTH / max(1, len(curve) - 1), "M", []
    for i, value in enumerate(curve):
        if math.isnan(value):
            pen = "M"
            continue
        parts.append(f"{pen}{i * step:.0f} {HEIGHT - 2 - (value - low) * scale:.1f}")
        pen = "L"
    return "".join(parts)
