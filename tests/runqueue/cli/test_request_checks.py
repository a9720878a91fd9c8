"""What Skyvern is known not to take, and files that serve one run, at the command line."""

from collections.abc import Iterator
from typing import Any

import pytest

from runqueue.request.request_checks import use_checks
from tests.runqueue.cli.commanding import Desk

UNKNOWN = {"custom_id": "a", "kind": "task", "body": {"prompt": "Read it.", "new": 1}}
LATE = {"kind": "workflow", "body": {"workflow_id": "wpid_1", "max_elapsed_time_minutes": 481}}


def with_file(key: str, file: str) -> dict[str, Any]:
    return {"custom_id": key, "kind": "task", "body": {"prompt": "Read it.", "file_ids": [file]}}


@pytest.fixture(autouse=True)
def _as_the_environment_says() -> Iterator[None]:
    yield
    use_checks(None)


def test_both_are_refused_unless_the_option_lets_them_pass(desk: Desk) -> None:
    file = desk.file([UNKNOWN, LATE])

    refused = desk.run("submit", file)
    passed = desk.run("submit", file, "--request-checks", "pass")

    assert refused.exit_code == 3
    assert f"{file}:1: body.new: unknown field" in refused.stderr
    assert f"{file}:2: body.max_elapsed_time_minutes: expected at most 480" in refused.stderr
    assert passed.exit_code == 0
    assert "2 jobs submitted" in passed.stdout


def test_a_word_that_is_no_mode_is_wrong_usage(desk: Desk) -> None:
    file = desk.file([UNKNOWN])
    assert desk.run("validate", file, "--request-checks", "maybe").exit_code == 2
    desk.environ["RUNQUEUE_REQUEST_CHECKS"] = "maybe"
    result = desk.run("validate", file)
    assert result.exit_code == 2
    assert "RUNQUEUE_REQUEST_CHECKS: expected refuse, warn or pass" in result.stderr


def test_a_second_use_of_a_file_is_told_with_its_line_and_the_job_that_holds_it(desk: Desk) -> None:
    assert desk.run("submit", desk.file([with_file("a", "f1")])).exit_code == 0
    file = desk.file([with_file("b", "f1"), with_file("c", "f2")])

    result = desk.run("submit", file)

    holder: Any = desk.client.hget("runqueue:{default}:files", "f1")
    assert result.exit_code == 3
    assert f"{file}:1: body.file_ids: expected files of its own: 'f1'" in result.stderr
    assert holder.decode() in result.stderr
    assert "1 line refused" in result.stdout


def test_two_lines_of_one_file_that_name_a_file_are_one_job_and_one_conflict(desk: Desk) -> None:
    report = desk.json("submit", desk.file([with_file("a", "f1"), with_file("b", "f1")]))
    assert (report["new"], report["conflicting_lines"]) == (1, 1)
