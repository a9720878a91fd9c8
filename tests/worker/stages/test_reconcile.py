"""Unconfirmed jobs: their runs are found, or it is found out that there are none."""

from typing import Any

import pytest
import redis

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
    no_waiting,
    record,
    requests,
    settled,
    task,
    task_v2,
)
from tests.worker.working import ENDLESS, working

pytestmark = pytest.mark.usefixtures("no_waiting")
__all__ = ["no_waiting"]

UNMARKED = {
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
        workflow_id="wpid_1",
        webhook_url="https://hook.test/?a=1",
        parameters={"sim_end": "never"},
    ),
}
ALL = {**MARKED, **UNMARKED}


@pytest.mark.parametrize("request_of", ALL.values(), ids=ALL.keys())
async def test_a_run_whose_answer_was_lost_is_found_and_followed(
    client: redis.Redis, redis_url: str, request_of: Any
) -> None:
    async with working(client, redis_url) as bench:
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
    client: redis.Redis, redis_url: str, request_of: Any
) -> None:
    async with working(client, redis_url, **SOON) as bench:
        job_id = await lose(bench, request_of, LOST)
        await control(bench, request_of)

        await look(bench)
        assert bench.job(job_id).state is JobState.UNCONFIRMED
        await look(bench)
        assert bench.job(job_id).state is JobState.READY

        await bench.one_pass("submit")
        assert (bench.job(job_id).state, bench.job(job_id).attempts) == (JobState.RUNNING, 2)
        assert len(await bench.runs()) == 2, "its own, and the control's"


