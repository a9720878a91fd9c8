"""Runs of others: while work waits, a list of live runs shows how many slots of the plan they take.

It is read where `RUNQUEUE_SHARE_CAPACITY` is on, by one process at a time, and apart from the lists
that follow our own runs (`list_runs.py`), which pause while few are live.
"""

import asyncio
from collections.abc import Sequence

from redis.exceptions import RedisError

from api_client import ListClass
from api_client.elapsed import elapsed
from api_client.types import TERMINAL_STATUSES
from runqueue.records.claim_items import Taken
from runqueue.store import live_run_calls
from worker import poll_times
from worker.process.account import NO_LIST_SECONDS, AccountRuntime
from worker.process.writers import Write
from worker.runs.listed_runs import DATE_TOLERANCE, Listing, Runs
from worker.runs.live_runs import Watchlist
from worker.runs.pages import PageFailedError, Pager
from worker.stages.consumer import Consumer

#: Seconds after which a reading that nobody recorded is due again.
LEASE_SECONDS = 60.0
#: Pages that are read at most, the newest runs first.
MAX_PAGES = 10


class OthersConsumer(Consumer[int]):
    """Counts the live runs of others; the item is when the reading was taken."""

    stage = "others"

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        super().__init__(account, min(capacity, 1))
        slots = asyncio.Semaphore(1)
        self._pager = Pager(Runs(account, slots), Watchlist(), slots)
        #: Live runs that are surely of others, as the last list showed.
        self._known: set[str] = set()

    async def take(self, limit: int, tick_us: int) -> Taken[int]:
        """Take the reading of the list."""
        lease = int(LEASE_SECONDS * 1e6)
        return await self.claim(live_run_calls.others_claim, limit, tick_us, lease)

    async def handle(self, item: int) -> Sequence[Write]:
        """Read the list, and record how many of its runs are of others."""
        began, listing = elapsed(), Listing(date_ahead=self.account.date_ahead)
        wait, until_us, runs = poll_times.OTHERS_FAILED_SECONDS, 0, []
        try:
            pages = await self._read(listing)
            if listing.is_fresh and listing.is_dated:
                rate = self.account.settings.max_requests_per_second
                wait = poll_times.others_spacing(pages, rate)
                until_us = item + int(poll_times.OTHERS_BELIEVED * wait * 1e6)
                runs = self._live(listing, item, began)
        except PageFailedError as failed:
            is_there = failed.page.outcome is not ListClass.NOT_SUPPORTED
            wait = max(wait, failed.page.retry_after or 0.0) if is_there else NO_LIST_SECONDS
        next_us = item + int(wait * 1e6)
        try:
            others, *sure = await self.account.run(
                live_run_calls.others_done, next_us, until_us, item, runs
            )
        except RedisError as error:
            # Its lease ends, and another process reads the list.
            self.account.log.warning("others_unrecorded", error=str(error))
            return ()
        self._known = {run_id for (run_id, _), is_sure in zip(runs, sure, strict=True) if is_sure}
        if until_us:
            self.account.log.debug("others_listed", runs=others, again_in=round(wait, 3))
        else:
            self.account.log.warning("runs_of_others_unknown", again_in=round(wait, 3))
        return ()

    async def _read(self, listing: Listing) -> int:
        """Read the live runs; return how many pages they have."""
        for number in range(1, MAX_PAGES + 1):
            page = await self._pager.page(number)
            listing.add(page)
            if page.is_short:
                return number
        return MAX_PAGES

    def _live(self, listing: Listing, item: int, began: float) -> list[tuple[str, int]]:
        """Return the runs that are live, the oldest first, and when each was made at the latest.

        Those that are older than a run may be are left out.
        """
        of_task, of_workflow = self.account.run_limits_us
        now, found = elapsed(), []
        for run, made in sorted(listing.made.items(), key=lambda each: each[1]):
            longest = of_workflow if run.run_id.startswith("wr_") else of_task
            if run.status not in TERMINAL_STATUSES and (now - made) * 1e6 <= longest:
                latest_us = item + int((made - began + DATE_TOLERANCE) * 1e6)
                found.append((run.run_id, 0 if run.run_id in self._known else latest_us))
        return found
