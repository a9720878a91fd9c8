"""What Skyvern is known to refuse or ignore: refused here, or sent, as the switch says.

That the server does so is asked of one in tests/real/test_server_rules.py, with the same table.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from runqueue import InvalidJob, JobSpec, RequestChecks, TaskRunRequest, parse_line
from runqueue.request.request_checks import current_checks, use_checks
from tests.server_rules import ACCEPTED, BROKEN, LEAST, Broken


@pytest.fixture(autouse=True)
def _as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("RUNQUEUE_REQUEST_CHECKS", raising=False)
    yield
    use_checks(None)


def line(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "body": {**LEAST[kind], **body}}


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_what_the_server_does_not_take_is_refused_with_its_field_and_reason(broken: Broken) -> None:
    with pytest.raises(InvalidJob) as refused:
        parse_line(line(broken.kind, broken.body))
    (error,) = refused.value.errors
    assert error.field == f"body.{broken.field}"
    assert error.message.startswith(("expected ", "required "))
    assert "Skyvern 1.0.56" in error.message


@pytest.mark.parametrize("mode", [RequestChecks.WARN, RequestChecks.PASS])
@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_with_the_switch_off_it_is_sent_as_it_is(broken: Broken, mode: RequestChecks) -> None:
    given = line(broken.kind, broken.body)
    assert parse_line(given, checks=mode).body == given["body"]


@pytest.mark.parametrize(("kind", "body"), ACCEPTED)
def test_what_the_server_takes_is_taken(kind: str, body: dict[str, Any]) -> None:
    assert parse_line(line(kind, body)).body == {**LEAST[kind], **body}


@pytest.mark.parametrize("mode", [RequestChecks.WARN, RequestChecks.PASS])
def test_an_unknown_field_is_sent_as_it_is(mode: RequestChecks) -> None:
    given = line("task", {"next_years_field": {"a": [1, None]}})
    with pytest.raises(InvalidJob, match="unknown field"):
        parse_line(given)
    assert parse_line(given, checks=mode).body == given["body"]


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        ("task", {"max_steps": "10", "new": 1}, "body.max_steps"),
        ("workflow", {"workflow_id": None, "new": 1}, "body.workflow_id"),
        ("task", {"new": {"a": float("nan")}}, "body.new.a"),
        ("task", {"new": "\ud800"}, "body.new"),
    ],
)
def test_what_no_server_could_take_is_refused_in_every_mode(
    kind: str, body: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidJob) as refused:
        parse_line(line(kind, body), checks=RequestChecks.PASS)
    assert [error.field for error in refused.value.errors] == [field]


def test_a_field_beside_the_body_is_ours_and_never_passed_on() -> None:
    with pytest.raises(InvalidJob, match="unknown field"):
        parse_line({**line("task", {}), "new": 1}, checks=RequestChecks.PASS)


def test_a_warning_names_the_field_once_and_shows_no_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = line("workflow", {"model": {"api_key": "hunter2"}, "a_field_of_this_test": "hunter2"})
    with caplog.at_level(logging.WARNING, logger="runqueue"):
        parse_line(given, checks=RequestChecks.WARN)
        first = len(caplog.records)
        parse_line(given, checks=RequestChecks.WARN)
    assert "body.a_field_of_this_test" in caplog.text
    assert "hunter2" not in caplog.text
    assert 1 <= first == len(caplog.records)


def test_a_request_object_is_checked_as_a_line_is() -> None:
    request = TaskRunRequest(prompt="Read.", start_fresh_browser=True)
    with pytest.raises(InvalidJob, match=r"body\.start_fresh_browser"):
        JobSpec.of(request)
    assert JobSpec.of(request, checks=RequestChecks.PASS).body["start_fresh_browser"] is True


def test_the_environment_and_then_the_process_say_what_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert current_checks() is RequestChecks.REFUSE
    monkeypatch.setenv("RUNQUEUE_REQUEST_CHECKS", "Pass")
    assert current_checks() is RequestChecks.PASS
    assert parse_line(line("task", {"new": 1})).body["new"] == 1
    use_checks("refuse")
    assert current_checks() is RequestChecks.REFUSE
    use_checks(None)
    monkeypatch.setenv("RUNQUEUE_REQUEST_CHECKS", "maybe")
    with pytest.raises(ValueError, match="RUNQUEUE_REQUEST_CHECKS: expected refuse, warn or pass"):
        current_checks()


@pytest.mark.parametrize("files", [["file_1"], ["file_1", "file_2"]])
def test_files_are_not_tried_again(files: list[str]) -> None:
    given = {**line("task", {"file_ids": files}), "retry": {"max_attempts": 2}}
    with pytest.raises(InvalidJob, match="retry: expected no retry beside file_ids"):
        parse_line(given)
    assert parse_line({**line("task", {"file_ids": []}), "retry": {"max_attempts": 2}}).retry
    assert parse_line(given, checks=RequestChecks.PASS).retry
