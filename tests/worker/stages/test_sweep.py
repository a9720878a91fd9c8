"""The sweep: what time alone changes, in one pass."""

from datetime import timedelta
from typing import Any

import pytest
import redis

from runqueue import JobState
from tests.worker.working import KEYS, Work, wrap_send
from worker.stages.sweep import sweep


async def test_claims_of_a_dead_process_become_unconfirmed(work: Work) -> None:
    async with work() as bench:
        (job_id,) = bench.enqueue()
        await bench.account.consumers["submit"].take(1, 0)  # and then it dies
        assert (await sweep(bench.account))["expire_leases"] == 0
        assert bench.job(job_id).state is JobState.SUBMITTING

        bench.client.zadd(f"{KEYS.prefix}processes", {bench.account.lease.name: 1_000})
        walked = await sweep(bench.account)

        job = bench.job(job_id)
        assert (job.state, job.reason) == (JobState.UNCONFIRMED, "the process that sent it died")
        assert walked["expire_leases"] == 1
        assert bench.stats().processes == 0


async def test_a_pass_goes_on_until_a_step_has_walked_all_there_is(work: Work) -> None:
    async with work() as bench:
        line = {"kind": "task", "body": {"prompt": "x"}, "delay": 3600}
        answers = bench.queue.enqueue_many([line] * 700)
        bench.client.zadd(f"{KEYS.prefix}due", {answer.job_id: 1 for answer in answers})

        assert (await sweep(bench.account))["promote_due"] == 700
        assert bench.stats().states[JobState.READY] == 700


async def test_a_job_that_cannot_be_read_stops_no_other_step_and_no_other_job(work: Work) -> None:
    async with work() as bench:
        bad, good = bench.enqueue(2, delay=timedelta(hours=1))
        (late,) = bench.enqueue(deadline=timedelta(hours=1))
        bench.client.zadd(f"{KEYS.prefix}due", {bad: 1, good: 2})
        bench.client.zadd(f"{KEYS.prefix}deadlines", {late: 1})
        bench.client.set(f"{KEYS.prefix}job:{bad}", "a typo")

        with pytest.raises(redis.ResponseError, match=bad):
            await sweep(bench.account)
        assert bench.job(late).state is JobState.DEAD
        await sweep(bench.account)

        assert bench.job(good).state is JobState.READY
        assert bench.stats().quarantined_ids == (bad,)


async def test_a_redis_that_is_away_ends_the_pass(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    async def around(send: Any, call: Any) -> Any:
        sent.append(call.script.name)
        raise redis.exceptions.ConnectionError("away")

    async with work() as bench:
        with monkeypatch.context() as patch:
            wrap_send(patch, bench.account, around)
            with pytest.raises(redis.exceptions.ConnectionError):
                await sweep(bench.account)

        assert sent == ["expire_leases"]
