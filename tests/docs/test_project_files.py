"""CONTRIBUTING.md, the hooks, the templates and the metadata are true of the tree."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from trove_classifiers import classifiers

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_make_target_of_the_guide_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", CONTRIBUTING, re.MULTILINE))

    assert {"check", "demo", "docs", "test-real"} <= named
    assert named <= targets


def test_the_first_tests_of_the_guide_are_there() -> None:
    (file,) = re.findall(r"-n 0 (tests/\S+\.py)", CONTRIBUTING)
    ((folder, word),) = re.findall(r"-n 0 (\S+) -k (\w+)", CONTRIBUTING)

    assert (ROOT / file).exists()
    assert any(f"def test_{word}" in path.read_text() for path in (ROOT / folder).glob("test_*.py"))


def test_the_hooks_run_the_tools_of_make_check() -> None:
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in settings["repos"] for hook in repo["hooks"]]

    assert {repo["repo"] for repo in settings["repos"]} == {"local"}
    assert len(hooks) == 3
    for hook in hooks:
        tool = hook["entry"].removesuffix(" --force-exclude").replace(".venv/bin", "$(BIN)")
        assert f"\t{tool}" in MAKEFILE


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.md")), ids=str)
def test_an_issue_template_has_a_name_and_what_it_is_for(path: Path) -> None:
    _, head, text = path.read_text().split("---\n", 2)

    assert {"name", "about"} <= yaml.safe_load(head).keys()
    assert "**" in text


def test_the_classifiers_are_known_and_name_the_oldest_python() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=")

    assert set(PROJECT["classifiers"]) <= classifiers
    assert f"Programming Language :: Python :: {oldest}" in PROJECT["classifiers"]
