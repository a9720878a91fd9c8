"""The calls about runs: list, tags, cancel, bulk cancel, webhooks and their repetition."""

import json
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from api_client import verify_webhook
from lab.waiting import until
from tests.real.listener import Listener
from tests.real.request_kinds import HOST
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TASKS, WORKFLOWS = "/v1/run/tasks", "/v1/run/workflows"


@pytest.fixture(scope="module")
def quick(target: Target) -> str:
    """A workflow that completes within a second or two."""
    return target.workflow("quick")


@pytest.fixture(scope="module")
def lasting(target: Target) -> str:
    """A workflow that goes on until it is canceled."""
    return target.workflow(
        "lasting", blocks=[{"block_type": "wait", "label": "wait", "wait_sec": 600}]
    )


def _start(target: Target, workflow: str, **fields: Any) -> str:
    answer = target.post(WORKFLOWS, {"workflow_id": workflow, **fields}).raise_for_status()
    run_id: str = answer.json()["run_id"]
    return run_id


def test_answers_carry_the_servers_clock(target: Target) -> None:
    said = parsedate_to_datetime(target.get("/v1/runs", page_size=1).headers["date"])
    assert abs(said.timestamp() - time.time()) < 5


def test_a_webhook_is_signed_with_the_key_over_its_body(
    target: Target, quick: str, hooks: Listener
) -> None:
    run_id = _start(target, quick, webhook_url=f"{hooks.url}/hook?rq_job=x.1.")
    until(lambda: hooks.at("/hook"), 60, "its webhook")
    came = hooks.at("/hook")[0]
    signature = came.headers["x-skyvern-signature"]
    assert verify_webhook(came.body, signature, target.api_key)
    assert not verify_webhook(came.body + b" ", signature, target.api_key)
    payload = json.loads(came.body)
    assert payload["run_id"] == run_id
    assert payload["status"] == "completed"
    assert came.path.endswith("?rq_job=x.1.")
    assert "x-skyvern-timestamp" in came.headers


def test_the_run_is_over_before_its_webhook_comes(
    target: Target, quick: str, hooks: Listener
) -> None:
    hooks.status = 500
    run_id = _start(target, quick, webhook_url=f"{hooks.url}/hook")
    until(lambda: hooks.at("/hook"), 60, "its webhook")
    assert target.run(run_id)["status"] == "completed"


def test_a_webhook_that_fails_is_tried_three_times_with_the_same_body(
    target: Target, quick: str, hooks: Listener
) -> None:
    hooks.status = 500
    _start(target, quick, webhook_url=f"{hooks.url}/hook")
    until(lambda: len(hooks.at("/hook")) == 3, 60, "three tries")
    assert len({each.body for each in hooks.at("/hook")}) == 1


def test_live_runs_of_a_server_that_died_stay_running_until_they_are_canceled(
    ours: Target, lasting: str
) -> None:
    run_id = _start(ours, lasting)
    until(lambda: ours.run(run_id)["status"] == "running", 20, "it to run")
    assert ours.server is not None
    ours.server.kill()
    ours.server.start()
    assert ours.run(run_id)["status"] == "running"
    ours.post(f"/v1/runs/{run_id}/cancel").raise_for_status()
    assert ours.run(run_id)["status"] == "canceled"


def test_the_list_shows_every_run_of_the_servers_database(ours: Target, quick: str) -> None:
    _start(ours, quick)
    ours.post(TASKS, {"prompt": "p", "url": HOST}).raise_for_status()
    ours.post(TASKS, {"prompt": "p", "url": HOST, "engine": "skyvern-2.0"}).raise_for_status()
    rows = {run_id for (run_id,) in ours.rows("select run_id from task_runs")}
    assert ours.all_run_ids() == rows
    tasks = {t for (t,) in ours.rows("select task_id from tasks where workflow_run_id is null")}
    query = "select observer_cruise_id, workflow_run_id, started_at from observer_cruises"
    twos = ours.rows(query)
    below = {workflow_run for _, workflow_run, _ in twos}
    workflows = ours.rows("select workflow_run_id, started_at from workflow_runs")
    begun = {two: started for two, _, started in twos}
    begun |= {run_id: started for run_id, started in workflows if run_id not in below}
    assert tasks <= rows <= tasks | set(begun)
    # A submission that was refused may leave a row, of a run that never began.
    assert [r for r, started in begun.items() if r not in rows and started is not None] == []
