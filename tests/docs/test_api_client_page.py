"""The page of the client: its examples run and print what it says, and it leaves no call out."""

from __future__ import annotations

import inspect
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import api_client
from api_client import AgentClient, RequestOptions, RetryPolicy, Skyvern
from api_client.errors import SkyvernError
from tests.docs.pages import Example, examples, pattern_of

PAGE = (Path(__file__).parents[2] / "docs/api_client.md").read_text()
HEADINGS = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
TABLE_NAMES = set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE))

EXAMPLES = examples(PAGE, "python")


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A simulator in a process of its own, whose runs take long enough to be canceled."""
    command = [sys.executable, "-m", "simulator", "--port", "0", "--duration", "0.95"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()


@pytest.fixture
def run(
    base_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[Example], str]]:
    """Runs an example in a namespace of its own; gives back what it printed."""
    monkeypatch.setenv("SKYVERN_BASE_URL", base_url)
    monkeypatch.setenv("SKYVERN_API_KEY", "simulator-key")
    logger = logging.getLogger("api_client")

    def run(example: Example) -> str:
        # As many lines before it as on the page, so that a traceback names the page's line.
        code = compile("\n" * (example.line - 1) + example.code, "docs/api_client.md", "exec")
        exec(code, {"__name__": "__main__"})
        return capsys.readouterr().out

    yield run
    logger.handlers.clear()  # one example sets it up
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_runs_by_itself_and_prints_what_the_page_says(
    example: Example, run: Callable[[Example], str]
) -> None:
    pattern = pattern_of(example.prints)
    printed = run(example)
    assert re.fullmatch(pattern, printed), printed


def test_the_example_for_a_lost_answer_finds_the_run_that_was_made(
    run: Callable[[Example], str], base_url: str
) -> None:
    (example,) = [example for example in EXAMPLES if "search_key=mark" in example.code]
    lost = {"match": {"route": "run_task"}, "action": {"close": True, "committed": True}}
    httpx.post(f"{base_url}/_faults", json=[lost | {"times": 1}]).raise_for_status()

    printed = run(example)

    made = httpx.get(f"{base_url}/_ledger").text.splitlines()
    assert printed.strip() == json.loads(made[-1])["run_id"]
    assert httpx.get(f"{base_url}/_faults").json()[0]["hits"] == 1


def test_both_styles_appear_and_every_block_of_python_is_an_example() -> None:
    assert len(EXAMPLES) == PAGE.count("```python\n")
    styles = {"await" if "AsyncSkyvern" in example.code else "block" for example in EXAMPLES}
    assert styles == {"await", "block"}


def test_every_call_is_in_the_table() -> None:
    calls = {name for name in dir(AgentClient) if not name.startswith("_")}
    table = PAGE.partition("| call | request | returns |\n")[2].partition("\n\n")[0]
    named = {
        name
        for first in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", first)
    }
    assert len(calls) == 21
    assert named == calls


def test_every_error_is_named_with_what_it_means_for_a_run() -> None:
    meanings = PAGE.partition("what it means for a run |\n")[2].partition("\n\n")[0]
    errors = {
        name
        for name in api_client.__all__
        if isinstance(kind := getattr(api_client, name), type) and issubclass(kind, SkyvernError)
    }
    assert len(errors) >= 13
    assert {name for name in errors if f"`{name}`" not in meanings} == {"SkyvernError"}


@pytest.mark.parametrize("described", [Skyvern, RetryPolicy, api_client.RateLimiter])
def test_every_argument_of_a_client_and_of_its_parts_is_in_a_table(described: type) -> None:
    arguments = inspect.signature(described).parameters.keys() - {"clock"}
    assert arguments - TABLE_NAMES == set()


def test_every_request_option_is_in_a_table() -> None:
    assert RequestOptions.__annotations__.keys() - TABLE_NAMES == set()


def test_every_name_the_page_imports_and_every_link_into_it_exists() -> None:
    anchors = {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in HEADINGS}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) - anchors == set()
    imported = re.findall(r"`from api_client import (\w+)", PAGE)
    assert [name for name in imported if name not in api_client.__all__] == []
