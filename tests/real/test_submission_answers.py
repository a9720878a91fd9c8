"""What a server answers to submissions that it does not take, and whether a run was made.

`api_client.answers.outcomes` rests on these: a class that says "no run" is only true where none was
made.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from api_client import SubmissionClass
from api_client.answers.outcomes import Submission, classify_submission
from tests.real.target import Target

pytestmark = pytest.mark.real

TASK = {"prompt": "Read the price.", "url": "http://127.0.0.1:9/"}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "task": ("/v1/run/tasks", TASK),
    "task-2.0": ("/v1/run/tasks", {**TASK, "engine": "skyvern-2.0"}),
    "workflow": ("/v1/run/workflows", {}),
    "download_files": ("/v1/run/tasks/download_files", {"navigation_goal": "Get it."}),
}
Submit = Callable[..., Submission]


@pytest.fixture(scope="module")
def workflow(target: Target) -> str:
    return target.workflow("answers")


@pytest.fixture
def submit(target: Target, workflow: str) -> Submit:
    """Submits a request of a kind, and checks that a refusal made no run that the list shows."""

    def submit(kind: str, **fields: Any) -> Submission:
        path, least = KINDS[kind]
        before = target.all_run_ids()
        own = {"workflow_id": workflow} if kind == "workflow" else {}
        answer = target.post(path, {**least, **own, **fields})
        outcome = classify_submission(answer.status_code, answer.content, dict(answer.headers))
        made = target.all_run_ids() - before
        assert made == ({outcome.run_id} if outcome.run_id else set())
        return outcome

    return submit


def closed_session(target: Target) -> str:
    made = target.post("/v1/browser_sessions", {"timeout": 5}).raise_for_status().json()
    session: str = made["browser_session_id"]
    target.post(f"/v1/browser_sessions/{session}/close").raise_for_status()
    return session


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_browser_session_is_410_and_makes_no_run(
    target: Target, submit: Submit, kind: str
) -> None:
    if target.version != "1.0.56":
        pytest.skip("of this version only")
    outcome = submit(kind, browser_session_id=closed_session(target))
    assert (outcome.status_code, outcome.outcome) == (410, SubmissionClass.REFUSED)


def test_a_check_within_the_server_is_a_422_that_names_no_part_of_the_request(
    submit: Submit,
) -> None:
    """The model gives no URL for a task that has none, and its answer is checked within."""
    outcome = submit("task", url=None, prompt=f"stub:no-url {uuid.uuid4()}")
    assert outcome.status_code == 422
    assert isinstance(json.loads(outcome.body)["detail"], str)
    assert outcome.outcome is SubmissionClass.UNKNOWN


@pytest.mark.parametrize("kind", ["task", "task-2.0", "workflow"])
def test_a_file_serves_one_run_and_its_second_use_is_422(
    target: Target, submit: Submit, kind: str
) -> None:
    if target.version != "1.0.56":
        pytest.skip("of this version only")
    file = target.upload("notes.txt", b"notes")
    assert submit(kind, file_ids=[file]).outcome is SubmissionClass.ACCEPTED
    again = submit(kind, file_ids=[file])
    assert (again.status_code, again.outcome) == (422, SubmissionClass.REFUSED)
    assert again.hints_at_run
    assert file in again.detail


def test_a_file_that_there_is_not_is_answered_as_one_that_was_used(
    target: Target, submit: Submit
) -> None:
    if target.version != "1.0.56":
        pytest.skip("of this version only")
    assert submit("task", file_ids=["file_1"]).hints_at_run
