"""Listing: where many runs are live, one list call for a hundred of them shows which are over.

A run that is missing gets its GET from the poll stage. One process lists at a time; it keeps
what it knows of the runs from one list to the next, and asks Redis only for new ones.
Where no list can be read for a while, or a list says what GETs deny, the runs are polled one by one
again (`lists_end.lua`).
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from api_client import ListClass, ReadClass, RunPage
from runqueue.records.claim_items import Taken
from runqueue.store import live_run_calls
from runqueue.store.live_run_calls import Joined, ListReading
from worker import poll_times
from worker.process.account import NO_LIST_SECONDS, AccountRuntime
from worker.process.writers import Write
from worker.runs.listed_runs import Runs
from worker.runs.live_runs import ListVerdict, Watchlist, pages_worth, young_seconds
from worker.runs.pages import PageFailedError, Pager, TooLongError
from worker.runs.read_run import read_run
from worker.stages.consumer import Consumer

#: Seconds after which another process may read the list; renewed with every page.
LIST_LEASE_SECONDS = 30.0
#: Pages read at once.
CONCURRENCY = 8
#: A run may be in the list a moment after its submission was answered: seconds for that.
SETTLE_SECONDS = 1.0
#: Runs in one script call, and seconds of those that joined which are read once more: a clock that
#: was set must hide none.
CHUNK, OVERLAP_SECONDS = 500, 1.0
#: Runs of a list that is not believed that get a GET.
SAMPLE = 5


class TakenOverError(Exception):
    """Another process reads the list now."""


class ListConsumer(Consumer[ListReading]):
    """Reads the list of live runs; one at a time."""

    stage = "list"

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        super().__init__(account, min(capacity, 1))
        self._watchlist = Watchlist()
        self._slots = asyncio.Semaphore(CONCURRENCY)
        runs = Runs(account, self._slots, self._permit)
        self._pager = Pager(runs, self._watchlist, self._slots)
        self._cursor = "-inf"
        self._spaced = 0.0
        self._process = ""
        #: Called when runs are to be polled now.
        self.on_missing: Callable[[], None] = lambda: None

    async def take(self, limit: int, tick_us: int) -> Taken[ListReading]:
        """Take the reading of the list."""
        self._process = self.account.lease.name
        least = int(poll_times.least_listed(self.account.worker_settings) * 1e6)
        lease = int(LIST_LEASE_SECONDS * 1e6)
        return await self.claim(live_run_calls.lists_claim, limit, tick_us, lease, least_us=least)

    async def handle(self, item: ListReading) -> Sequence[Write]:
        """Read the list, and have those runs polled that it does not show."""
        began = time.monotonic()
        try:
            if item.is_useful:
                await self._read(item, began)
            else:
                await self._end(0.0, "few runs")
        except TakenOverError:
            self.account.log.warning("list_taken_over")
        except RedisError as error:
            # Its lease ends, and the next process begins anew.
            self.account.log.warning("list_unrecorded", error=str(error))
        return ()

    async def _read(self, reading: ListReading, began: float) -> None:
        await self._catch_up(reading.began_us)
        young = int(young_seconds(reading, self._spaced) * 1e6)
        live = len(self._watchlist)
        try:
            read = await self._pager.read(reading.began_us, young, pages_worth(live))
        except PageFailedError as failed:
            await self._failed(reading, failed.page)
            return
        except TooLongError:
            await self._end(poll_times.TOO_LONG_OFF, "too many runs of others")
            return
        self.account.reads.answered()
        settled_us = reading.began_us - int(SETTLE_SECONDS * 1e6)
        verdict = self._watchlist.judge(read, settled_us, reading.orphans)
        if verdict.is_suspicious and not await self._is_believed(verdict.missing):
            await self._failed(reading, None)
            return
        await self._record(reading, verdict)
        now_us = reading.began_us + int((time.monotonic() - began) * 1e6)
        duration = poll_times.duration_of(reading, now_us, self._watchlist.started())
        rate = self.account.settings.max_requests_per_second
        least = poll_times.least_list_spacing(self.account.worker_settings)
        self._spaced = poll_times.list_spacing(duration, live, len(read.pages), least, rate)
        await self._next_in(reading, self._spaced, reach_us=read.reach_us)
        self.account.log.debug(
            "runs_listed",
            runs=live,
            pages=len(read.pages),
            missing=len(verdict.missing),
            again_in=round(self._spaced, 3),
        )

    async def _catch_up(self, now_us: int) -> None:
        """Read which runs joined the lists since this process read one.

        All are read where that lies ahead: a step of the clock was corrected meanwhile.
        """
        if self._cursor != "-inf" and int(self._cursor.removeprefix("(")) > now_us:
            self._cursor = "-inf"
        more = True
        while more:
            joined, more = await self.account.run(live_run_calls.lists_joined, self._cursor, CHUNK)
            self._watchlist.add(joined)
            if joined:
                self._cursor = f"({max(run.joined_us for run in joined)}"
        if self._cursor != "-inf":
            last = int(self._cursor.removeprefix("("))
            self._cursor = f"({last - int(OVERLAP_SECONDS * 1e6)}"

    async def _record(self, reading: ListReading, verdict: ListVerdict) -> None:
        account = self.account
        runs = [(run.job_id, run.run_id) for run in verdict.missing]
        runs += [("", run_id) for run_id in verdict.missing_orphans]
        is_due = False
        for start in range(0, len(runs), CHUNK):
            part = runs[start : start + CHUNK]
            times = (
                reading.began_us,
                int(SETTLE_SECONDS * 1e6),
                int(poll_times.LEASE_SECONDS * 1e6),
            )
            codes = await account.run(live_run_calls.lists_missing, part, *times)
            self._watchlist.drop(
                run_id for (_, run_id), code in zip(part, codes, strict=True) if code != 2
            )
            is_due = is_due or 1 in codes
        for start in range(0, len(verdict.shown), CHUNK):
            some = verdict.shown[start : start + CHUNK]
            limits = account.run_limits_us
            await account.run(
                live_run_calls.lists_seen, some, int(poll_times.ORPHAN_SECONDS * 1e6), *limits
            )
        if is_due:
            self.on_missing()

    async def _is_believed(self, missing: Sequence[Joined]) -> bool:
        """Ask for some of the runs that a suspicious list lacks; one that goes on denies it.

        So does a server that answers none of them.
        """
        sample = random.sample(missing, SAMPLE)
        answers = await asyncio.gather(*(self._is_over(run.run_id) for run in sample))
        return False not in answers and True in answers

    async def _is_over(self, run_id: str) -> bool | None:
        """Say whether a run is over; None = that could not be read."""
        async with self._slots:
            await self._permit()
            reading = await read_run(self.account, run_id)
        return reading.is_over if reading.outcome is ReadClass.RUN else None

    async def _failed(self, reading: ListReading, page: RunPage | None) -> None:
        """Try again later; after some failures, or without any list, poll runs one by one.

        Args:
            reading: which list.
            page: the answer that failed; None = the list is wrong.
        """
        if page is not None and page.outcome is not ListClass.NOT_SUPPORTED:
            self.account.reads.failed(page.status_code)
        why = "wrong" if page is None else page.outcome.value
        self.account.log.warning("list_of_live_runs_failed", why=why)
        if page is not None and page.outcome is ListClass.NOT_SUPPORTED:
            await self._end(NO_LIST_SECONDS, why)
            return
        retry_after = None if page is None else page.retry_after
        least = poll_times.least_list_spacing(self.account.worker_settings)
        wait = poll_times.spacing_after_failure(self._spaced, least, retry_after)
        fails = await self._next_in(reading, wait, failed=True)
        if seconds := poll_times.lists_off(fails, is_wrong=page is None):
            await self._end(seconds, why)

    async def _next_in(
        self, reading: ListReading, wait: float, *, failed: bool = False, reach_us: int = 0
    ) -> int:
        """Say when the next list is due, counted from when this one was taken."""
        next_us = reading.began_us + int(wait * 1e6)
        fails = await self.account.run(
            live_run_calls.lists_done, self._process, next_us, failed=failed, reach_us=reach_us
        )
        if fails < 0:
            raise TakenOverError
        return fails

    async def _end(self, seconds: float, why: str) -> None:
        """Have the runs polled one by one, for so many seconds at least."""
        released = await self.account.run(live_run_calls.lists_end, int(seconds * 1e6))
        self._watchlist.clear()
        self._cursor, self._spaced = "-inf", 0.0
        self._pager.restart()
        self.account.log.info("lists_ended", why=why, runs=released, seconds=seconds)
        if released:
            self.on_missing()

    async def _permit(self) -> None:
        """Wait for leave to make a call, and renew the lease."""
        while True:
            granted, seconds = await self.account.run(
                live_run_calls.lists_permit, self._process, int(LIST_LEASE_SECONDS * 1e6)
            )
            if granted < 0:
                raise TakenOverError
            if granted:
                return
            await asyncio.sleep(max(seconds, 0.01))


def starter(consumer: Consumer[Any]) -> Callable[[], None]:
    """Return what has a consumer of this process claim work at once, without a message."""
    tasks: set[asyncio.Task[Any]] = set()

    def begin() -> None:
        if not consumer.draining:
            task = asyncio.get_running_loop().create_task(consumer.run(0))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    return begin
