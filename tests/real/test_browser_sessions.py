"""Runs of one browser session: what a server does with two at once."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from lab.waiting import until
from tests.real.listener import Listener
from tests.real.target import Target, over

pytestmark = [
    pytest.mark.real,
    pytest.mark.usefixtures("with_a_browser"),
    pytest.mark.timeout(2400),
]
_OCCUPIED = "is already occupied by"


@pytest.fixture
def session(target: Target) -> Iterator[str]:
    """A browser session."""
    made = target.post("/v1/browser_sessions", {"timeout": 60}).raise_for_status().json()
    session_id: str = made["browser_session_id"]
    yield session_id
    target.post(f"/v1/browser_sessions/{session_id}/close")


def test_of_two_runs_at_once_one_fails_as_the_session_is_occupied(
    target: Target, hooks: Listener, session: str
) -> None:
    body = {"prompt": "Read.", "url": f"{hooks.url}/", "browser_session_id": session}
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
