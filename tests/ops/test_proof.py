"""The proof of the alerts: complete, on rules that are valid, and made here for one of them."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from ops.expressions import HERE, RULES, rules
from ops.proof.__main__ import prove
from ops.proof.faults import FAULTS
from ops.proof.watching import scaled
from tests.ops.conftest import Promtool


def test_there_is_a_fault_for_every_alert() -> None:
    assert list(FAULTS) == [rule["alert"] for rule in rules()]


def test_a_minute_of_the_rules_is_a_second_of_the_proof(promtool: Promtool, tmp_path: Path) -> None:
    here = scaled(RULES.read_text())
    file = tmp_path / "alerts.yml"
    file.write_text(here)

    promtool("check", "rules", file)
    (group,) = yaml.safe_load(here)["groups"]
    for rule, original in zip(group["rules"], rules(), strict=True):
        spans = re.findall(r"\b(\d+)m\b", f"{original['expr']} {original.get('for', '')}")
        assert re.findall(r"\b(\d+)s\b", f"{rule['expr']} {rule.get('for', '')}") == spans
        assert rule["annotations"] == original["annotations"]


def test_what_was_seen_is_told_of_every_alert() -> None:
    page = (HERE.parent / "docs/alerts.md").read_text()

    for rule in rules():
        assert re.search(rf"^\| {rule['alert']} \|.* \d+ s \|.* \d+ s \|", page, re.MULTILINE)


@pytest.mark.acceptance
@pytest.mark.slow
def test_prometheus_sees_an_alert_fire_and_clear(tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")

    seen = prove(FAULTS["RunqueueRedisAofFails"], tmp_path)

    assert seen.wrong == ""
    assert seen.fired > 0
    assert seen.cleared > 0
    assert seen.answered > 50
