"""The ledger: which jobs were accepted, which runs Skyvern made, and which invariants hold."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from runqueue.ids import TAG_KEY, markers_in
from runqueue.records.account import AccountStats
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job, JobState
from runqueue.records.waits import in_words
from simulation import processes
from simulation.plan import UNREADABLE_LIMIT
from simulation.server import ANSWER_SECONDS
from simulator.model.runs import Run

#: The number of a run's job, which is in the prompt or in a parameter of its submission.
JOB_NUMBER = re.compile(rb"sim-job-(\d+)\.")
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
#: Seconds for which what a process claimed from a Redis that is gone may still arrive.
IN_FLIGHT_SECONDS = 20.0
#: A search for the run of a submission looks at runs that were made up to so many seconds before
#: its claim.
BEFORE_CLAIM_SECONDS = 60.0
#: Seconds after a lost answer until a job with `resubmit` may give up the slot of a live run: half
#: the grace.
_LET_GO_SECONDS = 15.0
#: Runs that may find their job's browser session occupied before the job has failed.
MOST_OCCUPIED = 6
_WAITING = {JobState.READY, JobState.SCHEDULED}
_REPORTED = {DeliveryState.DELIVERED, DeliveryState.ABANDONED}
#: Seconds after its job's deadline, or after the faults, by which a run is canceled.
_OVERDUE_SECONDS = 90.0


def job_number(run: Run) -> int | None:
    """Return the number of the job that a run is of; None = of none.

    That of a login may be in the workflow alone that Skyvern makes of it.
    """
    workflow, found = run.submission.workflow, JOB_NUMBER.search(run.submission.request)
    if found is None and workflow is not None:
        text = b" ".join(block.model_dump_json().encode() for block in workflow.blocks)
        found = JOB_NUMBER.search(text)
    return None if found is None else int(found[1])


def waits_for(job: Job | None, stats: AccountStats) -> str:
    """Return what a job waits for, for a report."""
    if job is None:
        return "it is gone"
    it = in_words(job.waits_for) or f"group {job.group}, keys {', '.join(job.keys) or 'none'}"
    held = stats.hold_reason or ("paused" if stats.paused else "not held")
    return (
        f"{job.state}, attempt {job.attempts}, waits for {it}; {stats.live} slots and"
        f" {stats.orphans_live} orphans of {stats.limits['concurrent_runs']:g}; account {held},"
        f" pace {stats.pace}, permits {stats.permits}, {job.reason or 'no reason'},"
        f" {job.search_message or 'no search'}"
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
        may_repeat: whether it is submitted again after a lost answer, whatever a search finds.
        stays_unconfirmed: whether a lost answer leaves it to an operator.
        webhook: the URL that receives its end; '' = none.
        deadline: when its deadline is over at the latest, simulated seconds.
        is_stuck: whether neither a read nor a cancel reaches its run.
        body: the number in its request, which jobs with equal requests share; 0 = its own.
        is_unreadable: whether Skyvern cannot read its runs, nor show their requests.
    """

    number: int
    job_id: str
    accepted_at: float
    max_runs: int
    not_before: float
    may_repeat: bool
    stays_unconfirmed: bool
    webhook: str = ""
    deadline: float = math.inf
    is_stuck: bool = False
    #: The deadlines that it was given as times of day, unix seconds.
    deadlines_at: tuple[float, ...] = ()
    body: int = 0
    is_unreadable: bool = False
    #: Whether an operator settled it without a proof that it has no run.
    is_settled_by_operator: bool = False
    #: Whether its key may have another request: an operator discarded it, or Redis lost it.
    is_discarded: bool = False
    #: When an operator had it done again last, simulated seconds; None = never.
    replayed_at: float | None = None

    def __post_init__(self) -> None:
        self.body = self.body or self.number


