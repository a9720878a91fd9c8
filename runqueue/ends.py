"""Being told by Redis that jobs have ended: one listener a queue, however many wait.

Every script that ends jobs publishes their ids (`save` in lua/lib/core.lua). A message reaches only
who listens at that moment, and a connection may be gone long before that is known. So what is heard
is never more than a reason to look now: who waits looks by itself as well, now and then, and once
more whenever the listener was subscribed (again).
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast
from weakref import WeakSet

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from runqueue.connect import async_client, sync_client
from runqueue.keys import Keys

#: The channels of all accounts; a message is ids with blanks between them.
CHANNELS = f"{Keys('*').prefix}ended"
#: Seconds after which who waits looks by itself: that is what a lost message costs.
LOOK_EVERY = 2.0
#: Seconds a listener stays when nobody waits any more: the next one may come soon.
LINGER = 5.0
#: Seconds between two looks of a listener at whether it is wanted.
TICK = 0.5
#: Seconds between two tries of a listener to connect.
PAUSE = 1.0
#: Seconds without a word after which the server is asked for one; after twice as many the
#: connection is given up, since nothing else tells that one without traffic is dead.
QUIET = 5.0


#: What tells one who waits to look, a thread or a coroutine.
E = TypeVar("E", threading.Event, asyncio.Event)
#: What a listener is known by.
L = TypeVar("L")


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


class _Waiters(Generic[E, L]):
    """Who waits for which job, and what listens for them; thread-safe."""

    def __init__(self, url: str, event: Callable[[], E]) -> None:
        self._url = url
        self._event: Callable[[], E] = event
        self.begin_anew()
        _ALL.add(self)

    @contextmanager
    def watch(self, job_id: str) -> Iterator[E]:
        """Give an event: it is set once every end will be heard, and when the job's may be."""
        told = self._event()
        self._enter(job_id, told)
        try:
            yield told
        finally:
            self._leave(job_id, told)

    def begin_anew(self) -> None:
        """Forget everything: of what a parent process had, a fork has neither threads nor loops."""
        self._lock = threading.RLock()  # the collector may end an abandoned wait at any point
        self._waiting: dict[str, set[E]] = {}
        self._listener: L | None = None
        self._is_heard = False
        self._left = 0.0

    def _start(self) -> L | None:
        raise NotImplementedError

    def _enter(self, job_id: str, told: E) -> None:
        with self._lock:
            self._waiting.setdefault(job_id, set()).add(told)
            if self._listener is None:
                self._listener = self._start()
            elif self._is_heard:
                told.set()

    def _leave(self, job_id: str, told: E) -> None:
        with self._lock:
            others = self._waiting.get(job_id, set())
            others.discard(told)
            if not others:
                self._waiting.pop(job_id, None)
            self._left = time.monotonic()

    def _is_wanted(self, listener: L) -> bool:
        """Tell a listener whether to go on; if not, the next one who waits starts another."""
        with self._lock:
            if self._listener is not listener:
                return False
            if not self._waiting and time.monotonic() > self._left + LINGER:
                self._dismiss()
            return self._listener is not None

    def _dismiss(self) -> L | None:
        listener, self._listener, self._is_heard = self._listener, None, False
        return listener

    def _lost(self, listener: L) -> None:
        with self._lock:
            if self._listener is listener:
                self._is_heard = False

    def _ended(self, listener: L) -> None:
        with self._lock:
            if self._listener is listener:
                self._dismiss()

    def _take(self, listener: L, message: dict[str, Any] | None) -> None:
        """Have those look whom a message concerns; a subscription, also a renewed one, all."""
        kind = message["type"] if message else ""
        with self._lock:
            if message and kind == "pmessage":
                for job_id in message["data"].decode().split():
                    for told in self._waiting.get(job_id, ()):
                        told.set()
            elif kind == "psubscribe" and self._listener is listener:
                self._is_heard = True
                for waiting in self._waiting.values():
                    for told in waiting:
                        told.set()


_ALL: "WeakSet[_Waiters[Any, Any]]" = WeakSet()


def _begin_anew() -> None:
    for waiters in _ALL:
        waiters.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


class Ends(_Waiters[threading.Event, threading.Event]):
    """Tells threads of the ends of jobs; its listener is a thread, known by the event that ends it.

    Args:
        url: the queue's Redis.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, threading.Event)

    def close(self) -> None:
        """Have the listener end, within a tick; who still waits goes on without it."""
        with self._lock:
            over = self._dismiss()
        if over is not None:
            over.set()

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
            with sync_client(self._url) as client:
                # Tried again below, which tells that what was published meanwhile is missed.
                client.connection_pool.connection_kwargs["retry"] = Retry(NoBackoff(), 0)
                while self._is_wanted(over):
                    next_try = time.monotonic() + PAUSE
                    try:
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


class AsyncEnds(_Waiters[asyncio.Event, asyncio.Task[None]]):
    """Tells coroutines of one event loop of the ends of jobs; its listener is a task.

    Args:
        url: the queue's Redis.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, asyncio.Event)

    async def close(self) -> None:
        """End the listener; who still waits goes on without it."""
        with self._lock:
            task = self._dismiss()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._listen(), name="runqueue-ends")

    async def _listen(self) -> None:
        await asyncio.sleep(0)  # an eager task factory begins a task before it is known
        me = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            async with async_client(self._url, retries=0) as client:
                while self._is_wanted(me):
                    next_try = time.monotonic() + PAUSE
                    try:
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


def time_to_look(told: threading.Event, give_up: float) -> bool:
    """Pause until there may be news of a job; False once the time is up.

    Args:
        told: the event of `Ends.watch`.
        give_up: when, on the monotonic clock, the time is up.
    """
    left = give_up - time.monotonic()
    if left <= 0:
        return False
    told.wait(min(left, LOOK_EVERY))
    told.clear()  # before the look: what is told meanwhile is cause for another
    return True


async def time_to_look_async(told: asyncio.Event, give_up: float) -> bool:
    """Pause until there may be news of a job; see `time_to_look`."""
    left = give_up - time.monotonic()
    if left <= 0:
        return False
    try:
        async with asyncio.timeout(min(left, LOOK_EVERY)):
            await told.wait()
    except TimeoutError:
        pass
    told.clear()
    return True
