"""Browser sessions are used by one run at a time, and no job fails for an occupied one."""

from __future__ import annotations

from typing import Any

import pytest

from runqueue import JobState, TaskRunRequest
from tests.simulator.simulating import eventually
from tests.worker.retrying import backoff_over
from tests.worker.working import ENDLESS, INSTANT, KEYS, Bench, Work
from worker.runs import read_run
from worker.stages.sweep import sweep

OCCUPIED = "Browser session pbs_1 is already occupied by wr_2. Wait for that run to finish."


async def session_of(bench: Bench) -> str:
    """Open a browser session and return its id."""
    made = await bench.api.post("/v1/browser_sessions", {"timeout": 60})
    session: str = made["browser_session_id"]
    return session


def in_session(bench: Bench, session: str, n: int = 1, url: str = INSTANT) -> list[str]:
    """Hand in tasks of one session; return their jobs' ids."""
    request = TaskRunRequest(
        prompt="Read it.", url=url, engine="skyvern-1.0", browser_session_id=session
    )
    return [bench.queue.enqueue(request).job_id for _ in range(n)]


async def occupied(bench: Bench) -> tuple[str, str, str]:
    """Submit a job whose session another run has, and look at its run.

    Returns:
        The session, that other run, and the job.
    """
    session = await session_of(bench)
    other = await bench.api.run_task(browser_session_id=session, url=ENDLESS)
    (job_id,) = in_session(bench, session)
    await bench.one_pass("submit")
    await seen_to_end(bench, job_id)
    return session, other, job_id


async def seen_to_end(bench: Bench, job_id: str) -> None:
    """Poll a job's run until its end is recorded."""

    async def over() -> bool:
        bench.client.zadd(f"{KEYS.prefix}poll", {job_id: 0}, xx=True)
        await bench.one_pass("poll")
        return bench.job(job_id).state is not JobState.RUNNING

    await eventually(over)


async def submitted(bench: Bench, job_id: str) -> None:
    """Claim until a job is submitted."""

    async def claimed() -> bool:
        await bench.one_pass("submit")
        return bench.job(job_id).state is JobState.RUNNING

    await eventually(claimed)


async def free(bench: Bench, session: str) -> None:
    """Wait until no run has a session."""

    async def is_free() -> bool:
        return (await bench.api.get(f"/v1/browser_sessions/{session}"))["runnable_id"] is None

    await eventually(is_free)


def pause_is_over(bench: Bench, session: str) -> None:
    """Let the pause of a session end now."""
    assert bench.client.delete(f"{KEYS.prefix}key_pause:session:{session}") == 1


async def test_a_job_keeps_its_session_until_skyvern_gives_it_back(work: Work) -> None:
    async with work(simulator={"session_release": 2.0}) as bench:
        first, second = in_session(bench, await session_of(bench), 2)
        await bench.one_pass("submit")
        await bench.one_pass("poll")
        assert bench.job(first).state is JobState.RUNNING
        assert (await bench.one_pass("submit")).items == []

        await seen_to_end(bench, first)
        await submitted(bench, second)
        await seen_to_end(bench, second)

        assert {run["status"] for run in await bench.runs()} == {"completed"}
        assert [bench.job(one).attempts for one in (first, second)] == [1, 1]


async def test_a_session_that_skyvern_does_not_give_back_is_not_waited_for_for_ever(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_run, "RELEASE_SECONDS", 1.0)
    async with work(simulator={"session_release": 3600.0}) as bench:
        (job_id,) = in_session(bench, await session_of(bench))
        await bench.one_pass("submit")
        await bench.one_pass("poll")
        assert bench.job(job_id).state is JobState.RUNNING

        await seen_to_end(bench, job_id)

        assert bench.job(job_id).state is JobState.COMPLETED


async def test_a_run_that_finds_its_session_occupied_runs_again_and_counts_for_no_policy(
    work: Work,
) -> None:
    async with work() as bench:
        session, other, job_id = await occupied(bench)

        job = bench.job(job_id)
        assert (job.state, job.runs, job.attempts) == (JobState.SCHEDULED, 0, 1)
        assert "already occupied by" in str(job.reason)

        await bench.api.post(f"/v1/runs/{other}/cancel")
        await free(bench, session)
        pause_is_over(bench, session)
        await backoff_over(bench, job_id)
        await seen_to_end(bench, job_id)

        job = bench.job(job_id)
        assert (job.state, job.attempts, job.runs, job.reason) == (JobState.COMPLETED, 2, 1, None)


async def test_the_sixth_run_that_finds_its_session_occupied_ends_the_job(work: Work) -> None:
    async with work() as bench:
        session, _, job_id = await occupied(bench)
        for _ in range(5):
            pause_is_over(bench, session)
            await backoff_over(bench, job_id)
            await seen_to_end(bench, job_id)

        job = bench.job(job_id)
        assert (job.state, job.attempts) == (JobState.FAILED, 6)
        assert "already occupied by" in str(job.reason)


async def test_a_submission_that_is_refused_for_an_occupied_session_comes_again_later(
    work: Work,
) -> None:
    async with work() as bench:
        session = await session_of(bench)
        refusal: dict[str, Any] = {"status": 400, "body": {"detail": OCCUPIED}}
        await bench.api.fault(refusal, match={"route": "run_task"}, times=1)
        first, second = in_session(bench, session, 2)
        await bench.one_pass("submit")
        assert bench.job(first).state is JobState.SCHEDULED
        assert (await bench.one_pass("submit")).items == []  # nor does it try with the second

        pause_is_over(bench, session)
        await submitted(bench, second)
        await seen_to_end(bench, second)
        await backoff_over(bench, first)
        await submitted(bench, first)
        await seen_to_end(bench, first)

        assert {bench.job(one).state for one in (first, second)} == {JobState.COMPLETED}


async def test_of_thirty_jobs_in_one_session_none_finds_it_occupied(work: Work) -> None:
    async with work(simulator={"session_release": 0.1}) as bench:
        job_ids = in_session(bench, await session_of(bench), 30)

        async def all_over() -> bool:
            await bench.one_pass("submit")
            for job_id in job_ids:
                bench.client.zadd(f"{KEYS.prefix}poll", {job_id: 0}, xx=True)
            await bench.one_pass("poll")
            await sweep(bench.account)
            return all(bench.job(one).is_over for one in job_ids)

        await eventually(all_over, 60)

        runs = await bench.runs()
        assert [run["status"] for run in runs] == ["completed"] * 30
