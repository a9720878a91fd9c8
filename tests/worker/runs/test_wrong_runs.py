"""What reconciling must not take for the run of a job."""

import time
from typing import Any

import pytest

from runqueue import JobState, TaskRunRequest, WorkflowRunRequest
from tests.worker.retrying import RETRY, backoff_over, ends
from tests.worker.searching import LOST, MADE, look, lose
from tests.worker.working import ENDLESS, KEYS, Work


class SetClock:
    """The real time, put back by as many seconds as a test likes."""

    behind = 0.0

    def __call__(self) -> float:
        return time.time() - self.behind


def listed(run_id: str, **fields: Any) -> dict[str, Any]:
    """A run as a list shows it, made just now."""
    created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    run = {"run_id": run_id, "task_run_type": "task_v1", "status": "running", "title": "Theirs"}
    return {**run, "created_at": created, **fields}


NO_MARKER = TaskRunRequest(prompt="p", url=ENDLESS)
MARKED = TaskRunRequest(prompt="p", url=ENDLESS, engine="skyvern-1.0")
FLOW = WorkflowRunRequest(
    workflow_id="wpid_1", webhook_url="https://app.test/", parameters={"sim_end": "never"}
)


@pytest.mark.parametrize("by", ["retry", "replay"])
async def test_an_earlier_run_is_not_taken_for_a_later_attempt_s(work: Work, by: str) -> None:
    async with work() as bench:
        # The default engine overwrites the title: such a run carries no marker.
        request = TaskRunRequest(prompt="p", url=ends("failed"))
        job_id = bench.queue.enqueue(request, retry=RETRY if by == "retry" else None).job_id
        await bench.one_pass("submit")
        await bench.one_pass("poll")
        (first,) = await bench.runs()
        await bench.api.fault(MADE, match={"route": "run_task"}, times=1)
        if by == "replay":
            bench.queue.replay([job_id])
        await backoff_over(bench, job_id)
        assert bench.job(job_id).state is JobState.UNCONFIRMED

        await look(bench)

        job, runs = bench.job(job_id), await bench.runs()
        (second,) = [run["run_id"] for run in runs if run["run_id"] != first["run_id"]]
        assert (job.state, job.run_id) == (JobState.RUNNING, second)


async def test_a_run_older_than_the_attempt_is_not_taken_for_it_though_another_job_is_old(
    work: Work,
) -> None:
    clock = SetClock()
    async with work(clock=clock) as bench:
        clock.behind = 600.0
        await bench.api.run_task(prompt="p", url=ENDLESS, engine="skyvern-2.0")
        clock.behind = 0.0
        old = await lose(bench, TaskRunRequest(prompt="other", url=ENDLESS), LOST)
        bench.client.zadd(f"{KEYS.prefix}unconfirmed", {old: bench.now_us() - 700e6})
        job_id = await lose(bench, NO_MARKER, LOST)

        await look(bench)

        assert bench.job(job_id).state is JobState.UNCONFIRMED


@pytest.mark.parametrize("request_of", [MARKED, FLOW], ids=["task", "workflow"])
async def test_what_a_server_lists_that_ignores_the_search_is_not_taken_for_the_job_s(
    work: Work, request_of: Any
) -> None:
    async with work() as bench:
        job_id = await lose(bench, request_of, LOST)
        theirs = await bench.api.run_task(prompt="by hand", url=ENDLESS)
        everything = {"status": 200, "body": [listed(theirs)]}
        await bench.api.fault(everything, match={"route": "list_runs"})

        await look(bench)

        assert bench.job(job_id).state is JobState.UNCONFIRMED


async def test_a_run_that_another_job_owns_is_not_taken(work: Work) -> None:
    async with work() as bench:
        owner = bench.queue.enqueue(NO_MARKER).job_id
        await bench.one_pass("submit")
        job_id = await lose(bench, NO_MARKER, LOST)

        await look(bench)

        assert bench.job(owner).state is JobState.RUNNING
        assert bench.job(job_id).state is JobState.UNCONFIRMED
