"""Pieces that cards are built of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmui

from app.views.markup import Markup
from app.views.theme import THEME

CARD = (Path(__file__).parent / "card.css").read_text(encoding="utf-8")

# The label is a name for who listens to the page; who sees it sees the choice itself.
SELECT = "label, legend { position: absolute; width: 1px; height: 1px; clip-path: inset(50%); }"

# What a finger has to meet.
TOUCH = {"@media (pointer: coarse), (max-width: 600px)": {"minHeight": "44px"}}


def card(area: str, *content: Any) -> pn.Column:
    """Return a card for an area of the page's grid."""
    return pn.Column(
        *content,
        css_classes=["card", f"{area}-area"],
        stylesheets=[CARD],
        sizing_mode="stretch_width",
    )


def bar(*content: Any) -> pn.Row:
    """Return a row that wraps: the first takes the room, what can be pressed stands behind."""
    content[0].css_classes = [*content[0].css_classes, "grow"]
    return pn.Row(*content, css_classes=["bar"], stylesheets=[CARD], sizing_mode="stretch_width")


def heading(title: str) -> Markup:
    """Return the heading of a card."""
    made = Markup()
    made.fill("heading.html", title=title)
    return made


def select(label: str, width: int, hook: str) -> Any:
    """Return a small select whose options are set later."""
    return pmui.Select(
        options=[],
        size="small",
        width=width,
        label=label,
        margin=0,
        css_classes=[hook],
        sx={"color": "var(--text)", "& .MuiSelect-select": {"py": "7px", "fontSize": "14px"}},
        stylesheets=[SELECT],
        theme_config=THEME,  # in the header too, where Panel would take other colours
    )


def button(label: str, hook: str, on_click: Callable[[Any], None]) -> Any:
    """Return a small button."""
    return pmui.Button(
        label=label,
        variant="outlined",
        color="primary",
        size="small",
        margin=0,
        css_classes=[hook],
        on_click=on_click,
        sx={"minHeight": "36px", "px": "14px", "fontWeight": 600, "whiteSpace": "nowrap", **TOUCH},
    )


def offer(widget: Any, options: list[str], value: str | None) -> None:
    """Offer these options; nothing is sent if nothing changed."""
    chosen = value if value in options else next(iter(options), None)
    if (widget.options, widget.value) != (options, chosen):
        widget.param.update(options=options, value=chosen)
