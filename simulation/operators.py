"""What operators do in a simulated world: pause, cancel, replay, settle, change limits."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from runqueue import RunQueueError
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.batch import Batch
from runqueue.records.job import JobState
from runqueue.store import operator_calls
from runqueue.store.budgets import Budget
from runqueue.store.key_limits import KeyLimit
from simulation import processes
from simulation.judges.ledger import AcceptedJob
from simulation.plan import MAX_STEPS, Fault, SimulationPlan
from simulation.producers import Producer
from simulation.virtual.addresses import QUEUE_URL
from simulation.world import World

#: The most seconds for which an operator waits until Redis has no fault.
_MOST_SECONDS = 300
#: One call of an operator.
Action = Callable[[], Coroutine[Any, Any, object]]
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class DailyBudget(Budget):
    """A budget whose days begin at any time of the day, as in a time zone that does not exist.

    Args:
        begins: when one of its days begins, simulated seconds.
    """

    begins: float = 0

    def stored(self, now: datetime) -> str:
        """Return it as the scripts read it."""
        rule = Budget.stored(self, now).rpartition(" ")[0]
        return f"{rule} {int(-(processes.EPOCH + self.begins) % _DAY_SECONDS)}"


def strict_budget(plan: SimulationPlan, steps: int) -> Budget:
    """Return the strict budget of a plan, with so many steps."""
    if plan.budget_window:
        return DailyBudget(steps, "day", is_strict=True, begins=plan.budget_window)
    return Budget(steps, is_strict=True)


def key_limit(plan: SimulationPlan, pattern: str, most: int) -> KeyLimit:
    """Return the limit of a key or pattern, with the rate that the plan has for it."""
    interval = dict(plan.key_rates).get(pattern)
    return KeyLimit(most, interval and 3600 / interval, "hour")


class Operator:
    """Acts on the queue as the plan has it; an action that the queue refuses is dropped.

    Args:
        world: its queue, plan and ledger.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        #: How often something was resumed: a pause that is answered after a resume does not count.
        self._resumes = 0
        #: Of two changes of one limit at a time nobody knows which one holds.
        self._changing = asyncio.Lock()

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
            partial(self._cap, queue, "a", None),
            partial(queue.set_group, "b", paused=False),
            *(partial(self._limit_key, queue, *one) for one in self._world.plan.key_limits),
            partial(self._set_budget, queue, self._world.plan.strict_budget),
            *(partial(queue.resume_batch, batch) for batch in self._world.batches.values()),
        ]
        self._world.submissions.resume_all()
        for action in actions:
            for _ in range(20):
                try:
                    await action()
                    break
                except (RunQueueError, OSError):
                    await asyncio.sleep(1)
        self._world.submissions.settle_all()

    async def free(self, ended: str, kept: Sequence[str], since: float) -> None:
        """Free what is kept by something that has ended, and nothing else; however often it takes.

        Args:
            ended: what keeps it.
            kept: `key:<key>`, and `max_steps:<what>`.
            since: when it came there, simulated seconds.
        """
        queue, ledger = AsyncRunQueue(QUEUE_URL), self._world.ledger
        for _ in range(_MOST_SECONDS):
            with contextlib.suppress(RunQueueError, OSError):
                found = {(one.of, one.holder) for one in await queue.ended_holders()}
                expected = {(of, ended) for of in kept}
                # A failover may have lost it.
                is_lost = any(until >= since for _, until in ledger.lost_writes)
                if found - expected or (expected - found and not is_lost):
                    ledger.fail(f"I4: {sorted(expected)} have ended, and {sorted(found)} are found")
                await queue.ended_holders(drop=True)
                break
            await asyncio.sleep(1)

    async def _act_on_queue(self, queue: AsyncRunQueue, fault: Fault) -> None:
        world, action = self._world, fault.kind.removeprefix("a person ")
        jobs = world.ledger.current()
        batches = list(world.batches.values())
        batch = batches[-1 - fault.number % len(batches)] if batches else None  # 0 = the newest
        lasting: dict[str, tuple[Action, Action]] = {
            "pauses the account": (
                partial(self._pause, "account", partial(queue.pause, reason="simulated")),
                partial(self._resume, queue),  # the pause may be lost with a server
            ),
            "caps a group": (
                partial(self._cap, queue, "a", 1 + fault.number % 2),
                partial(self._cap, queue, "a", None),
            ),
            "pauses a group": (
                partial(self._pause, ("group", "b"), partial(queue.set_group, "b", paused=True)),
                partial(
                    self._resume_it, ("group", "b"), partial(queue.set_group, "b", paused=False)
                ),
            ),
            "changes the limits": (
                partial(self._limit, queue, 1 + fault.number % 12),
                partial(self._limit, queue, None),
            ),
        }
        if limits := world.plan.key_limits:
            pattern, most = limits[fault.number % len(limits)]
            lasting["changes a key's limit"] = (
                partial(self._limit_key, queue, pattern, 1 if most > 1 else 3),
                partial(self._limit_key, queue, pattern, most),
            )
        if world.plan.strict_budget:
            lasting["lowers the budget"] = (
                partial(self._lower_budget, queue, fault.number % 3),
                partial(self._set_budget, queue, world.plan.strict_budget),
            )
        if batch is not None:
            number = next(key for key, value in world.batches.items() if value == batch)
            lasting["pauses a batch"] = (
                partial(self._pause, ("batch", number), partial(queue.pause_batch, batch)),
                partial(self._resume_it, ("batch", number), partial(queue.resume_batch, batch)),
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
            await self._cancel_batch(queue, batch)
        elif jobs:
            await self._act_on_jobs(queue, fault, action, jobs)

    async def _act_on_jobs(
        self, queue: AsyncRunQueue, fault: Fault, action: str, jobs: list[AcceptedJob]
    ) -> None:
        world = self._world
        if action == "cancels a job":
            number = jobs[fault.number % len(jobs)].number
            await world.cancel(queue, number)
        elif action == "replays dead jobs":
            await self._replay(queue)
        elif action == "discards dead jobs":
            await self._discard(queue)
        elif action == "settles unconfirmed jobs":
            await self._settle(queue, "resubmit" if fault.number % 2 else "fail")

    async def _pause(self, what: Hashable, action: Action) -> None:
        resumes, submissions = self._resumes, self._world.submissions
        is_settled = submissions.is_settled(what)
        submissions.change(what)
        found = await action()
        if resumes == self._resumes:
            is_held = isinstance(found, Batch) and found.held == "paused"
            submissions.pause(what, keeps_canary=is_settled and is_held)
            submissions.settle(what)

    async def _resume_it(self, what: Hashable, action: Action) -> None:
        self._resumes += 1
        self._world.submissions.resume(what)
        self._world.submissions.change(what)
        await action()
        self._world.submissions.settle(what)

    async def _limit_key(self, queue: AsyncRunQueue, pattern: str, most: int) -> None:
        async with self._changing:
            self._world.submissions.change(("key", pattern))
            await queue.set_key_limit(pattern, key_limit(self._world.plan, pattern, most))
            self._world.submissions.limit_key(pattern, most)

    async def _set_budget(self, queue: AsyncRunQueue, steps: int) -> None:
        if not steps:
            return
        async with self._changing:
            self._world.submissions.change("budget")
            plan = self._world.plan
            await queue.set_budget(plan.budget_scope, strict_budget(plan, steps))
            self._world.submissions.set_budget(steps)

    async def _lower_budget(self, queue: AsyncRunQueue, jobs: int) -> None:
        """Leave a strict budget steps for so many jobs more."""
        for use in await queue.list_budgets():
            if use.scope == self._world.plan.budget_scope:
                taken = use.spent + math.ceil(use.committed)
                await self._set_budget(queue, max(1, taken + jobs * MAX_STEPS))

    async def _cap(self, queue: AsyncRunQueue, group: str, most: int | None) -> None:
        self._resumes += 1
        resumes = self._resumes
        self._world.submissions.change(("cap", group))
        await queue.set_group(group, max_concurrent=most)
        if resumes == self._resumes:
            self._world.submissions.cap(group, most)

    async def _discard(self, queue: AsyncRunQueue) -> None:
        """Discard dead jobs, and enqueue other requests with their keys."""
        world = self._world
        accepted = world.ledger.current()
        found = await queue.get_many([one.job_id for one in accepted], result=False)
        for one, job in zip(accepted, found, strict=True):
            if job is not None and job.state is JobState.DEAD:
                one.is_discarded = True  # before the answer, which may be lost
                await queue.send(operator_calls.discard("default", [job.id]))
                world.start_producer("producer", Producer(world).enqueue_other(one.number))

    async def _limit(self, queue: AsyncRunQueue, value: int | None) -> None:
        """Set the limit of concurrent runs; None = the limit of the settings."""
        world = self._world
        now = asyncio.get_running_loop().time()
        world.limits.append((now, value or world.plan.max_concurrent_runs))
        await queue.set_limits({"concurrent_runs": value})

    async def _resume(self, queue: AsyncRunQueue) -> None:
        """End a pause or an account hold, but no recovery, which would risk second runs."""
        world = self._world
        # A resume accepts the Redis that answers; a new one is recognised within these seconds.
        for _ in range(_MOST_SECONDS):
            if not world.fault_times.hindered(world.loop.time() - 5, world.loop.time(), "redis"):
                break
            await asyncio.sleep(1)
        self._resumes += 1
        world.submissions.resume("account")
        stats = (await queue.stats()).get("default")
        # Without a hold, a recovery may be late.
        kinds = {None, "redis"} if self._world.ledger.was_emptied else {None, "redis", "person"}
        if stats is not None and (stats.paused or stats.hold_kind not in kinds):
            if stats.hold_kind == "person":
                self._world.ledger.let_go_on()
            self._world.conduct.note_resumed()
            await queue.resume()

    async def _cancel_batch(self, queue: AsyncRunQueue, batch: str) -> None:
        world = self._world
        number = next(number for number, name in world.batches.items() if name == batch)
        numbers = [one.number for one in world.plan.requests if one.batch == number]
        world.note_cancels(numbers)
        await queue.cancel_batch(batch)
        world.note_canceled(numbers)

    async def cancel_orphans(self, queue: AsyncRunQueue) -> None:
        """Cancel a hundred runs that no job owns; a job that would get one is run again."""
        _, found = await queue.send(operator_calls.list_orphans("default", "0", 100))
        orphans = {one.job_id for one in found}
        ledger = self._world.ledger
        ledger.forgotten |= {one.number for one in ledger.current() if one.job_id in orphans}
        await queue.send(operator_calls.cancel_orphans("default", [one.run_id for one in found]))

    async def _settle(self, queue: AsyncRunQueue, decision: str) -> None:
        """Settle unconfirmed jobs, whose runs may be live; `resubmit` allows one run more."""
        accepted = self._world.ledger.current()
        found = await queue.get_many([one.job_id for one in accepted], result=False)
        for one, job in zip(accepted, found, strict=True):
            if job is not None and job.state is JobState.UNCONFIRMED:
                one.max_runs += decision == "resubmit"
                self._world.conduct.note_reopened(one.number)
                one.is_settled_by_operator = True
                await queue.send(
                    operator_calls.settle("default", [(job.id, job.attempts, 0)], decision)
                )

    async def _replay(self, queue: AsyncRunQueue) -> None:
        world = self._world
        accepted = world.ledger.current()
        found = await queue.get_many([one.job_id for one in accepted], result=False)
        for one, job in zip(accepted, found, strict=True):
            if job is None or job.state.value not in {"dead", "failed"} or job.ended_at is None:
                continue
            seen = (job.id, job.attempts, int(job.ended_at.timestamp() * 1e6))
            world.conduct.note_reopened(one.number)
            one.deadline = math.inf  # a replay removes it
            # Counted before the answer, which may be lost: the replay may have happened.
            one.max_runs += world.requests[one.number].runs
            if job.run_id and (one.is_stuck or world.ledger.refuses_cancels):
                world.ledger.abandoned.add(job.run_id)
            asked = world.loop.time()
            if await queue.send(operator_calls.replay("default", [seen])) == [1]:
                one.replayed_at = asked
