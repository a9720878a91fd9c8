"""Submitting: ready → submitting → running, or wherever the answer leads.

A submission is at most once: claim, POST, record. What surely created no run goes back to the head
of its lane; what nobody knows becomes unconfirmed. What each answer means is
`api_client.answers.outcomes`' business; what becomes of the job is decided here. A 429 gives the
claim back (`give_back.lua`), which slows the account's pace down (`limits.lua`) or holds it.
"""

import asyncio
import re
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from api_client import Submission, SubmissionClass
from api_client.elapsed import elapsed
from api_client.errors import RATE_LIMITED
from config.settings import account_prefix
from runqueue.records.claim_items import ClaimAnswer, Claimed, GivenBack, Lost, RunAccepted, Taken
from runqueue.store import codec, worker_calls
from runqueue.tracing import Origin, working
from worker import poll_times
from worker.process.account import AccountRuntime
from worker.process.writers import Write
from worker.runs.answer_check import AnswerCheck
from worker.stages.consumer import Consumer

#: Seconds after the claim in which a permit may be used; the job goes back as not sent after that.
#: What every claim takes on the way does not count: else nothing could go where Redis is far away.
PERMIT_SECONDS = 0.2
#: Claims of which the fastest shows what every claim takes.
ROUND_TRIPS = 20

#: What a server says that takes no tags with a submission.
_TAGS = re.compile(r"run_metadata|\btag(s|ging|ged)?\b", re.IGNORECASE)
# Tuples: a set would call `Enum.__hash__`, which is Python.
_REFUSALS = (SubmissionClass.REFUSED, SubmissionClass.ACCOUNT)
#: Why nothing is known of a submission that was cut off with its process.
STOPPED = "the worker was stopped"


class _Claim(NamedTuple):
    """A claim that was sent: its id, the process's name then, and when (`elapsed`)."""

    claim_id: str
    process: str
    sent: float


#: A claimed job, the process's name at its claim, and since when its permit may be used.
_Granted = tuple[Claimed, str, float]


