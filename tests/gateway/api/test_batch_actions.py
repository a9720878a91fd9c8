"""Lists of jobs, batches that are paused and tried again, groups: where the queue can do that."""

from __future__ import annotations

import pytest
import redis

from runqueue import JobState, RunQueue
from runqueue.ids import new_id
from runqueue.records.claim_items import Finished, Lost
from runqueue.store import worker_calls
from runqueue.store.keys import ACCOUNTS
from runqueue.store.sending import run
from tests.gateway.gating import Desk, bearer, gating, run_of, token
from tests.gateway.uploads import lines, send


async def test_jobs_are_listed_page_by_page(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        batch = (await send(door, lines(250))).body["batch_id"]
        names: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            path = f"/v1/jobs?batch={batch}&limit=100&cursor={cursor}"
            page = (await door.ask("GET", path)).body
            names += [job["custom_id"] for job in page["jobs"]]
            cursor = page["cursor"]

    assert names == [f"row-{n}" for n in range(250)]


async def test_jobs_of_a_state_and_a_group_are_listed(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running(group="shop-a")
    desk.running()

    async with gating(redis_url) as door:
        answer = await door.ask("GET", "/v1/jobs?state=running&group=shop-a")

    assert [found["job_id"] for found in answer.body["jobs"]] == [job.job_id]
    assert answer.body["jobs"][0]["result"] is None


async def test_failed_jobs_are_listed_by_words_of_their_reason(desk: Desk, redis_url: str) -> None:
    first, second = desk.running(2)
    ends = [
        Finished(job.job_id, 1, run_of(job), "failed", "failed", reason, b"{}")
        for job, reason in [(first, "Browser crashed."), (second, "max steps")]
    ]
    run(desk.client, worker_calls.finish("default", ends))

    async with gating(redis_url) as door:
        answer = await door.ask("GET", "/v1/jobs?state=failed&reason=CRASHED")
        none = await door.ask("GET", "/v1/jobs?state=failed&reason=")

    assert [found["job_id"] for found in answer.body["jobs"]] == [first.job_id]
    assert none.status == 422
    assert none.body["errors"][0]["field"] == "reason"


async def test_a_job_is_found_by_its_custom_id(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running(custom_id="order-17")
    (other,) = desk.running(custom_id="order-17", namespace="shop-b", group="b")

    async with gating(redis_url) as door:

        async def found(query: str) -> list[str]:
            answer = await door.ask("GET", f"/v1/jobs?custom_id={query}")
            assert (answer.status, answer.body["cursor"]) == (200, None)
            return [one["job_id"] for one in answer.body["jobs"]]

        assert await found("order-17") == [job.job_id]
        assert await found("order-17&namespace=shop-b") == [other.job_id]
        assert await found("order-17&state=running") == [job.job_id]
        assert await found("order-17&state=failed") == []
        assert await found("order-17&group=b") == []
        assert await found("order-18") == []


async def test_a_custom_id_finds_nothing_of_another_account(desk: Desk, redis_url: str) -> None:
    desk.running(custom_id="order-17")
    desk.client.sadd(ACCOUNTS, "acme")
    tokens = (token("acme", "acme-secret", "read", accounts=("acme",)),)

    async with gating(redis_url, api_tokens=tokens) as door:
        who = bearer("acme-secret")
        own = await door.ask("GET", "/v1/jobs?custom_id=order-17", headers=who)
        query = "custom_id=order-17&account=default"
        foreign = await door.ask("GET", f"/v1/jobs?{query}", headers=who)

    assert (own.status, own.body["jobs"]) == (200, [])
    assert (foreign.status, foreign.body["errors"][0]["field"]) == (422, "account")


async def test_of_very_many_unknown_names_twenty_are_told(redis_url: str) -> None:
    async with gating(redis_url) as door:
        names = "&".join(f"limi{n}" for n in range(3_000))
        query = (await door.ask("GET", f"/v1/jobs?{names}")).body["errors"]
        fields = {f"limi{n}": n for n in range(400)}
        body = (await door.ask("PUT", "/v1/groups/shop-a", fields)).body["errors"]

    assert (len(query), len(body)) == (21, 21)
    assert query[0]["message"] == "unknown parameter, did you mean 'limit'?"
    assert query[20] == {"field": "query", "message": "2980 more parameters are unknown"}
    assert body[20] == {"field": "body", "message": "380 more fields are at fault"}


async def test_who_may_not_ask_is_not_told_of_parameters(redis_url: str) -> None:
    async with gating(redis_url, api_tokens=(token("shop", "sesame", "read"),)) as door:
        answer = await door.ask("GET", "/v1/jobs?limits=1")
        probe = await door.ask("GET", "/healthz?from=here")

    assert (answer.status, probe.status) == (401, 200)


async def test_a_batch_that_is_paused_waits_until_it_is_resumed(desk: Desk, redis_url: str) -> None:
    async with gating(redis_url) as door:
        batch = (await send(door, lines(3))).body["batch_id"]
        paused = await door.ask("POST", f"/v1/batches/{batch}/pause")
        assert desk.claim() == []
        resumed = await door.ask("POST", f"/v1/batches/{batch}/resume")
        assert len(desk.claim()) == 3

    assert (paused.status, paused.body["held"]) == (200, "paused")
    assert (resumed.status, resumed.body["held"]) == (200, None)
    assert resumed.body["status"] == "in_progress"
    assert resumed.body["request_counts"]["total"] == 3


async def test_what_failed_of_a_batch_is_done_again(
    desk: Desk, client: redis.Redis, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        batch = (await send(door, lines(3))).body["batch_id"]
        jobs = desk.claim()
        dead = [Lost(job.job_id, job.attempt, "refused") for job in jobs[:2]]
        run(client, worker_calls.mark_dead("default", dead))
        desk.queue.cancel(jobs[2].job_id)
        desk.accept(jobs[2])
        end = Finished(jobs[2].job_id, 1, run_of(jobs[2]), "canceled", "canceled", "", b"{}")
        run(client, worker_calls.finish("default", [end]))
        path = f"/v1/batches/{batch}/retry-failed"
        other = await door.ask("POST", f"{path}?reason=engine")
        answer = await door.ask("POST", f"{path}?reason=REFUSED")
        canceled = await door.ask("POST", f"{path}?canceled=true")
        wrong = await door.ask("POST", f"{path}?reason=")

    assert other.body == {"batch_id": batch, "jobs": 0, "states": {}, "canceled_left": 0}
    assert (answer.status, answer.body) == (
        200,
        {"batch_id": batch, "jobs": 2, "states": {"dead": 2}, "canceled_left": 0},
    )
    assert canceled.body["states"] == {"canceled": 1}
    assert desk.job(jobs[0]).state is JobState.READY
    assert (wrong.status, wrong.body["errors"][0]["field"]) == (422, "reason")


@pytest.mark.parametrize("what", ["pause", "resume", "retry-failed"])
async def test_a_canceled_batch_does_not_go_on(redis_url: str, what: str) -> None:
    async with gating(redis_url) as door:
        batch = (await send(door, lines(3))).body["batch_id"]
        await door.ask("POST", f"/v1/batches/{batch}/cancel")
        answer = await door.ask("POST", f"/v1/batches/{batch}/{what}")
        nowhere = await door.ask("POST", f"/v1/batches/{new_id('default')}/{what}")

    assert (answer.status, nowhere.status) == (409, 404)


async def test_a_group_is_capped_and_paused_and_what_is_not_named_stays(redis_url: str) -> None:
    path = "/v1/groups/shop-a"

    async with gating(redis_url) as door:
        capped = (await door.ask("PUT", path, {"max_concurrent": 2})).body
        paused = (await door.ask("PUT", path, {"paused": True})).body
        opened = (await door.ask("PUT", path, {"max_concurrent": None})).body
        listed = (await door.ask("GET", "/v1/groups")).body["groups"]

    assert (capped["max_concurrent"], capped["paused"]) == (2, False)
    assert (paused["max_concurrent"], paused["paused"]) == (2, True)
    assert (opened["max_concurrent"], opened["paused"]) == (None, True)
    assert listed == [opened]
