"""Canceling: a run is asked to end, again and again until a GET has seen its end."""

import asyncio

import structlog

from api_client import CancelClass, Cancellation
from runqueue import stages
from runqueue.stages import Taken, ToCancel
from worker.pump import Pump

log = structlog.get_logger()

#: Seconds one call may take (it sends the run's webhook inside), and until the next try.
CALL_SECONDS, LEASE_SECONDS = 12.0, 15.0
#: Seconds of tries after which the job fails without a confirmed end; its run is shown as a stray.
GIVE_UP_SECONDS = 600.0

_SAID = frozenset({CancelClass.DONE, CancelClass.OVER, CancelClass.NOT_FOUND})


class CancelPump(Pump):
    """Claims runs that are to be canceled and says so to the API."""

    kind = "cancel"

    async def take(self, want: int, tick_us: int) -> Taken:
        """Claim due cancels; those tried for too long are given up."""
        account = self.account
        taken = await account.send(
            stages.cancel_claim(
                account.name, account.lease.name, want, tick_us, int(LEASE_SECONDS * 1e6)
            )
        )
        limit = taken.now_us - int(GIVE_UP_SECONDS * 1e6)
        hopeless = [(job.job_id, job.run_id) for job in taken.items if job.since_us < limit]
        if hopeless:
            await account.send(stages.give_up(account.name, hopeless))
            log.error("cancel_given_up", account=account.name, runs=[run for _, run in hopeless])
        return taken._replace(items=[job for job in taken.items if job.since_us >= limit])

    async def handle(self, item: ToCancel) -> None:
        """Cancel one run; a GET right after confirms the end, or the next try comes."""
        try:
            with self.account.metrics.timed("cancel") as timer:
                answer = await self.account.client.cancel_run(item.run_id, CALL_SECONDS)
                timer.status = answer.status_code
        except asyncio.CancelledError:
            answer = Cancellation(CancelClass.TROUBLE, detail="the worker was stopped")
        if answer.outcome not in _SAID:
            log.warning(
                "cancel_failed",
                account=self.account.name,
                run_id=item.run_id,
                why=answer.outcome.value,
                status=answer.status_code,
            )
        self.account.look_now.put(item.job_id, self.free_place)
