"""A second account, healthy by itself: its jobs end on time, whatever becomes of the first one."""

import asyncio
import contextlib
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from runqueue import RunQueueError
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.job import Job, JobState
from runqueue.store import job_calls
from simulation.plan import FAULT_SHARE
from simulation.producers import answered
from simulation.virtual.addresses import QUEUE_URL, SECOND_ACCOUNT
from simulation.world import World

#: Seconds in which a job of it ends if no process, message or Redis has a fault; and for which what
#: such a fault left may delay it.
END_SECONDS, AFTER_SECONDS = 60.0, 200.0
#: Seconds between two looks at a job, and in which it ends in any case.
_LOOK_SECONDS, _MOST_SECONDS = 5.0, 2400.0


class SecondAccount:
    """Enqueues the jobs of the second account, and judges when they end.

    Args:
        world: its queue and its plan.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self) -> None:
        """Enqueue its jobs one after the other, and wait for each of them."""
        world, count = self._world, self._world.plan.jobs_beside
        apart = world.plan.minutes * 60 * FAULT_SHARE / count
        for number in range(1, count + 1):
            await asyncio.sleep(max(0.0, number * apart - world.loop.time()))
            await self._run_one(number)

    async def _run_one(self, number: int) -> None:
        world = self._world
        job_id = await self._enqueue(f"beside-{number}")
        since, is_late, is_alone = world.loop.time(), False, True
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            (job,) = world.server.query(job_calls.get_jobs(SECOND_ACCOUNT, [job_id], result=False))
            if job is None or job.is_over:
                self._judge_end(number, job)
                return
            now = world.loop.time()
            if now > since + _MOST_SECONDS:
                # A run without a mark that may be its own is left to a person.
                if not (job.state is JobState.UNCONFIRMED and job.candidates):
                    world.ledger.fail(f"second account: job {number} never ends")
                return
            if is_alone and job.state is JobState.UNCONFIRMED and now > since + 2 * AFTER_SECONDS:
                is_alone = False  # its search needs a newer run
                await self._enqueue(f"after-{number}")
            is_calm = world.fault_times.is_calm(since - AFTER_SECONDS, now)
            if world.ledger.lost_writes and world.fault_times.is_calm(now - AFTER_SECONDS, now):
                await self._resume()
            if not is_late and is_calm and now > since + END_SECONDS and not world.killed_workers:
                is_late = True
                world.ledger.fail(
                    f"second account: job {number} is {job.state} after {now - since:.0f} s"
                )

    def _judge_end(self, number: int, job: Job | None) -> None:
        """Expect a job to be completed, unless Redis lost writes."""
        is_completed = job is not None and job.state is JobState.COMPLETED
        if not is_completed and not self._world.ledger.lost_writes:
            what = f"is {job.state}: {job.reason}" if job else "is lost"
            self._world.ledger.fail(f"second account: job {number} {what}")

    async def _resume(self) -> None:
        """End a hold that waits for a person, as after a Redis that came back empty."""
        queue = AsyncRunQueue(QUEUE_URL)
        with contextlib.suppress(RunQueueError, RedisError, OSError):
            if (await queue.stats())[SECOND_ACCOUNT].hold_kind == "person":
                await queue.resume(SECOND_ACCOUNT)

    async def _enqueue(self, name: str) -> str:
        line: dict[str, Any] = {
            "kind": "task",
            "account": SECOND_ACCOUNT,
            "custom_id": name,
            "body": {"prompt": f"Do sim-{name}.", "url": "https://site.test/"},
        }
        answers = await answered(partial(AsyncRunQueue(QUEUE_URL).enqueue_many, [line]))
        return answers[0].job_id
