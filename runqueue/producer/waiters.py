"""Waiting for the ends of jobs: however many wait at one queue, one of them searches for all.

A waiter is a `WaitedJobs`. One of them leads: it checks the states of jobs that may have ended
(never checked yet, or named by the listener of `async_listener.py`) and, now and then, of all jobs
that any of them waits for, since a message may be lost. The others only wait for its news. A leader
that has what it waited for makes another one lead. So thousands of coroutines cost a few
calls in two seconds, and one connection, and threads that wait need no other thread for it.
"""

import asyncio
import math
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import redis

from runqueue.errors import JobNotFound
from runqueue.records.job import Job, JobState
from runqueue.store.keys import Keys

#: Seconds after which all that is waited for is checked: that is what a lost message costs.
CHECK_EVERY = 2.0
#: Jobs in one check.
CHECKED_AT_ONCE = 1000
#: Seconds a listener stays without waiters: the next one may come soon.
STAY_IDLE_SECONDS = 5.0
#: The channels of all accounts; a message is ids with blanks between them.
CHANNELS = Keys("*").ended
#: Seconds between two checks of a listener whether it is still needed.
TICK = 0.5
#: Seconds between two tries of a listener to connect.
PAUSE = 1.0
#: Seconds without traffic after which the server is pinged; after twice as many the connection is
#: given up, since nothing else shows that it is dead.
QUIET = 5.0

#: Results that `as_completed` reads at once; each may hold some megabytes.
JOBS_AT_ONCE = 50

#: What wakes a waiter, a thread or a coroutine.
E = TypeVar("E", threading.Event, asyncio.Event)
#: What a listener is known by.
L = TypeVar("L")
#: A check's answer: states, and beside each how long the job has been unconfirmed.
States = Sequence[tuple[JobState | None, float]]


class WaitedJobs(Generic[E]):
    """Jobs that one waiter waits for.

    Args:
        job_ids: the jobs.
        news: set when the waiter has something to do or to learn.
    """

    def __init__(self, job_ids: Iterable[str], news: E) -> None:
        self.news: E = news
        #: Jobs that have not ended, as far as is known; those of them that were never checked.
        self.open = set(job_ids)
        for job_id in self.open:
            if not isinstance(job_id, str):
                said = f"expected job ids, got {type(job_id).__name__}"
                raise TypeError(f"{said}; of what enqueue_many returned they are its `.job_id`s")
        self.unseen = set(self.open)
        #: Jobs that have ended, and were not taken from here yet.
        self.over: deque[str] = deque()
        #: The state seen last.
        self.state: JobState | None = None
        #: Why waiting is of no use: raised to the waiter.
        self.error: Exception | None = None

    def take(self, most: int) -> list[str]:
        """Take jobs that have ended."""
        return [self.over.popleft() for _ in range(min(most, len(self.over)))]


class Turn(NamedTuple):
    """What a waiter does next.

    Args:
        done: True: there is news; False: the time is up; None: neither.
        check: jobs to check.
        seconds: how long to wait for news.
    """

    done: bool | None
    check: list[str]
    seconds: float


