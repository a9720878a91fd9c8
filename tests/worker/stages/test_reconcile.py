"""Unconfirmed jobs: their runs are found, or it is found out that there are none."""

from typing import Any

import pytest

from runqueue import JobState, WorkflowRunRequest
from tests.worker.searching import (
    LOST,
    MADE,
    SOON,
    SUBMISSION,
    candidates,
    control,
    look,
    lose,
    lose_with_control,
    requests,
    task,
)
from tests.worker.working import Work

pytestmark = pytest.mark.usefixtures("no_waiting")

NO_MARKER = {
    "an engine that overwrites the title": task(engine="skyvern-2.0", title="mine", max_steps=4),
    "the default engine": task(engine=None),
    "a workflow without a webhook": WorkflowRunRequest(
        workflow_id="wpid_1", parameters={"sim_end": "never", "a": None}
    ),
}
MARKED = {
    "a task": task(),
    "a task with a title": task(title="mine"),
    "a workflow with a webhook": WorkflowRunRequest(
        workflow_id="wpid_1", webhook_url="https://hook.test/?a=1", parameters={"sim_end": "never"}
    ),
}
ALL = {**MARKED, **NO_MARKER}


@pytest.mark.parametrize("request_of", ALL.values(), ids=ALL.keys())
async def test_a_run_whose_answer_was_lost_is_found_and_followed(
    work: Work, request_of: Any
) -> None:
    async with work() as bench:
        job_id = await lose(bench, request_of, MADE)

        await look(bench)

        job = bench.job(job_id)
        [run] = await bench.runs()
        assert (job.state, job.run_id, job.reason) == (JobState.RUNNING, run["run_id"], None)
        assert bench.stats().live == 1
        assert bench.score("poll", job_id) is not None
        assert bench.score("reconcile", job_id) is None


@pytest.mark.parametrize("request_of", ALL.values(), ids=ALL.keys())
async def test_a_job_without_a_run_is_submitted_again_after_two_searches(
    work: Work, request_of: Any
) -> None:
    async with work(**SOON) as bench:
        job_id = await lose_with_control(bench, request_of, LOST)

        await look(bench)
        assert bench.job(job_id).state is JobState.UNCONFIRMED
        await look(bench)
        assert bench.job(job_id).state is JobState.READY

        await bench.one_pass("submit")
        assert (bench.job(job_id).state, bench.job(job_id).attempts) == (JobState.RUNNING, 2)
        assert len(await bench.runs()) == 2, "its own, and the control's"


async def test_a_job_that_may_run_twice_is_submitted_again_where_nothing_can_be_searched(
    work: Work,
) -> None:
    no_lists: dict[str, Any] = {"simulator": {"list_supported": False}}
    async with work(**no_lists, **SOON) as bench:
        job_id = await lose(bench, task(), LOST, on_unconfirmed="resubmit")

        await look(bench)

        assert bench.job(job_id).state is JobState.READY


async def test_where_nothing_can_be_searched_a_job_stays_and_the_server_is_asked_once(
    work: Work,
) -> None:
    no_lists: dict[str, Any] = {"simulator": {"list_supported": False}}
    async with work(**no_lists, **SOON) as bench:
        job_id = await lose(bench, task(), MADE)
        before = await requests(bench)

        await look(bench, 4)

        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert await requests(bench) == before + 1


async def test_without_correlation_no_marker_is_sent_and_a_person_decides_with_the_candidates(
    work: Work,
) -> None:
    quiet = {"unconfirmed_grace_seconds": 0, "correlation": False}
    async with work(settings=quiet) as bench:
        job_id = await lose(bench, task(title="mine"), MADE)
        [run] = await bench.runs()
        await control(bench, task())

        await look(bench, 3)

        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert run["title"] == "mine"
        assert set(candidates(bench, job_id)) == {run["run_id"]}


async def test_many_marked_tasks_are_found_by_one_list(work: Work) -> None:
    async with work() as bench:
        await bench.api.fault(MADE, match=SUBMISSION, times=30)
        jobs = bench.enqueue(30)
        await bench.one_pass("submit")
        before = await requests(bench)

        await look(bench)

        assert {bench.job(job_id).state for job_id in jobs} == {JobState.RUNNING}
        assert await requests(bench) == before + 2, "the list, and whether it ends there"


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500, "body": {"error": "x"}},
        {"status": 200, "body": {"runs": []}},
        {"truncate": "json"},
        {"html200": True},
    ],
    ids=["500", "an object", "cut JSON", "HTML"],
)
async def test_an_answer_that_is_no_list_is_never_taken_for_an_empty_one(
    work: Work, answer: dict[str, Any]
) -> None:
    async with work(**SOON) as bench:
        marked = await lose(bench, task(), MADE)
        no_marker = await lose(bench, task(engine=None), MADE)
        await bench.api.fault(answer, match={"route": "list_runs"})

        await look(bench, 4)

        states = {bench.job(job_id).state for job_id in (marked, no_marker)}
        assert states == {JobState.UNCONFIRMED}
