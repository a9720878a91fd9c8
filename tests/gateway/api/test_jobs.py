"""Jobs: one is read, waited for, canceled; many are decided on."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis

from runqueue import JobState, RunQueue, TaskRunRequest
from runqueue.ids import new_id
from runqueue.records.claim_items import Lost
from runqueue.store import worker_calls
from runqueue.store.sending import run
from tests.gateway.gating import Desk, gating, run_of, told
from tests.simulator.simulating import eventually

UNKNOWN = [new_id("default"), new_id("another"), "1", "%00", "%C3%A9", "a" * 3000]


async def test_a_job_is_shown_with_its_result(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running(custom_id="order-17")

    async with gating(redis_url) as door:
        await door.webhook(job, told(job))
        shown = (await door.ask("GET", f"/v1/jobs/{job.job_id}")).body
        bare = (await door.ask("GET", f"/v1/jobs/{job.job_id}?result=false")).body

    assert (bare["state"], bare["result"], bare["output"]) == ("completed", None, None)
    row = desk.job(job).as_row()
    assert {name: shown[name] for name in row if name != "webhook"} == {
        name: value for name, value in row.items() if name != "webhook"
    }
    assert (shown["state"], shown["run_id"]) == ("completed", run_of(job))
    assert shown["result"]["output"] == shown["output"] == {"price": "12.50", "note": "schön"}
    assert shown["webhook"]["state"] == "pending"


async def listened_to(client: redis.Redis) -> None:
    """Wait until somebody listens for the ends of jobs."""
    await eventually(lambda: client.client_list(_type="pubsub"))


async def test_who_waits_is_answered_when_the_job_ends(
    desk: Desk, client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "runqueue.producer.waiters.CHECK_EVERY", 60.0
    )  # it is woken, or not answered
    (job,) = desk.running()

    async with gating(redis_url) as door:
        waiting = asyncio.create_task(door.ask("GET", f"/v1/jobs/{job.job_id}?wait=60"))
        await listened_to(client)
        assert not waiting.done()
        await door.webhook(job, told(job))
        async with asyncio.timeout(20):
            answer = await waiting

    assert answer.body["state"] == "completed"


async def test_who_waits_in_vain_sees_the_job_as_it_stands(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        began = time.monotonic()
        answer = await door.ask("GET", f"/v1/jobs/{job.job_id}?wait=0.3")

    assert (answer.status, answer.body["state"]) == (200, "running")
    assert time.monotonic() - began >= 0.3


async def test_who_waits_is_answered_when_the_gateway_ends(
    desk: Desk, client: redis.Redis, redis_url: str
) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        waiting = asyncio.create_task(door.ask("GET", f"/v1/jobs/{job.job_id}?wait=60"))
        await listened_to(client)
        door.server.should_exit = True
        async with asyncio.timeout(20):  # not the minute that was asked for
            answer = await waiting

    assert (answer.status, answer.body["state"]) == (200, "running")


async def test_a_job_that_is_not_known_is_not_found(redis_url: str) -> None:
    async with gating(redis_url) as door:
        for job_id in UNKNOWN:
            for path in (f"{job_id}", f"{job_id}?wait=5", f"{job_id}?result=false"):
                answer = await door.ask("GET", f"/v1/jobs/{path}")
                assert answer.status == 404
                assert answer.body["detail"].startswith("no such job is on record")
            for what in ("cancel", "replay", "webhook/ack"):
                assert (await door.ask("POST", f"/v1/jobs/{job_id}/{what}")).status == 404


async def test_who_asks_for_a_custom_id_learns_how_a_job_is_found_by_it(
    queue: RunQueue, redis_url: str
) -> None:
    job = queue.enqueue(TaskRunRequest(prompt="x"), idempotency_key="order 17")
    async with gating(redis_url) as door:
        for method, what in (("GET", ""), ("GET", "/timeline"), ("POST", "/cancel")):
            answer = await door.ask(method, f"/v1/jobs/order%2017{what}")
            assert answer.status == 404
            words, _, hint = answer.body["detail"].partition(" GET ")
            assert words == "no such job is on record; by its custom_id:"
        found = await door.ask("GET", hint)
        assert [one["job_id"] for one in found.body["jobs"]] == [job.job_id]
        other = await door.ask("GET", f"/v1/jobs/{new_id('default')}")
        assert other.body["detail"] == "no such job is on record"


async def test_a_job_that_waits_is_canceled_at_once(queue: RunQueue, redis_url: str) -> None:
    (job,) = queue.enqueue_many([{"kind": "task", "body": {"prompt": "x"}}])

    async with gating(redis_url) as door:
        for _ in range(2):
            answer = await door.ask("POST", f"/v1/jobs/{job.job_id}/cancel")
            assert (answer.status, answer.body) == (
                200,
                {"job_id": job.job_id, "state": "canceled"},
            )


async def test_a_job_that_runs_keeps_its_state_and_the_wish(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        answer = await door.ask("POST", f"/v1/jobs/{job.job_id}/cancel")

    assert answer.body["state"] == "running"
    assert desk.job(job).cancel_requested


async def test_jobs_are_decided_on_and_what_came_of_each_is_noted(
    desk: Desk, client: redis.Redis, redis_url: str
) -> None:
    (dead,) = desk.claimed()
    run(client, worker_calls.mark_dead("default", [Lost(dead.job_id, dead.attempt, "no")]))
    (lives,) = desk.running()
    ids = [dead.job_id, lives.job_id, "nonsense"]

    async with gating(redis_url) as door:
        answer = await door.ask("POST", "/v1/jobs:replay", {"job_ids": ids})
        again = await door.ask("POST", "/v1/jobs:replay", {"job_ids": ids})

    outcomes = ["done", "not dead, failed or canceled", "no such job"]
    assert (answer.status, list(answer.body["jobs"].values())) == (200, outcomes)
    assert next(iter(again.body["jobs"].values())) == outcomes[1]
    assert desk.job(dead).state is JobState.READY
    (note,) = desk.queue.audit()  # the second time nothing was done
    assert (note.what, note.target, note.detail) == ("replay", "", "1 of 3 jobs: ready again")


@pytest.mark.parametrize(
    ("decision", "given", "field"),
    [
        ("replay", {}, "job_ids"),
        ("replay", {"job_ids": []}, "job_ids"),
        ("replay", {"job_ids": ["a"] * 201}, "job_ids"),
        ("adopt", {"job_ids": ["a", "b"], "run_id": "tsk_1"}, "job_ids"),
        ("adopt", {"job_ids": ["a"], "run_id": "a run"}, "run_id"),
        ("deliver", {"job_ids": ["a"], "url": "gopher://me:pa55@host"}, "url"),
        ("forget", {"job_ids": ["a"]}, "decision"),
    ],
)
async def test_a_wrong_decision_is_named_and_not_noted(
    desk: Desk, redis_url: str, decision: str, given: dict[str, Any], field: str
) -> None:
    async with gating(redis_url) as door:
        answer = await door.ask("POST", f"/v1/jobs:{decision}", given)

    assert (answer.status, answer.body["errors"][0]["field"]) == (422, field)
    assert "pa55" not in str(answer.body)
    assert desk.queue.audit() == []