class Watchers(ABC, Generic[E, L]):
    """All waiters of a queue, which of them leads, and what listens for them; thread-safe."""

    def __init__(self, url: str, event: Callable[[], E]) -> None:
        self._url = url
        self._event: Callable[[], E] = event
        self._lock = threading.RLock()  # the collector may end an abandoned wait at any point
        self._waiting: dict[str, set[WaitedJobs[E]]] = {}
        self._pausing: dict[WaitedJobs[E], None] = {}
        self._leader: WaitedJobs[E] | None = None
        #: Jobs to check at once, and those that it is time to check again.
        self._to_check: dict[str, None] = {}
        self._due: dict[str, None] = {}
        self._next_check = 0.0
        self._listener: L | None = None
        self._is_listening = False
        self._is_closed = False
        self._left = 0.0

    @contextmanager
    def watch(self, job_ids: Iterable[str]) -> Iterator[WaitedJobs[E]]:
        """Wait for jobs; what ends meanwhile is found by `pause`, also between two of its calls."""
        watch = WaitedJobs(job_ids, self._event())
        with self._lock:
            if not self._waiting:
                self._next_check = time.monotonic() + CHECK_EVERY
            for job_id in watch.open:
                self._waiting.setdefault(job_id, set()).add(watch)
            self._is_closed = False
            self._check(watch.open)
        try:
            yield watch
        finally:
            self._leave(watch)

    def _leave(self, watch: WaitedJobs[E]) -> None:
        with self._lock:
            for job_id in watch.open:
                self._forget(job_id, watch)
            self._left = time.monotonic()

    def _forget(self, job_id: str, watch: WaitedJobs[E]) -> None:
        others = self._waiting.get(job_id, set())
        others.discard(watch)
        if not others:
            for jobs in (self._waiting, self._to_check, self._due):
                jobs.pop(job_id, None)

    def _check(self, job_ids: Iterable[str]) -> None:
        """Have jobs checked, by the leader or else by the next waiter."""
        self._to_check.update((job_id, None) for job_id in job_ids if job_id in self._waiting)
        if self._leader is not None:
            self._leader.news.set()

    def _begin(self, watch: WaitedJobs[E]) -> None:
        with self._lock:
            self._pausing[watch] = None

    def _turn(self, watch: WaitedJobs[E], give_up: float) -> Turn:
        """Say what a waiter does next.

        Raises:
            JobNotFound: one of its jobs is not on record; or what the check of one of them raised.
        """
        with self._lock:
            watch.news.clear()  # what is set from here on is cause for another turn
            if watch.error is not None:
                raise watch.error.with_traceback(None)
            if watch.over or not watch.open:
                return Turn(True, [], 0)
            now = time.monotonic()
            # Each job is checked once, however short the timeout.
            if now >= give_up and not watch.unseen:
                return Turn(False, [], 0)
            left = math.inf if watch.unseen else give_up - now
            if self._leader is None:
                self._leader = watch
            if self._leader is not watch:
                return Turn(None, [], left)
            return Turn(None, self._next_to_check(now), min(left, max(0.0, self._next_check - now)))

    def _next_to_check(self, now: float) -> list[str]:
        if not self._due and now >= self._next_check:
            self._due = dict.fromkeys(self._waiting)
            self._next_check = now + CHECK_EVERY
        chosen: dict[str, None] = {}
        for jobs in (self._to_check, self._due):
            while jobs and len(chosen) < CHECKED_AT_ONCE:
                chosen[jobs.popitem()[0]] = None
        return list(chosen)

    def _learn(self, job_ids: Sequence[str], states: States) -> None:
        """Give the waiters what a check has shown."""
        with self._lock:
            for job_id, (state, _) in zip(job_ids, states, strict=True):
                for watch in tuple(self._waiting.get(job_id, ())):
                    self._show(watch, job_id, state)
            if self._waiting and self._listener is None and not self._is_closed:
                self._listener = self._start()

    def _show(self, watch: WaitedJobs[E], job_id: str, state: JobState | None) -> None:
        watch.unseen.discard(job_id)
        watch.state = state
        if state is None:
            watch.error = JobNotFound(job_id)
        elif state.is_over:
            watch.open.discard(job_id)
            watch.over.append(job_id)
            self._forget(job_id, watch)
        elif watch.unseen:
            return
        watch.news.set()

    def _failed(self, job_ids: Sequence[str], error: Exception) -> None:
        """Raise to the waiters whose jobs could not be checked; later ones check again."""
        with self._lock:
            concerned = {w for job_id in job_ids for w in self._waiting.get(job_id, ())}
            for watch in concerned.intersection(self._pausing):
                watch.error = error
                watch.news.set()
            self._check(job_ids)

    def _put_back(self, job_ids: Sequence[str]) -> None:
        """Put back the jobs of a check that was broken off."""
        with self._lock:
            self._check(job_ids)

    def _end(self, watch: WaitedJobs[E]) -> None:
        """Stop waiting; another waiter leads in its place."""
        with self._lock:
            self._pausing.pop(watch, None)
            if self._leader is watch:
                self._leader = next(iter(self._pausing), None)
                if self._leader is not None:
                    self._leader.news.set()

    @abstractmethod
    def _start(self) -> L | None:
        """Start a listener; it gives what it hears to `_take`."""

    def _is_wanted(self, listener: L) -> bool:
        """Return whether a listener goes on; if not, the next waiter starts another."""
        with self._lock:
            if self._listener is not listener:
                return False
            if not self._waiting and time.monotonic() > self._left + STAY_IDLE_SECONDS:
                self._dismiss()
            return self._listener is not None

    def _dismiss(self) -> L | None:
        listener, self._listener, self._is_listening = self._listener, None, False
        return listener

    def _close(self) -> L | None:
        with self._lock:
            self._is_closed = True
            return self._dismiss()

    def _lost(self, listener: L) -> None:
        with self._lock:
            if self._listener is listener:
                self._is_listening = False

    def _ended(self, listener: L) -> None:
        with self._lock:
            if self._listener is listener:
                self._dismiss()

    def _take(self, listener: L, message: dict[str, Any] | None) -> None:
        """Have the jobs checked that a message names; after a (renewed) subscription, all."""
        kind = message["type"] if message else ""
        with self._lock:
            if message and kind == "pmessage":
                self._check(message["data"].decode().split())
            elif kind == "psubscribe" and self._listener is listener:
                # What ended before this subscription was not heard.
                self._is_listening = True
                self._check(self._waiting)


class Silence:
    """How long ago a listener's connection brought anything."""

    def __init__(self) -> None:
        self._heard = time.monotonic()
        self._is_pinged = False

    def is_to_ping(self, *, heard: bool) -> bool:
        """Return whether the server is to be pinged.

        Args:
            heard: whether anything came since the last call.

        Raises:
            ConnectionError: it was pinged, and did not answer.
        """
        now = time.monotonic()
        if heard:
            self._heard, self._is_pinged = now, False
        elif now > self._heard + 2 * QUIET:
            raise redis.ConnectionError("Redis says nothing")
        elif now > self._heard + QUIET and not self._is_pinged:
            self._is_pinged = True
            return True
        return False


def found(job_ids: Sequence[str], jobs: Sequence[Job | None]) -> Iterator[Job]:
    """Yield jobs that were read.

    Raises:
        JobNotFound: one of them is gone.
    """
    for job_id, job in zip(job_ids, jobs, strict=True):
        if job is None:
            raise JobNotFound(job_id)
        yield job


def unfinished(left: int, total: int, timeout: float | None) -> str:
    """Say how many of the jobs have not ended in time."""
    return f"{left} of {total} jobs have not ended after {timeout} s"
