"""Reconciling: unconfirmed → running (its run was found), or what is left when there is none.

A pass takes the jobs whose look is due, all at once, and looks for their runs (`search.py`). What
nothing was found for is recorded with what the search is worth, and `record_search.lua` decides.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog

from runqueue import ids, stages
from runqueue.items import Accepted, Doubtful, Searched, Taken
from worker.account import AccountLink
from worker.finding import markers_of, next_look
from worker.pump import Pump
from worker.runs import Runs
from worker.search import Search, SearchNote, SearchResult, readable

log = structlog.get_logger()

#: Seconds after which a look that nobody recorded comes again.
LEASE_SECONDS = 60.0
#: Jobs looked for in one pass, and calls open at once in it.
BATCH, CONCURRENCY = 500, 8
#: Seconds between the two searches that say together that there is no run.
SPACING = 30.0
#: Seconds after a loss of claims was noticed in which submissions from before may yet become runs
#: (14 s of a lease to begin one, and 60 s for its answer); and between two tries to recover.
RECOVERY_GRACE, RECOVERY_EVERY = 75.0, 15.0


class ReconcilePump(Pump):
    """Looks for the runs of unconfirmed jobs; one pass at a time."""

    kind = "reconcile"

    def __init__(self, account: AccountLink, places: int) -> None:
        super().__init__(account, min(places, 1))
        self._recover_at = 0.0
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._runs = Runs(account, self._slots)
        self._search = Search(account, self._runs, self._slots, self._record)

    async def take(self, want: int, tick_us: int) -> Taken:
        """Claim the jobs whose look is due, as one item."""
        account, start = self.account, time.monotonic()
        taken = await account.send(
            stages.reconcile_claim(
                account.name,
                account.lease.name,
                BATCH if want else 0,
                tick_us,
                int(LEASE_SECONDS * 1e6),
            )
        )
        if time.monotonic() < self._recover_at:
            taken = taken._replace(recover_from_us=0)
        is_work = taken.items or taken.recover_from_us
        return taken._replace(items=[(taken, start)] if is_work else [])

    async def handle(self, item: tuple[Taken, float]) -> None:
        """Make one pass."""
        taken, start = item
        self._runs.begin_pass()
        if taken.recover_from_us:
            await self._recover(taken, start)
        if taken.items:
            await self._look(taken.items, taken.now_us, start)
        self.free_place()

    async def _look(self, doubts: Sequence[Doubtful], now_us: int, start: float) -> None:
        jobs, broken = readable(doubts, now_us, start)
        found = dict.fromkeys(broken, SearchResult("unknown", SearchNote.UNREADABLE))
        found |= await self._search.look(jobs) if jobs else {}
        ages = {job.job_id: (job.age, job.wait(self.account.grace)) for job in jobs}
        grace = self.account.grace
        searched = []
        for doubt in doubts:
            finding = found.get(doubt.job_id)
            if finding is None:
                continue
            age, wait = ages.get(doubt.job_id, (grace, grace))
            searched.append(
                Searched(
                    *(doubt.job_id, doubt.attempt, finding.verdict),
                    *(int(next_look(age, wait) * 1e6), int(wait * 1e6)),
                    *(finding.note, finding.candidates),
                )
            )
        if searched:
            call = stages.record_search(self.account.name, searched, now_us, int(SPACING * 1e6))
            codes = await self.account.send(call)
            log.info(
                "unconfirmed_searched",
                account=self.account.name,
                jobs=len(doubts),
                found=len(doubts) - len(searched),
                settled=codes.count(2),
            )

    async def _recover(self, loss: Taken, start: float) -> None:
        """Adopt the runs of claims that Redis lost, by their markers, and let the account go on.

        Not before whatever was on the wire has become a run or has not. A run that names no attempt
        of ours and has no owner may be one of them, too: then the account waits for a person.
        """
        since_us = loss.recover_from_us
        waited = (loss.now_us - loss.recover_since_us) / 1e6
        left = max(0.0, RECOVERY_GRACE - waited)
        self._recover_at = time.monotonic() + min(left or RECOVERY_EVERY, RECOVERY_EVERY)
        if not self.account.may_list():
            return
        since = start - (loss.now_us - since_us) / 1e6
        listing = await self._runs.recent(since)
        owners, unknown = await self._runs.owners(listing.made), 0
        complete = listing.is_complete and listing.is_dated
        free = [
            run for run in listing.made if not owners[run.run_id] and listing.is_after(run, since)
        ]
        for shown in await self._runs.shown(free):
            run = shown.listed
            marked = markers_of(shown.request or {}) | ids.markers_in(run.title or "")
            if shown.request is None and not marked:
                complete = False
                continue
            unknown += not marked
            for job_id, attempt in marked:
                await self._record([Accepted(job_id, attempt, run.run_id, run.status, 0)])
        if left:
            return
        if complete and not unknown:
            await self.account.send(stages.recovered(self.account.name, since_us))
            log.warning("lost_claims_recovered", account=self.account.name, runs=len(free))
        else:
            log.warning(
                "lost_claims_not_recovered",
                account=self.account.name,
                complete=complete,
                runs_without_marker=unknown,
            )

    async def _record(self, items: Sequence[Accepted], guess: bool = False) -> list[int]:
        call = stages.mark_running(self.account.name, items, guess=guess, marked=not guess)
        codes = await self.account.send(call)
        adopted = [item for item, code in zip(items, codes, strict=True) if code in {1, 5}]
        self.account.traces.found(adopted)
        for item, code in zip(items, codes, strict=True):
            log.info(
                "run_found",
                account=self.account.name,
                job_id=item.job_id,
                attempt=item.attempt,
                run_id=item.run_id,
                verdict=("known", "adopted", "stray", "taken", "moved on", "corrected")[code],
            )
        return codes
