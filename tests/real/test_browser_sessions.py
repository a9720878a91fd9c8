"""Runs of one browser session: what a server does with two at once, and that ours run in turn."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.waiting import until
from runqueue import JobState
from tests.real.listener import Listener, listener
from tests.real.stack import stack
from tests.real.target import Target, over

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

JOBS = 30
_OCCUPIED = "is already occupied by"


@pytest.fixture(autouse=True)
def _with_a_browser(target: Target) -> None:
    if not target.has_browser:
        pytest.skip("a browser session needs a browser: BROWSER=1")


@pytest.fixture
def page() -> Iterator[Listener]:
    """A page to browse."""
    with listener() as made:
        yield made


@pytest.fixture
def session(target: Target) -> Iterator[str]:
    """A browser session."""
    made = target.post("/v1/browser_sessions", {"timeout": 60}).raise_for_status().json()
    session_id: str = made["browser_session_id"]
    yield session_id
    target.post(f"/v1/browser_sessions/{session_id}/close")


def test_of_two_runs_at_once_one_fails_as_the_session_is_occupied(
    target: Target, page: Listener, session: str
) -> None:
    body = {"prompt": "Read.", "url": f"{page.url}/", "browser_session_id": session}
    answers = [target.post("/v1/run/tasks", body) for _ in range(2)]
    for answer in answers:
        print(answer.status_code, answer.text[:300])
    runs = [
        until(partial(_over, target, answer.json()["run_id"]), 300, "the run to be over")
        for answer in answers
        if answer.status_code == 200
    ]
    for run in runs:
        names = ("status", "failure_reason", "step_count", "started_at", "finished_at", "output")
        print(target.version, {name: run.get(name) for name in names})
    refused = [answer for answer in answers if answer.status_code != 200]
    occupied = [run for run in runs if _OCCUPIED in (run["failure_reason"] or "")]
    assert len(occupied) + len(refused) == 1


def _over(target: Target, run_id: str) -> dict[str, Any] | None:
    return over(target.run(run_id))


def test_jobs_of_one_session_run_in_turn_and_none_fails_for_an_occupied_one(
    target: Target, page: Listener, session: str, tmp_path: Path
) -> None:
    _skip_if_sessions_are_not_given_back(target, page)
    body = {"prompt": "Read.", "url": f"{page.url}/", "browser_session_id": session}
    lines = [
        {"custom_id": f"session-{number}", "kind": "task", "body": body} for number in range(JOBS)
    ]
    with stack(target, tmp_path) as (parts, _):
        ids = [answer.job_id for answer in parts.queue.enqueue_many(lines)]
        for _ in range(2):
            parts.start_worker()
        until(
            lambda: all(
                state is not None and state.is_over for state, _ in parts.queue.states(ids)
            ),
            1800,
            "every job to be over",
        )
        jobs = [job for job in parts.queue.get_many(ids) if job is not None]
    runs = [target.run(str(job.run_id)) for job in jobs if job.run_id]
    reasons = [str(run["failure_reason"]) for run in runs if run["failure_reason"]]
    print(target.version, len(runs), "runs", {job.state.value for job in jobs}, reasons[:3])
    assert len(runs) == JOBS
    assert not [reason for reason in reasons if _OCCUPIED in reason]
    assert {job.state for job in jobs} == {JobState.COMPLETED}
    assert {job.attempts for job in jobs} == {1}


def _skip_if_sessions_are_not_given_back(target: Target, page: Listener) -> None:
    """Skip if a task that has ended keeps its session, as on a self-hosted 1.0.56."""
    made = target.post("/v1/browser_sessions", {"timeout": 60}).raise_for_status().json()
    session = made["browser_session_id"]
    path = f"/v1/browser_sessions/{session}"
    body = {"prompt": "Read.", "url": f"{page.url}/", "browser_session_id": session}
    answer = target.post("/v1/run/tasks", body)
    until(partial(_over, target, answer.json()["run_id"]), 300, "the run to be over")

    def is_free() -> bool:
        return target.get(path).raise_for_status().json()["runnable_id"] is None

    try:
        until(is_free, 30, "its session to be free")
    except TimeoutError:
        pytest.skip(f"Skyvern {target.version} does not give a task's session back")
    finally:
        target.post(f"{path}/close")
