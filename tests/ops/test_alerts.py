"""The alert rules: valid, tested, and each with a runbook."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.expressions import HERE, RULES, rules
from tests.ops.conftest import Promtool

ROOT = HERE.parent
ALERTS = [rule["alert"] for rule in rules()]
TESTS = HERE / "prometheus" / "alerts_test.yml"


def test_the_rules_are_valid(promtool: Promtool) -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", "--lint=all", RULES)


def test_each_alert_fires_and_clears_as_it_should(promtool: Promtool) -> None:
    promtool("test", "rules", TESTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_tested_before_while_and_after_it_fires(alert: str) -> None:
    checks: list[bool] = []
    for one in yaml.safe_load(TESTS.read_text())["tests"]:
        asked = [check for check in one["alert_rule_test"] if check["alertname"] == alert]
        checks = max(checks, [bool(check.get("exp_alerts")) for check in asked], key=len)

    assert checks[0] is False
    assert True in checks
    # What goes on for one account ends for another: see "jobs wait although they might go".
    assert checks[-1] is False or alert == "RunqueueLimitUnused"


@pytest.mark.parametrize("rule", rules(), ids=ALERTS)
def test_an_alert_says_what_it_means_and_where_to_look(rule: dict[str, Any]) -> None:
    told = rule["annotations"]

    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert told["summary"].endswith((".", "whatever"))
    assert told["description"].endswith(".")
    assert told["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"


def test_the_runbooks_are_those_of_the_alerts_in_their_order() -> None:
    page = (ROOT / "docs/runbooks.md").read_text()

    assert re.findall(r"^## (Runqueue\w+)$", page, re.MULTILINE) == ALERTS


def test_a_runbook_names_panels_and_settings_that_exist() -> None:
    page = (ROOT / "docs/runbooks.md").read_text()
    example = (ROOT / ".env.example").read_text()
    shown = "".join(path.read_text() for path in Path(HERE / "grafana/dashboards").glob("*.json"))

    for name in set(re.findall(r"\bRUNQUEUE_[A-Z_]+\b", page)):
        assert f"# {name}=" in example, name
    for title in set(re.findall(r"\*([A-Z][^*\n]+)\*", page)):
        assert f'"title": "{title}"' in shown, title
