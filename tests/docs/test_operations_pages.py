"""The pages: settings and commands that they name are there."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from typer.main import get_command

from config.settings import _READ_ELSEWHERE, PREFIX, Settings
from launcher.cli import STOP_SECONDS
from runqueue.cli.app import app
from tests.deploy.test_compose import SERVICES, variables
from worker.runtime import GOODBYE_SECONDS

_DOCS = Path(__file__).parents[2] / "docs"
_PAGES = sorted(path.name for path in _DOCS.glob("*.md"))
#: Read by one command or by `make`, and what the variables of further accounts begin with.
_NO_SETTINGS = _READ_ELSEWHERE | {"SKYVERN_VERSION", "RUNQUEUE_ACCOUNTS__"}


@pytest.mark.parametrize("name", _PAGES)
def test_every_variable_that_a_page_names_is_a_setting(name: str) -> None:
    named = set(re.findall(rf"\b(?:{PREFIX}|SKYVERN_)[A-Z_]+\b", (_DOCS / name).read_text()))

    assert named <= variables().keys() | _NO_SETTINGS


@pytest.mark.parametrize("name", _PAGES)
def test_every_command_that_a_page_names_is_one(name: str) -> None:
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    known |= {entry.name for entry in entry_points(group="runqueue.commands")} | {"doctor"}
    named = set(re.findall(r"`runqueue ([a-z]+)", (_DOCS / name).read_text()))

    assert named <= known


def test_a_worker_is_given_the_same_time_to_stop_everywhere() -> None:
    page = (_DOCS / "operations.md").read_text()
    (seconds,) = map(int, re.findall(r"should wait for (\d+) seconds", page))
    drain = Settings.model_fields["drain_seconds"].default
    services = ("worker", "gateway")
    manifests = (_DOCS.parent / "deploy/kubernetes/runqueue.yaml").read_text()

    assert seconds >= drain + GOODBYE_SECONDS
    assert drain + STOP_SECONDS == seconds
    assert [SERVICES[name]["stop_grace_period"] for name in services] == [f"{seconds}s"] * 2
    assert re.findall(r"terminationGracePeriodSeconds: (\d+)", manifests) == [str(seconds)] * 2
