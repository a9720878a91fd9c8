"""The names of jobs in README, pages and example scripts: whoever tries one after another meets no
conflict."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from runqueue import EnqueueStatus, RunQueue
from runqueue.store.keys import ACCOUNTS
from tests.docs.pages import examples

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = [path for path in sorted((ROOT / "examples").iterdir()) if path.suffix in {".py", ".mjs"}]
#: A custom_id in the text of a page: in JSON, as an argument, in a table.
NAMED = re.compile(
    r'"?custom_id"?: ?"([^"{…]+)"|idempotency_key="([^"]+)"'
    r"|^([a-z]+-\d+),",
    re.MULTILINE,
)


def lines_of(text: str) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a batch file that a text holds."""
    decoder = json.JSONDecoder()
    for found in re.finditer(r'\{"(?:custom_id|kind)"', text):
        try:
            line, _ = decoder.raw_decode(text, found.start())
        except ValueError:  # cut short in the page by …
            continue
        if "body" in line and "{" not in line.get("custom_id", "{"):  # one with { is a template
            yield line


def requests_of(code: str) -> Iterator[dict[str, Any]]:
    """Yield what a program in Python enqueues with a key, as lines."""
    for call in ast.walk(ast.parse(code)):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        given = {one.arg: one.value for one in call.keywords}
        key = given.get("idempotency_key")
        if call.func.attr == "enqueue" and isinstance(key, ast.Constant):
            request = call.args[0]
            if isinstance(request, ast.Call):
                body = {str(one.arg): ast.literal_eval(one.value) for one in request.keywords}
                yield {"custom_id": key.value, "kind": "task", "body": body}


def test_a_new_user_who_tries_every_example_meets_no_conflict(
    client: redis.Redis, redis_url: str
) -> None:
    lines: list[dict[str, Any]] = []
    for page in PAGES:
        text = page.read_text()
        lines += lines_of(text)
        for example in examples(text, "python"):
            lines += requests_of(example.code)
    assert {"first-1", "sync-1", "inbox-1", "http-17"} <= {line["custom_id"] for line in lines}

    with RunQueue(redis_url) as queue:
        client.sadd(ACCOUNTS, "default")
        answers = [queue.enqueue_many([line])[0] for line in lines]

    assert [one.custom_id for one in answers if one.status is EnqueueStatus.CONFLICT] == []


def test_each_page_and_script_has_names_of_its_own() -> None:
    where: dict[str, set[str]] = {}
    for path in [*PAGES, *SCRIPTS]:
        for found in NAMED.finditer(path.read_text()):
            (name,) = filter(None, found.groups())
            where.setdefault(name, set()).add(path.name)

    assert len(where) > 10
    assert {name: pages for name, pages in where.items() if len(pages) > 1} == {}
