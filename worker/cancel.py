"""Canceling: a run is asked to end, again and again until a GET has seen its end.

Many runs go in calls of a hundred, where the server has such a call. Runs that no job owns (strays)
are canceled here too, when a person asks for it.
"""

import asyncio

import structlog

from api_client import CancelClass, Cancellation, ListClass
from runqueue import stages
from runqueue.items import Taken, ToCancel
from worker.account import AccountLink
from worker.pump import Pump

log = structlog.get_logger()

#: Seconds one call may take (it sends the runs' webhooks inside), and until the next try.
CALL_SECONDS, LEASE_SECONDS = 12.0, 15.0
#: Seconds of tries after which the job fails without a confirmed end; its run is shown as a stray.
GIVE_UP_SECONDS = 600.0
#: Runs in one bulk call: the server's bound. A few are canceled one by one, which tells more.
BULK, BULK_FROM = 100, 5

_SAID = frozenset({CancelClass.DONE, CancelClass.OVER, CancelClass.NOT_FOUND})


class CancelPump(Pump):
    """Claims runs that are to be canceled and says so to the API."""

    kind = "cancel"

    def __init__(self, account: AccountLink, places: int) -> None:
        super().__init__(account, places)
        self._has_bulk = True

    async def take(self, want: int, tick_us: int) -> Taken:
        """Claim due cancels, many as one item; those tried for too long are given up."""
        account = self.account
        want = min(want, BULK)
        taken = await account.send(
            stages.cancel_claim(
                account.name, account.lease.name, want, tick_us, int(LEASE_SECONDS * 1e6)
            )
        )
        limit = taken.now_us - int(GIVE_UP_SECONDS * 1e6)
        hopeless = [(job.job_id, job.run_id) for job in taken.items if job.since_us < limit]
        if hopeless:
            await account.send(stages.give_up(account.name, hopeless))
            ids, runs = [job_id for job_id, _ in hopeless], [run_id for _, run_id in hopeless]
            log.error("cancel_given_up", account=account.name, jobs=ids, runs=runs)
        wanted = [job for job in taken.items if job.since_us >= limit]
        if not self._has_bulk or len(wanted) < BULK_FROM:
            return taken._replace(items=[[job] for job in wanted])
        # A full chunk means that more may be due: ask again at once.
        more = taken.now_us if len(taken.items) == want else taken.next_us
        return taken._replace(items=[wanted], next_us=more)

    async def handle(self, item: list[ToCancel]) -> None:
        """Cancel some runs; a GET right after confirms the end, or the next try comes."""
        if len(item) == 1 or not await self._cancel_all(item):
            await asyncio.gather(*map(self._cancel_one, item))
        self.free_place()

    async def _cancel_all(self, jobs: list[ToCancel]) -> bool:
        """Cancel runs in one call; False = this server has none."""
        with self.account.metrics.timed("cancel_bulk") as timer:
            answer = await self.account.client.cancel_runs(
                [job.run_id for job in jobs], CALL_SECONDS
            )
            timer.status = answer.status_code
        if answer.outcome is ListClass.NOT_SUPPORTED:
            self._has_bulk = False
            return False
        if answer.outcome is not ListClass.DONE:
            self._tell(jobs, answer.outcome.value, answer.status_code)
        left = []
        for job in jobs:
            if answer.outcome is ListClass.DONE and job.run_id not in answer.cancelled:
                left.append(job)  # over, unknown, or still there: asked by itself, it says which
            elif job.job_id:
                self.account.look_now.put(job.job_id, _nothing)
            elif job.run_id in answer.cancelled:
                self.account.ended_strays.put(job.run_id, _nothing)
        await asyncio.gather(*map(self._cancel_one, left))
        return True

    async def _cancel_one(self, job: ToCancel) -> None:
        try:
            with self.account.metrics.timed("cancel") as timer:
                answer = await self.account.client.cancel_run(job.run_id, CALL_SECONDS)
                timer.status = answer.status_code
        except asyncio.CancelledError:
            answer = Cancellation(CancelClass.TROUBLE, detail="the worker was stopped")
        if answer.outcome not in _SAID:
            self._tell([job], answer.outcome.value, answer.status_code)
        if job.job_id:
            self.account.look_now.put(job.job_id, _nothing)
        elif answer.outcome in _SAID:
            self.account.ended_strays.put(job.run_id, _nothing)

    def _tell(self, jobs: list[ToCancel], why: str, status: int | None) -> None:
        log.warning(
            "cancel_failed",
            account=self.account.name,
            jobs=[job.job_id for job in jobs],
            runs=[job.run_id for job in jobs],
            why=why,
            status=status,
        )


def _nothing() -> None:
    """Free no place: the whole item has one."""
