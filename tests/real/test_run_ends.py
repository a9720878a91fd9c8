"""How a run's end shows on a real server: when it is final, its attempts, and its webhook."""

import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from api_client import verify_webhook
from api_client.answers.outcomes import classify_large_run
from api_client.answers.parts import attempt_age, ended_ago, parse_json
from api_client.errors import BodyTooLargeError
from api_client.types import TERMINAL_STATUSES
from lab.waiting import until
from tests.real.listener import Listener
from tests.real.request_kinds import HOST
from tests.real.target import Target
from worker.delivery.relay import ASK_SECONDS
from worker.runs.read_run import SETTLE_SECONDS

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TASKS, WORKFLOWS = "/v1/run/tasks", "/v1/run/workflows"
#: A block that fails at once.
FAILS = {"block_type": "http_request", "label": "fails", "method": "GET", "url": f"{HOST}/"}


def waits(label: str, seconds: int) -> dict[str, Any]:
    """A block that does nothing for so long."""
    return {"block_type": "wait", "label": label, "wait_sec": seconds}


def _start(target: Target, path: str, **fields: Any) -> str:
    run_id: str = target.post(path, fields).raise_for_status().json()["run_id"]
    return run_id


def _defined(target: Target, **definition: Any) -> str:
    """Make a workflow by its whole definition; return its id."""
    body = {"json_definition": {"title": "ends", "workflow_definition": definition}}
    made = target.post("/v1/workflows", body).raise_for_status().json()
    workflow_id: str = made["workflow_permanent_id"]
    return workflow_id


def _shown(target: Target, run_id: str) -> tuple[dict[str, Any], float]:
    """Return what the server shows of a run, and its clock."""
    answer = target.get(f"/v1/runs/{run_id}").raise_for_status()
    return answer.json(), parsedate_to_datetime(answer.headers["date"]).timestamp()


def test_a_run_s_answer_begins_with_its_id_and_its_status(target: Target) -> None:
    for run_id in (
        _start(target, WORKFLOWS, workflow_id=target.workflow("begins")),
        _start(target, TASKS, prompt="Read it.", url=HOST),
    ):
        status = target.wait_over(run_id)["status"]
        whole = target.get(f"/v1/runs/{run_id}").content
        cut = BodyTooLargeError("large", status_code=200, beginning=whole[:300])
        assert (classify_large_run(cut).run_id, classify_large_run(cut).run_status) == (
            run_id,
            status,
        )


def test_a_finally_block_runs_after_a_bad_end_that_shows_for_a_moment_at_most(
    target: Target,
) -> None:
    workflow = _defined(
        target, parameters=[], blocks=[FAILS, waits("cleans", 8)], finally_block_label="cleans"
    )
    run_id = _start(target, WORKFLOWS, workflow_id=workflow)
    seen: list[tuple[str, float | None]] = []

    def settled() -> bool:
        run, now = _shown(target, run_id)
        seen.append((run["status"], ended_ago(run, now)))
        is_over: bool = run["status"] in TERMINAL_STATUSES
        is_late = (seen[-1][1] or 0.0) > SETTLE_SECONDS
        return is_over and is_late and _has_cleaned(run)

    until(settled, 120, "the end after the finally block")
    print({status: sum(1 for each, _ in seen if each == status) for status, _ in seen})
    assert seen[-1][0] == "failed"
    # While it cleans up, the status is `running`, although `finished_at` is there already.
    assert [ago for status, ago in seen if status == "running" and ago is not None]
    # What we would take for final is final: no such reading was followed by another status.
    believed = [n for n, (status, ago) in enumerate(seen) if _is_believed(status, ago)]
    assert {status for status, _ in seen[believed[0] :]} == {"failed"}


def _is_believed(status: str, ago: float | None) -> bool:
    return status in TERMINAL_STATUSES and ago is not None and ago >= SETTLE_SECONDS


def _has_cleaned(run: dict[str, Any]) -> bool:
    output: dict[str, Any] = run["output"] or {}
    return "cleans_output" in output


def test_each_attempt_of_a_retry_policy_has_a_start_of_its_own(target: Target) -> None:
    if target.version == "1.0.40":
        pytest.skip("1.0.40 has no retry policies")
    policy = {"max_retries": 1, "delay_seconds": 4, "retry_on": [{"status": "failed"}]}
    workflow = _defined(
        target, parameters=[], blocks=[waits("first", 2), FAILS], retry_policy=policy
    )
    began = time.monotonic()
    run_id = _start(target, WORKFLOWS, workflow_id=workflow)
    ages: dict[int, list[float]] = {1: [], 2: []}
    pending: list[float | None] = []

    def is_over() -> bool:
        run, now = _shown(target, run_id)
        age = attempt_age(run, now)
        if run["status"] == "running" and age is not None:
            ages[run["attempt"]].append(age)
        if run["retry_pending"]:
            assert run["status"] == "failed"
            pending.append(age)
        return (run["attempt"], run["status"]) == (2, "failed")

    until(is_over, 120, "the second attempt's end")
    took = time.monotonic() - began
    print(f"{took:.1f} s in all, ages by attempt: {ages}, while pending: {pending}")
    # The second attempt is younger than the run, by the first attempt and the delay.
    assert ages[1]
    assert ages[2]
    assert max(ages[2]) < took - 4
    # A failed attempt whose next one is still to come has not begun by then.
    assert pending
    assert min(age for age in pending if age is not None) < 0


def test_a_webhook_is_sent_again_at_once_while_skyvern_s_own_tries_go_on(
    target: Target, hooks: Listener
) -> None:
    """Its answer holds the signed body, so nobody has to wait for Skyvern's own tries."""
    hooks.status = 500
    run_id = _start(
        target, WORKFLOWS, workflow_id=target.workflow("hooked"), webhook_url=f"{hooks.url}/own"
    )
    until(lambda: hooks.at("/own"), 60, "the first try")
    answer = httpx.post(
        f"{target.base_url}/v1/runs/{run_id}/retry_webhook",
        headers={"x-api-key": target.api_key},
        json={"webhook_url": f"{hooks.url}/ours"},
        timeout=ASK_SECONDS,
    )
    told = answer.json()
    tries = len(hooks.at("/own"))
    assert told["status_code"] == 500
    (copy,) = hooks.at("/ours")
    assert copy.body.decode() == told["payload"]
    signature = told["headers"]["x-skyvern-signature"]
    assert verify_webhook(told["payload"].encode(), signature, target.api_key)
    sent = parse_json(told["payload"].encode())
    assert (sent["run_id"], sent["status"]) == (run_id, "completed")
    until(lambda: len(hooks.at("/own")) == 3, 60, "Skyvern's own tries")
    assert tries < 3
