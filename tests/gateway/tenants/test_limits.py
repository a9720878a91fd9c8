"""How many jobs a token may hand in per second."""

from __future__ import annotations

from typing import Any

import redis

from gateway.tenants.rate_limit import Allowance, count_jobs
from runqueue import JobState, RunQueue
from runqueue.store.sending import run
from tests.gateway.gating import Answer, Door, bearer, gating, token
from tests.gateway.uploads import lines, send

TOKENS = (
    token("shop", "sesame", "enqueue", "read"),
    token("other", "open", "enqueue"),
    token("reader", "look", "read"),
)
SHOP, OTHER = bearer("sesame"), bearer("open")
LINE = {"kind": "task", "body": {"prompt": "Read it."}}
#: One a second, so that a thousand keep the door shut for longer than any test takes.
ONE: dict[str, Any] = {"api_tokens": TOKENS, "gateway_max_jobs_per_second": 1}
SECOND = 1_000_000


def allowed(client: redis.Redis, at: int, jobs: int, rate: int = 10) -> Allowance:
    return run(client, count_jobs("shop", rate, jobs), at)


async def bulk(door: Door, count: int, key: dict[str, str] = SHOP) -> Answer:
    return await door.ask("POST", "/v1/jobs:bulk", lines(count), key)


async def one(door: Door, key: dict[str, str] = SHOP) -> Answer:
    return await door.ask("POST", "/v1/jobs", LINE, key)


def test_a_second_s_jobs_may_go_at_once_and_then_one_by_one(client: redis.Redis) -> None:
    now = 1_800_000_000 * SECOND

    assert [allowed(client, now, 1).left for _ in range(10)] == list(range(9, -1, -1))
    assert not allowed(client, now, 1).may
    assert allowed(client, now + SECOND // 10, 1).may
    assert not allowed(client, now + SECOND // 10, 1).may
    assert allowed(client, now + 3 * SECOND, 0).left == 10


def test_what_goes_beyond_a_second_s_jobs_is_made_up_for(client: redis.Redis) -> None:
    now = 1_800_000_000 * SECOND

    assert allowed(client, now, 100).may
    assert not allowed(client, now + 9 * SECOND, 1).may
    assert allowed(client, now + 9 * SECOND + SECOND // 10, 1).may


def test_a_clock_that_went_back_does_not_shut_the_door_for_long(client: redis.Redis) -> None:
    now = 1_800_000_000 * SECOND
    allowed(client, now + 365 * 86_400 * SECOND, 100)

    assert not allowed(client, now, 1).may
    # 10,000 jobs at 10 a second, and the second before.
    assert allowed(client, now + 1_001 * SECOND, 1).may


async def test_too_many_jobs_are_to_be_sent_later_or_as_an_upload(
    queue: RunQueue, redis_url: str
) -> None:
    async with gating(redis_url, **ONE) as door:
        first = await bulk(door, 1_000)
        second, third = await one(door), await bulk(door, 2)
        upload = await send(door, lines(2, "upload"), **SHOP)

    assert (first.status, upload.status) == (202, 201)
    for answer in (second, third):
        assert (answer.status, answer.headers["content-type"]) == (429, "application/problem+json")
        assert answer.body["detail"].startswith("expected 1 jobs a second at most")
        assert 0 < int(answer.headers["retry-after"]) <= 1_000
    assert queue.stats()["default"].states[JobState.READY] == 1_002


async def test_all_gateways_count_together_and_each_token_for_itself(redis_url: str) -> None:
    async with gating(redis_url, **ONE) as first, gating(redis_url, **ONE) as second:
        await bulk(first, 1_000)

        assert (await one(second)).status == 429
        assert (await one(second, OTHER)).status == 202


async def test_without_a_limit_nothing_is_counted(client: redis.Redis, redis_url: str) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        answer = await one(door)

    assert answer.status == 202
    assert client.keys("*gcra*") == []


def test_a_request_is_counted_once_although_its_answer_was_lost(client: redis.Redis) -> None:
    now = 1_800_000_000 * SECOND
    call = count_jobs("shop", 100, 60)
    for _ in range(2):  # the client of Redis sends it again by itself
        assert run(client, call, now).left == 40
    assert allowed(client, now, 30, rate=100).left == 10
