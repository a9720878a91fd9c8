"""Samples of each account for the page, read once for all viewers, and a quarter hour's history.

One task reads: every five seconds for the history, every second while a page is open. So a hundred
open pages cost Redis no more than one. Each read is bounded, whatever the queue's size.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog
from redis.exceptions import RedisError

from runqueue.errors import RunQueueError
from runqueue.producer.async_pages import list_jobs
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.producer.listing import Filter
from runqueue.records.account import AccountStats
from runqueue.records.batch import Batch, JobPage
from runqueue.records.job import Job, JobState
from runqueue.store import job_calls
from runqueue.store.audit import AuditEntry
from runqueue.store.groups import Group
from runqueue.store.live_processes import Process

log = structlog.get_logger()

#: Seconds between two reads: while a page is open, and for the history.
LIVE_EVERY, EVERY = 1.0, 5.0
#: Seconds between two reads of the groups, which cost most.
GROUPS_EVERY = 5.0
#: Points of the history: a quarter of an hour.
POINTS: Final = 180
#: Seconds after which a sample is too old for a page.
FRESH = 1.5
#: Most entries of each list on a page.
BATCHES, NEEDING, AUDIT = 10, 5, 8
#: Pages of a list that are read for one page, at most.
_PAGES = 4


class Sample(NamedTuple):
    """One point of the history.

    Args:
        at: monotonic seconds.
        ready, live, unconfirmed, dead: jobs.
        accepted, ended, failed: totals.
    """

    at: float
    ready: int
    live: int
    unconfirmed: int
    dead: int
    accepted: int
    ended: int
    failed: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The last sample of an account.

    Args:
        at: when, monotonic seconds.
        groups: those with settings or ready jobs, as `longest_first` has them.
        unread: ids of jobs and batches that would be shown, but cannot be read.
        parts: what live pages show of it, once that is rendered, by whether their viewers operate.
    """

    at: float
    stats: AccountStats
    batches: list[Batch]
    groups: list[Group]
    processes: list[Process]
    dead: list[Job]
    unconfirmed: list[Job]
    paused: list[Job]
    audit: list[AuditEntry]
    unread: tuple[str, ...] = ()
    parts: dict[bool, dict[str, bytes]] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class History:
    """The last points of an account."""

    points: deque[Sample] = field(default_factory=lambda: deque(maxlen=POINTS))

    def add(self, stats: AccountStats) -> None:
        """Add a point, unless the last one is too young."""
        now = time.monotonic()
        if self.points and now - self.points[-1].at < EVERY - LIVE_EVERY / 2:
            return
        self.points.append(sample_of(stats, now))


async def first_jobs(
    queue: AsyncRunQueue,
    enough: int,
    wanted: Filter,
    account: str,
    cursor: str = "",
    *,
    archived: bool = False,
) -> JobPage:
    """Read pages of jobs until there are enough: a page may be short.

    Jobs that cannot be read are left out, and named.

    Args:
        queue: the queue.
        enough: jobs after which to stop.
        wanted: which jobs.
        account: a known one.
        cursor: that of the page before; '' = the first page.
        archived: whether ended jobs come from the archive, if the queue has one; what needs a
            person is in Redis.
    """
    jobs: list[Job] = []
    unread: list[str] = []
    lacks_archive = False
    for _ in range(_PAGES):
        if archived:
            found = await queue.list_jobs(wanted, account=account, cursor=cursor, limit=enough)
        else:
            found = await list_jobs(queue.send, account, wanted, cursor, enough)
        jobs, unread, cursor = jobs + found.jobs, [*unread, *found.unread], found.cursor
        lacks_archive |= found.lacks_archive
        if len(jobs) >= enough or not cursor:
            break
    return JobPage(jobs, cursor, tuple(dict.fromkeys(unread)), lacks_archive)


def longest_first(groups: Iterable[Group]) -> list[Group]:
    """Return groups by their ready jobs, paused ones first."""
    return sorted(groups, key=lambda one: (not one.paused, -one.ready, one.name))


def sample_of(stats: AccountStats, at: float) -> Sample:
    """Return statistics as a point of the history."""
    ended = [stats.totals.get(f"ended:{state.value}", 0) for state in JobState if state.is_over]
    return Sample(
        at,
        stats.states[JobState.READY],
        stats.live,
        stats.states[JobState.UNCONFIRMED],
        stats.states[JobState.DEAD],
        stats.totals.get("adopted_runs", 0),
        sum(ended),
        stats.totals.get("ended:failed", 0),
    )


