"""A server that says "too fast": all workers submit more slowly, and creep back."""

from typing import Any

import pytest

from runqueue import JobState
from tests.worker.working import KEYS, Bench, Work

RUN_TASK = {"route": "run_task"}


def too_many(words: str = "Too Many Requests", **headers: str) -> dict[str, Any]:
    return {"status": 429, "body": {"detail": words}, "headers": headers}


async def interval(bench: Bench) -> float:
    """Seconds from one submission to when the next may go, with a burst of one."""
    bench.client.delete(f"{KEYS.prefix}gcra:submission")
    bench.enqueue(2)
    first = await bench.one_pass("submit", want=1)
    assert len(first.items) == 1
    second = await bench.one_pass("submit", want=1)
    assert not second.items
    return (second.next_us - first.now_us) / 1e6


async def refused(bench: Bench, action: dict[str, Any]) -> str:
    """Have one submission meet a 429; returns its job."""
    await bench.api.fault(action, match=RUN_TASK, times=1)
    (job_id,) = bench.enqueue()
    await bench.one_pass("submit", want=1)
    return job_id


async def test_a_429_gives_the_job_back_and_holds_nothing(work: Work) -> None:
    async with work() as bench:
        job_id = await refused(bench, too_many())

        job = bench.job(job_id)
        assert (job.state, job.runs) == (JobState.READY, 0)
        assert bench.stats().hold_reason is None


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("Maximum 2 requests per 1 seconds", 2.0),
        ("Maximum 30 requests per 60 seconds", 0.5),
        ("Rate limit: 4 requests per second", 4.0),
    ],
)
async def test_a_rate_that_the_server_names_sets_the_pace_just_below_it(
    work: Work, words: str, named: float
) -> None:
    limits: dict[str, Any] = {"max_submissions_per_second": 50, "max_burst_size": 1}
    async with work(**limits) as bench:
        await refused(bench, too_many(words))

        assert named * 0.85 < 1 / await interval(bench) < named


@pytest.mark.parametrize(("value", "seconds"), [("7", 7), ("0.5", 0.5), ("99999999", 3600)])
async def test_retry_after_holds_the_submissions_within_bounds(
    work: Work, value: str, seconds: float
) -> None:
    async with work() as bench:
        await refused(bench, too_many(**{"Retry-After": value}))

        assert seconds - 0.5 < bench.stats().hold_seconds <= seconds
        assert "Too Many Requests" in (bench.stats().hold_reason or "")
