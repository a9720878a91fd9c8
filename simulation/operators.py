"""What operators do in a simulated world: pause, cancel, replay, settle, change limits."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from runqueue import RunQueueError
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.job import JobState
from runqueue.store import operator_calls
from simulation.addresses import QUEUE_URL
from simulation.ledger import AcceptedJob
from simulation.plan import Fault

if TYPE_CHECKING:
    from simulation.world import World

#: One call of an operator.
Action = Callable[[], Coroutine[Any, Any, object]]


class Operator:
    """Acts on the queue as the plan has it; an action that the queue refuses is dropped.

    Args:
        world: its queue, plan and ledger.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def act(self, fault: Fault) -> None:
        """Do the action that a fault names."""
        queue = AsyncRunQueue(QUEUE_URL)
        with contextlib.suppress(RunQueueError, OSError, LookupError):
            await self._act_on_queue(queue, fault)

    async def undo(self) -> None:
        """Undo what was paused, limited or stopped, however often it takes."""
        queue = AsyncRunQueue(QUEUE_URL)
        actions: list[Action] = [
            partial(self._resume, queue),
            partial(queue.set_limits, {"concurrent_runs": None}),
            partial(queue.set_group, "a", max_concurrent=None),
            partial(queue.set_group, "b", paused=False),
            *(partial(queue.resume_batch, batch) for batch in self._world.batches.values()),
        ]
        for action in actions:
            for _ in range(20):
                try:
                    await action()
                    break
                except (RunQueueError, OSError):
                    await asyncio.sleep(1)

    async def _act_on_queue(self, queue: AsyncRunQueue, fault: Fault) -> None:
        world, action = self._world, fault.kind.removeprefix("a person ")
        jobs = list(world.ledger.accepted.values())
        batches = list(world.batches.values())
        batch = batches[fault.number % len(batches)] if batches else None
        lasting: dict[str, tuple[Action, Action]] = {
            "pauses the account": (
                partial(queue.pause, reason="simulated"),
                partial(self._resume, queue),  # the pause may be lost with a server
            ),
            "caps a group": (
                partial(queue.set_group, "a", max_concurrent=1 + fault.number % 2),
                partial(queue.set_group, "a", max_concurrent=None),
            ),
            "pauses a group": (
                partial(queue.set_group, "b", paused=True),
                partial(queue.set_group, "b", paused=False),
            ),
            "changes the limits": (
                partial(self._limit, queue, 1 + fault.number % 12),
                partial(self._limit, queue, None),
            ),
        }
        if batch is not None:
            lasting["pauses a batch"] = (
                partial(queue.pause_batch, batch),
                partial(queue.resume_batch, batch),
            )
        if action in lasting:
            begin, end = lasting[action]
            await begin()
            await asyncio.sleep(fault.seconds)
            await end()
        elif action == "resumes the account":
            await self._resume(queue)
        elif action == "cancels orphans":
            await self.cancel_orphans(queue)
        elif action == "cancels a batch" and batch is not None:
            await queue.cancel_batch(batch)
        elif jobs:
            await self._act_on_jobs(queue, fault, action, jobs)

    async def _act_on_jobs(
        self, queue: AsyncRunQueue, fault: Fault, action: str, jobs: list[AcceptedJob]
    ) -> None:
        if action == "cancels a job":
            await queue.cancel(jobs[fault.number % len(jobs)].job_id)
        elif action == "replays dead jobs":
            await self._replay(queue)
        elif action == "settles what is in doubt":
            await self._settle(queue, "resubmit" if fault.number % 2 else "fail")

    async def _limit(self, queue: AsyncRunQueue, value: int | None) -> None:
        """Set the limit of concurrent runs; None = the limit of the settings."""
        world = self._world
        now = asyncio.get_running_loop().time()
        world.limits.append((now, value or world.plan.max_concurrent_runs))
        await queue.set_limits({"concurrent_runs": value})

    @staticmethod
    async def _resume(queue: AsyncRunQueue) -> None:
        """End a pause or an account hold, but no recovery, which would risk second runs."""
        stats = (await queue.stats()).get("default")
        if stats is not None and (stats.paused or stats.hold_kind not in {"redis", "person"}):
            await queue.resume()

    @staticmethod
    async def cancel_orphans(queue: AsyncRunQueue) -> None:
        """Cancel a hundred runs that no job owns."""
        _, found = await queue.send(operator_calls.list_strays("default", "0", 100))
        await queue.send(operator_calls.cancel_strays("default", [one.run_id for one in found]))

    async def _settle(self, queue: AsyncRunQueue, decision: str) -> None:
        """Settle unconfirmed jobs, whose runs may be live; `resubmit` allows one run more."""
        accepted = list(self._world.ledger.accepted.values())
        found = await queue.get_many([one.job_id for one in accepted], result=False)
        for one, job in zip(accepted, found, strict=True):
            if job is not None and job.state is JobState.UNCONFIRMED:
                one.max_runs += decision == "resubmit"
                one.is_settled_by_operator = True
                await queue.send(
                    operator_calls.settle("default", [(job.id, job.attempts, 0)], decision)
                )

    async def _replay(self, queue: AsyncRunQueue) -> None:
        world = self._world
        accepted = list(world.ledger.accepted.values())
        found = await queue.get_many([one.job_id for one in accepted], result=False)
        for one, job in zip(accepted, found, strict=True):
            if job is None or job.state.value not in {"dead", "failed"} or job.ended_at is None:
                continue
            seen = (job.id, job.attempts, int(job.ended_at.timestamp() * 1e6))
            one.not_after = one.deadline = math.inf  # it is over, and was seen to be
            # Counted before the answer, which may be lost: the replay may have happened.
            one.max_runs += next(r.runs for r in world.plan.requests if r.number == one.number)
            await queue.send(operator_calls.replay("default", [seen]))
