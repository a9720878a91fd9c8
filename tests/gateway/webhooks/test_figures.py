"""What a webhook says a run took: recorded, and shown by the page, the API and RemoteQueue."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runqueue.records.claim_items import Finished
from runqueue.records.run_figures import Usage
from runqueue.remote import RemoteQueue
from runqueue.store import worker_calls
from runqueue.store.budgets import Budget
from runqueue.store.groups import GroupCredits
from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk, bearer, gating, told

OPS = "operate-secret"
BILLED: dict[str, Any] = {
    "credits_used": 12,
    "cached_credits_used": 3,
    "step_count": 4,
    "failure_category": [{"category": "AUTH_FAILURE", "confidence_float": 0.9}],
    "total_cost": None,
    "run_with": "agent",
}


async def test_the_page_the_api_and_remote_queue_show_the_same(desk: Desk, redis_url: str) -> None:
    batch = desk.queue.open_batch("nightly")
    desk.queue.enqueue_many(
        [{"kind": "task", "body": {"prompt": "x"}, "group": "acme"}], batch=batch
    )
    desk.queue.seal_batch(batch)
    (job,) = desk.claim()
    desk.accept(job)
    settings: dict[str, Any] = {"price_per_credit": "0.05"}

    async with browsing(redis_url, OPS, **settings) as browser:
        door = browser.door
        body = told(job, "failed", **BILLED)
        assert (await door.webhook(job, body)).verdict == "ended"
        page = (await browser.open(f"/jobs/{job.job_id}")).words
        of_batch = (await browser.open(f"/batches/{batch}")).words
        answer = await door.ask("GET", f"/v1/jobs/{job.job_id}", headers=bearer(OPS))
        row = await door.ask("GET", f"/v1/batches/{batch}/results", headers=bearer(OPS))
        groups = await door.ask("GET", "/v1/group_credits", headers=bearer(OPS))
        with RemoteQueue(door.url, token=OPS) as remote:
            far = await asyncio.to_thread(remote.get, job.job_id)
            far_batch = await asyncio.to_thread(remote.get_batch, batch)
            far_groups = await asyncio.to_thread(remote.group_credits)

    usage = Usage(4, 12, 3)
    found = desk.job(job)
    assert (found.usage, found.failure_category) == (usage, "AUTH_FAILURE")
    assert (far.usage, far.failure_category) == (usage, "AUTH_FAILURE")
    assert far_batch.usage == desk.queue.get_batch(batch).usage == usage
    for shown in (answer.body, row.body):
        of_it = shown if isinstance(shown, dict) else {}
        assert of_it.get("credits", 12) == 12
        assert of_it.get("failure_category", "AUTH_FAILURE") == "AUTH_FAILURE"
    words = "4 steps, 12 credits (3 cached), cost 0.60"
    assert words in page
    assert "AUTH_FAILURE" in page
    assert words in of_batch
    assert far_groups == [GroupCredits("acme", 1, 12, 3)]
    assert groups.body["groups"] == [far_groups[0]._asdict()]


@pytest.mark.parametrize(
    "strange",
    [
        {"credits_used": 10**400, "failure_category": [[]]},
        {"credits_used": float("nan"), "failure_category": {"0": "X"}},
        {"credits_used": {"a": 1}, "failure_category": [{"category": "a:b\nc"}]},
        {"credits_used": "12", "cached_credits_used": [3], "failure_category": "AUTH_FAILURE"},
        {"app_url": ["x"], "workflow_run_id": {"x": "y"}, "step_count": -1},
    ],
)
async def test_hostile_figures_end_the_job_all_the_same(
    desk: Desk, redis_url: str, strange: dict[str, Any]
) -> None:
    (job,) = desk.running()
    async with gating(redis_url) as door:
        answer = await door.webhook(job, told(job, "failed", **strange))

    found = desk.job(job)
    assert (answer.verdict, found.credits, found.failure_category) == ("ended", None, None)


async def test_credits_are_estimated_where_a_setting_says_what_a_step_takes(
    desk: Desk, redis_url: str
) -> None:
    (job,) = desk.claimed()
    desk.accept(job, run_id="tsk_1")
    async with gating(redis_url, credits_per_step=1.5) as door:
        await door.webhook(job, told(job, run_id="tsk_1", step_count=3))

    assert desk.job(job).usage == Usage(3, 5, None, 5)


async def test_credits_come_after_a_poll_saw_the_end(desk: Desk, redis_url: str) -> None:
    (job,) = desk.claimed()
    desk.accept(job, run_id="tsk_v2_1")
    end = Finished(job.job_id, 1, "tsk_v2_1", "completed", "completed", "", b"{}", "::4")
    assert desk.queue.send(worker_calls.finish("default", [end])) == [1]
    async with gating(redis_url) as door:
        body = told(job, run_id="tsk_v2_1", workflow_run_id="wr_1", **BILLED)
        assert (await door.webhook(job, body)).verdict == "duplicate"

    assert desk.job(job).usage == Usage(4, 12, 3)


async def test_a_budget_of_credits_is_set_and_shown(desk: Desk, redis_url: str) -> None:
    async with browsing(redis_url, OPS) as browser:
        path, fields = "/v1/budgets/account", {"credits": 500, "per": "day"}
        door = browser.door
        await door.ask("PUT", path, fields, headers=bearer(OPS))
        strict = await door.ask("PUT", path, {**fields, "strict": True}, headers=bearer(OPS))
        shown = (await door.ask("GET", "/v1/budgets", headers=bearer(OPS))).body["budgets"]
        page = (await browser.open("/budgets")).words
        with RemoteQueue(door.url, token=OPS) as remote:
            far = await asyncio.to_thread(remote.list_budgets)

    (use,) = desk.queue.list_budgets()
    assert use.budget == Budget(per="day", credits=500)
    assert far == [use]
    assert (shown[0]["credits"], shown[0]["steps"]) == (500, None)
    assert strict.status == 422
    assert "nothing at Skyvern bounds the credits" in strict.body["errors"][0]["message"]
    assert "500 credits" in page
