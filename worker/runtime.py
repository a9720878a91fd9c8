"""The event loop of a worker process: one thread, begun once, on which everything async lives.

Celery's tasks run in pool threads and only wait here for their consumer's end.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import structlog
import uvloop
from redis.exceptions import RedisError

from config.settings import Settings
from runqueue.connection.client import async_client
from worker.celery_intake import Intake
from worker.consumers import AccountWorker
from worker.served_accounts import ServedAccounts
from worker.stages.consumer import ConsumerEnd

log = structlog.get_logger()

T = TypeVar("T")

#: Seconds between two checks whether a start that waits for Redis is still wanted.
ASK_EVERY = 0.2
#: Seconds in which what is left on the loop takes note of its being cut off.
CUT_SECONDS = 1.0
#: Seconds that recording and saying goodbye may take after the drain.
GOODBYE_SECONDS = 10.0


class Runtime:
    """The event loop of one worker process, in a thread, and what other threads may ask of it.

    Args:
        settings: the worker's settings.
        url: the queue's Redis.
    """

    def __init__(self, settings: Settings, url: str) -> None:
        self.settings = settings
        self.url = url
        self.stopping = threading.Event()
        self.intake = Intake(url, self.stopping)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="runqueue-loop", daemon=True)
        self._redis = async_client(url, retries=3)
        self._served = ServedAccounts(settings, self._redis)
        self.is_alive = self._served.is_alive
        self.why_not_ready = self._served.why_not_ready

    @property
    def accounts(self) -> Mapping[str, AccountWorker]:
        """The accounts at work."""
        return self._served.accounts

    def start(self, still_wanted: Callable[[], None] = lambda: None) -> None:
        """Begin the loop and every account; waits for Redis as long as it takes.

        Args:
            still_wanted: called a few times a second; what it raises ends the waiting.

        Raises: as `ServedAccounts.start`.
        """
        self._thread.start()
        begun = self.call(self._served.start())
        while not begun.done():
            concurrent.futures.wait([begun], timeout=ASK_EVERY)
            still_wanted()
        begun.result()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Run a coroutine on the loop, from another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def consume(self, kind: str, account: str, tick_us: int) -> tuple[ConsumerEnd, int]:
        """Run one consumer to its end, as `ServedAccounts.consume`; called from a pool thread."""
        if self.stopping.is_set():
            return ConsumerEnd.REFUSED, 0
        try:
            return self.call(self._served.consume(kind, account, tick_us)).result()
        except concurrent.futures.CancelledError:
            return ConsumerEnd.DRAINING, 0

    def sweep(self, account: str) -> dict[str, int]:
        """Run one pass of the sweep; called from a pool thread."""
        if self.stopping.is_set():
            return {}
        try:
            return self.call(self._served.sweep(account)).result()
        except concurrent.futures.CancelledError:
            return {}

    def begin(self, kind: str, account: str, tick_us: int) -> None:
        """Start a consumer or a sweep of this process without a message, from another thread."""
        self._loop.call_soon_threadsafe(self._served.begin, kind, account, tick_us)

    def wake(self, account: str, kind: str) -> None:
        """Tell a consumer that there may be work; called from another thread."""
        self._loop.call_soon_threadsafe(self._served.wake, account, kind)

    def stop(self) -> None:
        """Drain: claim no more, finish and record what is on the wire, end leases and loop."""
        self.stopping.set()
        self._served.stopping = True
        grace = self.settings.drain_seconds
        try:
            self.call(self._served.stop(grace)).result(timeout=grace + GOODBYE_SECONDS)
        except Exception as error:  # noqa: BLE001 - the process ends anyway; leases settle the rest
            log.warning("drain_incomplete", error=repr(error))
        self.intake.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        # A consumer may still be at it (Redis is away, say), and a thread of the pool waits for it.
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left, timeout=CUT_SECONDS))
        # Those that were cut off before they came to it leave their connections open.
        with suppress(TimeoutError, RedisError):
            self._loop.run_until_complete(asyncio.wait_for(self._redis.aclose(), CUT_SECONDS))
        self._loop.close()
