"""Trouble of the server or the account is not the jobs': submissions wait, and one job probes."""

import json
from typing import Any

import pytest

from runqueue import JobState
from tests.worker.working import Bench, Work, start

RUN_TASK = {"route": "run_task"}
UNPROCESSABLE: dict[str, Any] = {
    "status": 422,
    "body": {"detail": [{"loc": ["body", "max_steps"], "msg": "too large", "type": "x"}]},
}
BROKEN: dict[str, Any] = {"status": 500, "body": {"error": "Unexpected"}}


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
    work: Work, action: dict[str, Any]
) -> None:
    async with work() as bench:
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


@pytest.mark.parametrize(
    "action",
    [{"status": 408}, {"status": 418}, {"empty200": True}, {"status": 200, "body": {}}],
    ids=json.dumps,
)
async def test_what_is_no_sign_of_a_failing_server_opens_no_breaker(
    work: Work, action: dict[str, Any]
) -> None:
    async with work() as bench:
        await trouble(bench, 12, action)

        assert bench.stats().hold_reason is None


async def test_submissions_cut_off_by_our_own_stop_open_no_breaker(work: Work) -> None:
    async with work() as bench:
        await bench.api.fault({"latency": 60}, match=RUN_TASK)
        job_ids = bench.enqueue(12)
        consumer = bench.account.consumers["submit"]
        start(consumer, *(await consumer.take(12, 0)).items)
        await bench.arrived(12)

        await bench.account.stop(0)

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.UNCONFIRMED}
        assert bench.stats().hold_reason is None


async def test_one_job_s_own_403_stops_no_other(work: Work) -> None:
    async with work() as bench:
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
