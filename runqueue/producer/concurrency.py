"""Where threads and coroutines differ: each name for coroutines, and its twin for threads.

All else that the queues do is written once, for coroutines, and generated for threads.
"""

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Generic, Self

from runqueue.store.scripts import ScriptCall, T

#: What a listener's thread or task is called.
_LISTENER = "runqueue-ends"


class AsyncOrderedSender(Generic[T]):
    """Sends calls in their order, the server at work on one while the next is made.

    Args:
        send: sends one call.
    """

    def __init__(self, send: Callable[[ScriptCall[T]], Coroutine[Any, Any, T]]) -> None:
        self._send = send
        self._sent: list[asyncio.Task[T]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.gather(*self._sent, return_exceptions=True)

    async def put(self, call: ScriptCall[T]) -> None:
        """Send one more call; raises what an earlier one did."""
        if self._sent:
            await self._sent[-1]
        self._sent.append(asyncio.create_task(self._send(call)))
        await asyncio.sleep(0)  # lets the call go out before the next is made

    async def replies(self) -> list[T]:
        """Return the replies, in order."""
        return [await reply for reply in self._sent]


class OrderedSender(Generic[T]):
    """Sends calls in their order by a thread; see `AsyncOrderedSender`."""

    def __init__(self, send: Callable[[ScriptCall[T]], T]) -> None:
        self._send = send
        self._sent: list[Future[T]] = []
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.shutdown()

    def put(self, call: ScriptCall[T]) -> None:
        """Send one more call; raises what an earlier one did."""
        if len(self._sent) > 1:  # one waits for the thread, which then never waits for us
            self._sent[-2].result()
        self._sent.append(self._thread.submit(self._send, call))

    def replies(self) -> list[T]:
        """Return the replies, in order."""
        return [reply.result() for reply in self._sent]


class AsyncBackground:
    """Runs a listener as a task, until `end`.

    Args:
        run: given this object.
    """

    def __init__(self, run: Callable[[Self], Awaitable[None]]) -> None:
        self._task = asyncio.create_task(self._run(run), name=_LISTENER)

    async def _run(self, run: Callable[[Self], Awaitable[None]]) -> None:
        await asyncio.sleep(0)  # an eager task factory begins a task before it is known
        await run(self)

    async def rest(self, seconds: float) -> None:
        """Do nothing for a while."""
        await asyncio.sleep(max(0, seconds))

    async def end(self) -> None:
        """Break it off."""
        self._task.cancel()
        await asyncio.wait([self._task])


class Background:
    """Runs a listener as a thread; after `end` it may go on for a tick."""

    def __init__(self, run: Callable[[Self], None]) -> None:
        self._over = threading.Event()
        threading.Thread(target=run, args=(self,), name=_LISTENER, daemon=True).start()

    def rest(self, seconds: float) -> None:
        """Do nothing for a while, or until the end."""
        self._over.wait(max(0, seconds))

    def end(self) -> None:
        """Have it rest no more; it ends once it sees that it is not wanted."""
        self._over.set()


async def async_wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than that."""
    if seconds == math.inf:
        await event.wait()
        return
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def sync_wait(event: threading.Event, seconds: float) -> None:
    """Wait for an event, but no longer than that."""
    event.wait(None if seconds == math.inf else seconds)


def async_limit(most: int) -> asyncio.Semaphore:
    """Let so many coroutines in at once."""
    return asyncio.Semaphore(most)


def sync_limit(_most: int) -> AbstractContextManager[Any]:
    """Let all threads in: they are fewer, and a lock that a fork inherits may never open."""
    return nullcontext()
