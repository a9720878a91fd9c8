"""What one token, or one account, may have waiting: it fills the queue for nobody else."""

from __future__ import annotations

from typing import Any

import redis

from runqueue import RunQueue
from runqueue.store.keys import ACCOUNTS
from tests.gateway.gating import Desk, Door, bearer, gating, run_of, token, told
from tests.gateway.uploads import lines, send
from tests.simulator.simulating import eventually

JOB = {"kind": "task", "body": {"prompt": "Read it."}}
TOKENS = (
    token("acme", "sesame-a", "enqueue", "read", "operate"),
    token("beta", "sesame-b", "enqueue", "read", "operate"),
)


async def enqueue_jobs(door: Door, secret: str, count: int = 1) -> Any:
    return await door.ask("POST", "/v1/jobs:bulk", [JOB] * count, bearer(secret))


async def test_a_token_hands_in_no_more_than_may_wait_of_it_and_others_go_on(
    redis_url: str,
) -> None:
    async with gating(redis_url, api_tokens=TOKENS, gateway_max_waiting_jobs=5) as door:
        assert (await enqueue_jobs(door, "sesame-a", 4)).status == 202
        refused = await enqueue_jobs(door, "sesame-a", 2)

        assert (refused.status, refused.headers["retry-after"]) == (429, "30")
        said = "quota: acme in account 'default' may have 5 jobs waiting, and this would be more"
        assert refused.body["detail"] == said
        assert (await enqueue_jobs(door, "sesame-a")).status == 202
        assert (await enqueue_jobs(door, "sesame-b", 5)).status == 202
        one = await door.ask("POST", "/v1/jobs", JOB, bearer("sesame-a"))
        assert (one.status, one.body["detail"]) == (429, said)


async def test_what_is_submitted_leaves_its_token_room(desk: Desk, redis_url: str) -> None:
    async with gating(redis_url, api_tokens=TOKENS, gateway_max_waiting_bytes=60) as door:
        assert (await enqueue_jobs(door, "sesame-a")).status == 202
        assert (await enqueue_jobs(door, "sesame-a")).status == 429
        (job,) = desk.claim()
        assert desk.accept(job) == [1]

        assert (await enqueue_jobs(door, "sesame-a")).status == 202
        assert (await enqueue_jobs(door, "sesame-a")).status == 429
        # An end is no new job, whatever waits.
        assert (await door.webhook(job, told(job))).verdict == "ended"
        assert desk.job(job).run_id == run_of(job)


async def test_an_upload_beyond_what_may_wait_is_refused_and_leaves_nothing(
    desk: Desk, redis_url: str
) -> None:
    async with gating(redis_url, api_tokens=TOKENS, gateway_max_waiting_jobs=250) as door:
        refused = await send(door, lines(300), **bearer("sesame-a"))
        assert (refused.status, refused.headers["retry-after"]) == (429, "30")

        await eventually(lambda: desk.abandoned() == 1)
        assert (await send(door, lines(200), **bearer("sesame-a"))).status == 201


async def test_a_bulk_of_two_accounts_is_refused_whole_and_nothing_of_it_is_left(
    client: redis.Redis, redis_url: str
) -> None:
    client.sadd(ACCOUNTS, "acme", "beta")
    async with gating(redis_url, api_tokens=TOKENS, gateway_max_waiting_jobs=5) as door:

        async def send_bulk(acme: int, beta: int) -> int:
            jobs = [{**JOB, "account": "acme"}] * acme + [{**JOB, "account": "beta"}] * beta
            answer = await door.ask("POST", "/v1/jobs:bulk", jobs, bearer("sesame-a"))
            return int(answer.status)

        async def waiting(account: str) -> int:
            path = f"/v1/jobs?account={account}"
            answer = await door.ask("GET", path, headers=bearer("sesame-a"))
            return len(answer.body["jobs"])

        assert await send_bulk(0, 5) == 202

        assert await send_bulk(4, 1) == 429
        assert (await waiting("acme"), await waiting("beta")) == (0, 5)
        # Nor does it count any more.
        assert await send_bulk(5, 0) == 202


async def test_an_upload_of_one_token_does_not_fill_redis_for_others(
    client: redis.Redis, queue: RunQueue, redis_url: str
) -> None:
    mebibyte = 1024 * 1024
    queue.set_limits({"waiting_bytes": 8 * mebibyte})
    used: Any = client.info("memory")
    client.config_set("maxmemory", used["used_memory"] + 40 * mebibyte)
    large = [
        {"custom_id": f"large-{n}", "kind": "task", "body": {"prompt": f"{n}" + "x" * 20_000}}
        for n in range(2_500)
    ]
    try:
        async with gating(
            redis_url, api_tokens=TOKENS, gateway_max_waiting_bytes=4 * mebibyte
        ) as door:
            filled = await send(door, large, **bearer("sesame-a"))
            other = await door.ask("POST", "/v1/jobs", JOB, bearer("sesame-b"))
    finally:
        client.config_set("maxmemory", 0)

    assert (filled.status, other.status) == (429, 202)
