"""A run that ended badly is not run again where nobody asked for it, or wants it any more."""

from typing import Any

import pytest

from runqueue import JobState
from tests.worker.retrying import RETRY, backoff_over, ended, ends
from tests.worker.working import KEYS, Work
from worker.stages.sweep import sweep


@pytest.mark.parametrize(
    ("status", "options"),
    [
        ("failed", {}),
        ("failed", {"retry": {"max_attempts": 1}}),
        ("terminated", {"retry": RETRY}),
        ("timed_out", {"retry": {**RETRY, "retry_on": ["failed"]}}),
        ("completed", {"retry": RETRY}),
    ],
)
async def test_a_run_is_not_run_again_where_nobody_asked_for_it(
    work: Work, status: str, options: dict[str, Any]
) -> None:
    async with work() as bench:
        job_id = await ended(bench, status, **options)

        job = bench.job(job_id)
        assert job.state in {JobState.FAILED, JobState.COMPLETED}
        assert (job.runs, job.run_status) == (1, status)
        assert bench.score("due", job_id) is None


async def test_a_job_canceled_while_it_waits_for_its_next_run_is_never_run_again(
    work: Work,
) -> None:
    async with work() as bench:
        job_id = await ended(bench, "failed", retry=RETRY)

        assert bench.queue.cancel(job_id) is JobState.CANCELED
        await backoff_over(bench, job_id)

        job = bench.job(job_id)
        assert (job.state, job.runs) == (JobState.CANCELED, 1)
        assert bench.score("due", job_id) is None
        assert len(await bench.runs()) == 1


async def test_a_job_whose_batch_is_canceled_while_it_waits_is_never_run_again(work: Work) -> None:
    async with work() as bench:
        batch = bench.queue.open_batch()
        line = {"kind": "task", "body": {"prompt": "p", "url": ends("failed")}, "retry": RETRY}
        (answer,) = bench.queue.enqueue_many([line], batch=batch)
        bench.queue.seal_batch(batch)
        await bench.one_pass("submit")
        await bench.one_pass("poll")
        assert bench.job(answer.job_id).state is JobState.SCHEDULED

        bench.queue.cancel_batch(batch)
        await backoff_over(bench, answer.job_id)

        assert bench.job(answer.job_id).state is JobState.CANCELED
        assert len(await bench.runs()) == 1


async def test_a_run_that_fails_after_its_cancel_was_asked_for_is_not_run_again(work: Work) -> None:
    async with work() as bench:
        (job_id,) = await bench.submitted(url=ends("failed"), retry=RETRY)
        bench.queue.cancel(job_id)

        await bench.one_pass("poll")

        job = bench.job(job_id)
        assert (job.state, job.runs) == (JobState.FAILED, 1)
        assert bench.score("due", job_id) is None
        assert bench.score("cancels", job_id) is None


async def test_a_job_whose_deadline_comes_before_its_next_run_has_failed(work: Work) -> None:
    async with work() as bench:
        far = {"max_attempts": 3, "min_backoff": 3600, "max_backoff": 7200}

        job_id = await ended(bench, "failed", retry=far, deadline=60)

        job = bench.job(job_id)
        assert (job.state, job.runs) == (JobState.FAILED, 1)
        assert (job.reason or "").endswith("(no time is left to run it again)")
        assert bench.score("deadlines", job_id) is None


async def test_a_job_whose_deadline_passes_while_it_waits_is_dead_and_says_why(work: Work) -> None:
    async with work() as bench:
        job_id = await ended(bench, "failed", retry=RETRY, deadline=3600)
        bench.set(job_id, "deadline", bench.now_us() - 1)
        bench.client.zadd(f"{KEYS.prefix}deadlines", {job_id: bench.now_us() - 1}, xx=True)

        await sweep(bench.account)
        await bench.one_pass("submit")

        job = bench.job(job_id)
        assert job.state is JobState.DEAD
        assert "deadline" in (job.reason or "")
        assert len(await bench.runs()) == 1
