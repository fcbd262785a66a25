"""The live chart: measured, expected, the band between, and anomalies shaded with their names."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bokeh.core.properties import value
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    DatetimeTicker,
    DatetimeTickFormatter,
    HoverTool,
    Range1d,
)
from bokeh.plotting import figure

from app.models.live_curve import COLUMNS, Points
from app.views.theme import DARK, LIGHT
from enms_core.plant import Factory, zone
from enms_core.store.times import from_us

ROOM = 0.012  # behind the newest point
SHADE = 0.15  # how dark an interval is
LANE = 0.085  # the height of a label
KEEP = 4000  # points in the browser


@dataclass(frozen=True)
class Shade:
    """An interval to shade, in ms UTC; no end while it lasts."""

    start: float
    end: float | None
    severity: str
    label: str


class Chart:
    """A figure that is built once; times are shown in the zone that is `offset_ms` from UTC."""

    def __init__(self, *, dark: bool) -> None:
        self.offset_ms = 0.0
        self._palette = DARK if dark else LIGHT
        self._line = ColumnDataSource({name: [] for name in ("time", *COLUMNS, "low", "high")})
        self._last = ColumnDataSource({"time": [], "value": []})
        self._shaded = ColumnDataSource(
            {
                name: []
                for name in (
                    "left",
                    "right",
                    "color",
                    "alpha",
                    "label",
                    "x",
                    "y",
                    "align",
                    "offset",
                )
            }
        )
        self._window, self._powers = (0.0, 1.0), (0.0, 10.0)
        self._x, self._y = Range1d(start=0, end=1), Range1d(start=0, end=10)
        self._hover = HoverTool(
            mode="vline", tooltips=_tooltips("kW"), formatters={"@time": "datetime"}
        )
        self.figure = self._figure()
        self._glyphs = self._draw()
        self.paint(dark=dark)

    def load(self, points: Points, *, offset_ms: float, unit: str = "kW") -> None:
        """Show these points instead of the others; their values are in that unit."""
        self.offset_ms = offset_ms
        self._hover.tooltips = _tooltips(unit)
        self._line.data = self._columns(points)
        self._mark_last()

    def stream(self, points: Points) -> None:
        """Add points at the end."""
        if points["time"]:
            self._line.stream(self._columns(points), rollover=KEEP)
            self._mark_last()

    def move(self, start_ms: float, end_ms: float) -> None:
        """Show this part of time."""
        room = ROOM * (end_ms - start_ms)
        self._window = start_ms + self.offset_ms, end_ms + self.offset_ms
        self._x.update(start=self._window[0], end=self._window[1] + room)

    def fit(self) -> None:
        """Fit the powers in view; the axis stays as it is while they fill it well."""
        first = bisect_left(self._line.data["time"], self._window[0])
        names = ("value", "lower", "upper")
        columns = (list(self._line.data[name])[first:] for name in names)
        known = [v for column in columns for v in column if v == v]  # not NaN
        if known:
            self._powers = fitted(self._powers, min(known), max(known))
            self._y.update(start=self._powers[0], end=self._powers[1])

    def shade(self, shades: Sequence[Shade]) -> None:
        """Shade these intervals; one without an end is shaded up to now."""
        first, last = self._window
        tones = {"critical": self._palette["critical"], "warning": self._palette["warning"]}
        left = [s.start + self.offset_ms for s in shades]
        at = [max(x, first) for x in left]
        is_late = [x > first + 0.6 * (last - first) for x in at]  # no room to the right
        self._shaded.data = {
            "left": left,
            "right": [last if s.end is None else s.end + self.offset_ms for s in shades],
            "color": [tones.get(s.severity, self._palette["accent"]) for s in shades],
            "alpha": [SHADE / len(shades)] * len(shades),  # they often overlap
            "label": [s.label for s in shades],
            "x": at,
            "y": [1.0 - LANE * i for i in range(len(shades))],
            "align": ["right" if late else "left" for late in is_late],
            "offset": [-6 if late else 6 for late in is_late],
        }

    def paint(self, *, dark: bool) -> None:
        """Follow the theme."""
        self._palette = palette = DARK if dark else LIGHT
        band, expected, measured, dot = self._glyphs
        band.glyph.fill_color = expected.glyph.line_color = palette["accent"]
        band.glyph.fill_alpha = 0.22 if dark else 0.16
        measured.glyph.line_color = palette["text"]
        dot.glyph.update(fill_color=palette["text"], line_color=palette["surface"])
        for axis in self.figure.axis:
            axis.major_label_text_color = palette["quiet"]
        for grid in self.figure.grid:
            grid.grid_line_color = palette["line"]

    def _columns(self, points: Points) -> dict[str, Any]:
        """Return the columns of the source: an area cannot break, so it closes in a gap."""
        columns = {**points, "time": [t + self.offset_ms for t in points["time"]]}
        level = self._level(points)
        low, high = [], []
        for lower, upper in zip(points["lower"], points["upper"], strict=True):
            known = lower == lower  # not NaN
            level = (lower + upper) / 2 if known else level
            low.append(lower if known else level)
            high.append(upper if known else level)
        return {**columns, "low": low, "high": high}

    def _level(self, points: Points) -> float:
        """Return where the area closes before the first band."""
        before = list(self._line.data["low"])[-1:] if self._line.data["low"] else []
        return next((v for v in (*before, *points["lower"]) if v == v), 0.0)

    def _figure(self) -> figure:
        plot = figure(
            x_axis_type="datetime",
            x_range=self._x,
            y_range=self._y,
            toolbar_location=None,
            tools=[],
            sizing_mode="stretch_both",
            min_height=180,
            min_border_left=44,
            min_border_right=10,
            lod_threshold=None,
            outline_line_color=None,
            background_fill_alpha=0,
            border_fill_alpha=0,
        )
        plot.extra_y_ranges = {"share": Range1d(start=0, end=1)}
        plot.xgrid.visible = False
        plot.xaxis.formatter = _ticks()
        plot.xaxis.ticker = DatetimeTicker(desired_num_ticks=5)
        plot.yaxis.ticker = BasicTicker(desired_num_ticks=4)
        for axis in plot.axis:
            axis.update(axis_line_color=None, major_tick_line_color=None)
            axis.update(minor_tick_line_color=None, major_label_text_font_size="13px")
        return plot

    def _draw(self) -> list[Any]:
        plot = self.figure
        plot.vstrip(
            x0="left",
            x1="right",
            source=self._shaded,
            fill_color="color",
            fill_alpha="alpha",
            line_color=None,
        )
        band = plot.varea("time", "low", "high", source=self._line)
        expected = plot.line(
            "time", "expected", source=self._line, line_dash=[5, 4], line_width=1.5
        )
        measured = plot.line("time", "value", source=self._line, line_width=2.2, line_join="round")
        dot = plot.scatter("time", "value", source=self._last, size=9, line_width=2)
        plot.text(
            "x",
            "y",
            text="label",
            source=self._shaded,
            y_range_name="share",
            text_color="color",
            text_font_size="12px",
            text_font_style="bold",
            text_font=value("sans-serif"),
            text_baseline="top",
            text_align="align",
            x_offset="offset",
            y_offset=4,
        )
        self._hover.renderers = [measured]
        plot.add_tools(self._hover)
        return [band, expected, measured, dot]

    def _mark_last(self) -> None:
        times, values = (list(self._line.data[name])[-1:] for name in ("time", "value"))
        if not values or values[0] != values[0]:  # NaN: the newest is a gap
            times, values = [], []
        self._last.data = {"time": times, "value": values}


def fitted(shown: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """Return an axis for powers from low to high: the one that is shown while it fits.

    >>> fitted((0, 10), 53.2, 75.8)
    (45.0, 85.0)
    >>> fitted((45.0, 85.0), 50.0, 79.0)
    (45.0, 85.0)
    """
    room = max(high - low, 0.02 * abs(high), 1.0)
    is_inside = shown[0] <= low and high <= shown[1]
    if is_inside and shown[1] - shown[0] <= 2.5 * room:
        return shown
    step = 10 ** math.floor(math.log10(room)) / 2
    start = math.floor((low - 0.15 * room) / step) * step
    end = math.ceil((high + 0.3 * room) / step) * step
    return (max(start, 0.0) if low >= 0 else start), end


def _ticks() -> DatetimeTickFormatter:
    """Return a formatter of one's own: a session that ends empties the models it held."""
    return DatetimeTickFormatter(
        seconds="%H:%M:%S",
        minsec="%H:%M:%S",
        minutes="%H:%M",
        hourmin="%H:%M",
        hours="%H:%M",
        days="%d %b",
    )


def _tooltips(unit: str) -> list[tuple[str, str]]:
    return [
        ("", "@time{%a %H:%M:%S}"),
        ("measured", f"@value{{0.0}} {unit}"),
        ("expected", f"@expected{{0.0}} {unit}"),
        ("band", f"@lower{{0.0}} to @upper{{0.0}} {unit}"),
    ]


def offset_ms(site: Factory, at_us: int) -> float:
    """Return how far a site's clock is from UTC at a time: Bokeh draws all times as UTC."""
    offset = from_us(at_us).astimezone(zone(site.timezone)).utcoffset()
    return 1000 * offset.total_seconds() if offset else 0.0