class SubmitConsumer(Consumer[_Granted]):
    """Claims ready jobs and submits them."""

    stage = "submit"

    def __init__(self, account: AccountRuntime, capacity: int) -> None:
        super().__init__(account, capacity)
        self._claim: _Claim | None = None
        self._round_trips: deque[float] = deque(maxlen=ROUND_TRIPS)
        self._answers = AnswerCheck()
        #: Why nothing can be submitted to the account's base URL; '' = nothing is known against it.
        self._wrong_address = ""

    async def take(self, limit: int, tick_us: int) -> Taken[_Granted]:
        """Claim ready jobs.

        A claim whose answer was lost is sent again, under its own id, before a new one is
        made: its jobs are ours, and nobody else would send them.
        """
        account = self.account
        if limit:
            start = elapsed()
            self._wrong_address = await account.check_address()
            # A server that does not answer makes no old message of the one that began this.
            tick_us += int((elapsed() - start) * 1e6) if tick_us else 0
            limit = 0 if self.draining else limit
        process = account.lease.name
        if self._claim is None or self._claim.process != process:
            self._claim = _Claim(secrets.token_hex(6), process, elapsed())
        claim_id, _, sent = self._claim
        start = elapsed()
        taken = await account.run(
            worker_calls.claim,
            process,
            claim_id,
            limit,
            tick_us,
            stay_idle=self.stays_idle(),
            marked=account.worker_settings.correlation,
            receives=account.receives,
            date_us=account.client.server_clock.now_us(),
        )
        self._claim = None
        # Not its own: the first of all may be slow because the permit was on its way for long.
        granted = sent + min(self._round_trips, default=0.0)
        self._round_trips.append(elapsed() - start)
        if taken.answer is ClaimAnswer.OK:
            account.lease.sequence = max(account.lease.sequence, taken.sequence)
        return taken.with_items([(job, process, granted) for job in taken.items])

    def about(self, item: _Granted) -> dict[str, Any]:
        """Return the job's id and its attempt."""
        return {"job_id": item[0].job_id, "attempt": item[0].attempt}

    async def handle(self, item: _Granted) -> Sequence[Write]:
        """Submit one claimed job, once."""
        job, process, granted = item
        account, returned = self.account, self.account.writers.returned
        try:
            post = codec.submission(
                job.stored,
                job.job_id,
                job.attempt,
                mark=account.worker_settings.correlation,
                queue=account.worker_settings.queue_name,
                tag=account.tags_runs,
                receiver=account.receiver(job.job_id, job.attempt),
            )
        except (ValueError, KeyError) as error:
            # Nothing was sent, so no run can exist.
            account.log.error(  # noqa: TRY400 - the trace may quote the request
                "stored_request_unreadable", job_id=job.job_id
            )
            reason = f"the stored request cannot be read: {type(error).__name__}"
            return [(account.writers.dead, Lost(job.job_id, job.attempt, reason))]
        if self._wrong_address:
            why = self._wrong_address
            self.warn(item, "submission_returned", why="address", cause=why)
            return [(returned["account"], GivenBack(job.job_id, job.attempt, 0, why))]
        if not self._may_send(job, process, granted):
            return [(returned["void"], GivenBack(job.job_id, job.attempt))]
        if post.traceparent:
            outcome = await self._traced(job, post)
        else:
            outcome = await self._submit(job, post)
        if outcome.outcome in _REFUSALS and post.is_tagged and _TAGS.search(outcome.detail):
            # The tag is ours, not the request's: it goes again without one, at no cost.
            account.remember_no_tags()
            return [(returned["void"], GivenBack(job.job_id, job.attempt))]
        if outcome.outcome is SubmissionClass.ACCEPTED and outcome.run_id:
            status = outcome.run_status or "created"
            first_poll_us = int(poll_times.first_spacing(account.worker_settings) * 1e6)
            run = RunAccepted(job.job_id, job.attempt, outcome.run_id, status, first_poll_us)
            return [(account.writers.running, run)]
        return self._without_run(item, outcome)

    async def _traced(self, job: Claimed, post: codec.Post) -> Submission:
        """Send the POST as a step of the job's trace."""
        origin = Origin(self.account.name, job.job_id, job.attempt, post.traceparent)
        with working("submit", "CONSUMER", origin) as step:
            outcome = await self._submit(job, post)
            step.set_attributes(
                runqueue__outcome=outcome.outcome.value,
                runqueue__run_id=outcome.run_id,
                http__response__status_code=outcome.status_code,
            )
            if outcome.outcome is not SubmissionClass.ACCEPTED:
                step.fail(outcome.outcome.value)
            return outcome

    async def _submit(self, job: Claimed, post: codec.Post) -> Submission:
        """Send the POST; being stopped in it leaves its outcome unknown."""
        try:
            with self.account.metrics.timed("submit") as timer:
                outcome = await self.account.client.submit(
                    post.kind, post.content, post.headers, post.query
                )
                timer.status = outcome.status_code
        except asyncio.CancelledError:
            return Submission(SubmissionClass.UNKNOWN, detail=STOPPED)
        if outcome.outcome is SubmissionClass.ACCEPTED:
            return self._checked(job, post, outcome)
        if not outcome.needs_key_check:
            return outcome
        try:
            return outcome.with_key_check(await self.account.key_is_allowed())
        except asyncio.CancelledError:
            return outcome  # no run was made, that much is known

    def _checked(self, job: Claimed, post: codec.Post, outcome: Submission) -> Submission:
        """Return an accepted answer, or if it is another request's, that nothing is known."""
        different = self._answers.differences(post, outcome)
        if not different:
            return outcome
        # What came over the connection before may be off by one, and so would what comes next.
        self.account.client.drop_connections()
        self.account.log.error(
            "answer_of_another_request",
            job_id=job.job_id,
            attempt=job.attempt,
            run_id=outcome.run_id,
            fields=different,
        )
        words = f"the answer was another request's: run {outcome.run_id} ({', '.join(different)})"
        return Submission(SubmissionClass.UNKNOWN, detail=words, status_code=outcome.status_code)

    def _may_send(self, job: Claimed, process: str, granted: float) -> bool:
        """Check once more before sending: lease, permit and drain."""
        if self.draining or not self.account.lease.may_send(process):
            return False
        limits = self.account.settings
        if not (limits.max_submissions_per_second or limits.max_requests_per_second):
            return True
        age = elapsed() - granted
        if age >= PERMIT_SECONDS:
            self.account.log.warning(
                "permit_too_old", job_id=job.job_id, attempt=job.attempt, seconds=round(age, 3)
            )
        return age < PERMIT_SECONDS

    def _without_run(self, item: _Granted, outcome: Submission) -> Sequence[Write]:
        """Return what is written of an outcome that brought no run, or may have brought one."""
        job, writers = item[0], self.account.writers
        why = outcome.outcome.value
        event = "submission_returned" if outcome.outcome in _NO_RUN else f"submission_{why}"
        status = outcome.status_code
        self.warn(item, event, why=why, status=status, cause=_cause(outcome))
        if outcome.outcome in _NO_RUN:
            wait_us = int((outcome.retry_after or 0.0) * 1e6)
            words, named = _words(self.account.name, outcome), outcome.named_rate or 0.0
            back = GivenBack(job.job_id, job.attempt, wait_us, words, named)
            return [(writers.returned[_why(outcome)], back)]
        lost = Lost(job.job_id, job.attempt, _loss(job, outcome), _is_trouble(outcome))
        is_refused = outcome.outcome is SubmissionClass.REFUSED
        return [(writers.dead if is_refused else writers.unconfirmed, lost)]


