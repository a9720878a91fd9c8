"""Details: credits and failure categories of workflow runs whose end did not say them.

`RUNQUEUE_RUN_DETAILS` says of which runs. Their list shows a hundred to a call, the newest first:
its pages are read while each shows several of them, the others are searched one by one. A server
without that list is left alone for an hour.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

from api_client import ListClass, ListedRun, RunPage
from api_client.calls.calls import WORKFLOW_RUNS_PATH
from api_client.types import is_over
from runqueue.records.claim_items import RunDetails, Taken
from runqueue.store import worker_calls
from worker.process.account import NO_LIST_SECONDS, AccountRuntime
from worker.process.writers import Write
from worker.stages.consumer import Consumer

#: Runs of one claim, and seconds after which one that nobody recorded comes again: it takes a
#: hundred calls at most, at the account's pace.
CHUNK, LEASE_SECONDS = 100, 300.0
#: A page that shows fewer of the runs costs as much as searching them.
WORTH: Final = 2
#: The statuses of the pages, by the setting.
_STATUSES: Final = {
    "failed": ("failed", "terminated", "timed_out"),
    "all": ("completed", "failed", "terminated", "timed_out", "canceled"),
}


class DetailsConsumer(Consumer[list[str]]):
    """Claims runs whose details are to be read, many as one item."""

    stage = "details"

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        del capacity  # what several read at once would be the same pages
        super().__init__(account, 1)
        self._rests_until = float("-inf")

    async def take(self, limit: int, tick_us: int) -> Taken[list[str]]:
        """Claim runs."""
        want, lease_us = CHUNK if limit else 0, int(LEASE_SECONDS * 1e6)
        taken = await self.claim(worker_calls.details_claim, want, tick_us, lease_us)
        return taken.with_items([list(taken.items)] if taken.items else [])

    def about(self, item: list[str]) -> dict[str, Any]:
        """Return the ids of the runs."""
        return {"runs": item}

    async def handle(self, item: list[str]) -> Sequence[Write]:
        """Read some runs; those that were not found come again."""
        missing, found = set(item), dict[str, ListedRun]()
        failed: ListClass | None = ListClass.NOT_SUPPORTED
        is_read = self.account.worker_settings.run_details != "never"
        if is_read and time.monotonic() >= self._rests_until:
            failed = await self._read(missing, found)
            if failed is ListClass.NOT_SUPPORTED:
                self._rests_until = time.monotonic() + NO_LIST_SECONDS
        writer = self.account.writers.details
        writes: list[Write] = [(writer, _details(run)) for run in found.values()]
        if failed is ListClass.NOT_SUPPORTED:
            writes += [(writer, RunDetails(run_id, 0)) for run_id in missing]
        return writes

    async def _read(self, missing: set[str], found: dict[str, ListedRun]) -> ListClass | None:
        """Move runs from `missing` to `found`; returns what a call failed with, None = none did."""
        number, statuses = 1, _STATUSES[self.account.worker_settings.run_details]
        while len(missing) >= WORTH:
            page = await self._page(page=number, status=statuses)
            if page.outcome is not ListClass.DONE:
                return page.outcome
            if _move(page, missing, found) < WORTH or page.is_short:
                break
            number += 1
        for run_id in sorted(missing):
            page = await self._page(search_key=run_id)
            if page.outcome is not ListClass.DONE:
                return page.outcome
            _move(page, missing, found)
        return None

    async def _page(self, **filters: Any) -> RunPage:
        await self.account.permit()
        with self.account.metrics.timed("workflow_runs") as timer:
            page = await self.account.client.list_runs(path=WORKFLOW_RUNS_PATH, **filters)
            timer.status = page.status_code
        if page.outcome is not ListClass.DONE:
            why = page.outcome.value
            self.account.log.warning("details_failed", why=why, status=page.status_code)
        return page


def _move(page: RunPage, missing: set[str], found: dict[str, ListedRun]) -> int:
    """Move the runs of a page that are over; returns how many there were."""
    here = {
        run.run_id: run
        for run in page.runs
        if run.run_id in missing and is_over(run.status, run.retry_pending)
    }
    found.update(here)
    missing.difference_update(here)
    return len(here)


def _details(run: ListedRun) -> RunDetails:
    billed, cached = ("" if n is None else n for n in (run.credits, run.cached_credits))
    return RunDetails(run.run_id, 1, billed, cached, run.failure_category or "")
