from dataclasses import replace
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from app import safe
from app.models.detail import TEACHES, Figure
from app.models.jobs import JobNow
from app.models.plant_now import MachineNow, Totals
from app.models.snapshot import Found
from app.models.words import LABELS
from enms_core.plant import Factory, Machine

HOSTILE = [
    '<img src=x onerror="alert(1)">',
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</bdi></td></table><iframe src=javascript:alert(1)>",
    "{{ 7 * 7 }}",
]


class Seen(HTMLParser):
    """What a browser would make of markup: its tags, attributes and text."""

    def __init__(self, markup):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


def found(text):
    return Found(
        id=text,
        machine_id="m1",
        machine=text,
        severity="critical",
        state="open",
        metric="power_kw",
        value=2.0,
        expected=1.0,
        lower=0.5,
        upper=1.5,
        delta_kwh=1.0,
        delta_cost=1.0,
        started_at=0,
        ended_at=None,
        reason=text,
    )


def pages(text):
    row = MachineNow(machine=Machine(text, id=text), at=1, power=1.0, is_stale=False)
    job = JobNow(
        id=text, machine_id="m1", machine=text, requested_by=text, message=text, error=text
    )
    one = {text: text}
    yield safe.render("machines.html", known=True, rows=[row], chosen=text, sparks={text: ""})
    yield safe.render(
        "anomalies.html",
        known=True,
        rows=[found(text)],
        open=1,
        hidden=0,
        live=1,
        costs=one,
        kwh=one,
        times=one,
    )
    yield safe.render(
        "detail.html",
        one=found(text),
        machine=Machine(text, id=text, factory=Factory(text)),
        figures=[Figure("Cost", "1", text, text)],
        companions=[Figure(text, "1", text, text)],
        span=text,
        fault="",
    )
    said = replace(found(text), label="false", label_note=text, labelled_by=text)
    words = {"labels": LABELS, "teaches": TEACHES, "choice": None, "may": True}
    yield safe.render("label.html", one=said, **words)
    yield safe.render("jobs.html", known=True, rows=[job], active=set(), times=one)
    yield safe.render("curve_head.html", machine=text, site="", zone=text)
    yield safe.render("curve_head.html", machine="", site=text, zone=text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_literally(text):
    harmless = [Seen(page) for page in pages("Press")]
    for page, plain in zip(pages(text), harmless, strict=True):
        seen = Seen(page)
        assert seen.tags <= plain.tags
        assert seen.attributes <= plain.attributes
        assert text in seen.text


def test_marks_that_turn_the_direction_are_shown_not_obeyed():
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in safe.name("a\N{RIGHT-TO-LEFT OVERRIDE}b")
    assert safe.name("a\N{RIGHT-TO-LEFT OVERRIDE}b") == "<bdi>a[U+202E]b</bdi>"
    assert safe.name("مضخة") == "<bdi>مضخة</bdi>"


def test_a_template_without_its_value_fails_instead_of_showing_nothing():
    with pytest.raises(UndefinedError):
        safe.render("heading.html")


@pytest.mark.parametrize(
    ("totals", "counts", "expected"),
    [
        (Totals(), {"critical": 0, "warning": 0, "info": 0}, "no machine reports"),
        (
            Totals(power=1.0, live=1, machines=1),
            {"critical": 0, "warning": 0, "info": 0},
            "nothing is wrong",
        ),
        (
            Totals(power=1.0, live=1, machines=2),
            {"critical": 1, "warning": 2, "info": 3},
            "1 critical · 2 warnings",
        ),
    ],
)
def test_tiles_say_what_is_known(totals, counts, expected):
    page = safe.render(
        "tiles.html",
        known=True,
        totals=totals,
        counts=counts,
        open=sum(counts.values()),
        running=0,
        mixed=False,
    )
    assert expected in Seen(page).text


def test_tiles_wait_while_nothing_is_known():
    page = safe.render(
        "tiles.html", known=False, totals=Totals(), counts={}, open=0, running=0, mixed=False
    )
    assert 'aria-busy="true"' in page
    assert "number" not in page
