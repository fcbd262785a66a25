"""The only place that turns names into markup.

Templates escape whatever they are given; a name may hold markup or marks that turn the writing
direction, and is shown as it is, inside its own bounds.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.models import words

_TEMPLATES = Path(__file__).parent / "views" / "templates"


def name(text: object) -> Markup:
    """Return a name as markup that shows it literally, isolated from the text around it.

    >>> name("<b>Press</b>")
    Markup('<bdi>&lt;b&gt;Press&lt;/b&gt;</bdi>')
    """
    return Markup("<bdi>{}</bdi>").format(visible(str(text)))


def render(template: str, **values: Any) -> str:
    """Return the markup of a template; every value is escaped."""
    return _environment.get_template(template).render(values)


def visible(text: str) -> str:
    """Return a text that shows the marks that turn the writing direction, not obeying them.

    >>> visible("a\N{RIGHT-TO-LEFT OVERRIDE}b")
    'a[U+202E]b'
    """
    return "".join(f"[U+{ord(c):04X}]" if c in _TURNS else c for c in text)


_TURNS = frozenset(
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{LEFT-TO-RIGHT OVERRIDE}\N{RIGHT-TO-LEFT EMBEDDING}"
    "\N{LEFT-TO-RIGHT EMBEDDING}\N{POP DIRECTIONAL FORMATTING}"
)

_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "name": name,
    "kw": words.kw,
    "short": words.short,
    "energy": words.energy,
    "same_unit": words.same_unit,
    "mass": words.mass,
    "deviation": words.deviation,
}
