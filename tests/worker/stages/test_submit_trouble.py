"""Trouble of the server or the account is not the jobs': submissions wait, and one job probes."""

import json
from typing import Any

import pytest
import redis

from runqueue import JobState
from tests.worker.working import INSTANT, KEYS, Bench, start, working

RUN_TASK = {"route": "run_task"}
UNPROCESSABLE: dict[str, Any] = {
    "status": 422,
    "body": {"detail": [{"loc": ["body", "max_steps"], "msg": "too large", "type": "x"}]},
}
BROKEN: dict[str, Any] = {"status": 500, "body": {"error": "Unexpected"}}


def end_hold(bench: Bench) -> None:
    """Let the hold end now."""
    bench.client.hset(
        KEYS.meta, mapping=dict.fromkeys(("hold_until", "asked_until"), bench.now_us() - 1)
    )


async def trouble(bench: Bench, n: int, action: dict[str, Any] = BROKEN) -> list[str]:
    """Submit so many jobs one after the other, each of which meets a fault; returns them all."""
    await bench.api.fault(action, match=RUN_TASK, times=n)
    job_ids = bench.enqueue(n)
    for _ in range(n):
        await bench.one_pass("submit", want=1)
    return job_ids


@pytest.mark.parametrize(
    "action",
    [BROKEN, {"status": 502}, {"unavailable": "database"}, {"reset": "after_body"}],
    ids=json.dumps,
)
async def test_ten_troubles_in_a_row_hold_all_submissions_for_some_seconds(
    client: redis.Redis, redis_url: str, action: dict[str, Any]
) -> None:
    async with working(client, redis_url) as bench:
        await trouble(bench, 9, action)
        assert bench.stats().hold_reason is None

        await trouble(bench, 1, action)
        waiting = bench.enqueue(3)
        await bench.one_pass("submit")

        stats = bench.stats()
        assert "10 in a row: " in (stats.hold_reason or "")
        assert 4 < stats.hold_seconds <= 5
        assert {bench.job(job_id).state for job_id in waiting} == {JobState.READY}
        assert {bench.job(job_id).attempts for job_id in waiting} == {0}
        assert await bench.submissions() == 10


