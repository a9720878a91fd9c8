"""Runs whose GET always fails: their time limits hold, and they keep no slot for ever."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from runqueue import JobState, WorkflowRunRequest
from tests.worker.working import KEYS, Bench, Work

LIMIT = 30
SECOND = 1_000_000
FAILS = {"status": 500, "body": {"error": "Internal Server Error"}}


async def submitted(bench: Bench, **options: Any) -> str:
    """Submit a run that the server cannot show; return its job's id."""
    definition = {
        "parameters": [
            {"parameter_type": "workflow", "key": "item", "workflow_parameter_type": "integer"}
        ],
        "blocks": [{"block_type": "wait", "label": "w", "wait_sec": 1}],
    }
    made = await bench.api.post(
        "/v1/workflows", {"json_definition": {"title": "Price", "workflow_definition": definition}}
    )
    request = WorkflowRunRequest(
        workflow_id=made["workflow_permanent_id"], parameters={"item": 7.0}
    )
    job_id = bench.queue.enqueue(request, **options).job_id
    await bench.one_pass("submit")
    assert bench.job(job_id).state is JobState.RUNNING
    return job_id


def overdue(bench: Bench, job_id: str) -> None:
    """Let the time of a run be up, and its poll due."""
    bench.set(job_id, "started", bench.now_us() - (LIMIT + 1) * SECOND)
    bench.client.zadd(f"{KEYS.prefix}poll", {job_id: 0})


async def canceled_for(bench: Bench, job_id: str, seconds: float) -> None:
    """Try a cancel again that was first tried so long ago, and poll the run."""
    bench.set(job_id, "cancel_since", bench.now_us() - int(seconds * SECOND))
    bench.client.zadd(f"{KEYS.prefix}cancels", {job_id: bench.now_us()})
    await bench.one_pass("cancel")
    await bench.one_pass("poll")


async def test_a_run_that_cannot_be_read_is_canceled_when_its_time_is_up(work: Work) -> None:
    async with work() as bench:
        job_id = await submitted(bench, max_run_seconds=LIMIT)
        await bench.one_pass("poll")
        assert not bench.job(job_id).cancel_requested

        overdue(bench, job_id)
        await bench.one_pass("poll")
        await bench.one_pass("cancel")

        assert bench.job(job_id).cancel_requested
        assert [run["status"] for run in await bench.runs()] == ["canceled"]


async def test_while_the_server_answers_no_read_no_run_is_canceled_for_its_time(work: Work) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted(max_run_seconds=LIMIT)
        await bench.api.fault(FAILS, match={"route": "get_run"})
        for _ in range(2):
            overdue(bench, job_id)
            await bench.one_pass("poll")

        assert not bench.job(job_id).cancel_requested
        assert (
            await bench.calls("get_run") == 3
        )  # one of another run, to see whether any is answered
        assert bench.account.reads.report().failing_us >= 0


async def test_a_read_that_fails_once_cancels_no_later_attempt_that_has_time(work: Work) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted(max_run_seconds=LIMIT)
        started = datetime.fromtimestamp(time.time() - 20, UTC).replace(tzinfo=None)
        shown = {"run_id": "tsk_1", "status": "running", "started_at": started.isoformat()}
        await bench.api.fault(FAILS, match={"route": "get_run"}, times=1)
        await bench.api.fault({"status": 200, "body": shown}, match={"route": "get_run"})
        overdue(bench, job_id)

        await bench.one_pass("poll")

        assert not bench.job(job_id).cancel_requested


@pytest.mark.parametrize(
    ("options", "state", "reason"),
    [
        ({"max_run_seconds": LIMIT}, JobState.FAILED, "time limit: the run took longer than 30 s"),
        ({}, JobState.CANCELED, "asked"),
    ],
    ids=["overdue", "asked"],
)
async def test_a_canceled_run_that_cannot_be_read_ends_its_job_after_a_minute_and_frees_its_slot(
    work: Work, options: dict[str, Any], state: JobState, reason: str
) -> None:
    async with work(max_concurrent_runs=1) as bench:
        job_id = await submitted(bench, **options)
        if options:
            overdue(bench, job_id)
            await bench.one_pass("poll")
        else:
            bench.queue.cancel(job_id)
        await bench.one_pass("cancel")
        await canceled_for(bench, job_id, 45)
        assert bench.job(job_id).state is JobState.RUNNING

        await canceled_for(bench, job_id, 61)

        job = bench.job(job_id)
        assert job.state is state
        assert job.reason == f"{reason} (the run is over, but cannot be read)"
        assert (bench.stats().live, bench.stats().orphans) == (0, 0)
        assert bench.score("poll", job_id) is bench.score("cancels", job_id) is None


async def test_a_canceled_run_is_not_abandoned_so_soon_while_the_server_answers_no_read(
    work: Work,
) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted()
        bench.queue.cancel(job_id)
        await bench.api.fault(FAILS, match={"route": "get_run"})

        await canceled_for(bench, job_id, 61)

        assert bench.job(job_id).state is JobState.RUNNING
        async with bench.api.session.delete(f"{bench.api.url}/_faults") as answer:
            assert answer.status == 200
        await canceled_for(bench, job_id, 76)
        assert bench.job(job_id).state is JobState.CANCELED
        assert bench.job(job_id).run_status == "canceled"


async def test_many_canceled_runs_that_cannot_be_read_end_their_jobs_too(work: Work) -> None:
    async with work() as bench:
        job_ids = [await submitted(bench) for _ in range(6)]
        for job_id in job_ids:
            bench.queue.cancel(job_id)
        await bench.one_pass("cancel")
        assert await bench.calls("cancel_runs") == 1
        for job_id in job_ids[1:]:
            bench.set(job_id, "cancel_since", bench.now_us() - 61 * SECOND)
            bench.client.zadd(f"{KEYS.prefix}cancels", {job_id: bench.now_us()})

        await canceled_for(bench, job_ids[0], 61)

        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.CANCELED}


async def test_a_run_that_can_neither_be_read_nor_canceled_is_abandoned_and_shown(
    work: Work,
) -> None:
    async with work() as bench:
        job_id = await submitted(bench, max_run_seconds=LIMIT)
        await bench.api.fault(FAILS, match={"route": "cancel_run"})
        overdue(bench, job_id)
        await bench.one_pass("poll")
        await bench.one_pass("cancel")
        await canceled_for(bench, job_id, 61)
        assert bench.job(job_id).state is JobState.RUNNING

        await canceled_for(bench, job_id, 601)

        assert bench.job(job_id).state is JobState.FAILED
        assert (bench.stats().live, bench.stats().orphans) == (0, 1)
