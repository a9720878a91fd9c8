# Generated from async_ordered_sender.py by tools/generate.py: change that, and run `make generate`.
"""Sending parts in their order: the server works on one while the next is made.

That is two fifths of the rate of `enqueue_many` (docs/performance.md).
"""

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class OrderedSender(Generic[T]):
    """Sends parts in their order, one under way at a time.

    Args:
        send: sends one part.
    """

    def __init__(self, send: Callable[[T], None]) -> None:
        self._send = send
        self._sent: concurrent.futures.Future[None] | None = None
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._over = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def put(self, part: T) -> None:
        """Send one more part; raises what the one before did."""
        self.finish()
        self._sent = self._thread.submit(self._send, part)

    def finish(self) -> None:
        """Wait until all is sent; raises what sending the last part did."""
        if self._sent is not None:
            self._sent.result()

    def rest(self, seconds: float) -> None:
        """Do nothing for a while, as a part is sent; `end` breaks it off."""

    def end(self) -> None:
        """Break it off, and wait until nothing is under way."""
        self._over.set()
        self._thread.shutdown(cancel_futures=True)
