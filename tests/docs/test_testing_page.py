"""The page on testing: its examples with the simulator do what it says, and its faults are all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import httpx
import pytest

from simulator.faults import Action, Match, Rule
from simulator.model.plan import FORCED_KEYS, End
from tests.acceptance.test_up import running_up
from tests.docs.pages import Example, examples, pattern_of

PAGE = (Path(__file__).parents[2] / "docs/testing.md").read_text()

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

#: The other blocks start a simulator, a simulation or a real server.
EXAMPLES = [block for block in examples(PAGE, "sh") if block.prints]
ALONE, WITH_A_QUEUE = EXAMPLES


@contextmanager
def started(*options: str) -> Iterator[str]:
    """A simulator in a process of its own; gives its base URL."""
    command = [sys.executable, "-m", "simulator", *options, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("simulator: ").strip()
        finally:
            process.kill()


@pytest.fixture
def base_url() -> Iterator[str]:
    (command,) = re.findall(r"^\.venv/bin/python -m simulator (.*) &$", PAGE, re.MULTILINE)
    with started(*command.split()) as url:
        yield url


def run(example: Example, base_url: str, folder: Path) -> str:
    """What an example prints in a folder whose `.venv` is ours."""
    (folder / ".venv").symlink_to(sys.prefix)
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RUNQUEUE_", "SKYVERN_"))
    }
    done = subprocess.run(
        ["sh", "-eu", "-c", example.code],
        env={**clean, "SKYVERN_API_KEY": "simulator-key", "SKYVERN_BASE_URL": base_url},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout if done.stdout.endswith("\n") else done.stdout + "\n"


@needs_curl
def test_the_example_alone_prints_what_the_page_says(base_url: str, tmp_path: Path) -> None:
    printed = run(ALONE, base_url, tmp_path)
    assert re.fullmatch(pattern_of(ALONE.prints), printed), printed


@needs_curl
@pytest.mark.acceptance
def test_the_example_with_a_queue_ends_as_the_page_says(base_url: str, tmp_path: Path) -> None:
    with running_up(tmp_path, SKYVERN_BASE_URL=base_url) as up:
        up.wait_for("worker_ready")
        printed = run(WITH_A_QUEUE, base_url, tmp_path)
    assert re.fullmatch(pattern_of(WITH_A_QUEUE.prints), printed), printed


def test_every_field_of_a_rule_and_every_action_is_in_a_table() -> None:
    named = set(re.findall(r'`"?(\w+)"?(?:: [^`]+)?`', PAGE))
    assert {*Rule.model_fields, *Action.model_fields, *FORCED_KEYS, *get_args(End)} <= named
    assert {f"match.{name}" for name in Match.model_fields} <= set(
        re.findall(r"`(match\.\w+)`", PAGE)
    )


def test_every_action_in_the_table_is_one() -> None:
    actions = PAGE.partition("| action | what happens |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| (`[^|]*`) \|", actions, re.MULTILINE)
    assert len(told) == 12
    for code in re.findall(r"`([^`]*)`", " ".join(told)):
        Action.model_validate_json(f"{{{code}}}")


def test_every_control_route_is_in_the_table(base_url: str) -> None:
    control = re.findall(r"^\| `(GET|POST|DELETE) (/_[\w/]+)` \|", PAGE, re.MULTILINE)
    assert len(control) == 7
    for method, path in control:
        content = b"[]" if (method, path) == ("POST", "/_faults") else None
        assert httpx.request(method, base_url + path, content=content).status_code == 200
