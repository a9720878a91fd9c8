"""Simulated processes: each has clocks, a random source and a name, and can be killed or frozen."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import Context, ContextVar
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

#: Unix seconds at which the simulation of this interpreter begins; `runs` sets it as a plan says.
EPOCH = 1_800_000_000.0


class SimulatedProcess:
    """One process of the simulated system.

    The tasks and timers that are started in its context run in it.

    Args:
        name: its name in histories, and the name of its host.
        loop: the virtual loop.
        chance: the source of its random numbers.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, chance: Random) -> None:
        self.name = name
        self.host = name
        self.chance = chance
        self.is_dead = False
        self._freezes = 0
        #: When it was frozen last, simulated seconds.
        self.frozen_at = -math.inf
        #: Seconds by which its wall clock is ahead of the simulated time.
        self.clock_offset = 0.0
        self._loop = loop
        self._monotonic_start = chance.uniform(0, 1e6)
        #: Callbacks that came due while it was frozen.
        self._delayed: list[tuple[Callable[..., object], tuple[Any, ...], Context]] = []
        #: All that a killed process had: a coroutine that is collected would run its `finally`.
        self._kept: list[object] = []

    def wall(self) -> float:
        """Return its wall clock, unix seconds."""
        return EPOCH + self._loop.time() + self.clock_offset

    def elapsed(self) -> float:
        """Return its monotonic clock, seconds."""
        return self._monotonic_start + self._loop.time()

    def kill(self) -> None:
        """End it as SIGKILL does: nothing of it runs again, not even a `finally`."""
        self.is_dead = True
        self._kept += asyncio.all_tasks(self._loop)

    @property
    def is_frozen(self) -> bool:
        """Whether it is stopped for a while."""
        return self._freezes > 0

    def freeze(self) -> None:
        """Stop it as SIGSTOP does; its clocks continue."""
        self._freezes += 1
        self.frozen_at = self._loop.time()

    def thaw(self) -> None:
        """Continue it, with all callbacks that came due meanwhile, once each freeze has ended."""
        self._freezes -= 1
        if self._freezes:
            return
        delayed, self._delayed = self._delayed, []
        for callback, arguments, context in delayed:
            self._loop.call_soon(callback, *arguments, context=context)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in its context, with its clocks and its random source."""
        context = Context()
        context.run(CURRENT.set, self)
        return context.run(function, *arguments)

    def run(
        self, callback: Callable[..., object], arguments: tuple[Any, ...], context: Context
    ) -> None:
        """Run a callback that the loop has due for it, unless it is dead or frozen."""
        if self.is_dead:
            self._kept.append((callback, arguments))
        elif self._freezes:
            self._delayed.append((callback, arguments, context))
        else:
            callback(*arguments)


#: The process whose code runs.
CURRENT: ContextVar[SimulatedProcess] = ContextVar("CURRENT")


def start_in(process: SimulatedProcess, coroutine: Any) -> asyncio.Task[Any]:
    """Start a coroutine as a task of a process."""
    context = Context()
    context.run(CURRENT.set, process)
    return asyncio.get_running_loop().create_task(coroutine, context=context)
