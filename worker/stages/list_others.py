"""Runs of others: while work waits, a list of live runs shows how many slots of the plan they take.

It is read where `RUNQUEUE_SHARE_CAPACITY` is on, by one process at a time, and apart from the lists
that follow our own runs (`list_runs.py`), which pause while few are live.
"""

import asyncio
from collections.abc import Sequence

from redis.exceptions import RedisError

from api_client import ListClass, ListedRun
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
#: Pages of the list that are read, and runs without an owner that are counted, at most.
MAX_PAGES, MAX_RUNS = 20, 1000


class OthersConsumer(Consumer[int]):
    """Counts the live runs of others; the item is when the reading was taken."""

    stage = "others"

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        super().__init__(account, min(capacity, 1))
        slots = asyncio.Semaphore(1)
        self._runs = Runs(account, slots)
        self._pager = Pager(self._runs, Watchlist(), slots)
        #: Runs that are surely of others, as an earlier list showed.
        self._known: set[str] = set()

    async def take(self, limit: int, tick_us: int) -> Taken[int]:
        """Take the reading of the list."""
        lease = int(LEASE_SECONDS * 1e6)
        return await self.claim(live_run_calls.others_claim, limit, tick_us, lease)

    async def handle(self, item: int) -> Sequence[Write]:
        """Read the list, and record how many of its runs are of others."""
        began = elapsed()
        self._runs.begin_pass()
        try:
            listing = Listing(date_ahead=self.account.date_ahead)
            pages = await self._read(listing)
            if not listing.is_fresh:
                return await self._put_off(item, poll_times.OTHERS_FAILED_SECONDS)
            await self._record(item, began, listing, pages)
        except PageFailedError as failed:
            seconds = max(poll_times.OTHERS_FAILED_SECONDS, failed.page.retry_after or 0.0)
            if failed.page.outcome is ListClass.NOT_SUPPORTED:
                seconds = NO_LIST_SECONDS
            return await self._put_off(item, seconds)
        except RedisError as error:
            # Its lease ends, and another process reads the list.
            self.account.log.warning("others_unrecorded", error=str(error))
        return ()

    async def _read(self, listing: Listing) -> int:
        """Read the live runs; return how many pages they have."""
        for number in range(1, MAX_PAGES + 1):
            page = await self._pager.page(number)
            listing.add(page)
            if page.is_short:
                return number
        return MAX_PAGES

    async def _record(self, item: int, began: float, listing: Listing, pages: int) -> None:
        made = {run: at for run, at in listing.made.items() if self._counts(run, listing)}
        owners = await self._runs.owners(made)
        runs = sorted((run for run in made if not owners[run.run_id]), key=lambda run: made[run])
        dated = listing.is_dated

        def created_us(run: ListedRun) -> int | None:
            if run.run_id in self._known:
                return 0
            return item + int((made[run] - began) * 1e6) if dated and run.created else None

        counted = [(run.run_id, created_us(run)) for run in runs[-MAX_RUNS:]]
        wait = poll_times.others_spacing(pages, self.account.settings.max_requests_per_second)
        next_us = item + int(wait * 1e6)
        until_us = item + int(poll_times.OTHERS_BELIEVED * wait * 1e6)
        early_us = int(DATE_TOLERANCE * 1e6)
        others, *sure = await self.account.run(
            live_run_calls.others_done, next_us, until_us, early_us, counted
        )
        self._known = {
            run_id for (run_id, _), is_sure in zip(counted, sure, strict=True) if is_sure
        }
        self.account.log.debug("others_listed", runs=others, pages=pages, again_in=round(wait, 3))

    def _counts(self, run: ListedRun, listing: Listing) -> bool:
        """Say whether a run is live, by its own status, and not older than a run may be."""
        if run.status in TERMINAL_STATUSES:
            return False
        of_task, of_workflow = self.account.run_limits_us
        longest = of_workflow if run.run_id.startswith("wr_") else of_task
        return not (
            listing.is_dated
            and run.created is not None
            and (elapsed() - listing.made[run]) * 1e6 > longest
        )

    async def _put_off(self, item: int, seconds: float) -> Sequence[Write]:
        """Read no list for some seconds; what the last one showed is believed for its time."""
        self.account.log.warning("runs_of_others_unknown", again_in=seconds)
        await self.account.run(live_run_calls.others_done, item + int(seconds * 1e6), 0)
        return ()
