"""The page of the simulator: its examples do what it says, and it leaves nothing out."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import httpx
import pytest
import typer.main

from api_client import ForbiddenError, NotSupported, RateLimitError, RequestOptions, Skyvern
from api_client.errors import SkyvernError
from simulator.cli import cli
from simulator.faults import ROUTES, Action, Match, Rule
from simulator.model.plan import FORCED_KEYS, End
from simulator.routes import CALLS
from tests.acceptance.test_up import running_up
from tests.docs.pages import Example, examples, pattern_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/simulator.md").read_text()

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

ONCE: RequestOptions = {"max_retries": 0}

BLOCKS = examples(PAGE, "sh")
#: The one that starts a simulator has its own test; the others print something.
EXAMPLES = [block for block in BLOCKS if block.prints]
WITH_A_QUEUE = [example for example in EXAMPLES if "runqueue submit" in example.code]
ALONE = [example for example in EXAMPLES if example not in WITH_A_QUEUE]


@dataclass(frozen=True)
class Trial:
    name: str
    rule: dict[str, object]
    raises: str
    run_may_exist: bool

    def __str__(self) -> str:
        return self.name


TRIALS = [
    Trial(name, json.loads(rule), raises, bool(mark))
    for name, rule, raises, mark in re.findall(
        r"^\| ([^|]*) \| `(\{[^`]*\})`[^|]* \| `(\w+)`(!?) \|", PAGE, re.MULTILINE
    )
]


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


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    with started("--duration", "3") as url:
        yield url


@pytest.fixture
def base_url(simulator: str) -> str:
    httpx.post(f"{simulator}/_reset").raise_for_status()
    return simulator


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


def is_as_told(printed: str, told: str) -> bool:
    pattern = pattern_of(told)
    return re.fullmatch(pattern, printed) is not None


@needs_curl
@pytest.mark.parametrize("example", ALONE, ids=str)
def test_an_example_prints_what_the_page_says(
    example: Example, base_url: str, tmp_path: Path
) -> None:
    printed = run(example, base_url, tmp_path)
    assert is_as_told(printed, example.prints), printed


@needs_curl
@pytest.mark.acceptance
@pytest.mark.parametrize("example", WITH_A_QUEUE, ids=str)
def test_the_example_with_a_queue_ends_as_the_page_says(
    example: Example, base_url: str, tmp_path: Path
) -> None:
    with running_up(tmp_path, SKYVERN_BASE_URL=base_url) as up:
        up.wait_for("worker_ready")
        printed = run(example, base_url, tmp_path)
    assert is_as_told(printed, example.prints), printed


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_what_is_to_be_tried_raises_what_the_page_says(trial: Trial, base_url: str) -> None:
    with Skyvern(api_key="simulator-key", base_url=base_url) as client:
        agent = client.agent
        run_id = agent.run_task(prompt="Read it.").run_id
        httpx.post(f"{base_url}/_faults", json=[trial.rule]).raise_for_status()
        calls: dict[str | None, Callable[[], object]] = {
            "list_runs": lambda: agent.list_runs(request_options=ONCE),
            "get_run": lambda: agent.get_run(run_id, request_options=ONCE),
            "run_workflow": lambda: agent.run_workflow(workflow_id="w", request_options=ONCE),
        }
        call = calls.get(
            Rule.model_validate(trial.rule).match.route,
            lambda: agent.run_task(prompt="Read it.", request_options=ONCE),
        )
        with pytest.raises(SkyvernError) as raised:
            call()
    assert type(raised.value).__name__ == trial.raises
    assert raised.value.run_may_exist is trial.run_may_exist
    runs = httpx.get(f"{base_url}/_ledger").text.splitlines()
    assert len(runs) == (2 if trial.name == "answer lost, run made" else 1)


def test_the_options_named_for_a_trial_do_the_same(base_url: str) -> None:
    with (
        started("--no-list", "--max-requests-per-second", "1") as url,
        Skyvern(api_key="simulator-key", base_url=url) as client,
    ):
        with pytest.raises(NotSupported):
            client.agent.list_runs()
        client.agent.run_task(prompt="Read it.")
        with pytest.raises(RateLimitError):
            client.agent.run_task(prompt="Read it.", request_options=ONCE)
    with Skyvern(api_key="wrong", base_url=base_url) as client, pytest.raises(ForbiddenError):
        client.agent.run_task(prompt="Read it.")


def test_every_row_with_a_rule_is_a_trial() -> None:
    trials = PAGE.partition("## Things to try")[2]
    assert len(TRIALS) == len(re.findall(r"^\| [^|]* \| `\{", trials, re.MULTILINE)) == 10


def test_the_command_that_starts_it_starts_it() -> None:
    (command,) = re.findall(r"^\.venv/bin/python -m simulator (.*) &$", PAGE, re.MULTILINE)
    with started(*command.split()) as url:
        assert httpx.get(f"{url}/_health").json() == {"status": "ok"}


def test_every_block_of_shell_is_run() -> None:
    assert PAGE.count("```sh\n") == len(BLOCKS) == len(EXAMPLES) + 1
    assert len(WITH_A_QUEUE) == 1
    assert len(ALONE) == 3


def test_every_option_is_in_the_table_with_its_default() -> None:
    rows = {
        name: default
        for names, default in re.findall(r"^\| (`--[^|]*) \| ([^|]*) \|", PAGE, re.MULTILINE)
        for name in re.findall(r"`(--[\w-]+)`", names)
    }
    options = {
        name: parameter.default
        for parameter in typer.main.get_command(cli).params
        for name in [*parameter.opts, *parameter.secondary_opts]
        if name != "--help"
    }
    assert rows.keys() == options.keys()
    told = {
        name: default
        for name, default in rows.items()
        if default not in {"list", "simulator-key", "all", "any"}
    }
    assert told == {name: str(options[name]) for name in told}
    assert len(told) == len(options) - 6


def test_every_field_of_a_rule_and_every_action_is_in_a_table() -> None:
    firsts = "\n".join(re.findall(r"^\| ([^|]*) \|", PAGE, re.MULTILINE))
    names = set(re.findall(r'`"?(\w+)"?(?:: [^`]+)?`', firsts))
    assert {*Rule.model_fields} - names == set()
    actions = PAGE.partition("| action | what happens |")[2].partition("\n\n")[0]
    told = set(re.findall(r'`"(\w+)"', actions))
    assert {*Action.model_fields} - told == set()
    assert {f"match.{name}" for name in Match.model_fields} <= set(
        re.findall(r"`(match\.\w+)`", PAGE)
    )


def test_every_action_in_the_table_is_one() -> None:
    actions = PAGE.partition("| action | what happens |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| (`[^|]*`) \|", actions, re.MULTILINE)
    assert len(told) == 12
    for code in re.findall(r"`([^`]*)`", " ".join(told)):
        Action.model_validate_json(f"{{{code}}}")


def test_every_route_and_key_is_named() -> None:
    routes = PAGE.partition("| `match.route` |")[2].partition("\n")[0]
    assert re.findall(r"`(\w+)`", routes) == list(ROUTES)
    assert {call.name for call in CALLS} <= set(ROUTES)
    for key in (*FORCED_KEYS, *get_args(End)):
        assert f"`{key}`" in PAGE


def test_every_control_route_is_in_the_table(base_url: str) -> None:
    control = re.findall(r"^\| `(GET|POST|DELETE) (/_[\w/]+)` \|", PAGE, re.MULTILINE)
    assert len(control) == 7
    for method, path in control:
        content = b"[]" if (method, path) == ("POST", "/_faults") else None
        assert httpx.request(method, base_url + path, content=content).status_code == 200
