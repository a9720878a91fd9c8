"""Runs that wait for a person: seen by a poll or a list, told by the cancel stage."""

from __future__ import annotations

from typing import Any

import pytest

from runqueue import Filter, Job, JobState, WorkflowRunRequest
from runqueue.operator.decisions import Settled
from tests.simulator.simulating import FakeClock
from tests.simulator.test_simulator_workflows import PERSON, WAIT, create
from tests.worker.listed import list_now, listed
from tests.worker.working import KEYS, Bench, Work


def waiting(bench: Bench) -> list[Job]:
    return bench.queue.list_jobs(Filter(is_paused=True)).jobs


async def submitted(bench: Bench, clock: FakeClock, n: int = 1, **options: Any) -> list[str]:
    """Submit jobs whose runs pause after 5 s, and let that time pass."""
    made = await create(bench.api, blocks=(WAIT, PERSON, WAIT))
    request = WorkflowRunRequest(workflow_id=made)
    jobs = [bench.queue.enqueue(request, **options).job_id for _ in range(n)]
    await bench.one_pass("submit")
    clock.advance(6)
    return jobs


async def paused(bench: Bench, clock: FakeClock, n: int = 1, **options: Any) -> list[str]:
    jobs = await submitted(bench, clock, n, **options)
    await bench.one_pass("poll")
    assert sorted(job.id for job in waiting(bench)) == sorted(jobs)
    return jobs


def due(bench: Bench, job_id: str) -> None:
    bench.client.zadd(f"{KEYS.prefix}poll", {job_id: bench.now_us()})


async def test_a_paused_run_is_listed_approved_and_completes(work: Work) -> None:
    clock = FakeClock()
    async with work(clock=clock) as bench:
        (job_id,) = await paused(bench, clock)
        assert (bench.job(job_id).paused_url or "").endswith(f"/runs/{bench.job(job_id).run_id}")

        assert bench.queue.approve([job_id]) == {job_id: Settled.DONE}
        await bench.one_pass("cancel")
        assert waiting(bench) == []
        clock.advance(6)
        due(bench, job_id)
        await bench.one_pass("poll")

        assert bench.job(job_id).state is JobState.COMPLETED
        assert await bench.calls("continue_run") == 1
        assert bench.score("cancels", f"approve {job_id}") is None


async def test_a_rejected_run_is_canceled_beside_others_that_are_approved(work: Work) -> None:
    clock = FakeClock()
    async with work(clock=clock) as bench:
        good, *bad = await paused(bench, clock, 7)
        for job_id in bad:
            bench.queue.cancel(job_id)
        bench.queue.approve([good])

        await bench.one_pass("cancel")
        await bench.one_pass("poll")

        assert {bench.job(job_id).state for job_id in bad} == {JobState.CANCELED}
        assert bench.job(good).run_status == "running"
        assert (await bench.calls("cancel_runs"), await bench.calls("continue_run")) == (1, 1)


@pytest.mark.parametrize(
    ("action", "why"),
    [({"status": 429}, "HTTP 429: "), ({"close": True, "committed": True}, "it may have come: ")],
)
async def test_an_approval_that_failed_is_told_and_not_sent_again(
    work: Work, logged: list[Any], action: dict[str, Any], why: str
) -> None:
    clock = FakeClock()
    async with work(clock=clock) as bench:
        (job_id,) = await paused(bench, clock)
        await bench.api.fault(action, match={"route": "continue_run"})
        bench.queue.approve([job_id])
        for _ in range(2):
            await bench.one_pass("cancel")
        told = [one["cause"] or "" for one in bench.queue.timeline(job_id)["timeline"]]
        assert any(cause.startswith(why) for cause in told)
        await bench.one_pass("poll")  # it is due at once
        assert (waiting(bench) == []) is ("committed" in action)
        assert await bench.calls("continue_run") == 1
        assert "approval_failed" in [event["event"] for event in logged]


async def test_an_approval_that_a_frozen_worker_would_send_too_late_is_not_sent(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, times = FakeClock(), iter((0.0, 60.0))
    async with work(clock=clock) as bench:
        (job_id,) = await paused(bench, clock)
        bench.queue.approve([job_id])
        monkeypatch.setattr("worker.stages.cancel.elapsed", lambda: next(times, 60.0))
        await bench.one_pass("cancel")
        reported = [one["cause"] for one in bench.queue.timeline(job_id)["timeline"]]
        assert "not sent: the worker stood still" in reported
        assert [job.id for job in waiting(bench)] == [job_id]
        assert await bench.calls("continue_run") == 0


async def test_a_run_whose_time_is_up_goes_on_while_it_is_paused(work: Work) -> None:
    clock = FakeClock()
    async with work(clock=clock) as bench:
        (job_id,) = await submitted(bench, clock, max_run_seconds=60)
        # Its pause is first seen when its time is up.
        bench.set(job_id, "started", bench.now_us() - 3_600_000_000)
        due(bench, job_id)
        await bench.one_pass("poll")
        assert [job.id for job in waiting(bench)] == [job_id]
        # So does a long pause whose end is just seen.
        bench.queue.approve([job_id])
        await bench.one_pass("cancel")
        bench.set(job_id, "run_status", "paused")
        due(bench, job_id)
        await bench.one_pass("poll")
        assert bench.job(job_id).run_status == "running"
        assert not bench.job(job_id).cancel_requested


@pytest.mark.usefixtures("at_once")
async def test_a_list_shows_the_pause_and_a_get_its_link(work: Work) -> None:
    clock = FakeClock()
    async with work(clock=clock) as bench:
        await listed(bench)
        (job_id,) = await submitted(bench, clock)
        await list_now(bench)
        (found,) = waiting(bench)
        assert found.id == job_id
        await bench.one_pass("poll")
        assert bench.job(job_id).paused_url