async def test_ten_troubles_at_once_open_the_breaker_too(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await bench.api.fault(BROKEN, match=RUN_TASK)
        bench.enqueue(12)

        await bench.one_pass("submit")

        assert bench.stats().hold_reason is not None


async def test_an_acceptance_between_troubles_starts_the_row_anew(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await trouble(bench, 9)
        await bench.submitted(1)
        await trouble(bench, 9)

        assert bench.stats().hold_reason is None


@pytest.mark.parametrize(
    "action",
    [{"status": 408}, {"status": 418}, {"empty200": True}, {"status": 200, "body": {}}],
    ids=json.dumps,
)
async def test_what_is_no_sign_of_a_failing_server_opens_no_breaker(
    client: redis.Redis, redis_url: str, action: dict[str, Any]
) -> None:
    async with working(client, redis_url) as bench:
        await trouble(bench, 12, action)

        assert bench.stats().hold_reason is None


async def test_submissions_cut_off_by_our_own_stop_open_no_breaker(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await bench.api.fault({"latency": 60}, match=RUN_TASK)
        job_ids = bench.enqueue(12)
        consumer = bench.account.consumers["submit"]
        start(consumer, *(await consumer.take(12, 0)).items)
        await bench.arrived(12)

        await bench.account.stop(0)

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.UNCONFIRMED}
        assert bench.stats().hold_reason is None


async def test_when_the_breaker_s_hold_ends_one_job_probes_and_its_success_closes_it(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await trouble(bench, 10)
        waiting = bench.enqueue(5)
        end_hold(bench)

        assert len((await bench.one_pass("submit")).items) == 1

        assert bench.stats().hold_reason is None
        await bench.one_pass("submit")
        assert {bench.job(job_id).state for job_id in waiting} == {JobState.RUNNING}


async def test_while_the_probe_is_on_its_way_nothing_else_is_submitted(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await trouble(bench, 10)
        bench.enqueue(5)
        end_hold(bench)
        consumer = bench.account.consumers["submit"]

        assert len((await consumer.take(100, 0)).items) == 1
        assert len((await consumer.take(100, 0)).items) == 0


async def test_a_probe_that_fails_holds_twice_as_long(client: redis.Redis, redis_url: str) -> None:
    async with working(client, redis_url) as bench:
        await trouble(bench, 10)
        holds = []
        for _ in range(5):
            end_hold(bench)
            await trouble(bench, 1)
            holds.append(round(bench.stats().hold_seconds))

        assert holds == [10, 20, 40, 60, 60]


async def test_a_probe_that_fails_holds_again_and_burns_no_other_job(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await trouble(bench, 10)
        waiting = bench.enqueue(20)
        await bench.api.fault(BROKEN, match=RUN_TASK)
        for _ in range(3):
            end_hold(bench)
            await bench.one_pass("submit")
            await bench.one_pass("submit")

        states = [bench.job(job_id).state for job_id in waiting]
        assert states.count(JobState.UNCONFIRMED) == 3
        assert states.count(JobState.READY) == 17


async def test_a_person_may_end_the_breaker_s_hold_and_the_row_begins_anew(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await trouble(bench, 10)

        assert "10 in a row" in bench.queue.resume()

        await trouble(bench, 9)
        assert bench.stats().hold_reason is None


async def test_a_server_that_is_busy_holds_the_submissions_and_ends_no_job(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await bench.api.fault({"unavailable": "no_run"}, match=RUN_TASK)
        job_ids = bench.enqueue(30)

        await bench.one_pass("submit")

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.READY}
        assert {bench.job(job_id).runs for job_id in job_ids} == {0}
        assert bench.stats().hold_reason is not None


async def test_twenty_refusals_in_a_row_hold_the_account_and_spare_the_queue(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await bench.api.fault(UNPROCESSABLE, match=RUN_TASK)
        bench.enqueue(100)

        for _ in range(10):
            await bench.one_pass("submit", want=8)

        stats = bench.stats()
        dead = stats.states[JobState.DEAD]
        assert 20 <= dead <= 28
        assert stats.states[JobState.READY] == 100 - dead
        assert "in a row: refused, body.max_steps: too large" in (stats.hold_reason or "")
        assert 59 < stats.hold_seconds <= 60


async def test_nineteen_refusals_in_a_row_hold_nothing(client: redis.Redis, redis_url: str) -> None:
    async with working(client, redis_url) as bench:
        await trouble(bench, 19, UNPROCESSABLE)
        await bench.submitted(1)
        await trouble(bench, 19, UNPROCESSABLE)

        assert bench.stats().hold_reason is None


async def test_after_many_refusals_one_job_a_minute_is_tried_until_one_is_accepted(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        await trouble(bench, 20, UNPROCESSABLE)
        await bench.api.fault(UNPROCESSABLE, match=RUN_TASK, times=1)
        waiting = bench.enqueue(5)

        end_hold(bench)
        assert len((await bench.one_pass("submit")).items) == 1
        assert not (await bench.one_pass("submit")).items
        assert 59 < bench.stats().hold_seconds <= 60

        end_hold(bench)
        assert len((await bench.one_pass("submit")).items) == 1
        assert bench.stats().hold_reason is None
        await bench.one_pass("submit")

        states = [bench.job(job_id).state for job_id in waiting]
        assert sorted(states) == [JobState.DEAD, *[JobState.RUNNING] * 4]


async def test_refusals_that_come_now_and_then_hold_nothing(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        for _ in range(4):
            await trouble(bench, 10, UNPROCESSABLE)
            await bench.submitted(1, url=INSTANT)

        assert bench.stats().hold_reason is None
        assert bench.stats().states[JobState.DEAD] == 40


async def test_one_job_s_own_403_stops_no_other(client: redis.Redis, redis_url: str) -> None:
    async with working(client, redis_url) as bench:
        forbidden = {"status": 403, "body": {"detail": "Not your browser session"}}
        await bench.api.fault(forbidden, match={**RUN_TASK, "contains": "forbidden"})
        (own,) = bench.enqueue(1, url="https://shop.test/forbidden")
        others = bench.enqueue(10)

        for _ in range(11):
            await bench.one_pass("submit", want=1)

        job = bench.job(own)
        assert (job.state, job.reason) == (JobState.DEAD, "Not your browser session")
        assert {bench.job(job_id).state for job_id in others} == {JobState.RUNNING}
        assert bench.stats().hold_reason is None
