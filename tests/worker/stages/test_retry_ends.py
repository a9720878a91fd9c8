"""A run that ended badly is not run again where nobody asked for it, or wants it any more."""

from typing import Any

import pytest

from runqueue import JobState
from tests.worker.retrying import RETRY, backoff_over, ended
from tests.worker.working import Work


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
