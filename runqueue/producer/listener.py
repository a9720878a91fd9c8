"""Being told by Redis that jobs have ended: one listener a queue, however many wait.

Every script that ends jobs publishes their ids (`save` in lua/lib/account/save.lua). A message
reaches only who listens at that moment, and a connection may be gone long before that is known. So
what is heard is never more than a reason to look now (`waiters.py`): everything is looked at now
and then as well, and once more whenever the listener was subscribed (again).
"""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Any, cast

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from runqueue.connection.addresses import listening_urls
from runqueue.connection.client import async_client, sync_client
from runqueue.producer.waiters import States, WaitedJobs, Watchers
from runqueue.store.keys import Keys

#: The channels of all accounts; a message is ids with blanks between them.
CHANNELS = Keys("*").ended
#: Seconds between two looks of a listener at whether it is wanted.
TICK = 0.5
#: Seconds between two tries of a listener to connect.
PAUSE = 1.0
#: Seconds without a word after which the server is asked for one; after twice as many the
#: connection is given up, since nothing else tells that one without traffic is dead.
QUIET = 5.0


class _Line:
    """How long ago a connection brought anything."""

    def __init__(self) -> None:
        self._heard = time.monotonic()
        self._asked = False

    def is_to_ask(self, *, heard: bool) -> bool:
        """Tell whether the server is to be asked for a word.

        Args:
            heard: whether it said anything since the last call.

        Raises:
            ConnectionError: it was asked, and said nothing.
        """
        now = time.monotonic()
        if heard:
            self._heard, self._asked = now, False
        elif now > self._heard + 2 * QUIET:
            raise redis.ConnectionError("Redis says nothing")
        elif now > self._heard + QUIET and not self._asked:
            self._asked = True
            return True
        return False


class Ends(Watchers[threading.Event, threading.Event]):
    """Tells threads of the ends of jobs; its listener is a thread, known by the event that ends it.

    Args:
        url: the queue's Redis.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, threading.Event)

    def close(self) -> None:
        """Have the listener end, within a tick; who still waits goes on without it."""
        over = self._close()
        if over is not None:
            over.set()

    def pause(
        self,
        watch: WaitedJobs[threading.Event],
        give_up: float,
        look: Callable[[list[str]], States],
    ) -> bool:
        """Wait until one of the jobs of `Ends.watch` has ended; False once the time is up.

        Args:
            watch: who waits.
            give_up: when, on the monotonic clock, the time is up.
            look: reads the states of jobs.

        Raises:
            JobNotFound: one of them is not on record; or what a look raised.
        """
        self._begin(watch)
        try:
            while True:
                turn = self._turn(watch, give_up)
                if turn.done is not None:
                    return turn.done
                if turn.look:
                    self._look(turn.look, look)
                else:
                    watch.told.wait(None if turn.seconds == math.inf else turn.seconds)
        finally:
            self._end(watch)

    def _look(self, job_ids: list[str], look: Callable[[list[str]], States]) -> None:
        try:
            states = look(job_ids)
        except Exception as error:  # noqa: BLE001 - raised to all whom it concerns
            self._failed(job_ids, error)
        except BaseException:
            self._put_back(job_ids)
            raise
        else:
            self._learn(job_ids, states)

    def _start(self) -> threading.Event | None:
        over = threading.Event()
        try:
            threading.Thread(
                target=self._listen, args=(over,), name="runqueue-ends", daemon=True
            ).start()
        except RuntimeError:  # as many threads as there can be, or the interpreter ends
            return None
        return over

    def _listen(self, over: threading.Event) -> None:
        try:
            servers = cycle(listening_urls(self._url))
            while self._is_wanted(over):
                next_try = time.monotonic() + PAUSE
                try:
                    with sync_client(next(servers)) as client:
                        # Tried again here, which tells that what was published meanwhile is missed.
                        client.connection_pool.connection_kwargs["retry"] = Retry(NoBackoff(), 0)
                        self._hear(client, over)
                except (RedisError, OSError):
                    self._lost(over)
                    over.wait(max(0, next_try - time.monotonic()))
        finally:
            self._ended(over)

    def _hear(self, client: redis.Redis, over: threading.Event) -> None:
        line = _Line()
        with cast(Any, client).pubsub() as pubsub:
            pubsub.psubscribe(CHANNELS)
            while self._is_wanted(over):
                message = pubsub.get_message(timeout=TICK)
                self._take(over, message)
                if line.is_to_ask(heard=message is not None):
                    pubsub.ping("?")


class AsyncEnds(Watchers[asyncio.Event, asyncio.Task[None]]):
    """Tells coroutines of one event loop of the ends of jobs; its listener is a task.

    Args:
        url: the queue's Redis.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, asyncio.Event)

    async def close(self) -> None:
        """End the listener; who still waits goes on without it."""
        task = self._close()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def pause(
        self,
        watch: WaitedJobs[asyncio.Event],
        give_up: float,
        look: Callable[[list[str]], Awaitable[States]],
    ) -> bool:
        """Wait until one of the jobs of `watch` has ended; see `Ends.pause`."""
        self._begin(watch)
        try:
            while True:
                turn = self._turn(watch, give_up)
                if turn.done is not None:
                    return turn.done
                if turn.look:
                    await self._look(turn.look, look)
                else:
                    await _told(watch.told, turn.seconds)
        finally:
            self._end(watch)

    async def _look(
        self, job_ids: list[str], look: Callable[[list[str]], Awaitable[States]]
    ) -> None:
        try:
            states = await look(job_ids)
        except Exception as error:  # noqa: BLE001 - raised to all whom it concerns
            self._failed(job_ids, error)
        except BaseException:  # canceled: whoever leads next looks
            self._put_back(job_ids)
            raise
        else:
            self._learn(job_ids, states)

    def _start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._listen(), name="runqueue-ends")

    async def _listen(self) -> None:
        await asyncio.sleep(0)  # an eager task factory begins a task before it is known
        me = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            servers = cycle(listening_urls(self._url))
            while self._is_wanted(me):
                next_try = time.monotonic() + PAUSE
                try:
                    async with async_client(next(servers), retries=0) as client:
                        await self._hear(client, me)
                except (RedisError, OSError):
                    self._lost(me)
                    await asyncio.sleep(max(0, next_try - time.monotonic()))
        finally:
            self._ended(me)

    async def _hear(self, client: redis.asyncio.Redis, me: asyncio.Task[None]) -> None:
        line = _Line()
        async with client.pubsub() as pubsub:
            await pubsub.psubscribe(CHANNELS)
            while self._is_wanted(me):
                message = await pubsub.get_message(timeout=TICK)
                self._take(me, message)
                if line.is_to_ask(heard=message is not None):
                    await pubsub.ping("?")


async def _told(told: asyncio.Event, seconds: float) -> None:
    """Wait to be told, but no longer than that."""
    if seconds == math.inf:
        await told.wait()
        return
    try:
        async with asyncio.timeout(seconds):
            await told.wait()
    except TimeoutError:
        return
