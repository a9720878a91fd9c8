"""Reconciling: unconfirmed → running (its run was found), or what is left when there is none.

A pass takes the jobs whose look is due, all at once: a list call finds many runs. What carries a
marker that the server's search looks into is searched by it; the rest is compared with the recent
runs that no job owns. What nothing was found for is recorded with what the search is worth, and
`record_search.lua` decides.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence

import structlog

from api_client import ListClass, ListedRun
from runqueue import ids, stages
from runqueue.items import Accepted, Doubtful, Searched, Taken
from worker.account import AccountLink
from worker.finding import Wanted, is_run_of, kind_of, markers_of, next_look, wanted
from worker.pump import Pump
from worker.runs import Runs, times_of

log = structlog.get_logger()

#: Seconds after which a look that nobody recorded comes again.
LEASE_SECONDS = 60.0
#: Jobs looked for in one pass, and calls open at once in it.
BATCH, CONCURRENCY = 500, 8
#: From so many marked tasks on, the list of all marked runs is read before each is searched for.
BULK_FROM, BULK_PAGES = 10, 5
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
        jobs, broken = _readable(doubts, now_us, start)
        verdicts = await self._verdicts(jobs) | dict.fromkeys(broken, "unknown")
        ages = {job.doubt.job_id: job.age for job in jobs}
        grace = self.account.grace
        searched = [
            Searched(
                doubt.job_id,
                doubt.attempt,
                verdicts[doubt.job_id],
                int(next_look(ages.get(doubt.job_id, grace), grace) * 1e6),
            )
            for doubt in doubts
            if doubt.job_id in verdicts
        ]
        if searched:
            call = stages.record_search(
                self.account.name, searched, now_us, int(grace * 1e6), int(SPACING * 1e6)
            )
            codes = await self.account.send(call)
            log.info(
                "unconfirmed_searched",
                account=self.account.name,
                jobs=len(doubts),
                found=len(doubts) - len(searched),
                settled=codes.count(2),
            )

    async def _verdicts(self, jobs: list[Wanted]) -> dict[str, str]:
        """Look for runs; return what that says of each job whose run was not found."""
        verdicts = {job.doubt.job_id: "unknown" for job in jobs}
        # What was sent without correlation is for people: an equal request may be anybody's.
        sought = [job for job in jobs if job.doubt.marked and self.account.may_list()]
        found_none = await self._search([job for job in sought if job.search_key])
        found_none |= await self._compare([job for job in sought if not job.search_key])
        for job in sought:
            job_id = job.doubt.job_id
            if job_id not in found_none:
                del verdicts[job_id]
            elif job.may_be_denied:
                verdicts[job_id] = found_none[job_id]
        return verdicts

    async def _search(self, jobs: list[Wanted]) -> dict[str, str]:
        """Look for marked runs; return a verdict for each job whose run was not found."""
        if len(jobs) >= BULK_FROM:
            jobs = await self._search_bulk(jobs)
        answers = await asyncio.gather(*map(self._search_one, jobs))
        verdicts = zip(jobs, answers, strict=True)
        return {job.doubt.job_id: verdict for job, verdict in verdicts if verdict}

    async def _search_bulk(self, jobs: list[Wanted]) -> list[Wanted]:
        """Find what stands among the newest marked tasks; it may find, never deny."""
        by_marker = {job.marker: job for job in jobs}
        found: list[tuple[Wanted, ListedRun]] = []
        for number in range(1, BULK_PAGES + 1):
            page = await self._runs.page(number, search_key="[rq:")
            found += [
                (by_marker[marker], run)
                for run, made in times_of(page).items()
                for marker in ids.markers_in(run.title or "")
                if marker in by_marker and made >= by_marker[marker].since
            ]
            if page.outcome is not ListClass.DONE or page.is_short:
                break
        # Of two the older is the job's; the other is recorded as a stray.
        found.sort(key=lambda pair: pair[1].created or 0.0)
        await self._adopt(found)
        seen = {job.marker for job, _ in found}
        return [job for job in jobs if job.marker not in seen]

    async def _search_one(self, job: Wanted) -> str:
        """Search by the attempt's own marker; '' = its run was found."""
        async with self._slots:
            page = await self._runs.page(1, search_key=job.search_key)
        if page.outcome is not ListClass.DONE:
            return "unknown"
        # One from before the claim is of an earlier life: a record that was lost counts anew.
        hits = [run for run, made in times_of(page).items() if made >= job.since]
        # A server that takes no search gives any runs: each has to show the marker itself.
        found = [run for run in hits if await self._carries(run, job)]
        if found:
            # Of two the older is the job's; the other is recorded as a stray.
            found.sort(key=lambda run: run.created or 0.0)
            if await self._adopt([(job, run) for run in found]):
                return ""
        return "negative" if page.is_short and not hits else "unknown"

    async def _carries(self, run: ListedRun, job: Wanted) -> bool:
        """Say whether a run carries the attempt's marker: in its title, else in what it echoes."""
        if job.kind == "task":
            return job.marker in ids.markers_in(run.title or "")
        async with self._slots:
            return job.marker in markers_of(await self._runs.echo(run) or {})

    async def _compare(self, jobs: list[Wanted]) -> dict[str, str]:
        """Compare unmarked jobs with the recent runs that no job owns, oldest first."""
        if not jobs:
            return {}
        left = sorted(jobs, key=lambda job: job.since)
        times, complete = await self._runs.recent(left[0].since)
        free = await self._runs.without_owner(times)
        echoes = await self._runs.echoes_of(free)
        unsure: set[str] = set()
        for run in reversed(free):
            echoed = echoes.get(run.run_id)
            if echoed is None:
                complete = False
                continue
            kind = kind_of(run.run_type)
            may_be = [job for job in left if times[run] >= job.since]
            told = {job.doubt.job_id: is_run_of(job, kind, echoed) for job in may_be}
            for job in may_be:
                is_guess = not markers_of(echoed)
                if told[job.doubt.job_id] and await self._adopt([(job, run)], guess=is_guess):
                    left.remove(job)
                    break
            else:
                unsure |= {job_id for job_id, verdict in told.items() if verdict is not False}
        return {
            job.doubt.job_id: "negative"
            if complete and job.doubt.job_id not in unsure
            else "unknown"
            for job in left
        }

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
        runs, complete = await self._runs.recent(since)
        free, unknown = await self._runs.without_owner(runs), 0
        echoes = await self._runs.echoes_of(free)
        for run in free:
            echoed = echoes.get(run.run_id)
            if echoed is None:
                complete = False
                continue
            marked = markers_of(echoed) | ids.markers_in(run.title or "")
            unknown += not marked
            for job_id, attempt in marked:
                await self._record([Accepted(job_id, attempt, run.run_id, run.status, 0)])
        if left:
            return
        if complete and not unknown:
            await self.account.send(stages.recovered(self.account.name, since_us))
            log.warning("lost_claims_recovered", account=self.account.name, runs=len(runs))
        else:
            log.warning(
                "lost_claims_not_recovered",
                account=self.account.name,
                complete=complete,
                runs_without_marker=unknown,
            )

    async def _adopt(
        self, found: Iterable[tuple[Wanted, ListedRun]], *, guess: bool = False
    ) -> bool:
        """Record runs that were found; True if at least one job has its run now."""
        items = [
            Accepted(job.doubt.job_id, job.doubt.attempt, run.run_id, run.status, 0)
            for job, run in found
        ]
        return bool(items) and await self._record(items, guess=guess)

    async def _record(self, items: list[Accepted], *, guess: bool = False) -> bool:
        call = stages.mark_running(self.account.name, items, guess=guess)
        codes = await self.account.send(call)
        adopted = [item for item, code in zip(items, codes, strict=True) if code == 1]
        self.account.traces.found(adopted)
        for item, code in zip(items, codes, strict=True):
            log.info(
                "run_found",
                account=self.account.name,
                job_id=item.job_id,
                attempt=item.attempt,
                run_id=item.run_id,
                verdict=("known", "adopted", "stray", "taken", "moved on")[code],
            )
        return any(code in {0, 1} for code in codes)


def _readable(
    doubts: Sequence[Doubtful], now_us: int, now: float
) -> tuple[list[Wanted], list[str]]:
    """Return the jobs whose request can be read, and the ids of the others."""
    jobs, broken = [], []
    for doubt in doubts:
        try:
            jobs.append(wanted(doubt, now_us, now))
        except (ValueError, KeyError):
            broken.append(doubt.job_id)
    return jobs, broken
