"""What is written from the code is up to date, and the dashboards are fit for people."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from ops.__main__ import written
from ops.exposed import exposed
from ops.expressions import DASHBOARDS, dashboards, panels, rules

FILES = written()
SHOWN = [(name, panel) for name, board in dashboards().items() for panel in panels(board)]
each_panel = pytest.mark.parametrize(
    "panel", [panel for _, panel in SHOWN], ids=[f"{name}: {p['title']}" for name, p in SHOWN]
)
each_dashboard = pytest.mark.parametrize("board", dashboards().values(), ids=dashboards().keys())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_published_is_up_to_date(path: Path) -> None:
    assert path.read_text() == FILES[path], "run `make monitoring`"


def test_no_dashboard_is_left_that_nobody_describes() -> None:
    assert set(DASHBOARDS.glob("*.json")) == {path for path in FILES if path.suffix == ".json"}


@pytest.mark.parametrize("metric", exposed(), ids=lambda metric: f"{metric.where} {metric.name}")
def test_a_metric_is_named_as_prometheus_asks_and_says_what_it_is(metric: Any) -> None:
    assert metric.text.endswith(".") or metric.name.startswith("process_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith("_info") == (metric.kind == "info")
    if metric.kind == "histogram":
        assert metric.name.endswith(("_seconds", "_bytes"))
    assert not metric.name.endswith(("_ms", "_minutes", "_kb", "_mb", "_percent"))
    assert not {"job_id", "run_id", "url", "batch", "process"} & set(metric.labels)


@each_dashboard
def test_panels_lie_beside_each_other(board: dict[str, Any]) -> None:
    fields = [panel["gridPos"] for panel in board["panels"]]

    assert all(field["x"] + field["w"] <= 24 for field in fields)
    for one, other in itertools.combinations(fields, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@each_dashboard
def test_a_dashboard_has_its_own_address_and_each_panel_its_own_number(
    board: dict[str, Any],
) -> None:
    numbers = [panel["id"] for panel in board["panels"]]

    assert len(numbers) == len(set(numbers))
    assert [each["uid"] for each in dashboards().values()].count(board["uid"]) == 1
    assert board["templating"]["list"][0]["name"] == "account"


@each_panel
def test_a_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 10
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "prometheus"
    letters = [target["refId"] for target in panel["targets"]]
    assert len(letters) == len(set(letters))


@each_panel
def test_thresholds_rise_and_the_first_has_no_bound(panel: dict[str, Any]) -> None:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    values = [step["value"] for step in steps]

    assert values[0] is None
    assert values[1:] == sorted(values[1:])


def test_every_alert_has_a_panel_that_leads_to_its_runbook() -> None:
    linked = {link["url"] for _, panel in SHOWN for link in panel["links"]}
    wanted = {rule["annotations"]["runbook_url"] for rule in rules()}

    # Whether the gateway can be scraped no figure of it shows.
    assert wanted - linked == {"docs/runbooks.md#runqueuenotscraped"}
    assert not linked - wanted
