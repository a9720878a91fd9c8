"""The pages about the start and enqueuing: their examples do what they say, and come to jobs."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lab.waiting import until
from runqueue import JobState
from runqueue.cli.app import app as commands
from runqueue.producer.listing import Filter
from runqueue.store.keys import Keys
from tests.acceptance.factory import Factory, factory
from tests.docs.pages import Example, examples, pattern_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/enqueue.md").read_text()
START = (ROOT / "docs/start.md").read_text().partition("## A first job")[2]
PYTHON, SHELL = (examples(PAGE, language) for language in ("python", "sh"))
INBOX = f"{Keys('default').prefix}inbox"

LIMITS = {
    "RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "0",
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0",
    "RUNQUEUE_POLL_MIN_SECONDS": "0.2",
    "RUNQUEUE_POLL_MAX_SECONDS": "1",
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with factory(tmp_path_factory.mktemp("page"), ("--duration", "0.2"), **LIMITS) as made:
        made.start_worker()
        until(lambda: made.queue.stats()["default"].processes == 1, 60, "a worker")
        yield made


def run(command: list[str], parts: Factory, folder: Path) -> str:
    """What an example prints in a folder whose `.venv` is ours."""
    if not (folder / ".venv").exists():
        (folder / ".venv").symlink_to(sys.prefix)
    urls = {
        "RUNQUEUE_REDIS_URL": parts.redis_url,
        "RUNQUEUE_BROKER_URL": f"redis://127.0.0.1:{parts.server.port}/1",
    }
    done = subprocess.run(
        command,
        env={**os.environ, **urls},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout


def completed(parts: Factory, custom_id: str) -> bool:
    """Whether the job of that name has ended well."""
    found = parts.queue.list_jobs(Filter(custom_id=custom_id)).jobs
    return [job.state for job in found] == [JobState.COMPLETED]


@pytest.mark.acceptance
@pytest.mark.parametrize("example", PYTHON, ids=str)
def test_an_example_in_python_prints_what_the_page_says(
    example: Example, parts: Factory, tmp_path: Path
) -> None:
    printed = run([sys.executable, "-c", example.code], parts, tmp_path)
    assert re.fullmatch(pattern_of(example.prints), printed), printed


@pytest.mark.acceptance
@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="needs redis-cli")
def test_the_examples_for_a_shell_submit_their_jobs(parts: Factory, tmp_path: Path) -> None:
    for example in SHELL:
        assert run(["sh", "-eu", "-c", example.code], parts, tmp_path) == ""
    for name in ("inbox-1", "cli-1"):
        until(lambda name=name: completed(parts, name), 60, name)  # type: ignore[misc]
    assert (tmp_path / "pushed").read_text() == "1\n"
    assert (tmp_path / "made").read_text() == "OK\n"

    with redis.Redis(
        port=parts.server.port, username="shop", password="a-long-password"
    ) as producer:
        assert producer.rpush(INBOX, "nonsense") >= 1
        with pytest.raises(redis.exceptions.NoPermissionError):
            producer.lrange(INBOX, 0, -1)
        with pytest.raises(redis.exceptions.NoPermissionError):
            producer.rpush("another", "x")


@pytest.mark.acceptance
def test_the_message_of_the_celery_example_comes_to_two_jobs(
    parts: Factory, tmp_path: Path
) -> None:
    (example,) = [found for found in PYTHON if "send_task" in found.code]
    before = parts.queue.stats()["default"].totals.get("enqueued", 0)
    run([sys.executable, "-c", example.code], parts, tmp_path)
    until(lambda: completed(parts, "celery-1"), 60, "the job of the message")
    assert parts.queue.stats()["default"].totals["enqueued"] in {before + 1, before + 2}


@pytest.mark.acceptance
def test_a_refused_line_is_kept_as_the_page_shows(parts: Factory) -> None:
    (shown,) = re.findall(r'^    (\{"line".*?\})$', PAGE, re.MULTILINE | re.DOTALL)
    line = json.dumps({"kind": "task", "body": {"prompt": "x", "max_step": 3}})
    with redis.Redis(port=parts.server.port) as client:
        client.rpush(INBOX, line)

        def kept() -> list[dict[str, object]]:
            entries: list[bytes] = client.lrange(f"{INBOX}:invalid", 0, -1)
            return [entry for entry in map(json.loads, entries) if entry["line"] == line]

        until(kept, 30, "the refused line")
        told = json.loads(shown)
        assert kept()[0].keys() == told.keys()
        assert kept()[0]["error"] == told["error"]


@pytest.mark.acceptance
def test_the_start_leads_to_a_run_of_the_reader_s(parts: Factory, tmp_path: Path) -> None:
    (tmp_path / ".runqueue").mkdir()
    (tmp_path / ".runqueue/url").write_text(parts.redis_url)
    blocks = [found.code for found in examples(START, "sh") if "make up" not in found.code]
    blocks += [f"python <<'END'\n{found.code}END" for found in examples(START, "python")]
    run(["bash", "-euc", "\n".join(blocks)], parts, tmp_path)
    assert completed(parts, "mine-1")


def test_every_block_is_run() -> None:
    assert len(re.findall(r"^```(?:python|sh)$", PAGE, re.MULTILINE)) == len([*PYTHON, *SHELL])
    assert (len(PYTHON), len(SHELL)) == (5, 3)


def test_the_commands_in_the_table_are_there() -> None:
    told = set(re.findall(r"^\| `runqueue inbox (\w+)", PAGE, re.MULTILINE))
    (group,) = [found for found in commands.registered_groups if found.name == "inbox"]
    assert group.typer_instance is not None
    there = {
        command.name or command.callback.__name__
        for command in group.typer_instance.registered_commands
        if command.callback is not None
    }
    assert told == there
