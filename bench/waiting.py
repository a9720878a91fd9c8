"""How long `wait` takes to return once a job has ended: a thread's and a coroutine's."""

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor

import redis

from bench.latency import Latency
from bench.stack import running
from runqueue import AsyncRunQueue, RunQueue, TaskRunRequest
from runqueue.connection.client import async_client
from runqueue.records.claim_items import Finished, RunAccepted
from runqueue.store import worker_calls
from runqueue.store.async_sending import run_async
from runqueue.store.scripts import ScriptCall
from runqueue.store.sending import run

#: A job, and the call of the script that ends it.
Ending = tuple[str, ScriptCall[list[int]]]

#: Least and most seconds that a job is waited for before it ends.
PAUSE = (0.01, 0.05)


def measure(samples: int = 500) -> dict[str, Latency]:
    """Wait for one job at a time; milliseconds from the call of the script that ends it.

    Args:
        samples: how many jobs, 500 at most.
    """
    with running() as stack:
        # Claimed before anything takes time: a consumer that was inactive for long is told to end.
        first, second = (_running(stack.redis_url, samples, kind) for kind in ("sync", "async"))
        return {
            "sync": _sync(stack.redis_url, first),
            "async": asyncio.run(_async(stack.redis_url, second)),
        }


def _sync(url: str, jobs: list[Ending]) -> Latency:
    waits = []
    with (
        redis.Redis.from_url(url) as plain,
        RunQueue(url) as queue,
        ThreadPoolExecutor(1) as thread,
    ):

        def wait(job_id: str) -> float:
            queue.wait(job_id)
            return time.perf_counter()

        for job_id, end in jobs:
            returned = thread.submit(wait, job_id)
            time.sleep(random.uniform(*PAUSE))
            called = time.perf_counter()
            run(plain, end)
            waits.append(1000 * (returned.result() - called))
    return _latency(waits)


async def _async(url: str, jobs: list[Ending]) -> Latency:
    waits = []
    async with async_client(url) as worker, AsyncRunQueue(url) as queue:

        async def wait(job_id: str) -> float:
            await queue.wait(job_id)
            return time.perf_counter()

        for job_id, end in jobs:
            returned = asyncio.create_task(wait(job_id))
            await asyncio.sleep(random.uniform(*PAUSE))
            called = time.perf_counter()
            await run_async(worker, end)
            waits.append(1000 * (await returned - called))
    return _latency(waits)


def _running(url: str, count: int, claim: str) -> list[Ending]:
    """Submit jobs and have them run; returns them."""
    with redis.Redis.from_url(url) as plain, RunQueue(url) as queue:
        queue.enqueue_many([TaskRunRequest(prompt="Read it.")] * count)
        run(plain, worker_calls.heartbeat("default", claim, 600_000_000, -1, 0, first=True))
        taken = run(plain, worker_calls.claim("default", claim, claim, count, 0)).items
        accepted = [
            RunAccepted(job.job_id, job.attempt, f"run-{job.job_id}", "", 0) for job in taken
        ]
        run(plain, worker_calls.mark_running("default", accepted))
    return [(item.job_id, worker_calls.finish("default", [_end(item)])) for item in accepted]


def _end(item: RunAccepted) -> Finished:
    result = b'{"output": 42}'
    return Finished(item.job_id, item.attempt, item.run_id, "completed", "completed", "", result)


def _latency(waits: list[float]) -> Latency:
    waits.sort()
    p50, p99, worst = (waits[int(share * (len(waits) - 1))] for share in (0.5, 0.99, 1.0))
    return Latency(p50, p99, worst, len(waits))
