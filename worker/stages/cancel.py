"""Canceling: a run's cancel is sent again and again until a GET has seen its end.

A run that cannot be read is over once the server says so in answer to its cancel. What neither says
for ten minutes is abandoned: the job fails, and its run is shown as an orphan.

Many runs go in calls of a hundred, where the server has such a call. Runs that no job owns
(orphans) are canceled here too, when a person asks for it; and paused runs that a person approved
are continued.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from redis.exceptions import RedisError

from api_client import CancelClass, Cancellation, ListClass
from api_client.elapsed import elapsed
from runqueue.records.claim_items import ApprovalSent, RunAbandoned, Taken, ToCancel
from runqueue.store import worker_calls
from worker.process.account import AccountRuntime
from worker.process.writers import Write
from worker.runs.read_run import is_unreadable
from worker.stages.consumer import Consumer

#: Seconds one call may take (it sends the runs' webhooks inside), and until the next try.
CALL_SECONDS, LEASE_SECONDS = 12.0, 15.0
#: Seconds of tries after which a run that cannot be read is believed to be over if the server says
#: so, and after which the job fails without a confirmed end; its run is shown as an orphan.
UNREADABLE_SECONDS, GIVE_UP_SECONDS = 60.0, 600.0
#: Runs in one bulk call: the server's bound. A few are canceled one by one, which shows more.
BULK, BULK_FROM = 100, 5

#: Answers by which the server says that the run is over, or will be.
_SAID = frozenset({CancelClass.DONE, CancelClass.OVER, CancelClass.NOT_FOUND})
#: What cancels a run, or confirms its end; it returns what is set once that is written.
_Call = Coroutine[Any, Any, asyncio.Event]


class CancelConsumer(Consumer[list[ToCancel]]):
    """Claims runs that are to be canceled and says so to the API."""

    stage = "cancel"

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        super().__init__(account, capacity)
        self._has_bulk = True
        #: When approvals were claimed, by their jobs.
        self._claimed: dict[str, float] = {}

    async def take(self, limit: int, tick_us: int) -> Taken[list[ToCancel]]:
        """Claim due cancels, many as one item; those tried for too long are abandoned."""
        account, limit, claimed = self.account, min(limit, BULK), elapsed()
        lease_us = int(LEASE_SECONDS * 1e6)
        taken = await self.claim(worker_calls.cancel_claim, limit, tick_us, lease_us)
        hopeless = [job for job in taken.items if job.tried_us > GIVE_UP_SECONDS * 1e6]
        if hopeless:
            abandoned = [RunAbandoned(job.job_id, job.run_id) for job in hopeless]
            await account.run(worker_calls.abandon_run, abandoned)
            ids, runs = [job.job_id for job in hopeless], [job.run_id for job in hopeless]
            account.log.error("cancel_abandoned", jobs=ids, runs=runs)
        wanted = [job for job in taken.items if job.tried_us <= GIVE_UP_SECONDS * 1e6]
        self._claimed |= {job.job_id: claimed for job in wanted if job.is_approval}
        to_cancel = [job for job in wanted if not job.is_approval]
        if not self._has_bulk or len(to_cancel) < BULK_FROM:
            return taken.with_items([[job] for job in wanted])
        # A full chunk means that more may be due: ask again at once.
        more = taken.now_us if len(taken.items) == limit else taken.next_us
        approved = [[job] for job in wanted if job.is_approval]
        return taken._replace(next_us=more).with_items([to_cancel, *approved])

    def about(self, item: list[ToCancel]) -> dict[str, Any]:
        """Return the ids of the jobs and of their runs."""
        return {"jobs": [job.job_id for job in item], "runs": [job.run_id for job in item]}

    async def handle(self, item: list[ToCancel]) -> Sequence[Write]:
        """Cancel some runs; a GET right after confirms the end, or the next try comes.

        What came of a run is handed over as its own call ends: neither a slower one nor a stop of
        the worker holds it back.
        """
        if item[0].is_approval:
            return [await self._approve(item[0])]
        calls = await self._cancel_all(item) if len(item) > 1 else None
        if calls is None:
            calls = [self._cancel_one(job) for job in item]
        for written in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(written, BaseException):
                raise written
            await written.wait()
        return ()

    async def _approve(self, job: ToCancel) -> Write:
        """Tell Skyvern that a paused run may go on; a second try could approve its next pause.

        So could one that arrives after the lease: a person may have approved the run again.
        """
        if elapsed() - self._claimed.pop(job.job_id) > LEASE_SECONDS - CALL_SECONDS:
            late = ApprovalSent(job.job_id, job.run_id, "not sent: the worker stood still")
            return self.account.writers.approvals, late
        with self.account.metrics.timed("continue") as timer:
            answer = await self.account.client.continue_run(job.run_id, CALL_SECONDS)
            timer.status = answer.status_code
        why = ""
        if answer.outcome is not CancelClass.DONE:
            status = answer.status_code
            why = f"{f'HTTP {status}' if status else 'it may have come'}: {answer.detail}"
            self.account.log.warning("approval_failed", **self.about([job]), why=why)
        return self.account.writers.approvals, ApprovalSent(job.job_id, job.run_id, why)

    async def _cancel_all(self, jobs: list[ToCancel]) -> list[_Call] | None:
        """Cancel runs in one call, and return what is left to do for each; None = it has none."""
        with self.account.metrics.timed("cancel_bulk") as timer:
            answer = await self.account.client.cancel_runs(
                [job.run_id for job in jobs], CALL_SECONDS
            )
            timer.status = answer.status_code
        if answer.outcome is ListClass.NOT_SUPPORTED:
            self._has_bulk = False
            return None
        if answer.outcome is not ListClass.DONE:
            self._warn(jobs, answer.outcome.value, answer.status_code)
        calls = []
        for job in jobs:
            if answer.outcome is ListClass.DONE and job.run_id not in answer.cancelled:
                # Over, unknown, or still there: canceled by itself, it says which.
                calls.append(self._cancel_one(job))
            else:
                calls.append(self._confirm(job, is_said=job.run_id in answer.cancelled))
        return calls

    async def _cancel_one(self, job: ToCancel) -> asyncio.Event:
        try:
            with self.account.metrics.timed("cancel") as timer:
                answer = await self.account.client.cancel_run(job.run_id, CALL_SECONDS)
                timer.status = answer.status_code
        except asyncio.CancelledError:
            answer = Cancellation(CancelClass.TROUBLE, detail="the worker was stopped")
        if answer.outcome not in _SAID:
            self._warn([job], answer.outcome.value, answer.status_code)
        return await self._confirm(job, is_said=answer.outcome in _SAID)

    async def _confirm(self, job: ToCancel, *, is_said: bool) -> asyncio.Event:
        """Have a GET confirm the end of a run, or believe the server's word for it.

        Args:
            job: what was canceled.
            is_said: whether the server said that the run is over, or will be.

        Returns:
            What is set once that is written.
        """
        writers = self.account.writers
        if not job.job_id:
            return _written((writers.ended_orphans, job.run_id) if is_said else None)
        if is_said and job.tried_us > UNREADABLE_SECONDS * 1e6 and await self._is_unreadable(job):
            self.account.log.warning("run_unreadable", job_id=job.job_id, run_id=job.run_id)
            over = RunAbandoned(job.job_id, job.run_id, is_over=True)
            return _written((writers.abandoned, over))
        return _written((writers.poll_now, job.job_id))

    async def _is_unreadable(self, job: ToCancel) -> bool:
        try:
            return await is_unreadable(self.account, job.run_id)
        except (RedisError, asyncio.CancelledError):
            return False

    def _warn(self, jobs: list[ToCancel], why: str, status: int | None) -> None:
        about = self.about(jobs)
        self.account.log.warning("cancel_failed", **about, why=why, status=status)


def _written(write: Write | None) -> asyncio.Event:
    """Have a record written, if there is one; the event is set once it is."""
    done = asyncio.Event()
    if write is None:
        done.set()
    else:
        writer, record = write
        writer.put(record, done.set)
    return done
