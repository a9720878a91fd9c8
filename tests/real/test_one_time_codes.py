"""Who takes a one-time code: every run that waits for its identifier, and later tasks, too."""

import time

import pytest

from tests.real.listener import Listener
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("with_a_browser"), pytest.mark.timeout(400)]

#: A workflow's run does not say which code it took.
TOOK = "navigation block terminated. Reason: took [REDACTED_SECRET]"


def _start(target: Target, kind: str, body: dict[str, str]) -> str:
    run_id: str = target.post(f"/v1/run/{kind}", body).raise_for_status().json()["run_id"]
    return run_id


def _task(target: Target, hooks: Listener, identifier: str) -> str:
    body = {"prompt": "stub:code", "url": f"{hooks.url}/page", "engine": "skyvern-1.0"}
    return _start(target, "tasks", {**body, "totp_identifier": identifier})


def _workflow(target: Target, hooks: Listener, identifier: str, **of_run: str) -> str:
    block = {"block_type": "navigation", "label": "b", "url": f"{hooks.url}/page"}
    block |= {"navigation_goal": "stub:code", "totp_identifier": identifier}
    workflow = target.workflow("codes", blocks=[block])
    return _start(target, "workflows", {"workflow_id": workflow, **of_run})


def _send(target: Target, identifier: str, code: str, **of_run: str) -> None:
    body = {"totp_identifier": identifier, "content": code, **of_run}
    target.post("/v1/credentials/totp", body).raise_for_status()


def _reason(target: Target, run_id: str) -> str:
    reason: str = target.wait_over(run_id, 120)["failure_reason"]
    return reason


def test_one_code_goes_to_all_runs_that_wait_for_it(target: Target, hooks: Listener) -> None:
    run_ids = [make(target, hooks, "a@shop.example") for make in (_task, _task, _workflow)]
    time.sleep(5)
    _send(target, "a@shop.example", "TOTP-1111")
    reasons = [_reason(target, run_id) for run_id in run_ids]
    assert reasons == ["took TOTP-1111", "took TOTP-1111", TOOK]
    # A task that begins later takes it, too; the run of a workflow waits for a later code.
    late, waiting = (make(target, hooks, "a@shop.example") for make in (_task, _workflow))
    assert _reason(target, late) == "took TOTP-1111"
    time.sleep(20)
    assert target.run(waiting)["status"] == "running"
    _send(target, "a@shop.example", "TOTP-2222")
    assert _reason(target, waiting) == TOOK


def test_a_code_that_names_its_run_goes_to_that_run_alone(target: Target, hooks: Listener) -> None:
    own, other = (_task(target, hooks, "b@shop.example") for _ in range(2))
    _send(target, "b@shop.example", "TOTP-3333", task_id=own)
    assert _reason(target, own) == "took TOTP-3333"
    assert target.run(other)["status"] == "running"
    target.post(f"/v1/runs/{other}/cancel").raise_for_status()


def test_a_block_does_not_wait_for_its_run_s_identifier(target: Target, hooks: Listener) -> None:
    run_id = _workflow(target, hooks, "", totp_identifier="c@shop.example")
    assert _reason(target, run_id) == "navigation block terminated. Reason: stub"
