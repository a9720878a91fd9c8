"""The conduct ledger: what was submitted, canceled, paused and delivered when, and what follows.

Most of what it judges has a time within which something must, or must not, happen. A fault that can
delay it excuses that: the time counts while no such fault lasts.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from runqueue.records.account import AccountStats
from runqueue.records.batch import Batch
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState
from runqueue.request.retry_policy import Retry
from simulation import processes
from simulation.fault_times import FaultTimes
from simulation.judges.ledger import JOB_NUMBER, AcceptedJob, InvariantLedger, job_number
from simulation.observer import Outcome, SentSubmission
from simulation.plan import PlannedJob
from simulation.server import ANSWER_SECONDS
from simulation.virtual.addresses import callback_url
from simulator.model.runs import Run

#: Seconds from a lost answer until a search that finds no run counts, and between the two that do.
GRACE_SECONDS, SPACING_SECONDS = 30.0, 30.0
#: Seconds within which a claimed job is on its way, and what was asked for has its effect.
PROMPT_SECONDS = 3.0
#: Seconds after which a permit is not used any more, and some more.
PERMIT_SECONDS = 0.7
#: Seconds after a deadline in which a submission comes that was claimed before.
LATE_SECONDS = 0.5
#: Seconds that a fault may add, once it is over: the claim of a process that it stopped goes on.
DELAYED_SECONDS = 60.0
#: Seconds in which a cancel reaches Skyvern, once nothing hinders it: it is tried every 15 s.
CANCEL_SECONDS = 60.0
#: Seconds from a claim until it is taken over, if its process does not send it.
CLAIM_SECONDS = 75.0
#: Seconds for which the queue lets one submission at a time through after a refused key.
PROBE_SECONDS = 45.0
#: Seconds in which a line of the inbox makes a job: one whose process died is taken again.
INBOX_SECONDS = 120.0
#: Seconds for which a live run may have no slot, without a fault that explains it.
SLOT_SECONDS = 20.0
#: Seconds for which a client waits for the answer to a submission.
CLIENT_SECONDS = 60.0
#: The status of a limited submission; for how long the pace is not judged after the first one, over
#: how many seconds it is, and after how many without a submission the row of them is over.
LIMITED, CUT_SECONDS, PACE_SECONDS, PACE_GAP_SECONDS = 429, 12.0, 5.0, 15.0
#: How often lists may end, and so begin, within so many seconds.
LISTS_END, LISTS_SECONDS = 10, 60.0
#: Workers that one job may kill.
MOST_DEATHS = 3
#: Seconds after an operator's or a producer's action in which Redis may lose it by a failover.
_LOSABLE_SECONDS = 4.0


#: Kinds of faults that delay what a process does; and those that delay its calls to Skyvern.
_SLOW = ("redis", "a worker")


@dataclass(slots=True)
class ConductLedger:
    """Records what was done when, and judges what followed.

    Args:
        ledger: the accepted jobs and their runs; receives what does not hold.
        faults: when they lasted.
        max_run_seconds: how long a run of a task may take.
    """

    ledger: InvariantLedger
    faults: FaultTimes
    max_run_seconds: float
    submissions: list[SentSubmission] = field(default_factory=list)
    #: When each job's cancel was acknowledged, by its number; simulated seconds.
    canceled: dict[int, float] = field(default_factory=dict)
    #: Jobs whose cancel was asked, whether or not that was acknowledged.
    maybe_canceled: set[int] = field(default_factory=set)
    #: When jobs were replayed or settled by an operator, by their numbers.
    reopened: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    #: When an operator ended a hold.
    resumed: list[float] = field(default_factory=list)
    #: Workers that each job killed.
    deaths: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    #: Since when each job was seen submitting: its attempt and the time.
    _claimed: dict[int, tuple[int, float]] = field(default_factory=dict)
    _uncounted_since: float | None = None
    #: When lists ended, since nothing was reported; simulated seconds.
    _lists_ended: list[float] = field(default_factory=list)
    #: When a search for each job and attempt found nothing first, unix seconds.
    _negatives: dict[tuple[str, int], float] = field(default_factory=dict)
    #: The ids of the claims that took jobs.
    _claims: set[str] = field(default_factory=set)
    #: The attempt for which each job was claimed last, by its id.
    _attempts: dict[str, int] = field(default_factory=dict)
    #: When each job was claimed last, by its id; simulated seconds, infinite if no rate applied.
    _claimed_at: dict[str, float] = field(default_factory=dict)

    # What happened

    def note_submission(
        self, content: bytes, frozen_at: float = -math.inf
    ) -> SentSubmission | None:
        """Record a submission as it is written.

        Args:
            content: its body.
            frozen_at: when its process was frozen last, simulated seconds.

        Returns:
            The submission; None = it is of no job.
        """
        found = JOB_NUMBER.search(content)
        if found is None:
            return None
        sent = SentSubmission(int(found[1]), self.ledger.clock())
        self._judge_permit(sent, frozen_at)
        self.submissions.append(sent)
        return sent

    def _judge_permit(self, sent: SentSubmission, frozen_at: float) -> None:
        """Judge that a submission follows at once on the claim that took its permit (I3)."""
        is_alone = sent.number not in self.ledger.alike
        job = self.ledger.accepted.get(sent.number) if is_alone else None
        claimed = self._claimed_at.get(job.job_id, math.inf) if job else math.inf
        # A permit counts as younger by the fastest of the last answers; all may be slow.
        is_slow = self.faults.hindered(claimed, sent.at, "redis is slow", "redis loses answers")
        most = PERMIT_SECONDS + (ANSWER_SECONDS if is_slow else 0)
        # One that is frozen between its last look at the permit and the call cannot tell.
        if sent.at - claimed > most and frozen_at <= claimed:
            self.ledger.fail(
                f"I3: job {sent.number} is submitted with a permit of {sent.at - claimed:.1f} s ago"
            )

    def note_canceled(self, numbers: Iterable[int]) -> None:
        """Record that the cancel of jobs was acknowledged."""
        for number in numbers:
            self.canceled.setdefault(number, self.ledger.clock())

    def note_reopened(self, number: int) -> None:
        """Record that an operator lets a job run again, or settles it."""
        self.canceled.pop(number, None)
        self.maybe_canceled.discard(number)
        self.reopened[number].append(self.ledger.clock())

    def note_resumed(self) -> None:
        """Record that somebody ends a pause or a hold."""
        self.resumed.append(self.ledger.clock())

    def first_lost_answer(self, number: int) -> float:
        """Return when a job was first submitted without an answer that tells what became of it.

        Infinite: it never was.
        """
        lost = (
            one.at
            for one in self.submissions
            if one.number == number and one.outcome == Outcome.UNKNOWN
        )
        return min(lost, default=math.inf)

    def last_submission(self, number: int, before: float) -> float:
        """Return when a job was last submitted before a time; -infinite: it was not."""
        made = (one.at for one in self.submissions if one.number == number and one.at <= before)
        return max(made, default=-math.inf)

    def judge_death(self, number: int) -> None:
        """Judge the death of a worker that submitted a job."""
        self.deaths[number] += 1
        self.ledger.last_death = self.ledger.clock()
        allowed = MOST_DEATHS * (1 + len(self.reopened[number])) + len(self.ledger.lost_writes)
        if self.deaths[number] > allowed:
            self.ledger.fail(f"I7: job {number} killed {self.deaths[number]} workers")

    def judge_webhook(
        self, job: Job | None, attempt: int, run_id: str, *, is_occupied: bool
    ) -> None:
        """Judge that a webhook which a gateway has accepted counts, however early it came.

        Args:
            job: the webhook's, as it is afterwards; None = there is none.
            attempt: the attempt of the webhook's address.
            run_id: the run that it is about.
            is_occupied: whether that run found its browser session occupied: it is not counted.
        """
        has_moved_on = job is None or job.is_over or job.attempts > attempt or is_occupied
        if job is not None and not has_moved_on and job.run_id is None and not job.runs:
            self.ledger.fail(
                f"webhooks: that of {run_id} was accepted, and its job is {job.state} without a run"
            )

    def judge_refused_webhook(self, job: Job | None, run_id: str) -> None:
        """Judge that no gateway refuses a webhook of Skyvern's whose job is on record."""
        now = self.ledger.clock()
        is_excused = self._was_lost(now - 1, now) or self.ledger.was_emptied
        if job is not None and not is_excused:
            self.ledger.fail(f"webhooks: that of {run_id} is refused, and its job is {job.state}")

    def judge_lists_end(self) -> None:
        """Judge that lists, which end now, do not begin and end again and again (I7)."""
        now = self.ledger.clock()
        self._lists_ended = [at for at in self._lists_ended if at > now - LISTS_SECONDS]
        self._lists_ended.append(now)
        if len(self._lists_ended) > LISTS_END:
            passed = now - self._lists_ended[0]
            self.ledger.fail(f"I7: lists ended {len(self._lists_ended)} times in {passed:.1f} s")
            self._lists_ended.clear()

    def judge_inbox(self, pushed: float) -> bool:
        """Judge lines that made no jobs yet; returns whether Redis may have lost them (I1).

        Args:
            pushed: when they were pushed, simulated seconds.
        """
        if self._was_lost(pushed, self.ledger.clock()):
            return True
        if self.ledger.clock() > self.faults.due(pushed, INBOX_SECONDS):
            self.ledger.fail("I1: lines of the inbox make no jobs")
            return True
        return False

    # What follows, judged now and then

    def judge_claims(self, jobs: Mapping[int, Job | None]) -> None:
        """Judge that each claimed job is submitted, or is claimed no more after a while (I8)."""
        now = self.ledger.clock()
        claimed: dict[int, tuple[int, float]] = {}
        for number, job in jobs.items():
            if job is None or job.state is not JobState.SUBMITTING:
                continue
            attempt, since = self._claimed.get(number, (0, now))
            since = since if attempt == job.attempts else now
            claimed[number] = job.attempts, since
            if now > self.faults.due(since, CLAIM_SECONDS / 2) and not any(
                one.number == number and one.at > since - 20 for one in self.submissions
            ):
                self.ledger.fail(f"I8: job {number} is claimed for {now - since:.0f} s, unsent")
        self._claimed = claimed

    def judge_searches(self, arguments: Sequence[Any], reply: Sequence[int]) -> None:
        """Judge that two searches for an attempt, half a minute apart, prove that it made no run.

        Args:
            arguments: of `record_search.lua`, after the time.
            reply: its reply.
        """
        repeatable = {job.job_id for job in self.ledger.accepted.values() if job.may_repeat}
        searched = int(arguments[0]) / 1e6
        rows = zip(arguments[2::7], arguments[3::7], arguments[4::7], reply, strict=True)
        for job_id, attempt, verdict, code in rows:
            if verdict != "not_found" or not code:
                continue
            first = self._negatives.setdefault((job_id, int(attempt)), searched)
            is_proved = searched - first >= SPACING_SECONDS
            if code == 2 and not is_proved and job_id not in repeatable:
                self.ledger.fail(f"I2: one search proves that {job_id}.{attempt} has no run")

    def judge_fence(self, script: str, arguments: Sequence[Any], reply: Sequence[int]) -> None:
        """Judge that the outcome of an earlier attempt moves no job (I3).

        Args:
            script: `give_back` or `mark_dead`.
            arguments: its arguments, after the time.
            reply: its reply.
        """
        first, step = (4, 2) if script == "give_back" else (0, 3)
        rows = zip(arguments[first::step], arguments[first + 1 :: step], reply, strict=True)
        for job_id, attempt, code in rows:
            last = self._attempts.get(job_id, 0)
            if code == 1 and int(attempt) < last and not self.ledger.lost_writes:
                self.ledger.fail(f"I3: {script} moves {job_id}.{last} by its attempt {attempt}")

    def judge_claim(self, claim_id: str, attempts: Mapping[str, int], stats: AccountStats) -> None:
        """Judge that a claim took no slot that was not free, and permits for its jobs (I3).

        Args:
            claim_id: its id; a claim that is repeated takes nothing more.
            attempts: of the jobs, by their ids.
            stats: the account's, right after it.
        """
        if claim_id in self._claims:
            return
        self._claims.add(claim_id)
        self._attempts.update(attempts)
        claimed = self.ledger.clock() if stats.permits else math.inf
        self._claimed_at.update(dict.fromkeys(attempts, claimed))
        most, taken = stats.limits["concurrent_runs"], stats.live + stats.orphans_live
        if most and taken > most:
            self.ledger.fail(f"I3: a claim leaves {taken} of {most:g} slots taken")
        burst = max(0, stats.limits["burst_size"] - len(attempts))
        for what, left in stats.permits.items():
            if left > burst:
                self.ledger.fail(
                    f"I3: a claim of {len(attempts)} jobs leaves {left} {what} permits"
                )

    def judge_slots(
        self, stats: AccountStats, live: Sequence[Run], seconds: float = SLOT_SECONDS
    ) -> None:
        """Judge that each live run has a slot (I3), unless an operator settled its job.

        Args:
            stats: the account's, now.
            live: the runs that are not over.
            seconds: for how long it may be otherwise.
        """
        counted = sum(not self._is_uncounted(run) for run in live)
        if stats.hold_kind == "redis":  # its runs are being searched
            counted = 0
        now = self.ledger.clock()
        if counted <= stats.live + stats.orphans_live:
            self._uncounted_since = None
            return
        if self._uncounted_since is None:
            self._uncounted_since = now
        if now >= self.faults.due(self._uncounted_since, seconds):
            self.ledger.fail(
                f"I3: {counted} runs live, and {stats.live + stats.orphans_live} slots are taken"
            )
            self._uncounted_since = None

    def _is_uncounted(self, run: Run) -> bool:
        number, created = job_number(run), _simulated(run.created)
        return (
            number is None
            or self._is_uncounted_job(number)
            or self.is_overdue(run)
            or self._came_very_late(number, created)
            or self.ledger.is_of_an_earlier_redis(number, created)
            or self.ledger.is_left_to_a_person(run)
        )

    def _came_very_late(self, number: int, created: float) -> bool:
        """Say whether a run was made after its client had given up: its job may have no slot."""
        return not any(
            one.number == number and one.at - 1 <= created <= one.at + CLIENT_SECONDS
            for one in self.submissions
        )

    def is_overdue(self, run: Run) -> bool:
        """Return whether a run goes on beyond its time, as the queue cannot cancel it.

        No cancel reaches it, nothing shows whose it is, or Redis lost its job, whose own limit may
        have been longer. A step ahead of Redis' clock that no process lived to report counts as its
        time, if it was submitted before.
        """
        number, created = job_number(run) or 0, _simulated(run.created)
        job = self.ledger.accepted.get(number)
        unseen = self.ledger.unwitnessed(self.last_submission(number, created))
        age = self.ledger.clock() - created + unseen
        return (
            job is not None
            and age > self.max_run_seconds
            and (
                job.is_stuck
                or self.ledger.refuses_cancels
                or self.ledger.is_hidden(run)
                or self.ledger.may_be_lost(job.accepted_at)
            )
        )

    def _is_uncounted_job(self, number: int) -> bool:
        job = self.ledger.accepted.get(number)
        return job is None or job.is_settled_by_operator or job.may_repeat

    # What followed, judged at the end

    def judge(self, jobs: Mapping[int, Job | None], requests: Mapping[int, PlannedJob]) -> None:
        """Judge the submissions and runs of all jobs.

        Args:
            jobs: by their numbers.
            requests: likewise.
        """
        by_job: dict[int, list[SentSubmission]] = defaultdict(list)
        for sent in self.submissions:
            by_job[sent.number].append(sent)
        for number, accepted in self.ledger.accepted.items():
            self._judge_repetitions(accepted, by_job[number])
            self._judge_deadline(accepted, by_job[number])
            self._judge_cancel(number, by_job[number])
            if requests[number].has_url:  # a run that comes very late is found late
                self._judge_canceled_runs(number)
            self._judge_retries(accepted, jobs.get(number), requests[number])
        self._judge_probes()

    def _was_lost(self, since: float, until: float) -> bool:
        return any(
            start <= until and end >= since - _LOSABLE_SECONDS
            for start, end in self.ledger.lost_writes
        )

    def _judge_repetitions(self, job: AcceptedJob, sent: Sequence[SentSubmission]) -> None:
        """Judge how long the queue waits after a lost answer before it submits again (I2)."""
        least = GRACE_SECONDS + (0 if job.may_repeat else SPACING_SECONDS) - 1.0
        for first, second in pairwise(sent):
            if first.outcome != Outcome.UNKNOWN or second.at - first.at >= least:
                continue
            had_run = any(
                first.at - 1 <= _simulated(run.created) <= second.at
                for run in self.ledger.runs[job.number]
            )
            is_excused = (
                had_run
                or job.is_settled_by_operator  # the run that he denied may be found meanwhile
                or any(first.at <= at <= second.at for at in self.reopened[job.number])
                or self._was_lost(first.at, second.at)
                or self.faults.hindered(first.at - 60, second.at, "redis's clock")
            )
            if not is_excused:
                self.ledger.fail(
                    f"I2: job {job.number} is submitted again {second.at - first.at:.1f} s after"
                    " its answer was lost"
                )

    def _judge_deadline(self, job: AcceptedJob, sent: Sequence[SentSubmission]) -> None:
        if self.ledger.may_be_lost(job.accepted_at):
            return  # it was enqueued again, and its deadline counts from then
        latest = self.faults.due(job.deadline, DELAYED_SECONDS) + self.ledger.uncounted()
        for one in sent:
            late = one.at - job.deadline - self.ledger.uncounted()
            is_delayed = self.faults.hindered(job.deadline - 5, one.at, *_SLOW)
            is_excused = (is_delayed and one.at <= latest) or self.reopened[job.number]
            if late > LATE_SECONDS and not is_excused:
                self.ledger.fail(f"job {job.number} is submitted {late:.1f} s after its deadline")

    def _canceled_at(self, number: int) -> float:
        """Return when a job was canceled, if Redis has not lost that; infinite = it was not."""
        at = self.canceled.get(number, math.inf)
        return math.inf if self._was_lost(at, at) else at

    def _judge_cancel(self, number: int, sent: Sequence[SentSubmission]) -> None:
        at = self._canceled_at(number)
        for one in sent:
            if one.at > at + PROMPT_SECONDS and not self.faults.hindered(at - 5, one.at, *_SLOW):
                self.ledger.fail(
                    f"job {number} is submitted {one.at - at:.1f} s after it was canceled"
                )

    def _judge_canceled_runs(self, number: int) -> None:
        at = self._canceled_at(number)
        if at == math.inf or self.ledger.accepted[number].is_stuck or self.ledger.refuses_cancels:
            return
        for run in self.ledger.runs[number]:
            ended = _simulated(run.ended)
            due = self.faults.due(max(at, _simulated(run.created)), CANCEL_SECONDS)
            is_left = self.ledger.is_hidden(run) or self.ledger.is_left_to_a_person(run)
            if ended > due and not is_left:
                self.ledger.fail(
                    f"I8: run {run.run_id} of job {number} goes on for {ended - at:.0f} s after"
                    " the job was canceled"
                )

    def _judge_retries(self, accepted: AcceptedJob, job: Job | None, request: PlannedJob) -> None:
        """Judge that a run follows each bad end that the job's policy retries.

        A run that took longer than it may, or seemed to, is canceled, and none follows. The run of
        a lost job with its key may count as its own.
        """
        number = accepted.number
        of_its_key = (accepted, *self.ledger.gone_with_the_key_of(accepted))
        runs = [run for one in of_its_key for run in self.ledger.runs[one.number]]
        longest = request.limit or self.max_run_seconds
        if (
            job is not None
            and job.state is JobState.FAILED
            and job.run_status in (request.retry_on or Retry().retry_on)
            and len(runs) < accepted.max_runs
            and not any(run.ended - run.created > longest for run in runs)
            and not job.cancel_requested
            and accepted.deadline == float("inf")
            and number not in self.maybe_canceled
            and not self.reopened[number]
            and not self.ledger.was_emptied
        ):
            self.ledger.fail(f"job {number} failed after {len(runs)} of {accepted.max_runs} runs")

    def judge_ends(self, jobs: Mapping[int, Job | None], totals: Mapping[str, int]) -> None:
        """Judge that each end is counted once (I4), unless operators had jobs end again."""
        over = Counter(job.state.value for job in jobs.values() if job is not None and job.is_over)
        counted = {state: totals.get(f"ended:{state}", 0) for state in over}
        is_excused = (
            any(self.reopened.values())
            or self.ledger.was_emptied
            or any(one.is_discarded for one in self.ledger.accepted.values())
        )
        if not is_excused and counted != over:
            self.ledger.fail(f"I4: {counted} ends are counted, of {dict(over)} jobs")

    def _judge_probes(self) -> None:
        """Judge that one submission a minute tries a key that was refused."""
        refused = [one.at for one in self.submissions if one.status == 403]
        first: float | None = None  # of those that came together, but for the first ones of all
        for before, at in pairwise(refused):
            if at - before > PROBE_SECONDS:
                first = at
            elif (
                first is not None
                and not self.faults.hindered(first - 90, at, *_SLOW)
                and not any(first - 90 < resumed < at for resumed in self.resumed)
            ):
                self.ledger.fail(f"submissions with a refused key come {at - before:.1f} s apart")
                return

    def judge_pace(self, burst: int, *, asks_to_wait: bool) -> None:
        """Judge that the pace is cut while each submission is answered with a 429 (I3).

        Args:
            burst: how many submissions may come at once.
            asks_to_wait: whether the 429s name a time to wait: then hardly any come.
        """
        if asks_to_wait:
            return
        row: list[float] = []
        for one in sorted(self.submissions, key=lambda one: one.at):
            if one.status != LIMITED or (row and one.at > row[-1] + PACE_GAP_SECONDS):
                self._judge_row(row, burst)
                row = []
            if one.status == LIMITED:
                row.append(one.at)
        self._judge_row(row, burst)

    def _judge_row(self, row: Sequence[float], burst: int) -> None:
        """Judge submissions that were all refused with a 429, by when they came."""
        if not row or not self.faults.is_calm(row[0] - DELAYED_SECONDS, row[-1]):
            return
        first = max(sum(at <= one < at + 1 for one in row) for at in row if at < row[0] + 2)
        start = row[0] + CUT_SECONDS
        for at in row:
            # A cut to 70 % a second, which a growing pace makes up for in part.
            most = burst + 2 + PACE_SECONDS * max(first * 1.5 * 0.93 ** (at - row[0]), 0.1)
            count = sum(at <= one < at + PACE_SECONDS for one in row)
            if at >= start and count > most:
                self.ledger.fail(
                    f"I3: {at - row[0]:.0f} s after the first of many 429s {count} submissions come"
                    f" within {PACE_SECONDS:g} s, {first} came in the first second"
                )
                return

    def judge_deliveries(self, jobs: Mapping[int, Job | None]) -> None:
        """Judge that each webhook to a user was delivered or abandoned.

        One that was to be sent when the clock was ahead, and no worker lived to tell, may wait.
        """
        ahead = self.ledger.unwitnessed(-math.inf)
        for number, job in jobs.items():
            if job is None or not self.ledger.accepted[number].webhook:
                continue
            is_missing = job.state is JobState.COMPLETED and job.webhook.state is DeliveryState.NONE
            next_at, now = job.webhook.next_try_at, processes.EPOCH + self.ledger.clock()
            waits = next_at is not None and now < next_at.timestamp() <= now + ahead
            if is_missing or (job.webhook.state is DeliveryState.PENDING and not waits):
                self.ledger.fail(
                    f"webhooks: that of job {number} is {job.webhook.state},"
                    f" its next try: {job.webhook.next_try_at}"
                )

    def judge_callbacks(
        self,
        batches: Mapping[int, Batch | None],
        taken: Mapping[str, int],
        rules: Mapping[int, Mapping[str, Any]],
    ) -> None:
        """Judge that the callbacks of each batch, of each share, were delivered or abandoned.

        Args:
            batches: by their numbers.
            taken: how many calls each URL took.
            rules: of the batches.
        """
        for number, batch in batches.items():
            if batch is None or batch.callback is None or not batch.status.is_final:
                continue
            called = batch.callback
            is_whole = all(state.is_over or not n for state, n in batch.states.items())
            shares = rules[number].get("callback_at", ())
            least = 1 + len(shares) if is_whole and not self.ledger.lost_writes else 1
            if called.pending or called.delivered + called.abandoned < least:
                self.ledger.fail(f"webhooks: batch {number} was not reported: {called}")
            if called.delivered and not taken.get(callback_url(number)):
                self.ledger.fail(f"webhooks: nobody took the callback of batch {number}")

    def judge_notices(
        self, batches: Mapping[int, Batch | None], told: Mapping[str, int], deaths: int
    ) -> None:
        """Judge that each batch that is over was told, and once more for a death at most.

        Args:
            batches: by their numbers.
            told: how often each batch was told.
            deaths: how many workers were killed.
        """
        for number, batch in batches.items():
            if batch is None or batch.finished_at is None:
                continue
            if not 1 <= told.get(batch.id, 0) <= 1 + deaths:
                self.ledger.fail(
                    f"notices: batch {number} was told {told.get(batch.id, 0)} times,"
                    f" and {deaths} workers were killed"
                )


def _simulated(unix: float) -> float:
    return unix - processes.EPOCH
