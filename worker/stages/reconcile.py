"""Reconciling: unconfirmed → running (its run was found), or what is left when there is none.

A pass takes the jobs whose search is due, all at once, and looks for their runs (`search.py`). What
nothing was found for is recorded with what the search is worth, and `record_search.lua` decides.
"""

import asyncio
from collections.abc import Sequence

from api_client.elapsed import elapsed
from runqueue.records.claim_items import RunAccepted, Searched, Taken, Unconfirmed
from runqueue.store import worker_calls
from worker.process.account import AccountRuntime
from worker.process.writers import Write
from worker.runs.listed_runs import Runs
from worker.runs.matcher import next_search
from worker.runs.recovery import Recovery
from worker.runs.search import Search, SearchMessage, SearchResult, readable
from worker.stages.consumer import Consumer

#: Seconds after which a search that nobody recorded comes again.
LEASE_SECONDS = 60.0
#: Jobs looked for in one pass, and calls open at once in it.
BATCH, CONCURRENCY = 500, 8
#: Seconds between the two searches that say together that there is no run.
SPACING = 30.0


#: What was claimed, when the claim was sent (`elapsed`), and whether lost claims are recovered.
_Pass = tuple[Taken[Unconfirmed], float, bool]


class ReconcileConsumer(Consumer[_Pass]):
    """Looks for the runs of unconfirmed jobs, one pass at a time; recovers lost claims beside."""

    stage = "reconcile"

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        super().__init__(account, min(capacity, 1) * 2)
        self._is_searching = self._is_recovering = False
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._runs = Runs(account, self._slots)
        self._search = Search(account, self._runs, self._slots, self._record)
        self._recovery = Recovery(account, self._runs, self._record)

    async def take(self, limit: int, tick_us: int) -> Taken[_Pass]:
        """Claim the jobs whose search is due, as one item, and an attempt to recover as another."""
        start, wanted = elapsed(), BATCH if limit and not self._is_searching else 0
        lease_us = int(LEASE_SECONDS * 1e6)
        taken = await self.claim(worker_calls.reconcile_claim, wanted, tick_us, lease_us)
        items: list[_Pass] = []
        if taken.items:
            self._is_searching = True
            items.append((taken, start, False))
        if limit and taken.recover_from_us and self._recovery.is_due() and not self._is_recovering:
            self._is_recovering = True
            items.append((taken, start, True))
        # What is due while a pass is made is taken once that is over.
        next_us = 0 if self._is_searching else taken.next_us
        return taken._replace(next_us=next_us).with_items(items)

    async def handle(self, item: _Pass) -> Sequence[Write]:
        """Make one pass, or one attempt to recover."""
        taken, start, recovers = item
        try:
            if recovers:
                await self._recovery.attempt(taken, start)
            else:
                self._runs.begin_pass()
                await self._search_runs(taken.items, taken.now_us, start)
        finally:
            if recovers:
                self._is_recovering = False
            else:
                self._is_searching = False
        return ()

    async def _search_runs(
        self, unconfirmed_jobs: Sequence[Unconfirmed], now_us: int, start: float
    ) -> None:
        jobs, broken = readable(unconfirmed_jobs, now_us, start)
        found = dict.fromkeys(broken, SearchResult("unknown", SearchMessage.UNREADABLE))
        found |= await self._search.find(jobs) if jobs else {}
        grace = self.account.worker_settings.unconfirmed_grace_seconds
        ages = {job.job_id: (job.age, job.wait(grace)) for job in jobs}
        searched = []
        for unconfirmed in unconfirmed_jobs:
            finding = found.get(unconfirmed.job_id)
            if finding is None:
                continue
            age, wait = ages.get(unconfirmed.job_id, (grace, grace))
            searched.append(
                Searched(
                    *(unconfirmed.job_id, unconfirmed.attempt, finding.verdict),
                    *(int(next_search(age, wait) * 1e6), int(wait * 1e6)),
                    *(finding.message, finding.candidates),
                )
            )
        if searched:
            codes = await self.account.run(
                worker_calls.record_search, searched, now_us, int(SPACING * 1e6)
            )
            self.account.log.info(
                "unconfirmed_searched",
                jobs=len(unconfirmed_jobs),
                found=len(unconfirmed_jobs) - len(searched),
                settled=codes.count(2),
            )

    async def _record(
        self, items: Sequence[RunAccepted], by_request: bool = False, canceled: bool = False
    ) -> list[int]:
        codes = await self.account.run(
            worker_calls.mark_running,
            items,
            by_request=by_request,
            marked=not by_request,
            canceled=canceled,
        )
        adopted = [item for item, code in zip(items, codes, strict=True) if code in {1, 5}]
        self.account.traces.found(adopted)
        for item, code in zip(items, codes, strict=True):
            self.account.log.info(
                "run_found",
                job_id=item.job_id,
                attempt=item.attempt,
                run_id=item.run_id,
                verdict=("known", "adopted", "orphan", "taken", "moved on", "corrected")[code],
            )
        return codes