@dataclass(slots=True)
class InvariantLedger:
    """Records what was accepted and what ran, and judges it.

    Args:
        clock: simulated seconds.
        max_live_runs: the most runs that may be live now.
        max_run_seconds: how long a run may take.
        uncounted: seconds that Redis' clock, which was set back, cannot know of.
        unwitnessed: seconds by which it was set ahead since a time (simulated seconds), likewise.
        very_late: submissions whose effect came after their client had given up; some after the
            search for their runs, too.
        alike: the jobs whose requests have a number, where there are more of them.
    """

    clock: Callable[[], float]
    max_live_runs: Callable[[], float]
    max_run_seconds: float
    uncounted: Callable[[], float]
    unwitnessed: Callable[[float], float] = lambda _: 0.0
    very_late: Callable[[], int] = lambda: 0
    alike: Mapping[int, Sequence[int]] = field(default_factory=dict)
    accepted: dict[int, AcceptedJob] = field(default_factory=dict)
    #: By the number in their requests.
    runs: dict[int, list[Run]] = field(default_factory=lambda: defaultdict(list))
    #: Numbers in requests that others submitted, too: their jobs may stay unconfirmed.
    shared_numbers: set[int] = field(default_factory=set)
    #: For each failover: since when writes were lost, and when it happened; simulated seconds.
    lost_writes: list[tuple[float, float]] = field(default_factory=list)
    #: For each job that is to be canceled: since when that is answered; infinite = it is not.
    cancels: dict[int, float] = field(default_factory=dict)
    #: Requests that the queue refused, since their key has another one.
    refused: set[int] = field(default_factory=set)
    #: Runs that no cancel ended: their jobs had ended without them when a person replayed these.
    abandoned: set[str] = field(default_factory=set)
    #: Jobs that an operator let go on although an empty Redis knows nothing of their runs.
    forgotten: set[int] = field(default_factory=set)
    #: Whether others submit to the account, too.
    is_shared: bool = False
    #: How many runs of a group may be live.
    caps: defaultdict[str, float] = field(default_factory=lambda: defaultdict(lambda: math.inf))
    #: How many jobs may use a key at a time, by key or pattern.
    key_limits: dict[str, int] = field(default_factory=dict)
    #: Whether this release of Skyvern shows the tags of runs.
    shows_tags: bool = True
    #: Whether submissions carry markers; without them a person says which run is a lost job's.
    has_markers: bool = True
    #: Whether no cancel has an effect.
    refuses_cancels: bool = False
    #: Says whether no job owns a run, and nothing that Skyvern shows of it tells whose it is.
    is_hidden: Callable[[Run], bool] = lambda _: False
    #: Says whether a job owns the run with an id.
    is_owned: Callable[[str], bool] = lambda _: False
    #: As `ConductLedger.first_lost_answer`.
    first_lost_answer: Callable[[int], float] = lambda _: math.inf
    #: As `ConductLedger.last_submission`.
    last_submission: Callable[[int, float], float] = lambda _, before: before
    #: Says whether answers were lost or replaced: then a run's end may never be read.
    spoils_reads: Callable[[], bool] = lambda: False
    #: When a job killed a worker last, simulated seconds: what that had claimed is searched for.
    last_death: float = -math.inf
    _free_since: float | None = None
    #: Each invariant that did not hold, in a sentence.
    violations: list[str] = field(default_factory=list)

    def may_stay_unconfirmed(self, number: int) -> bool:
        """Say whether a lost answer may leave a job to an operator for ever."""
        job = self.accepted[number]
        # Where others submit, too, or a person said that a job has no run and it has, a run
        # without a marker is nobody's for sure.
        no_marker = [run.created for run in self.runs[job.body] if not self._is_marked(run)]
        is_open = bool(no_marker) and (self.is_shared or job.is_settled_by_operator)
        # Where it was submitted again soon although it might have a run, neither is its own for
        # sure.
        soon = BEFORE_CLAIM_SECONDS + IN_FLIGHT_SECONDS
        is_open |= job.may_repeat and any(
            newer - older <= soon for older, newer in pairwise(sorted(no_marker))
        )
        return (
            job.stays_unconfirmed
            or job.body in self.shared_numbers
            or is_open
            or (job.is_unreadable and self.is_any_run_hidden())
        )

    def is_any_run_hidden(self) -> bool:
        """Say whether nobody can tell whose one of the runs is."""
        return any(self.is_hidden(run) for runs in self.runs.values() for run in runs)

    def fail(self, text: str) -> None:
        """Record that an invariant does not hold."""
        self.violations.append(f"{self.clock():.3f} s: {text}")

    def wall(self) -> float:
        """Return Skyvern's clock, unix seconds."""
        return processes.EPOCH + self.clock()

    def has_known_runs(self, number: int) -> bool:
        """Say whether the queue knows of each run of a job that there was, and that it is its own.

        Then the end of each run but the last was recorded before the next began.
        """
        job = self.accepted[number]
        return not (
            job.may_repeat
            or job.is_settled_by_operator
            or job.is_stuck
            or job.is_discarded
            or job.is_unreadable
            or number in self.shared_numbers
            or number in self.forgotten
            or number in self.alike
            or self.lost_writes
            or self.first_lost_answer(job.body) < math.inf
        )

    def current(self) -> list[AcceptedJob]:
        """Return the accepted jobs that were not discarded, nor replaced by a lost one's key."""
        last = {one.job_id: one for one in self.accepted.values() if not one.is_discarded}
        return [one for one in self.accepted.values() if last.get(one.job_id) is one]

    def forget(self) -> None:
        """Allow extra runs of all accepted jobs: an operator said so, or none can tell."""
        self.forgotten.update(self.accepted)

    @property
    def was_emptied(self) -> bool:
        """Whether Redis came back empty."""
        return any(since == 0.0 for since, _ in self.lost_writes)

    def let_go_on(self) -> None:
        """Note that an operator ends the recovery of a Redis.

        Runs without a marker may repeat then; if it was empty, or markers are off, all may.
        """
        if self.was_emptied or not self.has_markers:
            self.forget()
        elif self.lost_writes:
            self.forgotten |= {
                number
                for number, job in self.accepted.items()
                if not all(self._is_marked(run) for run in self.runs[job.body])
            }

    def is_of_an_earlier_redis(self, number: int, created: float) -> bool:
        """Say whether nobody knows of a run: Redis was emptied since, and no process noticed.

        Args:
            number: its job's.
            created: when it was made, simulated seconds.
        """
        emptied = max((at for since, at in self.lost_writes if since == 0.0), default=-math.inf)
        return number in self.forgotten and created <= emptied + IN_FLIGHT_SECONDS

    def is_left_to_a_person(self, run: Run) -> bool:
        """Say whether Redis lost the claim of a run that shows no marker, or its job as well.

        The run takes no slot until a person says whose it is.
        """
        return self._may_be_left_to_a_person(run) and not self.is_owned(run.run_id)

    def _may_be_left_to_a_person(self, run: Run) -> bool:
        is_lost = self.may_be_lost(run.created - processes.EPOCH)
        return is_lost and (not self.has_markers or self.is_hidden(run))

    def _is_marked(self, run: Run) -> bool:
        """Say whether a run shows whose it is."""
        submission = run.submission
        texts = (submission.sent_title or "", submission.webhook_url or "")
        is_tagged = self.shows_tags and TAG_KEY in (submission.tags or {})
        return bool(markers_in(" ".join(texts))) or is_tagged

    def judge_new_run(self, run: Run, live: int) -> None:
        """Judge a run at its creation.

        Args:
            run: the run.
            live: the number of live runs, this one included.
        """
        number = job_number(run)
        if number is None:
            self.fail(f"I2: run {run.run_id} is of no job")
            return
        now = run.created
        jobs = self._with_body(number)
        is_excused = number in self.forgotten or any(
            job.is_settled_by_operator or job.may_repeat for job in jobs
        )
        others = sum(
            not one.is_over(now) and one.run_id not in self.abandoned for one in self.runs[number]
        )
        if not is_excused and others >= len(self.alike.get(number, (number,))):
            self.fail(f"I2: run {run.run_id} of job {number} is made while another one is live")
        self.runs[number].append(run)
        if len(jobs) == 1 and number not in self.alike:
            self._judge_start(jobs[0])
        # The slot of a run that was never found is free once no run is that old.
        unknown = sum(
            not one.is_over(now)
            and (one.created + self._longest(number) < now or self._may_be_left_to_a_person(one))
            for number, runs in self.runs.items()
            for one in runs
        )
        most = (
            self.max_live_runs()
            + unknown
            + self.very_late()
            + sum(
                one.is_settled_by_operator
                or one.number in self.forgotten
                or (one.may_repeat and self._may_be_let_go(one, now))
                for one in self.accepted.values()
            )
        )
        if live > most:
            self.fail(f"I3: {live} runs are live, {most:.0f} may be")

    def _longest(self, number: int) -> float:
        """Return how long the run of a job has a slot at most, seconds."""
        job = self.accepted.get(number)
        return UNREADABLE_LIMIT if job is not None and job.is_unreadable else self.max_run_seconds

    def _may_be_let_go(self, job: AcceptedJob, now: float) -> bool:
        """Say whether a job with `resubmit` may have given up the slot of a live run.

        Args:
            job: the job.
            now: unix seconds.
        """
        runs = self.runs[job.body]
        lost = self._first_loss(job)
        is_old = lost + _LET_GO_SECONDS < now - processes.EPOCH
        is_live = any(not run.is_over(now) for run in runs)
        return lost < math.inf and is_live and (is_old or len(runs) > 1)

    def _first_loss(self, job: AcceptedJob) -> float:
        """Return when an answer about a job, or a claim of it, was first lost; infinite: never."""
        made = (run.created - processes.EPOCH for run in self.runs[job.body])
        return min([self.first_lost_answer(job.body), *filter(self.may_be_lost, made)])

    def _with_body(self, body: int) -> list[AcceptedJob]:
        """Return the accepted jobs whose requests have a number."""
        numbers = self.alike.get(body, (body,))
        return [self.accepted[number] for number in numbers if number in self.accepted]

    def _judge_start(self, job: AcceptedJob) -> None:
        early, is_first = job.not_before - self.clock(), len(self.runs[job.body]) == 1
        if is_first and early > self.unwitnessed(-math.inf):
            self.fail(f"job {job.number} is submitted {early:.1f} s too early")

    def judge_enqueued_again(self, number: int) -> None:
        """Judge that a job that is enqueued again is new to the queue only if Redis lost it.

        If its run shows no marker, the queue cannot know it, and may run the job again.
        """
        job = self.accepted[number]
        if job.is_discarded:
            return
        if not self.may_be_lost(job.accepted_at):
            self.fail(f"I1: job {number} ({job.job_id}) is enqueued again, and is new")
        elif not all(self._is_marked(run) for run in self.runs[job.body]):
            self.forgotten.add(number)

    def judge_key_is_free(self, job_id: str) -> None:
        """Judge that Redis lost each job whose key another request has now, and note that.

        Args:
            job_id: that of the key.
        """
        for job in self.accepted.values():
            if job.job_id == job_id and not job.is_discarded:
                job.is_discarded = True
                if not self.may_be_lost(job.accepted_at):
                    self.fail(f"I1: the key of job {job.number} ({job_id}) has another request")

    def judge_known(self, number: int, job_id: str) -> None:
        """Judge that a key is not called known if another request came with it.

        Args:
            number: the request's.
            job_id: that of its key.
        """
        for one in self.current():
            is_lost = self.may_be_lost(one.accepted_at)
            if one.job_id == job_id and one.number != number and not is_lost:
                self.fail(f"I5: the key of job {one.number} counts as known for request {number}")

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
            if self.may_be_lost(self.accepted[number].accepted_at):
                continue  # it was enqueued again, and its deadline counts from then
            deadline = self.accepted[number].deadline + self.uncounted()
            latest = max(deadline, calm_since) + _OVERDUE_SECONDS
            if job is not None and job.state in _WAITING and self.clock() > latest:
                self.fail(f"I8: job {number} is {job.state} after its deadline")

    def judge_rate(self, what: str, times: Sequence[float], rate: float, extra: int) -> None:
        """Judge that calls came no faster than the account's limit allows (I3).

        Args:
            what: which calls, for the message.
            times: when each came, in order.
            rate: calls a second; 0 = no limit.
            extra: how many may come in addition.
        """
        first = 0
        for last, at in enumerate(times):
            while at - times[first] > WINDOW:
                first += 1
            if rate and last - first + 1 > rate * (WINDOW + SLACK) + extra:
                self.fail(f"I3: {last - first + 1} {what} came within {WINDOW:g} s")
                return

    def judge_webhooks(
        self,
        jobs: Mapping[int, Job | None],
        taken: Mapping[str, int],
        refused: Mapping[str, int],
        most_tries: int,
        too_late: float,
    ) -> None:
        """Judge that a receiver took each webhook that counts as delivered, and refused a lost one.

        Args:
            jobs: by their numbers.
            taken: how many webhooks each URL took.
            refused: how many it did not take, or gave no answer to.
            most_tries: refusals after which one may be abandoned.
            too_late: unix seconds; one may also be abandoned if its job ended before: it waited
                behind the breaker of its receiver until its time was up.
        """
        for number, job in jobs.items():
            url, body = self.accepted[number].webhook, self.accepted[number].body
            if job is None or not url:
                continue
            if job.run_id is None and job.webhook.state in _REPORTED:
                self.fail(f"the webhook of job {number} is {job.webhook.state}, without a run")
            if not any(run.run_id == job.run_id for run in self.runs[body]):
                continue  # I4 judges whose run a job has
            is_late = bool(job.ended_at and job.ended_at.timestamp() < too_late)
            is_abandoned = job.webhook.state is DeliveryState.ABANDONED and not is_late
            if is_abandoned and refused.get(url, 0) < most_tries:
                self.fail(f"the webhook of job {number} is abandoned after {refused.get(url, 0)}")
            if job.webhook.state is DeliveryState.DELIVERED and not taken.get(url):
                self.fail(f"the webhook of job {number} counts as delivered, and nobody took it")

    def judge_free_capacity(
        self, stats: AccountStats, jobs: Mapping[int, Job | None], submitted: float
    ) -> None:
        """Judge that no job waits for longer than `IDLE_SECONDS` while capacity is free (I8).

        Args:
            stats: the account's, now.
            jobs: those that are not over, by their numbers; for the report.
            submitted: when a job was submitted last, simulated seconds.
        """
        most = stats.slots
        is_free = (
            stats.claimable > 0
            and (not most or stats.live + stats.orphans_live < most)
            and not stats.hold_reason
            and not stats.paused
            and stats.pace is None
            and (not stats.full_pace or stats.permits.get("submission", 1) > 0)
            and stats.permits.get("request", 1) > 0
        )
        if not is_free or self.clock() - submitted < IDLE_SECONDS:
            self._free_since = None
        elif self._free_since is None:
            self._free_since = self.clock()
        elif self.clock() - self._free_since > IDLE_SECONDS:
            waiting = (
                f"job {number}: {waits_for(job, stats)}"
                for number, job in jobs.items()
                if job is not None and job.state is JobState.READY
            )
            self.fail(
                f"I8: {stats.claimable} jobs wait while {stats.live} of {most} slots are used:"
                f" {next(waiting, 'none is ready')}"
            )
            self._free_since = None

    def capacity_is_unknown(self) -> None:
        """Record that faults may hinder the use of free capacity now."""
        self._free_since = None

    def may_be_lost(self, at: float) -> bool:
        """Return whether a write acknowledged at a time may be lost by a failover.

        Its answer may still be on the way when the server fails.
        """
        return any(
            since <= at + 1 and at <= until + ANSWER_SECONDS for since, until in self.lost_writes
        )

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
            mine, alike = self.runs.get(accepted.body, []), self._with_body(accepted.body)
            # Runs that found their browser session occupied did nothing, and count for no policy.
            most = sum(one.max_runs for one in alike) + sum(
                run.occupied is not None for run in mine
            )
            is_excused = number in self.forgotten or any(one.may_repeat for one in alike)
            if len(mine) > most and not is_excused:
                self.fail(
                    f"I2: job {number} ({accepted.job_id}) has {len(mine)} runs,"
                    f" {most} may be: {[run.run_id for run in mine]}"
                )
            if job is None:
                if not self.may_be_lost(accepted.accepted_at):
                    self.fail(f"I1: job {number} ({accepted.job_id}) is lost")
                continue
            is_shared = job.run_id is not None and owners[job.run_id] > 1
            own = () if is_shared else mine
            self._judge_run_of(job, accepted, own)
            is_unread = self._is_unread(job)
            if job.is_over and not (job.run_id in orphans or accepted.is_stuck or is_unread):
                self._judge_status(job, accepted, own, now)

    def _judge_run_of(self, job: Job, accepted: AcceptedJob, mine: Sequence[Run]) -> None:
        """Judge that a job's run is its own, and that their states agree (I4)."""
        number = accepted.number
        run = next((run for run in mine if run.run_id == job.run_id), None)
        if job.run_id is None:
            if job.state is JobState.COMPLETED:
                self.fail(f"I4: job {number} is completed without a run")
        elif run is None:
            # Nobody knows that the run is of another request, which had the same key before, or
            # that was refused for it until a failover lost this job.
            is_replaced = self.may_be_lost(accepted.accepted_at) and any(
                run.run_id == job.run_id
                for refused in self.refused
                for run in self.runs.get(refused, ())
            )
            if not (is_replaced or self.gone_with_the_key_of(accepted)):
                self.fail(f"I4: job {number} has the run {job.run_id}, which is not its own")
        elif accepted.is_stuck or run.submission.unreadable or self.refuses_cancels:
            return  # it was abandoned, and may go on
        elif self._is_unread(job):
            return
        elif job.state in _RUN_STATUSES and job.run_status not in _RUN_STATUSES[job.state]:
            self.fail(f"I4: job {number} is {job.state}, its run {job.run_status}")

    def _is_unread(self, job: Job) -> bool:
        """Say whether faults kept the end of a run from being read, as its canceled job says."""
        is_said = (job.reason or "").endswith("(the run is over, but cannot be read)")
        return is_said and self.spoils_reads()

    def _judge_status(
        self, job: Job, accepted: AcceptedJob, mine: Sequence[Run], now: float
    ) -> None:
        """Judge that the end of a job is the end of its run at Skyvern (I4)."""
        run = next((run for run in mine if run.run_id == job.run_id), None)
        if run is None or run.submission.unreadable:
            return
        occupied = sum(one.occupied is not None for one in mine)
        is_abandoned = accepted.number in self.cancels or accepted.deadline < math.inf
        if run.occupied and occupied < MOST_OCCUPIED and not is_abandoned:
            self.fail(f"job {accepted.number} is {job.state} after {occupied} occupied runs")
        if not run.is_over(now):
            self.fail(f"I4: job {accepted.number} is {job.state}, its run {job.run_id} goes on")
        elif job.run_status != run.status(now):
            self.fail(f"I4: job {accepted.number} has {job.run_status}, its run {run.status(now)}")

    def gone_with_the_key_of(self, job: AcceptedJob) -> list[AcceptedJob]:
        """Return the jobs that are lost and had a job's key.

        A search for its run finds theirs as well, and their webhooks are about its key.
        """
        return [
            one
            for one in self.accepted.values()
            if one.job_id == job.job_id and one is not job and self.may_be_lost(one.accepted_at)
        ]

    def judge_orphans(
        self, jobs: Mapping[int, Job | None], orphans: Sequence[str], submissions: Mapping[int, int]
    ) -> None:
        """Judge that each run is recorded as its job's, or shown as an orphan (I2).

        Args:
            jobs: by their numbers.
            orphans: the ids of the runs that are shown as orphans.
            submissions: how many there were of each job, by its number.
        """
        for number, runs in self.runs.items():
            accepted = self._with_body(number)
            found = [job for one in accepted if (job := jobs.get(one.number)) is not None]
            if any(job.state is JobState.UNCONFIRMED for job in found):
                continue
            is_late = any(
                job.state is JobState.DEAD and (job.reason or "").startswith("deadline")
                for job in found
            )
            if any(self._looks_for_no_run(one, submissions, is_late=is_late) for one in accepted):
                continue
            for run in runs:
                if any(run.run_id == job.run_id for job in found):
                    continue
                is_lost = not found or number in self.forgotten
                if is_lost and (not self._is_marked(run) or self.is_hidden(run)):
                    continue  # its claim or job is lost, and nothing shows that it was this queue's
                is_canceled = any(job.state is JobState.CANCELED for job in found)
                if (self.is_hidden(run) or is_canceled) and any(one.may_repeat for one in accepted):
                    continue  # its job does not wait until somebody says whose it is
                if run.run_id not in orphans and not self.is_owned(run.run_id):
                    self.fail(f"I2: run {run.run_id} of job {number} is hidden")

    def _looks_for_no_run(
        self, job: AcceptedJob, submissions: Mapping[int, int], *, is_late: bool
    ) -> bool:
        """Say whether nobody looks for the run of a lost answer any more.

        With `resubmit` that is so once the job is in its lane again, where its deadline may pass.
        """
        was_resubmitted = job.may_repeat and (submissions[job.body] > 1 or is_late)
        return job.number in self.forgotten or was_resubmitted or job.is_settled_by_operator

    def judge_deadlines(
        self, jobs: Mapping[int, Job | None], calm_since: float, now: float
    ) -> None:
        """Judge that no run goes on for long after its job's deadline.

        Args:
            jobs: by their numbers.
            calm_since: when the faults were over, simulated seconds.
            now: unix seconds.
        """
        epoch = now - self.clock()
        for job in self.accepted.values():
            if job.body in self.alike or job.is_stuck or self.may_be_lost(job.accepted_at):
                continue  # a run may be of a job without a deadline, or with a later one
            found = jobs.get(job.number)
            is_unconfirmed = found is not None and found.state is JobState.UNCONFIRMED
            latest = max(job.deadline + self.uncounted(), calm_since)
            for run in self.runs[job.number]:  # one may be made late
                created = run.created - epoch
                owner = found if found is not None and run.run_id == found.run_id else None
                # After a lost answer a run may go on that the queue does not know.
                may_have_others = job.is_settled_by_operator or (
                    job.may_repeat and self._first_loss(job) < math.inf
                )
                if (may_have_others and owner is None) or self.is_hidden(run):
                    continue
                if is_unconfirmed and not self._is_marked(run):
                    continue  # a person says which run is its own
                if self.is_of_an_earlier_redis(job.number, created):
                    continue
                since = max(latest, created)
                if owner and owner.started_at and self._first_loss(job) < math.inf:
                    since = max(since, owner.started_at.timestamp() - epoch)  # it was found then
                late = min(run.ended, now) - epoch - since
                if late > _OVERDUE_SECONDS and not self.refuses_cancels:
                    self.fail(
                        f"I8: run {run.run_id} goes on after the deadline of job {job.number}"
                    )

    def _may_stay(self, number: int, job: Job) -> bool:
        """Say whether nothing but an operator or time ends a job."""
        due = self.accepted[number].not_before + self.uncounted()
        is_due = job.state is not JobState.SCHEDULED or self.clock() >= due  # by the queue's clock
        is_unconfirmed = job.state is JobState.UNCONFIRMED and self.may_stay_unconfirmed(number)
        return is_unconfirmed or not is_due

    def _key_limit(self, key: str) -> float:
        """Return how many jobs may use a key at a time."""
        pattern = f"{key.partition(':')[0]}:*"
        return self.key_limits.get(key, self.key_limits.get(pattern, math.inf))

    def judge_end(
        self, jobs: Mapping[int, Job | None], stats: AccountStats, held: Collection[str]
    ) -> None:
        """Judge that every job that can end has ended, and that no slot is held by nothing (I8).

        Args:
            jobs: by their numbers.
            stats: the account's.
            held: the ids of the unconfirmed jobs that still have a slot.
        """
        groups = Counter(job.group for job in jobs.values() if job and job.id in held)
        full = {group for group, count in groups.items() if count >= self.caps[group]}
        keys = Counter(key for job in jobs.values() if job and job.id in held for key in job.keys)
        taken = {key for key, count in keys.items() if count >= self._key_limit(key)}
        for number, job in jobs.items():
            if job is None or job.is_over:
                continue
            has_no_place = job.group in full or not taken.isdisjoint(job.keys)
            if job.state in _WAITING and (len(held) >= self.max_live_runs() or has_no_place):
                continue  # unconfirmed jobs have all slots, or all places of its group or a key
            is_open = any(wait.kind == "batch" and wait.reason == "open" for wait in job.waits_for)
            if is_open and self.may_be_lost(self.accepted[number].accepted_at):
                continue  # its batch was sealed, and Redis lost that
            if not self._may_stay(number, job):
                self.fail(f"I8: job {number} ({job.id}) is still there: {waits_for(job, stats)}")
        waiting = sum(job is not None and job.state in _WAITING for job in jobs.values())
        counted = sum(stats.states[state] for state in _WAITING)
        if counted != waiting:
            self.fail(f"I8: {counted} jobs count as waiting, and {waiting} wait")
        if stats.live != len(held):
            self.fail(f"I8: {stats.live} slots are taken for {len(held)} unconfirmed jobs")
        if stats.orphans_live and not self.refuses_cancels:
            self.fail(f"I8: {stats.orphans_live} orphans keep their slots")
        if stats.damage or stats.quarantined:
            self.fail(f"damage: {stats.damage or stats.quarantined_ids}")
