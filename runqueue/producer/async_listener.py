# From this file `make generate` writes listener.py.
"""Redis' messages that jobs have ended: one listener a queue, however many wait.

Every script that ends jobs publishes their ids (`save` in lua/lib/account/changes.lua). A message
reaches only those that listen at that moment, and a lost connection is noticed late. So a message
is only a reason to check at once (`waiters.py`): everything is checked now and then as well, and
once more whenever the listener has subscribed (again).
"""

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import cycle
from typing import Any, cast

import redis.asyncio
from redis.exceptions import RedisError

from runqueue.connection.client import async_client
from runqueue.connection.urls import listening_urls
from runqueue.producer import waiters
from runqueue.producer.waiters import CHANNELS, Silence, States, WaitedJobs, Watchers

if True:  # ASYNC
    import asyncio
else:
    import threading


class AsyncEndListener(Watchers[asyncio.Event, asyncio.Task[None]]):
    """Notifies coroutines of one event loop of the ends of jobs.

    Args:
        url: the queue's Redis.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, asyncio.Event)

    async def close(self) -> None:
        """Stop the listener; waiters go on without it."""
        listener = self._close()
        if True:  # ASYNC
            if listener is not None:
                listener.cancel()
                await asyncio.wait([listener])
        else:  # a thread sees within a tick that it is not wanted
            del listener

    async def pause(
        self,
        watch: WaitedJobs[asyncio.Event],
        give_up: float,
        read: Callable[[list[str]], Awaitable[States]],
    ) -> bool:
        """Wait until one of the jobs of `watch` has ended; False once the time is up.

        Args:
            watch: the waiter.
            give_up: when, on the monotonic clock, the time is up.
            read: reads the states of jobs.

        Raises:
            JobNotFound: one of them is not on record; or what a check raised.
        """
        self._begin(watch)
        try:
            while True:
                turn = self._turn(watch, give_up)
                if turn.done is not None:
                    return turn.done
                if turn.check:
                    await self._check_now(turn.check, read)
                else:
                    await _wait(watch.news, turn.seconds)
        finally:
            self._end(watch)

    async def _check_now(
        self, job_ids: list[str], read: Callable[[list[str]], Awaitable[States]]
    ) -> None:
        try:
            states = await read(job_ids)
        except Exception as error:  # noqa: BLE001 - raised to every waiter of these jobs
            self._failed(job_ids, error)
        except BaseException:  # broken off: the next leader checks
            self._put_back(job_ids)
            raise
        else:
            self._learn(job_ids, states)

    def _start(self) -> asyncio.Task[None] | None:
        if True:  # ASYNC
            listener = asyncio.create_task(self._listen(), name="runqueue-ends")
        else:
            listener = threading.Thread(target=self._listen, name="runqueue-ends", daemon=True)
            try:
                listener.start()
            except RuntimeError:  # as many threads as there can be, or the interpreter ends
                return None
        return listener

    async def _listen(self) -> None:
        if True:  # ASYNC
            await asyncio.sleep(0)  # an eager task factory begins a task before it is known
            me = cast("asyncio.Task[None]", asyncio.current_task())
        else:
            me = threading.current_thread()
        try:
            servers = cycle(listening_urls(self._url))
            while self._is_wanted(me):
                next_try = time.monotonic() + waiters.PAUSE
                try:
                    # Retried here, where it is known that messages sent meanwhile are missed.
                    async with async_client(next(servers), retries=0) as client:
                        await self._hear(client, me)
                except (RedisError, OSError):
                    self._lost(me)
                    await asyncio.sleep(max(0.0, next_try - time.monotonic()))
        finally:
            self._ended(me)

    async def _hear(self, client: redis.asyncio.Redis, me: asyncio.Task[None]) -> None:
        silence = Silence()
        async with cast(Any, client).pubsub() as pubsub:
            await pubsub.psubscribe(CHANNELS)
            while self._is_wanted(me):
                message = await pubsub.get_message(timeout=waiters.TICK)
                self._take(me, message)
                if silence.is_to_ping(heard=message is not None):
                    await pubsub.ping("?")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than that."""
    limit = None if seconds == math.inf else seconds
    if True:  # ASYNC
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await event.wait()
    else:
        event.wait(limit)
