"""Judges that each job begins soon once nothing keeps it: above all after a limit was raised.

What keeps a job is worked out from the plan and from what operators did, not from what the queue
says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from runqueue.records.account import AccountStats
from runqueue.records.job import Job, JobState
from simulation.judges.ledger import InvariantLedger, waits_for
from simulation.judges.submissions import SubmissionJudge
from simulation.marks import PUT_OFF
from simulation.plan import KILLS_WORKERS, PlannedJob

#: Seconds in which a job begins that nothing keeps.
BEGIN_SECONDS = 30.0
#: Seconds without a submission after which no rate keeps a job.
RATE_SECONDS = 10.0
#: A job that waits for longer is deferred for a budget.
_ASIDE_SECONDS = 43_200.0
LIVE = {JobState.SUBMITTING, JobState.RUNNING, JobState.UNCONFIRMED}
#: Rules of a batch that keep its jobs for reasons that are not judged here.
_BATCH_RULES = ("canary", "abort_at_failure_ratio", "expires_after")


class LivenessJudge:
    """Judges jobs that wait.

    Args:
        ledger: what was accepted and what ran.
        requests: by their numbers.
        batch_rules: of each batch, by its number.
        submissions: knows the limits, budgets and pauses.
        has_rates: whether a rate limits submissions or calls.
        reached: counts marks.
    """

    def __init__(
        self,
        ledger: InvariantLedger,
        requests: Mapping[int, PlannedJob],
        batch_rules: Mapping[int, Mapping[str, Any]],
        submissions: SubmissionJudge,
        reached: Counter[str],
        *,
        has_rates: bool,
    ) -> None:
        self._ledger = ledger
        self._requests = requests
        self._batch_rules = batch_rules
        self._submissions = submissions
        self._reached = reached
        self._has_rates = has_rates
        #: Since when nothing keeps each job, by its number; simulated seconds.
        self._free_since: dict[int, float] = {}
        #: Jobs that waited for a budget.
        self._put_off: set[int] = set()

    def forget(self) -> None:
        """Note that faults may keep jobs now."""
        self._free_since.clear()

    def note_waits(self, jobs: Mapping[int, Job | None]) -> None:
        """Note which jobs wait for a budget, and which of these began."""
        for number, job in jobs.items():
            if job is None:
                continue
            if any(why.kind == "budget" for why in job.waits_for):
                self._put_off.add(number)
            elif number in self._put_off and job.run_id is not None:
                self._put_off.discard(number)
                self._reached[PUT_OFF] += 1

    def judge(self, stats: AccountStats, jobs: Mapping[int, Job | None], submitted: float) -> None:
        """Judge that no job waits for longer than `BEGIN_SECONDS` although nothing keeps it (I8).

        Args:
            stats: the account's, now.
            jobs: those that are not over, by their numbers.
            submitted: when a job was submitted last, simulated seconds.
        """
        ledger, now = self._ledger, self._ledger.clock()
        # Where a rate limits them, jobs follow one another.
        is_busy = self._has_rates and now - submitted < RATE_SECONDS
        if ledger.lost_writes or stats.orphans_live or is_busy or self._is_held(stats):
            self.forget()
            return
        free = self._free_jobs(jobs)
        self._free_since = {number: self._free_since.get(number, now) for number in free}
        for number, since in self._free_since.items():
            if now - since > BEGIN_SECONDS:
                ledger.fail(
                    f"I8: nothing keeps job {number} since {since:.0f} s:"
                    f" {waits_for(jobs[number], stats)}"
                )
                self._free_since[number] = now

    @staticmethod
    def _is_held(stats: AccountStats) -> bool:
        """Say whether something keeps all jobs, but for a budget, which is judged by itself."""
        most = stats.slots
        return bool(
            (stats.hold_reason and stats.hold_kind != "budget")
            or stats.paused
            or stats.pace is not None
            or (most and stats.live >= most)
            or 0 in stats.permits.values()
        )

    def _free_jobs(self, jobs: Mapping[int, Job | None]) -> list[int]:
        """Return the ready jobs that neither a limit nor a budget nor a pause keeps."""
        live = [
            self._requests[number]
            for number, job in jobs.items()
            if job is not None and job.state in LIVE and number in self._requests
        ]
        groups = Counter(one.group for one in live)
        keys = Counter(key for one in live for key in one.all_keys)
        ready = [
            self._requests[number]
            for number, job in jobs.items()
            if job is not None and _waits(job, self._ledger.wall()) and number in self._requests
        ]
        begun = {key for one in live for key in one.all_keys}
        # A place at a key may be reserved for a job that waits for another key.
        reserved = {
            key
            for one in ready
            if len(one.all_keys) > 1 and self._full_keys(one, keys)
            for key in one.all_keys
        }
        return [
            one.number
            for one in ready
            if not self._is_left_out(one)
            and groups[one.group] < self._submissions.cap_of(one.group)
            and not self._full_keys(one, keys)
            and reserved.isdisjoint(one.all_keys)
            and all(self._has_rate(key, begun) for key in one.all_keys)
            and self._has_budget(one, live)
        ]

    def _full_keys(self, request: PlannedJob, keys: Counter[str]) -> bool:
        return any(keys[key] >= self._submissions.limit_of(key) for key in request.all_keys)

    def _has_rate(self, key: str, begun: set[str]) -> bool:
        """Say whether the rate of a key lets a job begin; what just begins may spend it."""
        at = self._submissions.begins_at(key)
        return not at or (key not in begun and at <= self._ledger.clock())

    def _is_left_out(self, request: PlannedJob) -> bool:
        """Say whether something may keep a job that is not judged here."""
        ledger, rules = self._ledger, self._batch_rules.get(request.batch, {})
        return (
            request.run == KILLS_WORKERS
            or request.number in ledger.cancels
            or self._submissions.is_paused(request)
            or (request.route == "batch" and any(rule in rules for rule in _BATCH_RULES))
            # A session that others have is paused for minutes.
            or (
                bool(request.session)
                and any(run.occupied for runs in ledger.runs.values() for run in runs)
            )
        )

    def _has_budget(self, request: PlannedJob, live: list[PlannedJob]) -> bool:
        steps = self._submissions.budget_steps
        if not request.max_steps or steps is None:
            return True
        committed = sum(one.max_steps for one in live)
        return self._submissions.spent_at_most() + committed + request.max_steps <= steps


def _waits(job: Job, now: float) -> bool:
    """Say whether a job is ready, or put aside for a budget: for a day, longer than any delay.

    Args:
        job: the job.
        now: unix seconds.
    """
    if job.state is JobState.SCHEDULED and job.run_at is not None:
        return job.run_at.timestamp() > now + _ASIDE_SECONDS
    return job.state is JobState.READY
