# From this file `make generate` writes ordered_sender.py.
"""Sending parts in their order: the server works on one while the next is made.

That is two fifths of the rate of `enqueue_many` (docs/performance.md).
"""

from collections.abc import Callable, Coroutine
from typing import Any, Generic, Self, TypeVar

if True:  # ASYNC
    import asyncio
else:
    import concurrent.futures
    import threading

T = TypeVar("T")


class AsyncOrderedSender(Generic[T]):
    """Sends parts in their order, one under way at a time.

    Args:
        send: sends one part.
    """

    def __init__(self, send: Callable[[T], Coroutine[Any, Any, None]]) -> None:
        self._send = send
        self._sent: asyncio.Future[None] | None = None
        if True:  # ASYNC
            pass
        else:
            self._thread = concurrent.futures.ThreadPoolExecutor(1)
            self._over = threading.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def put(self, part: T) -> None:
        """Send one more part; raises what the one before did."""
        await self.finish()
        if True:  # ASYNC
            self._sent = asyncio.create_task(self._send(part))
            await asyncio.sleep(0)  # lets the part go out before the next is made
        else:
            self._sent = self._thread.submit(self._send, part)

    async def finish(self) -> None:
        """Wait until all is sent; raises what sending the last part did."""
        if self._sent is not None:
            if True:  # ASYNC
                await self._sent
            else:
                self._sent.result()

    async def rest(self, seconds: float) -> None:
        """Do nothing for a while, as a part is sent; `end` breaks it off."""
        if True:  # ASYNC
            await asyncio.sleep(seconds)
        elif self._over.wait(seconds):
            raise concurrent.futures.CancelledError

    async def end(self) -> None:
        """Break it off, and wait until nothing is under way."""
        if True:  # ASYNC
            if self._sent is not None:
                self._sent.cancel()
                await asyncio.wait([self._sent])
        else:
            self._over.set()
            self._thread.shutdown(cancel_futures=True)
