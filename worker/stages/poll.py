"""Polling: running → completed | failed | canceled | scheduled, one GET a run.

`worker/poll_times.py` says when. Where many runs are live, the list of live runs shows which are to
be polled (`list_runs.py`): those that would be due are left to it (`poll_claim.lua`).

Runs that no job owns (orphans) are polled, too: each takes a slot until it is over.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import orjson
import structlog
from redis.exceptions import RedisError

from api_client import ReadClass, RunReading
from api_client.answers.occupied import found_occupied
from api_client.answers.parts import attempt_age
from runqueue.records.claim_items import (
    DuePoll,
    EndedOrphan,
    Finished,
    Overdue,
    Polled,
    RunAgain,
    Taken,
)
from runqueue.records.job import STATES, short_reason
from runqueue.request.requests import is_web_url
from runqueue.request.retry_policy import Retry
from runqueue.store import worker_calls
from worker import poll_times
from worker.process.writers import Write
from worker.runs.read_run import End, end_of, has_failed, read_again, read_run
from worker.stages.consumer import Consumer

log = structlog.get_logger()

#: Age in seconds from which an orphan that the server does not know is believed not to exist.
UNKNOWN_SECONDS = 60.0
#: Largest answer that is kept whole.
MAX_RESULT_BYTES = 8 * 1024 * 1024


def kept(reading: RunReading) -> bytes:
    """Return what is kept of a run that is over: the answer as it came, unless it is too large.

    Of a larger one the run is named and the size given, unless it was too large to be read to its
    end; Skyvern still has it.
    """
    if len(reading.body) <= MAX_RESULT_BYTES and not reading.is_cut:
        return reading.body
    return orjson.dumps(
        {
            "run_id": reading.run_id,
            "status": reading.run_status,
            "output": None,
            "failure_reason": reading.failure_reason,
            "result_omitted": True,
            "result_bytes": None if reading.is_cut else len(reading.body),
        }
    )


#: A run to poll, and the server's time of its claim in microseconds.
_Due = tuple[DuePoll, int]


class PollConsumer(Consumer[_Due]):
    """Claims runs whose poll is due and reads them."""

    stage = "poll"
    #: Where 550 polls a second came due one by one, a third of the worker's CPU went into scripts
    #: that claimed one or two each.
    min_claim_interval = 0.02

    async def take(self, limit: int, tick_us: int) -> Taken[_Due]:
        """Claim due polls."""
        account = self.account
        max_run_us, max_workflow_us = account.run_limits_us
        taken = await self.claim(
            worker_calls.poll_claim,
            limit,
            tick_us,
            int(poll_times.LEASE_SECONDS * 1e6),
            max_run_us=max_run_us,
            max_workflow_us=max_workflow_us,
            may_list=account.may_list(),
            ahead_us=int(account.worker_settings.poll_max_seconds * 1e6),
            least_us=int(poll_times.least_listed(account.worker_settings) * 1e6),
        )
        return taken.with_items([(job, taken.now_us) for job in taken.items])

    def about(self, item: _Due) -> dict[str, Any]:
        """Return the run's id, and its job's with the attempt."""
        job = item[0]
        return {"job_id": job.job_id, "attempt": job.attempt, "run_id": job.run_id}

    async def handle(self, item: _Due) -> Sequence[Write]:
        """Read one run."""
        job, now_us = item
        end, is_unreadable = End(), False
        try:
            reading = await read_run(self.account, job.run_id)
            if has_failed(reading) and _is_overdue(job, now_us):
                again = await read_again(self.account, job.run_id)
                reading = again or reading
                is_unreadable = again is not None and has_failed(again)
            if reading.is_over:
                end = await end_of(self.account, reading, job.session)
        except asyncio.CancelledError:
            reading = RunReading(ReadClass.TROUBLE, detail="the worker was stopped")
        except RedisError as error:
            reading = RunReading(ReadClass.TROUBLE, detail=f"Redis: {type(error).__name__}")
        if not job.job_id:
            return self._orphan(job, now_us, reading) if end.is_settled else ()
        if reading.outcome is ReadClass.RUN and reading.is_over and reading.run_status:
            if end.is_settled:
                return [self._end(job, reading, reading.run_status, end.why_completed)]
            return [(self.account.writers.poll_soon, job.job_id)]
        return self._going_on(item, reading, is_unreadable=is_unreadable)

    def _going_on(self, item: _Due, reading: RunReading, *, is_unreadable: bool) -> Sequence[Write]:
        """Say when a run is polled again that goes on, or that could not be read."""
        (job, now_us), settings = item, self.account.worker_settings
        overdue, begun_us = self._overdue(job, now_us, reading, is_unreadable=is_unreadable)
        least, most = settings.poll_min_seconds, settings.poll_max_seconds
        wait = poll_times.spacing((now_us - job.started_us) / 1e6, least, most, random.random())
        status = ""
        if reading.outcome is ReadClass.RUN:
            status = reading.run_status or ""
            is_long = poll_times.is_long_queued(status, now_us - job.started_us)
            status = "" if status == job.run_status and not is_long else status
        else:
            least = min(poll_times.FAILED_SECONDS, most)
            wait = poll_times.spacing_after_failure(wait, least, reading.retry_after)
            why = reading.outcome.value
            self.warn(item, "poll_failed", why=why, status=reading.status_code)
        url = str(reading.shown.get("app_url")) if reading.run_status == "paused" else ""
        where = url if is_web_url(url) and len(url) <= 500 else ""
        polled = Polled(job.job_id, job.attempt, status, int(wait * 1e6), begun_us, where)
        return [*overdue, (self.account.writers.polled, polled)]

    def _orphan(self, orphan: DuePoll, now_us: int, reading: RunReading) -> Sequence[Write]:
        """Free the slot of an orphan that is over; another is polled again when its lease ends."""
        is_over = reading.outcome is ReadClass.RUN and reading.is_over
        # A server may not know a run for a moment after it was made.
        if reading.outcome is ReadClass.NOT_FOUND:
            is_over = now_us - orphan.started_us > UNKNOWN_SECONDS * 1e6
        if not is_over:
            return ()
        figures = self.account.figure_rules.encode(orphan.run_id, "", reading.figures)
        over = EndedOrphan(orphan.run_id, figures)
        return [(self.account.writers.over_orphans, over)]

    def _end(self, job: DuePoll, reading: RunReading, status: str, why_completed: str) -> Write:
        """Return the end of a run, or that the job runs again where its policy says so.

        Args:
            job, reading: the run.
            status: what Skyvern calls its end.
            why_completed: why it completed all the same; '' = it ended as it is called.
        """
        writers, result = self.account.writers, kept(reading)
        run = (job.job_id, job.attempt, job.run_id)
        state = "completed" if why_completed else STATES.get(status, "failed")
        figures = self.account.figure_rules.encode(job.run_id, state, reading.figures)
        reason = short_reason(reading.failure_reason)
        if reason and found_occupied(reading.shown, job.session):
            again = RunAgain(*run, status, reason, 0, result, figures, is_occupied=1)
            return writers.run_again, again
        backoff = None
        # Of an answer that was cut nobody saw whether the server itself is about to try again.
        if job.retry and state == "failed" and not reading.is_cut:
            retry = Retry.read(job.retry)
            backoff = retry.backoff(job.runs + 1, status, reading.shown, random.random())
        if backoff is None:
            why = why_completed if state == "completed" else reason
            return writers.finished, Finished(*run, state, status, why, result, figures)
        why, backoff_us = reason or f"the run {status}", int(backoff * 1e6)
        return writers.run_again, RunAgain(*run, status, why, backoff_us, result, figures)

    def _overdue(
        self, job: DuePoll, now_us: int, reading: RunReading, *, is_unreadable: bool
    ) -> tuple[list[Write], int]:
        """Have a run canceled whose time is up, now that a GET says that it goes on, or is gone.

        Not before: after a long stop of the workers most such runs have long been completed. So is
        one that cannot be read although the server answers other reads.

        Returns:
            The cancel, if there is one; and when the run's current attempt began, microseconds by
            the queue's clock, if its time is up only by what we knew: it started later than it was
            accepted, or is another attempt. Else 0.
        """
        if reading.outcome not in {ReadClass.RUN, ReadClass.NOT_FOUND} and not is_unreadable:
            return [], 0
        if job.deadline_us and job.deadline_us <= now_us:
            return self._canceled(job, "deadline"), 0
        is_paused = "paused" in (reading.run_status, job.run_status)  # or its end is just seen
        if is_paused and reading.outcome is not ReadClass.NOT_FOUND:
            return [], 0
        if job.limit_us and now_us - job.since_us > job.limit_us:
            age = attempt_age(reading.shown, self.account.runs_clock(reading.server_date))
            if age is not None and age * 1e6 <= job.limit_us:
                return [], now_us - int(age * 1e6)
            seconds = f"{job.limit_us / 1e6:.15g} s"
            return self._canceled(job, f"time limit: the run took longer than {seconds}"), 0
        return [], 0

    def _canceled(self, job: DuePoll, why: str) -> list[Write]:
        overdue = Overdue(job.job_id, job.attempt, job.run_id, why)
        return [(self.account.writers.overdue, overdue)]


def _is_overdue(job: DuePoll, now_us: int) -> bool:
    is_late = bool(job.deadline_us) and (job.deadline_us or 0) <= now_us
    return is_late or bool(job.limit_us and now_us - job.since_us > job.limit_us)