def _why(outcome: Submission) -> str:
    """Return why a claim is given back, in the words of `give_back`."""
    if outcome.status_code in RATE_LIMITED:
        return "limited"
    return "later" if outcome.is_of_request else outcome.outcome.value


def _loss(job: Claimed, outcome: Submission) -> str:
    """Return what people see of a submission that was refused, or whose answer was lost."""
    words = outcome.detail
    if outcome.hints_at_run and job.attempt > 1:
        words = f"a run of an earlier attempt may have its files: {words}"
    return words[:500]


def _is_trouble(outcome: Submission) -> bool:
    """Say whether the server, or the way to it, failed; being stopped ourselves is neither."""
    if outcome.outcome is not SubmissionClass.UNKNOWN or outcome.detail == STOPPED:
        return False
    return outcome.status_code is None or outcome.status_code >= 500


def _cause(outcome: Submission) -> str | None:
    """Return what may be logged of a failure: the transport's words, never the server's."""
    is_own = outcome.status_code is None and outcome.outcome in _UNANSWERED
    return outcome.detail[:300] if is_own else None


def _words(account: str, outcome: Submission) -> str:
    """Return why an account is held, for people, and the setting to check if it is one."""
    if not outcome.status_code:
        return outcome.detail[:500]
    setting = _SETTINGS.get(outcome.status_code)
    check = f" (check {account_prefix(account)}{setting})" if setting else ""
    status = f"HTTP {outcome.status_code}"
    # An answer without words has its status as its detail.
    words = "" if outcome.detail == status else f": {outcome.detail}"
    return f"{status}{check}{words}"[:500]


_SETTINGS = {401: "API_KEY", 403: "API_KEY", 404: "BASE_URL"}
_UNANSWERED = (SubmissionClass.NOT_SENT, SubmissionClass.UNKNOWN)
_NO_RUN = (SubmissionClass.NOT_SENT, SubmissionClass.BUSY, SubmissionClass.ACCOUNT)
