"""A run that ended badly is run again where its job asks for it, and only there."""

from typing import Any

import pytest

from runqueue import JobState
from runqueue.store.budgets import Budget
from tests.worker.retrying import RETRY, backoff_over, ended, ends
from tests.worker.working import Work
from worker.stages import poll
from worker.stages.sweep import sweep


@pytest.mark.parametrize("status", ["failed", "timed_out"])
async def test_a_run_that_ended_badly_is_run_again_after_its_backoff(
    work: Work, status: str
) -> None:
    async with work() as bench:
        before = bench.now_us()

        job_id = await ended(bench, status, retry={"max_attempts": 2, "min_backoff": 60})

        job, score = bench.job(job_id), bench.score("due", job_id)
        assert (job.state, job.runs, job.attempts, job.run_id) == (JobState.SCHEDULED, 1, 1, None)
        assert (job.run_status, bool(job.reason)) == (status, True)
        assert score is not None
        assert before + 30e6 <= score <= bench.now_us() + 60e6
        assert job.run_at is not None
        assert bench.stats().live == 0
        assert bench.score("poll", job_id) is None

        await sweep(bench.account)
        assert bench.job(job_id).state is JobState.SCHEDULED  # not before its time


async def test_each_extra_run_carries_a_marker_of_its_own(work: Work) -> None:
    async with work() as bench:
        job_id = await ended(bench, "failed", retry=RETRY)
        first = (await bench.runs())[0]["run_id"]

        await backoff_over(bench, job_id)

        job, runs = bench.job(job_id), await bench.runs()
        assert {run["title"] for run in runs} == {f"[rq:{job_id}.1]", f"[rq:{job_id}.2]"}
        assert (job.state, job.attempts, job.runs) == (JobState.RUNNING, 2, 1)
        assert job.run_id not in {None, first}
        assert (job.reason, job.run_at) == (None, None)


async def test_after_its_last_run_a_job_has_failed_with_the_last_result(work: Work) -> None:
    async with work() as bench:
        job_id = await ended(bench, "failed", retry=RETRY)
        for _ in range(2):
            await backoff_over(bench, job_id)
            await bench.one_pass("poll")

        job, runs = bench.job(job_id), await bench.runs()
        assert (job.state, job.runs, job.attempts, len(runs)) == (JobState.FAILED, 3, 3, 3)
        assert job.result is not None
        assert job.result["run_id"] == job.run_id
        assert [run["title"] for run in runs if run["run_id"] == job.run_id] == [f"[rq:{job_id}.3]"]
        assert bench.score("due", job_id) is None
        assert bench.stats().totals["retried"] == 2


async def test_the_steps_of_each_run_are_counted_in_each_budget_of_the_job(work: Work) -> None:
    async with work() as bench:
        batch = bench.queue.open_batch()
        line = {"kind": "task", "body": {"prompt": "p", "url": ends("completed")}, "retry": RETRY}
        line |= {"group": "acme", "keys": ["login:acme"]}
        (handed,) = bench.queue.enqueue_many([line], batch=batch)
        bench.queue.seal_batch(batch)
        scopes = ["account", "group:acme", f"batch:{batch}", "key:login:acme", "key:login:*"]
        for scope in scopes:
            bench.queue.set_budget(scope, Budget(100))
        for steps in (3, 4):
            failing = {"status": 200, "body": {"status": "failed", "step_count": steps}}
            await bench.api.fault(failing, match={"route": "get_run"}, times=1)
        job_id = handed.job_id
        await bench.one_pass("submit")
        await bench.one_pass("poll")
        for _ in range(2):
            await backoff_over(bench, job_id)
            await bench.one_pass("poll")

        assert (bench.job(job_id).state, bench.job(job_id).runs) == (JobState.COMPLETED, 3)
        spent = {use.scope: use.spent for use in bench.queue.list_budgets()}
        assert spent == dict.fromkeys(scopes, 3 + 4 + 1)


CODES = {"out_of_stock": "None is left.", "login_failed": "The login is refused."}


def out_of_stock(**more: Any) -> dict[str, Any]:
    """A GET that shows a terminated run with an error code."""
    errors = [{"error_code": "out_of_stock", "reasoning": "None left."}]
    body = {"status": "terminated", "errors": errors, **more}
    return {"status": 200, "body": body}


@pytest.mark.parametrize(
    ("code", "output", "state"),
    [
        ("out_of_stock", "", JobState.SCHEDULED),
        ("login_failed", "", JobState.FAILED),
        ("out_of_stock", "too large to be kept" * 100, JobState.SCHEDULED),
    ],
    ids=["its code", "another code", "its code in a large answer"],
)
async def test_a_run_is_run_again_by_the_error_code_it_ended_with(
    work: Work, monkeypatch: pytest.MonkeyPatch, code: str, output: str, state: JobState
) -> None:
    monkeypatch.setattr(poll, "MAX_RESULT_BYTES", 1_000)
    async with work() as bench:
        await bench.api.fault(out_of_stock(output=output), match={"route": "get_run"})

        retry = {**RETRY, "retry_on": [code]}
        job_id = await ended(bench, "terminated", codes=CODES, retry=retry)

        assert bench.job(job_id).state is state