async def test_a_search_before_the_grace_is_over_says_nothing(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        job_id = await lose(bench, task(), LOST)
        await control(bench, task())

        await look(bench, 5)

        assert bench.job(job_id).state is JobState.UNCONFIRMED


async def test_two_searches_count_only_half_a_minute_apart(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stages.reconcile.SPACING", 30.0)
    async with working(client, redis_url, **SOON) as bench:
        job_id = await lose(bench, task(), LOST)
        await control(bench, task())

        await look(bench, 3)
        assert bench.job(job_id).state is JobState.UNCONFIRMED

        bench.set(job_id, "negative_at", bench.now_us() - 30_000_000)
        await look(bench)
        assert bench.job(job_id).state is JobState.READY


async def test_a_parked_job_stays_for_people_though_nothing_is_found(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url, **SOON) as bench:
        job_id = await lose(bench, task(), LOST, on_unconfirmed="park")
        await control(bench, task())
        assert bench.stats().live == 2

        await look(bench, 4)

        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert bench.stats().live == 1, "there is no run that could take a place"


async def test_a_job_that_may_run_twice_is_submitted_again_where_nothing_can_be_searched(
    client: redis.Redis, redis_url: str
) -> None:
    no_lists: dict[str, Any] = {"simulator": {"list_supported": False}}
    async with working(client, redis_url, **no_lists, **SOON) as bench:
        job_id = await lose(bench, task(), LOST, on_unconfirmed="resubmit")

        await look(bench)

        assert bench.job(job_id).state is JobState.READY


async def test_where_nothing_can_be_searched_a_job_stays_and_the_server_is_asked_once(
    client: redis.Redis, redis_url: str
) -> None:
    no_lists: dict[str, Any] = {"simulator": {"list_supported": False}}
    async with working(client, redis_url, **no_lists, **SOON) as bench:
        job_id = await lose(bench, task(), MADE)
        before = await requests(bench)

        await look(bench, 4)

        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert await requests(bench) == before + 1


async def test_without_correlation_no_marker_is_sent_and_a_person_decides_with_the_candidates(
    client: redis.Redis, redis_url: str
) -> None:
    quiet = {"unconfirmed_grace_seconds": 0, "correlation": False}
    async with working(client, redis_url, settings=quiet) as bench:
        job_id = await lose(bench, task(title="mine"), MADE)
        [run] = await bench.runs()
        await control(bench, task())

        await look(bench, 3)

        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert run["title"] == "mine"
        assert set(candidates(bench, job_id)) == {run["run_id"]}


async def test_without_correlation_a_job_without_candidates_stays_too(
    client: redis.Redis, redis_url: str
) -> None:
    quiet = {"unconfirmed_grace_seconds": 0, "correlation": False}
    async with working(client, redis_url, settings=quiet) as bench:
        job_id = await lose(bench, task(), LOST)
        await control(bench, task())

        await look(bench, 3)

        assert bench.job(job_id).state is JobState.UNCONFIRMED
        assert "RUNQUEUE_CORRELATION=off" in record(bench, job_id, "search_note")


@pytest.mark.parametrize("made", [0, 1, 3, 4])
async def test_equal_requests_each_get_a_run_of_their_own(
    client: redis.Redis, redis_url: str, made: int
) -> None:
    async with working(client, redis_url, **SOON) as bench:
        jobs = [await lose(bench, task_v2(), MADE) for _ in range(made)]
        jobs += [await lose(bench, task_v2(), LOST) for _ in range(4 - made)]
        await control(bench, task_v2())

        await look(bench)
        found = [bench.job(job_id).run_id for job_id in jobs]
        assert len(set(found) - {None}) == 4 - found.count(None) == made
        await look(bench, 2)

        assert settled(bench, *jobs) == [JobState.READY] * (4 - made) + [JobState.RUNNING] * made
        assert list(bench.queue.strays()) == []


async def test_a_run_with_other_fields_is_not_taken_for_the_job_s(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url, **SOON) as bench:
        await bench.api.run_task(prompt="another", url=ENDLESS, engine="skyvern-2.0")
        job_id = await lose(bench, task_v2(), LOST)
        await control(bench, task_v2())

        await look(bench, 2)

        assert bench.job(job_id).state is JobState.READY


async def test_of_two_runs_with_one_marker_the_second_is_a_stray(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        job_id = await lose(bench, task(), MADE)
        [run] = await bench.runs()
        twin = await bench.api.run_task(title=run["title"], url=ENDLESS)

        await look(bench)

        assert bench.job(job_id).run_id == run["run_id"]
        assert [stray.run_id for stray in bench.queue.strays()] == [twin]


async def test_many_marked_tasks_are_found_by_one_list(client: redis.Redis, redis_url: str) -> None:
    async with working(client, redis_url) as bench:
        await bench.api.fault(MADE, match=SUBMISSION, times=30)
        jobs = bench.enqueue(30)
        await bench.one_pass("submit")
        before = await requests(bench)

        await look(bench)

        assert {bench.job(job_id).state for job_id in jobs} == {JobState.RUNNING}
        assert await requests(bench) == before + 2, "the list, and whether it ends there"


async def test_a_run_that_is_found_is_canceled_where_that_was_asked_for(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url) as bench:
        job_id = await lose(bench, task(), MADE)
        bench.queue.cancel(job_id)

        await look(bench)
        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert bench.job(job_id).state is JobState.CANCELED
        assert [run["status"] for run in await bench.runs()] == ["canceled"]


async def test_a_canceled_job_without_a_run_is_canceled_not_submitted(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url, **SOON) as bench:
        job_id = await lose(bench, task(), LOST, on_unconfirmed="resubmit")
        bench.queue.cancel(job_id)
        await control(bench, task())

        await look(bench)
        assert bench.job(job_id).state is JobState.UNCONFIRMED
        await look(bench)

        assert bench.job(job_id).state is JobState.CANCELED
        assert len(await bench.runs()) == 1, "the control's"


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
    client: redis.Redis, redis_url: str, answer: dict[str, Any]
) -> None:
    async with working(client, redis_url, **SOON) as bench:
        marked = await lose(bench, task(), MADE)
        unmarked = await lose(bench, task(engine=None), MADE)
        await bench.api.fault(answer, match={"route": "list_runs"})

        await look(bench, 4)

        states = {bench.job(job_id).state for job_id in (marked, unmarked)}
        assert states == {JobState.UNCONFIRMED}
