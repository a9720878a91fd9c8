"""Who has schedules in a simulated world: applies them, pauses them, has them fire by hand."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

import orjson
from redis.exceptions import RedisError

from runqueue import RunQueueError
from runqueue.producer.async_queue import AsyncRunQueue
from simulation.plan import Fault
from simulation.producers import answered
from simulation.schedules.drawn import PlannedSchedule
from simulation.virtual.addresses import QUEUE_URL, TIMED_ACCOUNT
from simulation.world import World

#: Seconds between two looks whether Redis has lost a schedule.
_LOOK_SECONDS = 5.0


class ScheduleOwner:
    """Applies the schedules of a plan, again if Redis loses them.

    Args:
        world: its queue and its plan.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Apply each at its time, and look until the end of the plan."""
        world, planned = self._world, sorted(self._world.plan.schedules, key=lambda one: one.at)
        for one in planned:
            await asyncio.sleep(max(0.0, one.at - world.loop.time()))
            await answered(partial(self._apply, one))
        while world.loop.time() < world.plan.minutes * 60:
            await asyncio.sleep(_LOOK_SECONDS)
            if world.ledger.lost_writes:
                await answered(self._resume)
                for one in planned:
                    await answered(partial(self._apply, one))

    async def _apply(self, planned: PlannedSchedule) -> None:
        queue, fields = AsyncRunQueue(QUEUE_URL), dict[str, Any](planned.fields)
        if planned.lines == 1:
            fields["job"] = planned.line(1)
        else:
            lines = [orjson.dumps(planned.line(n)) for n in range(1, planned.lines + 1)]
            fields["lines"] = await queue.store_schedule_lines(lines, account=TIMED_ACCOUNT)
        specs = {planned.name: fields}
        changes = await queue.apply_schedules(specs, account=TIMED_ACCOUNT)
        self._world.schedules.note_applied(planned, is_new=changes[0].change != "unchanged")

    async def _resume(self) -> None:
        """End a hold that waits for a person, as after a Redis that came back empty."""
        queue = AsyncRunQueue(QUEUE_URL)
        stats = (await queue.stats()).get(TIMED_ACCOUNT)
        if stats is not None and stats.hold_kind == "person":
            await queue.resume(TIMED_ACCOUNT)

    async def pause(self, fault: Fault) -> None:
        """Pause a schedule for a time."""
        name, judge = self._name(fault), self._world.schedules
        queue = AsyncRunQueue(QUEUE_URL)
        async with self._changing:
            judge.note_pause(name, None)
            await answered(partial(queue.pause_schedule, name, account=TIMED_ACCOUNT))
            judge.note_pause(name, True)
            await asyncio.sleep(fault.seconds)
            judge.note_pause(name, None)
            await answered(partial(queue.resume_schedule, name, account=TIMED_ACCOUNT))
            judge.note_pause(name, False)

    async def fire(self, fault: Fault) -> None:
        """Have a schedule fire now; whether an answer that is lost was a success is left open."""
        with contextlib.suppress(RunQueueError, RedisError, OSError):
            await AsyncRunQueue(QUEUE_URL).fire_schedule(self._name(fault), account=TIMED_ACCOUNT)

    def _name(self, fault: Fault) -> str:
        planned = self._world.plan.schedules
        return planned[fault.number % len(planned)].name
