"""What is counted is told: in the docs, in the Grafana dashboard, and by a running plant."""

import json
import re

import pytest

from app import metrics
from enms_core.telemetry import REGISTRY
from tests.plants import ROOT, wait_until

DOCS = (ROOT / "docs/reference/metrics.md").read_text()
DASHBOARD = json.loads((ROOT / "docs/grafana/enms.json").read_text())
COUNTED = {
    family.name + ("_total" if family.type == "counter" else ""): (
        family.type,
        family.documentation,
    )
    for family in REGISTRY.collect()
}
KNOWN = COUNTED | {name: ("gauge", text) for name, (text, _) in metrics.GAUGES.items()}


def test_the_docs_list_every_metric_as_the_code_has_it():
    rows = re.findall(r"^\| `(enms_\w+)` \| (\w+) \| (.*) \|$", DOCS, flags=re.MULTILINE)
    assert {name: (kind, text) for name, kind, text in rows} == KNOWN


def test_the_dashboard_shows_every_metric_and_no_other():
    text = " ".join(t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"])
    used = set(re.findall(r"enms_\w+", text))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} == set(KNOWN)


def test_its_panels_do_not_overlap():
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.mark.slow
def test_a_plant_counts_together(shared):
    """Engine, relay, source and server are processes of their own; one answer has all of them."""

    shared.enms("train", "Compressor-1", "--wait")
    for name in (
        'enms_readings_total{outcome="stored"}',
        "enms_detection_seconds_count",
        "enms_commit_to_publish_seconds_count",
        "enms_commit_to_server_seconds_count",
        'enms_events_total{channel="metric.updated"}',
    ):
        wait_until(lambda name=name: shared.metric(name) > 0, name)
    assert shared.metric('enms_rss_bytes{part="engine"}') > 1e6
    stored = shared.metric('enms_readings_total{outcome="stored"}')
    shared.kill("engine")
    wait_until(
        lambda: shared.metric('enms_readings_total{outcome="stored"}') > stored, "readings again"
    )
