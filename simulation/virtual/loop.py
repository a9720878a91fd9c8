"""An event loop whose time jumps to the next timer: nothing waits, and no socket is read."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from simulation.processes import CURRENT


class NothingLeftError(RuntimeError):
    """Every task waits, and no timer is left that could wake one."""


class _NoSockets(selectors.SelectSelector):
    """A selector that passes the time instead of waiting for sockets."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let the time pass at once."""
        if timeout is None:
            raise NothingLeftError("no timer is left")
        if timeout > 0:
            self._loop.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs callbacks in the order of their times; a process runs its own."""

    def __init__(self) -> None:
        #: Simulated seconds since the beginning.
        self.now = 0.0
        super().__init__(_NoSockets(self))

    def time(self) -> float:
        """Return the simulated time."""
        return self.now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call a callback in the next turn of the loop, if its process lives then."""
        context = copy_context() if context is None else context
        process = context.get(CURRENT)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        return super().call_soon(process.run, callback, args, context, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call a callback at a time, if its process lives then."""
        context = copy_context() if context is None else context
        process = context.get(CURRENT)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        return super().call_at(when, process.run, callback, args, context, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call a blocking function at once: no thread runs beside the loop."""
        del executor
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future
