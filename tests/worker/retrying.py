"""Runs that end badly, and the wait after which they are run again."""

from typing import Any

from tests.worker.working import KEYS, Bench
from worker.stages.sweep import sweep

RETRY: dict[str, Any] = {"max_attempts": 3}


def ends(status: str) -> str:
    """The URL of a task that ends like that as soon as it is accepted."""
    return f"https://shop.test/?sim_end={status}&sim_seconds=0"


async def ended(bench: Bench, status: str, **options: Any) -> str:
    """Submit a task whose run ends like that, look at it once, and return the job's id."""
    (job_id,) = await bench.submitted(url=ends(status), **options)
    await bench.one_pass("poll")
    return job_id


async def backoff_over(bench: Bench, job_id: str) -> None:
    """Let a job's wait end now, and submit it again."""
    bench.client.zadd(f"{KEYS.prefix}due", {job_id: bench.now_us()}, xx=True)
    await sweep(bench.account)
    await bench.one_pass("submit")
