"""Who takes a one-time code: every run that waits for its identifier, and later ones, too."""

from functools import partial

import pytest

from lab.waiting import until
from tests.real.listener import Listener
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("with_a_browser"), pytest.mark.timeout(400)]

TASKS, WORKFLOWS = "/v1/run/tasks", "/v1/run/workflows"


def _task(target: Target, hooks: Listener, identifier: str) -> str:
    body = {"prompt": "stub:code", "url": f"{hooks.url}/page", "engine": "skyvern-1.0"}
    answer = target.post(TASKS, {**body, "totp_identifier": identifier}).raise_for_status()
    run_id: str = answer.json()["run_id"]
    return run_id


def _workflow(target: Target, hooks: Listener, identifier: str) -> str:
    block = {"block_type": "navigation", "label": "b", "url": f"{hooks.url}/page"}
    workflow = target.workflow("codes", blocks=[{**block, "navigation_goal": "stub:code"}])
    body = {"workflow_id": workflow, "totp_identifier": identifier}
    run_id: str = target.post(WORKFLOWS, body).raise_for_status().json()["run_id"]
    return run_id


def _send(target: Target, identifier: str, code: str, **of_run: str) -> None:
    body = {"totp_identifier": identifier, "content": code, **of_run}
    target.post("/v1/credentials/totp", body).raise_for_status()


def _runs(target: Target, run_id: str) -> bool:
    return bool(target.run(run_id)["status"] == "running")


def _reason(target: Target, run_id: str) -> str:
    reason: str = target.wait_over(run_id, 120)["failure_reason"]
    return reason


def test_one_code_goes_to_all_runs_that_wait_for_its_identifier(
    target: Target, hooks: Listener
) -> None:
    run_ids = [make(target, hooks, "a@shop.example") for make in (_task, _task, _workflow)]
    for run_id in run_ids:
        until(partial(_runs, target, run_id), 60, "it to run")
    _send(target, "a@shop.example", "TOTP-1111")
    assert all("took TOTP-1111" in _reason(target, run_id) for run_id in run_ids)
    # A task that begins after it takes it, too; the run of a workflow waits for a later one.
    late, waiting = (make(target, hooks, "a@shop.example") for make in (_task, _workflow))
    assert "took TOTP-1111" in _reason(target, late)
    assert target.run(waiting)["status"] == "running"
    _send(target, "a@shop.example", "TOTP-2222")
    assert "took TOTP-2222" in _reason(target, waiting)


def test_a_code_that_names_its_run_goes_to_that_run_alone(target: Target, hooks: Listener) -> None:
    own, other = (_task(target, hooks, "b@shop.example") for _ in range(2))
    _send(target, "b@shop.example", "TOTP-3333", task_id=own)
    assert "took TOTP-3333" in _reason(target, own)
    assert target.run(other)["status"] == "running"
    target.post(f"/v1/runs/{other}/cancel").raise_for_status()
