"""The ledger: which jobs were accepted, which runs Skyvern made, and which invariants hold."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from runqueue.ids import TAG_KEY, markers_in
from runqueue.records.account import AccountStats
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState
from simulator.model.runs import Run

#: The number of a run's job, which is in the prompt or in a parameter.
_JOB_NUMBER = re.compile(rb"sim-job-(\d+)\.")
#: The statuses that the run of a job in each final state may have.
_RUN_STATUSES = {
    JobState.COMPLETED: {"completed"},
    JobState.FAILED: {"failed", "terminated", "timed_out", "canceled", "completed"},
    JobState.CANCELED: {"canceled", "completed", "failed", "terminated", "timed_out"},
}


#: Seconds over which rates are judged, and seconds that the network may add to them.
WINDOW, SLACK = 20.0, 1.0
#: Seconds for which capacity may be free while jobs wait.
IDLE_SECONDS = 20.0


_WAITING = {JobState.READY, JobState.SCHEDULED}
#: Seconds after its job's deadline, or after the faults, by which a run is canceled.
_OVERDUE_SECONDS = 90.0


def _is_marked(run: Run) -> bool:
    """Say whether a run shows whose it is."""
    submission = run.submission
    texts = (submission.sent_title or "", submission.webhook_url or "")
    return bool(markers_in(" ".join(texts))) or TAG_KEY in (submission.tags or {})


def _text_of(run: Run) -> bytes:
    """Return what a run asks for; of a login that is in the workflow that Skyvern makes of it."""
    workflow = run.submission.workflow
    blocks = () if workflow is None else workflow.blocks
    return b" ".join(
        [run.submission.request, *(block.model_dump_json().encode() for block in blocks)]
    )


@dataclass(slots=True)
class AcceptedJob:
    """A job that the queue has accepted.

    Args:
        number: the request's.
        job_id: its id.
        accepted_at: when the producer had the answer, simulated seconds.
        max_runs: how many runs it may have.
        not_before: when its first submission may come at the earliest, simulated seconds.
        not_after: when a submission may come at the latest, simulated seconds.
        may_repeat: whether it is submitted again after a lost answer, whatever a search finds.
        stays_unconfirmed: whether a lost answer leaves it to an operator.
        webhook: the URL that receives its end; '' = none.
        body: the number in its request; jobs with the same number have equal requests.
        deadline: when it is over at the latest, simulated seconds.
    """

    number: int
    job_id: str
    accepted_at: float
    max_runs: int
    not_before: float
    not_after: float
    may_repeat: bool
    stays_unconfirmed: bool
    webhook: str = ""
    body: int = 0
    deadline: float = float("inf")
    #: Whether an operator settled it without a proof that it has no run.
    is_settled_by_operator: bool = False


@dataclass(slots=True)
class InvariantLedger:
    """Records what was accepted and what ran, and judges it.

    Args:
        clock: simulated seconds.
        max_live_runs: the most runs that may be live now.
        alike: how many jobs have the same request, by the number in it.
    """

    clock: Callable[[], float]
    max_live_runs: Callable[[], float]
    alike: Mapping[int, int]
    accepted: dict[int, AcceptedJob] = field(default_factory=dict)
    #: By the number in their requests.
    runs: dict[int, list[Run]] = field(default_factory=lambda: defaultdict(list))
    #: Numbers in requests that others submitted, too: their jobs may stay in doubt.
    in_doubt: set[int] = field(default_factory=set)
    #: For each failover: since when writes were lost, and when it happened; simulated seconds.
    lost_writes: list[tuple[float, float]] = field(default_factory=list)
    #: Whether no cancel has an effect.
    refuses_cancels: bool = False
    _free_since: float | None = None
    #: Each invariant that did not hold, in a sentence.
    violations: list[str] = field(default_factory=list)

    def may_stay_unconfirmed(self, number: int) -> bool:
        """Say whether a lost answer may leave a job to an operator for ever."""
        job = self.accepted[number]
        return job.stays_unconfirmed or job.body in self.in_doubt

    def fail(self, text: str) -> None:
        """Record that an invariant does not hold."""
        self.violations.append(f"{self.clock():.3f} s: {text}")

    def judge_new_run(self, run: Run, live: int) -> None:
        """Judge a run at its creation.

        Args:
            run: the run.
            live: the number of live runs, this one included.
        """
        found = _JOB_NUMBER.search(_text_of(run))
        if found is None:
            self.fail(f"I2: run {run.run_id} is of no job")
            return
        number = int(found[1])
        now = run.created
        jobs = self._with_body(number)
        is_excused = any(job.is_settled_by_operator or job.may_repeat for job in jobs)
        others = sum(not one.is_over(now) for one in self.runs[number])
        if not is_excused and others >= self.alike.get(number, 1):
            self.fail(f"I2: run {run.run_id} of job {number} is made while another one is live")
        self.runs[number].append(run)
        if len(jobs) == self.alike.get(number, 1) == 1:
            self._judge_time(jobs[0], run)
        most = self.max_live_runs() + sum(
            one.is_settled_by_operator or (one.may_repeat and len(self.runs[one.body]) > 1)
            for one in self.accepted.values()
        )
        if live > most:
            self.fail(f"I3: {live} runs are live, {most:.0f} may be")

    def _with_body(self, body: int) -> list[AcceptedJob]:
        """Return the accepted jobs whose requests have a number."""
        return [job for job in self.accepted.values() if (job.body or job.number) == body]

    def _judge_time(self, job: AcceptedJob, run: Run) -> None:
        now, is_first = self.clock(), len(self.runs[job.body or job.number]) == 1
        if is_first and now < job.not_before:
            self.fail(f"job {job.number} is submitted {job.not_before - now:.1f} s too early")
        if now > job.not_after:
            self.fail(f"job {job.number} is submitted after its deadline ({run.run_id})")

    def judge_submissions(
        self, times: Sequence[float], rate: float, burst: int, seconds: float
    ) -> None:
        """Judge that submissions came in no greater bursts than the account's limit allows (I3).

        Args:
            times: when each came, in order.
            rate: submissions a second; 0 = no limit.
            burst: how many may come at once.
            seconds: of the rate that the network, and an old permit, may add.
        """
        level, last = 0.0, 0.0
        for at in times:
            level, last = max(0.0, level - rate * (at - last)) + 1, at
            if rate and level > burst + rate * seconds:
                self.fail(f"I3: at {at:.3f} s {level:.1f} submissions came at once")
                return

    def judge_waiting(self, jobs: Mapping[int, Job | None], calm_since: float) -> None:
        """Judge that no job waits for long after its deadline (I8).

        Args:
            jobs: by their numbers.
            calm_since: when the faults were over, simulated seconds.
        """
        for number, job in jobs.items():
            latest = max(self.accepted[number].deadline, calm_since) + _OVERDUE_SECONDS
            if job is not None and job.state in _WAITING and self.clock() > latest:
                self.fail(f"I8: job {number} is {job.state} after its deadline")

    def judge_rate(self, what: str, times: Sequence[float], rate: float, spare: int) -> None:
        """Judge that calls came no faster than the account's limit allows (I3).

        Args:
            what: which calls, for the message.
            times: when each came, in order.
            rate: calls a second; 0 = no limit.
            spare: how many may come in addition.
        """
        first = 0
        for last, at in enumerate(times):
            while at - times[first] > WINDOW:
                first += 1
            if rate and last - first + 1 > rate * (WINDOW + SLACK) + spare:
                self.fail(f"I3: {last - first + 1} {what} came within {WINDOW:g} s")
                return

    def judge_webhooks(
        self,
        jobs: Mapping[int, Job | None],
        taken: Mapping[str, int],
        refused: Mapping[str, int],
        most_tries: int,
    ) -> None:
        """Judge that a receiver took each webhook that counts as delivered, and refused a lost one.

        Args:
            jobs: by their numbers.
            taken: how many webhooks each URL took.
            refused: how many it did not take, or gave no answer to.
            most_tries: refusals after which one may be given up.
        """
        for number, job in jobs.items():
            url = self.accepted[number].webhook
            if job is None or not url:
                continue
            if job.webhook.state is DeliveryState.GAVE_UP and refused.get(url, 0) < most_tries:
                self.fail(f"the webhook of job {number} is given up after {refused.get(url, 0)}")
            if job.webhook.state is DeliveryState.DELIVERED and not taken.get(url):
                self.fail(f"the webhook of job {number} counts as delivered, and nobody took it")

    def judge_free_capacity(self, stats: AccountStats, submitted: float) -> None:
        """Judge that no job waits for longer than `IDLE_SECONDS` while capacity is free (I8).

        Args:
            stats: the account's, now.
            submitted: when a job was submitted last, simulated seconds.
        """
        most = stats.limits["concurrent_runs"]
        is_free = (
            stats.claimable > 0
            and (not most or stats.live < most)
            and not stats.hold_reason
            and not stats.paused
            and stats.pace is None
            and (not stats.full_pace or stats.permits.get("dispatch", 1) > 0)
            and stats.permits.get("request", 1) > 0
        )
        if not is_free or self.clock() - submitted < IDLE_SECONDS:
            self._free_since = None
        elif self._free_since is None:
            self._free_since = self.clock()
        elif self.clock() - self._free_since > IDLE_SECONDS:
            self.fail(
                f"I8: {stats.claimable} jobs wait while {stats.live} of {most} slots are used"
            )
            self._free_since = None

    def may_be_lost(self, at: float) -> bool:
        """Return whether a write acknowledged at a time may be lost by a failover."""
        return any(since <= at + 1 and at <= until for since, until in self.lost_writes)

    def judge_runs(
        self, jobs: Mapping[int, Job | None], orphans: Collection[str], now: float
    ) -> None:
        """Judge how many runs each job has (I2), and that its record agrees with them (I1, I4).

        Args:
            jobs: by their numbers.
            orphans: the runs that are shown as nobody's.
            now: unix seconds.
        """
        owners = Counter(job.run_id for job in jobs.values() if job is not None and job.run_id)
        for number, job in jobs.items():
            accepted = self.accepted[number]
            mine = self.runs.get(accepted.body or number, [])
            alike = self._with_body(accepted.body or number)
            most = sum(one.max_runs for one in alike)
            if len(mine) > most and not any(one.may_repeat for one in alike):
                self.fail(
                    f"I2: job {number} ({accepted.job_id}) has {len(mine)} runs,"
                    f" {most} may be: {[run.run_id for run in mine]}"
                )
            if job is None:
                if not self.may_be_lost(accepted.accepted_at):
                    self.fail(f"I1: job {number} ({accepted.job_id}) is lost")
            elif job.run_id is None:
                if job.state is JobState.COMPLETED:
                    self.fail(f"I4: job {number} is completed without a run")
            else:
                run = next((run for run in mine if run.run_id == job.run_id), None)
                run = run if owners[job.run_id] == 1 else None
                self._judge_record(number, job, run, now, is_orphan=job.run_id in orphans)

    def _judge_record(
        self, number: int, job: Job, run: Run | None, now: float, *, is_orphan: bool
    ) -> None:
        """Judge that a job's record agrees with its run (I4)."""
        if run is None:
            self.fail(f"I4: job {number} has the run {job.run_id}, which is not its own")
        elif not run.is_over(now):
            if job.is_over and not is_orphan:
                self.fail(f"I4: job {number} is {job.state}, its run {job.run_id} goes on")
        elif not job.is_over or run.submission.unreadable:
            return
        elif job.state in _RUN_STATUSES and job.run_status not in _RUN_STATUSES[job.state]:
            self.fail(f"I4: job {number} is {job.state}, its run {job.run_status}")
        elif job.run_status != run.status(now):
            self.fail(f"I4: job {number} has {job.run_status}, its run {run.status(now)}")

    def judge_orphans(
        self, jobs: Mapping[int, Job | None], orphans: Sequence[str], owned: Callable[[str], bool]
    ) -> None:
        """Judge that each run is recorded as its job's, or shown as an orphan (I2)."""
        for number, runs in self.runs.items():
            accepted = self._with_body(number)
            found = [job for one in accepted if (job := jobs.get(one.number)) is not None]
            if any(job.state is JobState.UNCONFIRMED for job in found):
                continue
            if any(one.may_repeat or one.is_settled_by_operator for one in accepted):
                continue  # nobody looks for the run of a lost answer any more
            for run in runs:
                if any(run.run_id == job.run_id for job in found):
                    continue
                if not found and not _is_marked(run):
                    continue  # its job is lost, and nothing shows that it was this queue's
                if run.run_id not in orphans and not owned(run.run_id):
                    self.fail(f"I2: run {run.run_id} of job {number} is hidden")

    def judge_deadlines(self, calm_since: float, now: float) -> None:
        """Judge that no run goes on for long after its job's deadline.

        Args:
            calm_since: when the faults were over, simulated seconds.
            now: unix seconds.
        """
        epoch = now - self.clock()
        for job in self.accepted.values():
            if self.alike.get(job.body, 1) > 1:
                continue  # a run may be of a job without a deadline
            latest = max(job.deadline, calm_since) + _OVERDUE_SECONDS
            for run in self.runs[job.body or job.number]:
                if min(run.ended, now) - epoch > latest and not self.refuses_cancels:
                    self.fail(
                        f"I8: run {run.run_id} goes on after the deadline of job {job.number}"
                    )

    def judge_end(self, jobs: Mapping[int, Job | None], stats: AccountStats, held: int) -> None:
        """Judge that every job that can end has ended, and that no slot is held by nothing (I8).

        Args:
            jobs: by their numbers.
            stats: the account's.
            held: unconfirmed jobs that still have a slot.
        """
        for number, job in jobs.items():
            if job is None or job.is_over:
                continue
            if job.state is JobState.UNCONFIRMED and self.may_stay_unconfirmed(number):
                continue
            self.fail(
                f"I8: job {number} ({job.id}) is still {job.state}: {job.reason}, {job.search_note}"
            )
        waiting = sum(job is not None and job.state in _WAITING for job in jobs.values())
        counted = sum(stats.states[state] for state in _WAITING)
        if counted != waiting:
            self.fail(f"I8: {counted} jobs count as waiting, and {waiting} wait")
        if stats.live != held + stats.strays_live:
            self.fail(
                f"I8: {stats.live} slots are taken for {held} jobs in doubt"
                f" and {stats.strays_live} orphans"
            )
        if stats.damage or stats.damaged_records:
            self.fail(f"damage: {stats.damage or stats.damaged_record}")
