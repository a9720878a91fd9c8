"""Judges how jobs ended, at the end of a world: by what was asked for, and by what Skyvern did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from api_client.types import TERMINAL_STATUSES
from runqueue.records.account import AccountStats
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState
from simulation import processes
from simulation.fault_times import FaultTimes
from simulation.judges.ledger import AcceptedJob, InvariantLedger
from simulation.plan import PlannedJob
from simulation.world import World

#: Seconds within which a run is canceled, and within which its end is recorded, without a fault.
CANCEL_SECONDS, END_SECONDS = 60.0, 120.0
#: Seconds after which an end was seen late: its webhook was waited for. Two such ends show that no
#: webhook comes, and the ends of other runs are seen at once, as long as none does.
LATE_SECONDS, SHOWN_BY = 30.0, 2
#: Seconds of a step of the clock that the queue takes for none.
STEP_SECONDS = 2.5
#: The ends of runs after which they are run again, if a request names none.
RETRY_ON = ("failed", "timed_out")


class OutcomeJudge:
    """Judges the ends of jobs.

    Args:
        ledger: what was accepted and what ran.
        requests: by their numbers.
        times: when faults lasted.
        world: how often each kind was met.
        lateness: seconds by which reports of time were late at most.
    """

    def __init__(
        self,
        ledger: InvariantLedger,
        requests: Mapping[int, PlannedJob],
        times: FaultTimes,
        world: World,
        lateness: float,
    ) -> None:
        self._ledger = ledger
        self._requests = requests
        self._times = times
        self._world = world
        self._lateness = lateness

    def judge(self, jobs: Mapping[int, Job | None], stats: AccountStats | None) -> None:
        """Judge all jobs, and the queue's clock.

        Args:
            jobs: by their numbers.
            stats: the account's.
        """
        for number, job in jobs.items():
            if job is None:
                continue
            accepted = self._ledger.accepted[number]
            self._judge_deadline(accepted, job)
            self._judge_cancel(accepted, job)
            self._judge_replay(accepted, job)
            self._judge_retries(accepted)
            self._judge_webhook(accepted, job)
        self._judge_delays(jobs)
        is_set = self._world.server_changes or self._world.faults_had["redis's clock is set"]
        most = STEP_SECONDS + self._lateness
        if stats is not None and not is_set and abs(stats.clock_lost) > most:
            self._ledger.fail(f"the queue's clock is moved by {stats.clock_lost:.1f} s for nothing")

    def _judge_deadline(self, accepted: AcceptedJob, job: Job) -> None:
        """Judge that a deadline is as the user gave it, and that a replay removed it."""
        is_removed = accepted.replayed_at is not None and accepted.deadline == math.inf
        if is_removed and job.deadline is not None and not self._ledger.lost_writes:
            self._ledger.fail(f"job {accepted.number} was replayed, and keeps its deadline")
        if not accepted.deadlines_at or job.deadline is None:
            return
        now = job.deadline.timestamp()
        moved = min((now - given for given in accepted.deadlines_at), key=abs)
        if abs(moved) > 1 and not self._ledger.may_be_lost(accepted.accepted_at):
            self._ledger.fail(f"the deadline of job {accepted.number} is moved by {moved:.1f} s")

    def _judge_cancel(self, accepted: AcceptedJob, job: Job) -> None:
        """Judge that what is canceled was to be, and that what is to be canceled is."""
        ledger, number = self._ledger, accepted.number
        asked = ledger.cancels.get(number)
        if asked is None:
            # A run that was canceled before Redis was emptied may be found again; likewise one that
            # was canceled at its limit or deadline, which a failover lost.
            is_limited = (
                self._requests[number].limit
                or accepted.deadline < float("inf")
                or any(
                    run.ended - run.created > ledger.max_run_seconds for run in ledger.runs[number]
                )
            )
            was_limited = is_limited and ledger.lost_writes
            is_excused = (
                self._world.faults_had["a person cancels orphans"]
                or ledger.was_emptied
                or was_limited
            )
            if job.state is JobState.CANCELED and not is_excused:
                ledger.fail(f"job {number} is canceled, and nobody asked for it: {job.reason}")
            return
        run = next((run for run in ledger.runs[number] if run.run_id == job.run_id), None)
        is_in_vain = accepted.is_stuck or ledger.refuses_cancels
        if run is None or run.canceled or is_in_vain or accepted.replayed_at is not None:
            return
        ended = run.ended - processes.EPOCH
        known = max(asked, run.created - processes.EPOCH, _simulated(job.started_at))
        since = max(known, self._times.calm_since(ended, _PEOPLE))
        if since + CANCEL_SECONDS < ended:
            ledger.fail(
                f"job {number} is to be canceled since {since:.1f} s,"
                f" and its run went on until {ended:.1f} s"
            )

    def _judge_replay(self, accepted: AcceptedJob, job: Job) -> None:
        """Judge that a job that is done again has another run than those that were over."""
        at = accepted.replayed_at
        if at is None or job.run_id is None or self._ledger.lost_writes:
            return
        if accepted.is_settled_by_operator:
            return  # a webhook may name the run of an unconfirmed submission after all
        for run in self._ledger.runs[accepted.number]:
            if run.run_id == job.run_id and run.ended - processes.EPOCH < at:  # others may be found
                self._ledger.fail(
                    f"I4: job {accepted.number} is done again since {at:.1f} s,"
                    f" and shows its earlier run {run.run_id}"
                )

    def _judge_retries(self, accepted: AcceptedJob) -> None:
        """Judge that a job was run again only after an end that its request names (I2)."""
        request, number = self._requests[accepted.number], accepted.number
        if accepted.may_repeat or number in self._ledger.forgotten or self._ledger.lost_writes:
            return
        runs, retry_on = self._ledger.runs[number], request.retry_on or RETRY_ON
        now = self._ledger.wall()
        repeats = sum(
            run.occupied is not None or (run.is_over(now) and run.status(now) in retry_on)
            for run in runs
        )
        most = 1 + repeats + accepted.max_runs - request.runs
        if len(runs) > most:
            ends = [run.status(now) for run in runs]
            self._ledger.fail(f"I2: job {number} has the runs {ends}, and retries {retry_on} only")

    def _judge_delays(self, jobs: Mapping[int, Job | None]) -> None:
        """Judge how long after the end of its run each job ended (I8)."""
        if self._world.faults_had["redis's clock is set"]:
            return  # the queue's clock tells when they ended
        late: list[tuple[float, float, int]] = []
        for number, job in jobs.items():
            # A run that comes very late is found late.
            if job is None or job.ended_at is None or not self._requests[number].has_url:
                continue
            for run in self._ledger.runs[number]:
                seen, ended = _simulated(job.ended_at), run.ended - processes.EPOCH
                if run.run_id != job.run_id or seen < ended + LATE_SECONDS:
                    continue
                if self._times.is_calm(ended - CANCEL_SECONDS, seen, _PEOPLE):
                    late.append((seen, ended, number))
                    if seen > ended + END_SECONDS:
                        self._ledger.fail(
                            f"I8: the run of job {number} ended {seen - ended:.0f} s before it"
                        )
        self._judge_late(sorted(late))

    def _judge_late(self, late: Sequence[tuple[float, float, int]]) -> None:
        """Judge that webhooks are not waited for while none comes.

        Args:
            late: the jobs that ended late: when, when their run had ended, and their numbers.
        """
        for since, until in self._times.times_of("webhooks are dropped", share=1.0):
            inside = [one for one in late if since < one[1] and one[0] < until]
            for _, ended, number in inside[SHOWN_BY:]:
                if ended > inside[SHOWN_BY - 1][0] + 1:
                    self._ledger.fail(
                        f"I8: the end of job {number} waits for its webhook, and none comes"
                    )

    def _judge_webhook(self, accepted: AcceptedJob, job: Job) -> None:
        """Judge that each end of a run is reported to the user."""
        is_ended = job.run_id is not None and job.is_over and job.state is not JobState.DEAD
        is_seen = is_ended and job.run_status in TERMINAL_STATUSES  # otherwise it was abandoned
        if accepted.webhook and is_seen and job.webhook.state is DeliveryState.NONE:
            self._ledger.fail(f"the webhook of job {accepted.number} is not sent")


#: Kinds that hinder no cancel.
_PEOPLE = ("a person", "a receiver", "webhooks", "a gateway")


def _simulated(at: datetime | None) -> float:
    return 0.0 if at is None else at.timestamp() - processes.EPOCH
