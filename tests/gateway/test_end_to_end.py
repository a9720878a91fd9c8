"""A worker, a gateway and a simulated Skyvern API: who calls whom, and how often."""

from __future__ import annotations

import pytest
import redis

from runqueue import JobState
from simulator.model.options import DEFAULT_API_KEY
from tests.gateway.gating import gating
from tests.simulator.simulating import eventually
from tests.worker.working import Bench, working


async def counted(bench: Bench) -> tuple[int, dict[str, int]]:
    """How many submissions the API has seen, and how many calls of each route."""
    async with bench.api.session.get(f"{bench.api.url}/_ledger/summary") as answer:
        summary = await answer.json()
    return int(summary["submissions"]), dict(summary["requests_by_route"])


@pytest.mark.parametrize("seconds", ["0", "0.2"], ids=["at once", "later"])
async def test_a_job_costs_one_call_from_its_submission_to_its_result(
    client: redis.Redis, redis_url: str, seconds: str
) -> None:
    async with (
        gating(redis_url, key=DEFAULT_API_KEY) as door,
        working(client, redis_url, settings={"public_url": door.url}) as bench,
    ):
        (job_id,) = bench.enqueue(url=f"https://shop.test/?sim_seconds={seconds}")
        await bench.one_pass("submit")
        await eventually(lambda: bench.job(job_id).is_over)
        await bench.one_pass("poll")

        assert bench.job(job_id).state is JobState.COMPLETED
        assert (bench.job(job_id).output or {}) != {}
        assert await counted(bench) == (1, {"run_task": 1})
        assert bench.stats().orphans == 0


async def test_a_submission_whose_answer_is_lost_is_found_by_its_webhook(
    client: redis.Redis, redis_url: str
) -> None:
    async with (
        gating(redis_url, key=DEFAULT_API_KEY) as door,
        working(client, redis_url, settings={"public_url": door.url}) as bench,
    ):
        lost = {"close": True, "committed": True}
        await bench.api.fault(lost, match={"method": "POST"}, times=1)
        (job_id,) = bench.enqueue(url="https://shop.test/?sim_seconds=0.2")
        await bench.one_pass("submit")
        await eventually(lambda: bench.job(job_id).is_over)

        assert bench.job(job_id).state is JobState.COMPLETED
        assert await counted(bench) == (1, {"run_task": 1})
