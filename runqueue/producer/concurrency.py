"""Where threads and coroutines differ: each name for coroutines, and its twin for threads.

All else that the queues do is written once, for coroutines, and generated for threads.
"""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")

#: What a listener's thread or task is called.
_LISTENER = "runqueue-ends"


class AsyncOrderedSender(Generic[T]):
    """Sends parts in their order, the server at work on one while the next is made.

    Args:
        send: sends one part.
    """

    def __init__(self, send: Callable[[T], Coroutine[Any, Any, None]]) -> None:
        self._send = send
        self._sent: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sent:
            await asyncio.wait([self._sent])

    async def put(self, part: T) -> None:
        """Send one more part; raises what an earlier one did."""
        await self.finish()
        self._sent = asyncio.create_task(self._send(part))
        await asyncio.sleep(0)  # lets the part go out before the next is made

    async def finish(self) -> None:
        """Wait until all is sent; nothing is put after that."""
        if self._sent:
            await self._sent

    async def rest(self, seconds: float) -> None:
        """Do nothing for a while, as a part is sent; `end` breaks it off."""
        await asyncio.sleep(seconds)

    async def end(self) -> None:
        """Break it off, and wait until nothing is under way."""
        if self._sent:
            self._sent.cancel()
            await asyncio.wait([self._sent])


class OrderedSender(Generic[T]):
    """Sends parts in their order by a thread; see `AsyncOrderedSender`."""

    def __init__(self, send: Callable[[T], None]) -> None:
        self._send = send
        self._sent = deque[Future[None]]()
        self._thread = ThreadPoolExecutor(1)
        self._over = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def put(self, part: T) -> None:
        """Send one more part; raises what an earlier one did."""
        if len(self._sent) > 1:  # one waits for the thread, which then never waits for us
            self._sent.popleft().result()
        self._sent.append(self._thread.submit(self._send, part))

    def finish(self) -> None:
        """Wait until all is sent; nothing is put after that."""
        while self._sent:
            self._sent.popleft().result()
        self._thread.shutdown()

    def rest(self, seconds: float) -> None:
        """Do nothing for a while, as a part is sent; `end` breaks it off."""
        if self._over.wait(seconds):
            raise CancelledError

    def end(self) -> None:
        """Break it off, and wait until nothing is under way."""
        self._over.set()
        self._thread.shutdown(cancel_futures=True)


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
