"""The version that a commit builds, and the workflows that build and publish it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hatch_version import RELEASE, version
from tests.docs.test_project_files import MAKEFILE, PROJECT, ROOT
from tools.release import NPM, name_repository

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TAG = f"v{RELEASE}"


def git(folder: Path, *command: str) -> str:
    """Run git as somebody."""
    who = ("-c", "user.name=x", "-c", "user.email=x@x.test")
    done = subprocess.run(
        ["git", *who, *command], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit."""
    monkeypatch.delenv("HATCH_BUILD_VERSION", raising=False)
    (tmp_path / "file").write_text("x")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    return tmp_path


def test_the_commit_with_the_tag_of_the_release_alone_builds_it(checkout: Path) -> None:
    git(checkout, "tag", "v0.9.0")
    before = f"{RELEASE}.dev0+g{git(checkout, 'rev-parse', '--short=12', 'HEAD')}"
    assert version(checkout) == before
    git(checkout, "tag", "-a", TAG, "-m", TAG)
    assert version(checkout) == RELEASE

    (checkout / "file").write_text("y")
    assert version(checkout) == f"{before}.dirty"
    git(checkout, "commit", "--quiet", "-a", "-m", "two")
    after = git(checkout, "rev-parse", "--short=12", "HEAD")
    assert version(checkout) == f"{RELEASE}.dev0+g{after}"


def test_a_copy_without_git_of_its_own_knows_no_commit_unless_it_is_told(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(checkout, "tag", TAG)
    (checkout / "copy").mkdir()
    assert version(checkout / "copy") == f"{RELEASE}.dev0"

    monkeypatch.setenv("HATCH_BUILD_VERSION", RELEASE)
    assert version(checkout / "copy") == RELEASE


@pytest.mark.parametrize("repository", ["someone/runqueue", None])
def test_the_npm_package_names_the_repository_that_its_provenance_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: str | None
) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    if repository:
        monkeypatch.setenv("GITHUB_REPOSITORY", repository)
    before = (NPM / "package.json").read_text()
    (package := tmp_path / "package.json").write_text(before)
    name_repository(package)

    url = f"git+https://github.com/{repository}.git"
    named = {"type": "git", "url": url, "directory": "clients/typescript"}
    added = {"repository": named} if repository else {}
    assert json.loads(package.read_text()) == {**json.loads(before), **added}


def jobs(path: Path) -> dict[str, Any]:
    """Return the jobs of a workflow."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.name))
def test_a_workflow_tries_every_python_that_the_metadata_names(path: Path) -> None:
    tried = [job["strategy"]["matrix"] for job in jobs(path).values() if "strategy" in job]
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if " :: 3." in line]

    assert tried == [{"python": named}]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.name))
def test_a_workflow_pins_its_actions_and_runs_what_is_there(path: Path) -> None:
    steps = [step for job in jobs(path).values() for step in job["steps"]]
    used = {step["uses"] for step in steps if "uses" in step}
    targets = re.findall(r"make (\w+)", "\n".join(step.get("run", "") for step in steps))

    assert {one for one in used if not re.search(r"@[0-9a-f]{40}$", one)} <= {
        "pypa/gh-action-pypi-publish@release/v1"
    }
    assert [step for step in steps if "if" in step] == []  # none is left out in silence
    assert targets == ["release"]
    assert "\nrelease: " in MAKEFILE
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
