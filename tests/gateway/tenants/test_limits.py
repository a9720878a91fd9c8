"""How many jobs a token may hand in per second, and how answers say so."""

from __future__ import annotations

from typing import Any

import redis

from gateway.tenants.rate_limit import Allowance, count_jobs
from runqueue import JobState, RunQueue
from runqueue.store.sending import run
from tests.gateway.gating import Answer, Door, bearer, gating, speak, token
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


async def test_too_many_jobs_are_to_be_sent_later(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url, **ONE) as door:
        first = await bulk(door, 1_000)
        second, third = await one(door), await bulk(door, 2)

    assert first.status == 202
    for answer in (second, third):
        assert (answer.status, answer.headers["content-type"]) == (429, "application/problem+json")
        assert answer.body["detail"].startswith("expected 1 jobs a second at most")
        assert 0 < int(answer.headers["retry-after"]) <= 1_000
        assert answer.headers["ratelimit"] == f'"jobs";r=0;t={answer.headers["retry-after"]}'
    assert queue.stats()["default"].states[JobState.READY] == 1_000


async def test_all_gateways_count_together_and_each_token_for_itself(redis_url: str) -> None:
    async with gating(redis_url, **ONE) as first, gating(redis_url, **ONE) as second:
        await bulk(first, 1_000)

        assert (await one(second)).status == 429
        assert (await one(second, OTHER)).status == 202


async def test_every_answer_to_who_may_submit_says_what_is_left(redis_url: str) -> None:
    settings = {**ONE, "gateway_max_jobs_per_second": 100_000}

    async with gating(redis_url, **settings) as door:
        answers = [
            await bulk(door, 10),
            await one(door),
            await door.ask("POST", "/v1/jobs", {"kind": "task"}, SHOP),
            await door.ask("POST", "/v1/jobs", b"x", {**SHOP, "content-type": "text/plain"}),
        ]
        strangers = [await one(door, bearer("wrong")), await one(door, bearer("look"))]
        elsewhere = await door.ask("GET", "/v1/jobs", headers=SHOP)

    assert [answer.status for answer in answers] == [202, 202, 422, 415]
    assert not any("retry-after" in answer.headers for answer in answers)
    for answer in answers:
        assert answer.headers["ratelimit-policy"] == '"jobs";q=100000;w=1'
        assert answer.headers["ratelimit"].startswith('"jobs";r=')
    assert [answer.status for answer in strangers] == [401, 403]
    for answer in (*strangers, elsewhere):
        assert "ratelimit" not in answer.headers


async def test_who_has_to_wait_need_not_send_his_jobs(redis_url: str) -> None:
    async with gating(redis_url, **ONE) as door:
        await bulk(door, 1_000)
        head = "POST /v1/jobs:bulk HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000\r\n"
        head += f"content-type: application/json\r\nauthorization: {SHOP['authorization']}\r\n\r\n"

        assert (await speak(door, head.encode())).startswith(b"HTTP/1.1 429 ")


async def test_a_request_costs_one_call_and_one_that_has_to_wait_none(
    client: redis.Redis, redis_url: str
) -> None:
    def calls() -> int:
        stats: Any = client.info("commandstats")
        return int(stats.get("cmdstat_fcall", {}).get("calls", 0))

    async with gating(redis_url, **{**ONE, "gateway_max_jobs_per_second": 10}) as door:
        await bulk(door, 1)
        counted = [calls()]
        for count in (1, 1_000, 1):
            await bulk(door, count)
            counted.append(calls())

    # Beside the one that hands the jobs in.
    assert counted[1] - counted[0] == 2
    assert counted[3] == counted[2]


async def test_uploads_are_not_counted(redis_url: str) -> None:
    async with gating(redis_url, **ONE) as door:
        await bulk(door, 1_000)
        answer = await send(door, lines(2, "upload"), **SHOP)

    assert answer.status == 201
    assert "ratelimit" not in answer.headers


async def test_without_a_limit_nothing_is_counted_or_said(
    client: redis.Redis, redis_url: str
) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        answer = await one(door)

    assert answer.status == 202
    assert not {name for name in answer.headers if name.startswith("ratelimit")}
    assert client.keys("*gcra*") == []


async def test_while_the_queue_is_away_the_policy_alone_is_said(
    client: redis.Redis, redis_url: str
) -> None:
    settings = {**ONE, "gateway_max_jobs_per_second": 100_000}

    async with gating(redis_url, **settings) as door:
        client.config_set("maxmemory", 1)
        try:
            answer = await one(door)
        finally:
            client.config_set("maxmemory", 0)

    assert (answer.status, answer.headers["ratelimit-policy"]) == (503, '"jobs";q=100000;w=1')
    assert "ratelimit" not in answer.headers


def test_a_request_is_counted_once_although_its_answer_was_lost(client: redis.Redis) -> None:
    now = 1_800_000_000 * SECOND
    call = count_jobs("shop", 100, 60)
    for _ in range(2):  # the client of Redis sends it again by itself
        assert run(client, call, now).left == 40
    assert allowed(client, now, 30, rate=100).left == 10
