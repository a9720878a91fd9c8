"""A server that says "too fast": all workers submit more slowly, and creep back."""

from typing import Any

import pytest
import redis

from runqueue import JobState
from tests.worker.working import KEYS, Bench, working

RUN_TASK = {"route": "run_task"}


def too_many(words: str = "Too Many Requests", **headers: str) -> dict[str, Any]:
    return {"status": 429, "body": {"detail": words}, "headers": headers}


async def interval(bench: Bench) -> float:
    """Seconds from one submission to when the next may go, with a burst of one."""
    bench.client.delete(f"{KEYS.prefix}gcra:dispatch")
    bench.enqueue(2)
    first = await bench.one_pass("submit", want=1)
    assert len(first.items) == 1
    second = await bench.one_pass("submit", want=1)
    assert not second.items
    return (second.next_us - first.now_us) / 1e6


async def refused(bench: Bench, action: dict[str, Any]) -> str:
    """Have one submission meet a 429; returns its job."""
    await bench.api.fault(action, match=RUN_TASK, times=1)
    (job_id,) = bench.enqueue()
    await bench.one_pass("submit", want=1)
    return job_id


def let_pass(bench: Bench, seconds: float) -> None:
    """Let the pace think that so much time has passed."""
    at = float(bench.client.hget(KEYS.meta, "pace_at") or 0)
    bench.client.hset(KEYS.meta, "pace_at", f"{at - seconds * 1e6:.0f}")


async def test_a_429_gives_the_job_back_and_holds_nothing(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        job_id = await refused(bench, too_many())

        job = bench.job(job_id)
        assert (job.state, job.runs) == (JobState.READY, 0)
        assert bench.stats().hold_reason is None


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("Maximum 2 requests per 1 seconds", 2.0),
        ("Maximum 30 requests per 60 seconds", 0.5),
        ("Rate limit: 4 requests per second", 4.0),
    ],
)
async def test_a_rate_that_the_server_names_sets_the_pace_just_below_it(
    client: redis.Redis, redis_url: str, words: str, named: float
) -> None:
    limits: dict[str, Any] = {"max_dispatches_per_second": 50, "max_burst_size": 1}
    async with working(client, redis_url, **limits) as bench:
        await refused(bench, too_many(words))

        assert named * 0.85 < 1 / await interval(bench) < named


async def test_a_named_rate_above_the_own_limit_changes_nothing(
    client: redis.Redis, redis_url: str
) -> None:
    limits: dict[str, Any] = {"max_dispatches_per_second": 2, "max_burst_size": 1}
    async with working(client, redis_url, **limits) as bench:
        await refused(bench, too_many("Maximum 900 requests per 1 seconds"))

        assert await interval(bench) == pytest.approx(0.5, rel=0.1)


async def test_without_a_named_rate_the_pace_is_halved_and_creeps_back(
    client: redis.Redis, redis_url: str
) -> None:
    limits: dict[str, Any] = {"max_dispatches_per_second": 2, "max_burst_size": 1}
    async with working(client, redis_url, **limits) as bench:
        await refused(bench, too_many())
        paces = [1 / await interval(bench)]
        for seconds in (1, 2, 600):
            let_pass(bench, seconds)
            paces.append(1 / await interval(bench))

        assert paces[0] == pytest.approx(1.0, rel=0.1)
        assert paces[0] < paces[1] < paces[2] < 2.0
        assert paces[3] == pytest.approx(2.0, rel=0.05)
        assert bench.client.hget(KEYS.meta, "pace_top") is None  # forgotten


async def test_where_no_limit_is_set_half_of_what_was_submitted_is_the_pace(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url, max_burst_size=1) as bench:
        await bench.submitted(8)
        await refused(bench, too_many())

        top = float(bench.client.hget(KEYS.meta, "pace_top") or 0)
        assert 8 <= top <= 9
        assert await interval(bench) == pytest.approx(2 / top, rel=0.2)


async def test_a_burst_of_429s_slows_down_once(client: redis.Redis, redis_url: str) -> None:
    async with working(client, redis_url, max_dispatches_per_second=100) as bench:
        await bench.api.fault(too_many(), match=RUN_TASK)
        bench.enqueue(20)

        await bench.one_pass("submit")

        assert bench.client.hget(KEYS.meta, "pace_top") == b"100.0000"


async def test_a_429_a_second_later_slows_down_further(client: redis.Redis, redis_url: str) -> None:
    async with working(client, redis_url, max_dispatches_per_second=100) as bench:
        await refused(bench, too_many())
        let_pass(bench, 1)
        await refused(bench, too_many())

        top = float(bench.client.hget(KEYS.meta, "pace_top") or 0)
        assert 25 < top < 100


@pytest.mark.parametrize(("value", "seconds"), [("7", 7), ("0.5", 0.5), ("99999999", 3600)])
async def test_retry_after_holds_the_submissions_within_bounds(
    client: redis.Redis, redis_url: str, value: str, seconds: float
) -> None:
    async with working(client, redis_url) as bench:
        await refused(bench, too_many(**{"Retry-After": value}))

        assert seconds - 0.5 < bench.stats().hold_seconds <= seconds
        assert "Too Many Requests" in (bench.stats().hold_reason or "")


@pytest.mark.parametrize("value", ["0", "-5", "soon", "Thu, 01 Jan 1970 00:00:00 GMT", "1e999"])
async def test_a_retry_after_that_says_nothing_holds_nothing(
    client: redis.Redis, redis_url: str, value: str
) -> None:
    async with working(client, redis_url) as bench:
        await refused(bench, too_many(**{"Retry-After": value}))

        assert bench.stats().hold_reason is None


async def test_429s_never_open_the_breaker_nor_end_a_job(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await bench.api.fault(too_many(), match=RUN_TASK, times=30)
        job_ids = bench.enqueue(30)

        await bench.one_pass("submit")

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.READY}
        assert bench.stats().hold_reason is None