class Feed:
    """Reads the accounts for the page.

    Args:
        queue: all of the queue.
    """

    def __init__(self, queue: AsyncRunQueue) -> None:
        self._queue = queue
        self._snapshots: dict[str, Snapshot] = {}
        self._histories: dict[str, History] = {}
        self._groups: dict[str, tuple[float, list[Group]]] = {}
        self._listeners: dict[asyncio.Event, str] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._task: asyncio.Task[None] | None = None
        self._looked_at = asyncio.Event()

    def start(self) -> None:
        """Begin to read."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def history(self, account: str) -> list[Sample]:
        """Return the last points of an account, the oldest first."""
        found = self._histories.get(account)
        return list(found.points) if found else []

    async def snapshot(self, account: str, *, fresh: bool = False) -> Snapshot:
        """Return the sample of an account; read now if there is none, or it is too old.

        Args:
            account: which.
            fresh: whether it is read in any case, since an action has just changed it.

        Raises:
            RunQueueError: Redis cannot be reached.
            UnknownAccount: no worker ever served this account.
        """
        async with self._lock(account):
            found = self._snapshots.get(account)
            if found and not fresh and time.monotonic() - found.at < FRESH:
                return found
            return await self._read(account, fresh=fresh)

    def _lock(self, account: str) -> asyncio.Lock:
        return self._locks.setdefault(account, asyncio.Lock())

    @contextmanager
    def listen(self, account: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever the account was read."""
        event = asyncio.Event()
        self._listeners[event] = account
        self._looked_at.set()
        try:
            yield event
        finally:
            del self._listeners[event]

    async def _read(self, account: str, *, fresh: bool) -> Snapshot:
        queue = self._queue
        stats = await self._stats(account)
        groups = await self._read_groups(account, fresh=fresh)
        batches, processes, dead, unconfirmed, paused, audit = await asyncio.gather(
            queue.list_batches(account, limit=BATCHES),
            queue.workers(account),
            first_jobs(queue, NEEDING, Filter(state=JobState.DEAD), account),
            first_jobs(queue, NEEDING, Filter(state=JobState.UNCONFIRMED), account),
            first_jobs(queue, NEEDING, Filter(is_paused=True), account),
            queue.audit(account, limit=AUDIT),
        )
        self._snapshots[account] = found = Snapshot(
            time.monotonic(),
            stats,
            batches.batches,
            groups,
            processes,
            dead.jobs[:NEEDING],
            unconfirmed.jobs[:NEEDING],
            paused.jobs[:NEEDING],
            audit,
            tuple(dict.fromkeys(batches.unread + dead.unread + unconfirmed.unread + paused.unread)),
        )
        return found

    async def _read_groups(self, account: str, *, fresh: bool) -> list[Group]:
        at, found = self._groups.get(account, (-math.inf, []))
        if fresh or time.monotonic() - at >= GROUPS_EVERY:
            found = longest_first(await self._queue.groups(account))
            self._groups[account] = time.monotonic(), found
        return found

    async def _stats(self, account: str) -> AccountStats:
        stats = await self._queue.send(job_calls.stats(account))
        self._histories.setdefault(account, History()).add(stats)
        return stats

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except (RunQueueError, RedisError, OSError) as error:
                log.debug("page_not_read", error=str(error)[:200])
            await self._pause()

    async def _pause(self) -> None:
        """Wait for the next read; a page that opens shortens it."""
        self._looked_at.clear()
        if self._listeners:
            await asyncio.sleep(LIVE_EVERY)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY):
                await self._looked_at.wait()

    async def _look(self) -> None:
        watched = set(self._listeners.values())
        for account in await self._queue.accounts():
            try:
                await self._look_at(account, is_watched=account in watched)
            except (RunQueueError, RedisError, OSError) as error:
                # A broken account is reported on its own page; the others go on.
                log.debug("page_not_read", account=account, error=str(error)[:200])

    async def _look_at(self, account: str, *, is_watched: bool) -> None:
        if not is_watched:
            await self._stats(account)
            return
        async with self._lock(account):
            await self._read(account, fresh=False)
        for event, name in tuple(self._listeners.items()):
            if name == account:
                event.set()
                await asyncio.sleep(0)  # other requests are answered before the next listener
