"""Judges submissions as they arrive at Skyvern, by what operators, producers and Skyvern said.

Each judgment allows what was on its way, and leaves out what a fault excuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from runqueue import ids
from runqueue.records.job import Enqueued, EnqueueStatus, Job
from simulation.judges.ledger import JOB_NUMBER, InvariantLedger, job_number
from simulation.plan import KILLS_WORKERS, OF_SKYVERN, PlannedJob
from simulator.answers import steps as taken_steps
from simulator.model.runs import Run

#: Seconds that a submission may be on its way: by a worker without trouble; by any, as its lease
#: ends after 15 s.
PROMPT_SECONDS, LEASE_SECONDS = 3.0, 20.0
#: How many submissions may pass a job that waits, beside three times the limit of live runs.
PASSED = 10
#: The share of a batch's canary jobs that must complete, as `RunQueue.open_batch` has it.
CANARY_RATIO = 0.5

#: Seconds in which the end of a run is recorded.
RECORD_SECONDS = 60.0
#: Seconds for which a fault explains that a browser session is occupied.
OCCUPIED_SECONDS = 120.0
#: Seconds after its submission from which a run may come after two searches saw none.
LATE_RUN_SECONDS = 30.0
#: Seconds for which a run is canceled that answers no cancel.
CANCEL_SECONDS = 600.0

#: What hinders no worker from learning of a `Retry-After`, beside faults of Skyvern.
_SLOW = (*OF_SKYVERN, "redis is slow")
#: Seconds that a `Retry-After` takes to be known where Redis is slow.
_SLOW_SECONDS = 18.0
#: Says whether no process, message or Redis had a fault between two times (simulated seconds);
#: other kinds that do not matter may follow.
IsCalm = Callable[..., bool]


@dataclass(slots=True)
class _Turns:
    """What passed a job that waits, since its own group had its turn.

    Args:
        since: when the first did, simulated seconds.
        groups: the other groups that had a turn.
        new: how many of them came after `since`.
        passed: further submissions of these groups, and those of less urgent jobs.
    """

    since: float
    groups: set[str] = field(default_factory=set)
    new: int = 0
    passed: int = 0


class SubmissionJudge:
    """Judges each submission, and the markers of each run.

    Args:
        ledger: what was accepted and what ran.
        requests: those that may be submitted, by their numbers.
        canaries: how many canary jobs each batch has, by the batch's number.
        is_calm: tells whether the queue's own processes had a fault.
        slowness: seconds that each way to Redis takes longer now, at most.
        key_rates: seconds between two jobs that begin with a key, by key or pattern.
        budget_window: when a new window of the strict budget begins, simulated seconds; 0 = never.
    """

    def __init__(
        self,
        ledger: InvariantLedger,
        requests: dict[int, PlannedJob],
        canaries: dict[int, int],
        is_calm: IsCalm,
        slowness: Callable[[], float],
        *,
        key_rates: Mapping[str, float] | None = None,
        budget_window: float = 0.0,
    ) -> None:
        self._ledger = ledger
        self._requests = requests
        self._canaries = canaries
        self._is_calm = is_calm
        self._slowness = slowness
        self._key_rates = dict(key_rates or {})
        self._budget_window = budget_window
        #: What is paused (the account, a group, a batch), and since when that is answered.
        self._paused: dict[Hashable, float] = {}
        #: The caps of groups, and since when.
        self._caps: dict[str, tuple[int, float]] = {}
        #: The limits of keys, by key or pattern, and since when.
        self._key_limits: dict[str, tuple[int, float]] = {}
        #: The steps of the strict budget, and since when.
        self._budget: tuple[int, float] = (0, 0.0)
        #: From when on it counts what ends, simulated seconds.
        self._counts_from = math.inf
        #: What an operator changes, or tried to: nobody knows what holds.
        self._unknown: set[Hashable] = set()
        #: Groups that had a cap: their jobs may wait for others of their group.
        self._capped: set[str] = set()
        #: When Skyvern asked for a wait, and until when.
        self._waits: list[tuple[float, float]] = []
        #: Batches whose canaries do not matter any more.
        self._released: set[int] = set()
        #: Batches that are surely paused: a resume ends the pause alone, and their canaries go on.
        self._keep_canary: set[Hashable] = set()
        self._resumed: set[int] = set()
        self._submitted: set[int] = set()
        #: The jobs of each batch in the order in which they were stored, by its number.
        self._stored: dict[int, list[int]] = {}
        #: What passed each job that waits, by its number.
        self._turns: dict[int, _Turns] = {}
        #: By job number, job id and attempt: the run that carries the marker.
        self._markers: dict[tuple[int, str, int], str] = {}

    def change(self, what: Hashable) -> None:
        """Note that a change begins: of what is paused, or of a cap, a key's limit, the budget."""
        self._unknown.add(what)
        if isinstance(what, tuple):
            self._caps.pop(what[1], None) if what[0] == "cap" else None
            self._key_limits.pop(what[1], None) if what[0] == "key" else None
        elif what == "budget":
            self._budget = (0, 0.0)

    def settle(self, what: Hashable) -> None:
        """Note that a change was answered."""
        self._unknown.discard(what)

    def settle_all(self) -> None:
        """Note that whatever operators changed is undone."""
        self._unknown.clear()

    def cap_of(self, group: str) -> float:
        """Return how many jobs of a group may be live; 0 = that is not known."""
        if ("cap", group) in self._unknown:
            return 0
        return self._caps.get(group, (math.inf, 0.0))[0]

    def limit_of(self, key: str) -> float:
        """Return how many jobs may have a key; 0 = that is not known."""
        pattern = f"{key.partition(':')[0]}:*"
        if not self._unknown.isdisjoint({("key", key), ("key", pattern)}):
            return 0
        implied = 1 if pattern == "session:*" else math.inf
        found = self._key_limits.get(key) or self._key_limits.get(pattern)
        return found[0] if found else implied

    def begins_at(self, key: str) -> float:
        """Return when a rate lets the next job with a key begin, simulated seconds; 0 = at once.

        Infinite: that is not known. What surely made no run spends no rate.
        """
        interval = self._interval_of(key)
        if not interval:
            return 0.0
        users = [number for number, one in self._requests.items() if key in one.all_keys]
        if any(self._ledger.first_lost_answer(number) < math.inf for number in users):
            return math.inf
        begun = [self._simulated(run.created) for one in users for run in self._ledger.runs[one]]
        return max(begun, default=-interval) + interval

    def _interval_of(self, key: str) -> float:
        pattern = f"{key.partition(':')[0]}:*"
        return self._key_rates.get(key) or self._key_rates.get(pattern) or 0.0

    def _simulated(self, unix: float) -> float:
        return unix - self._ledger.wall() + self._ledger.clock()

    @property
    def budget_steps(self) -> float | None:
        """The steps of the strict budget; None = there is none, 0 = that is not known."""
        return 0 if "budget" in self._unknown else self._budget[0] or None

    def is_paused(self, request: PlannedJob) -> bool:
        """Say whether a job's group or batch may be paused."""
        whose = (("group", request.group), ("batch", request.batch))
        return any(one in self._paused or one in self._unknown for one in whose)

    def spent_at_most(self) -> int:
        """Return how many steps runs took so far of the strict budget, at most."""
        ledger, now = self._ledger, self._ledger.wall()
        # An end before the window may be recorded in it.
        since = self._window_began() - RECORD_SECONDS
        return sum(
            taken_steps(run, now)
            for number, runs in ledger.runs.items()
            if number in self._requests and self._requests[number].max_steps
            for run in runs
            if self._simulated(run.ended) >= since
        )

    def _window_began(self) -> float:
        """Return when the window of the strict budget began, simulated seconds."""
        is_new = 0 < self._budget_window <= self._ledger.clock()
        return self._budget_window if is_new else -math.inf

    def is_settled(self, what: Hashable) -> bool:
        """Say whether no change of this is under way, or failed."""
        return what not in self._unknown

    def pause(self, what: Hashable, *, keeps_canary: bool = False) -> None:
        """Note that a pause was answered; `keeps_canary`: it is what holds a batch, surely."""
        self._paused.setdefault(what, self._ledger.clock())
        if keeps_canary:
            self._keep_canary.add(what)

    def resume(self, what: Hashable) -> None:
        """Note that a resume begins."""
        self._paused.pop(what, None)
        if what == "account":
            self._waits.clear()  # a resume ends holds, too
        if isinstance(what, tuple) and what[0] == "batch":
            is_kept = what in self._keep_canary
            self._keep_canary.discard(what)
            (self._resumed if is_kept else self._released).add(what[1])

    def resume_all(self) -> None:
        """Note that all pauses are ended."""
        self._paused.clear()
        self._waits.clear()
        self._released.update(self._canaries)

    def cap(self, group: str, most: int | None) -> None:
        """Note that a cap was answered; None = its removal."""
        self.settle(("cap", group))
        self._caps.pop(group, None)
        if most is not None:
            self._caps[group] = (most, self._ledger.clock())
            self._capped.add(group)

    def limit_key(self, pattern: str, most: int) -> None:
        """Note that the limit of a key, or of all keys with a first segment, was answered."""
        self.settle(("key", pattern))
        self._key_limits[pattern] = (most, self._ledger.clock())

    def set_budget(self, steps: int) -> None:
        """Note that the strict budget was answered."""
        self.settle("budget")
        self._budget = (steps, self._ledger.clock())
        self._counts_from = min(self._counts_from, self._ledger.clock())

    def ask_to_wait(self, seconds: float) -> None:
        """Note that Skyvern answers a submission with `Retry-After`."""
        now = self._ledger.clock()
        self._waits.append((now, now + seconds))

    def forget(self) -> None:
        """Note that Redis lost the pauses and caps that it had."""
        self._paused.clear()
        self._caps.clear()
        self._key_limits.clear()
        self._budget = (0, 0.0)
        self._waits.clear()
        self._released.update(self._canaries)

    def note_stored(self, batch: int, answers: Iterable[tuple[PlannedJob, Enqueued]]) -> None:
        """Note the answers to jobs of a batch: its first stored ones are its canary.

        Those that a strict budget refuses at first come behind the others. Known ones were stored
        by a call whose answer was lost.
        """
        stored = self._stored.setdefault(batch, [])
        found = [
            (answer.status is EnqueueStatus.NEW, request.number)
            for request, answer in answers
            if answer.status.is_stored and request.number not in stored
        ]
        stored += [number for _, number in sorted(found)]

    def judge(self, content: bytes) -> None:
        """Judge a submission that arrives, whatever becomes of it.

        Args:
            content: its body.
        """
        found = JOB_NUMBER.search(content)
        request = self._requests.get(int(found[1])) if found else None
        if request is None:
            return
        self._judge_pauses(request)
        self._judge_cap(request)
        self._judge_keys(request)
        self._judge_rates(request)
        self._judge_budget(request)
        self._judge_canary(request)
        self._judge_wait()
        self._judge_turns(request)
        self._submitted.add(request.number)

    def judge_markers(self, run: Run) -> None:
        """Judge that a run carries the marker of one attempt, which no other run carries (I2)."""
        number, sent = job_number(run), run.submission
        if number is None:
            return
        markers = ids.markers_in(sent.sent_title or "") | ids.markers_in(sent.webhook_url or "")
        job = self._ledger.accepted.get(number)
        if len(markers) > 1 or (job and any(job_id != job.job_id for job_id, _ in markers)):
            self._ledger.fail(f"I2: run {run.run_id} of job {number} carries {sorted(markers)}")
        for marker in sorted(markers):
            other = self._markers.setdefault((number, *marker), run.run_id)
            if other != run.run_id and number not in self._ledger.forgotten:
                self._ledger.fail(
                    f"I2: runs {other} and {run.run_id} of job {number} carry the same marker"
                )

    def judge_occupied(self, run: Run) -> None:
        """Judge that a run finds its browser session free, unless a fault explains it (I3)."""
        number, ledger = job_number(run), self._ledger
        request = self._requests.get(number or 0)
        if run.occupied is None or request is None or ledger.lost_writes:
            return
        users = [
            job
            for other, job in ledger.accepted.items()
            if other in self._requests and self._requests[other].session == request.session
        ]
        is_excused = any(
            job.may_repeat
            or job.is_settled_by_operator
            or job.is_stuck
            or self._has_late_run(job.body)
            for job in users
        )
        now = ledger.clock()
        if not is_excused and self._is_calm(now - OCCUPIED_SECONDS, now, ()):
            ledger.fail(f"I3: run {run.run_id} of job {number} finds its session occupied")

    def _has_late_run(self, number: int) -> bool:
        """Say whether a run of a job came so late that searches had freed its slot and keys."""
        created = (self._simulated(run.created) for run in self._ledger.runs[number])
        return any(
            at - self._ledger.last_submission(number, at) > LATE_RUN_SECONDS for at in created
        )

    def judge_attempts(self, jobs: Mapping[int, Job | None]) -> None:
        """Judge, at the end, that each job counts all attempts that Skyvern saw."""
        for number, job_id, attempt in self._markers:
            job = jobs.get(number)
            if job is None or job.id != job_id or self._ledger.lost_writes:
                continue
            if job.attempts < attempt:
                self._ledger.fail(
                    f"I2: job {number} has {job.attempts} attempts, and Skyvern saw its {attempt}th"
                )

    def _is_over_the_wire(self, since: float) -> bool:
        """Say whether nothing that was claimed before a time can be on its way any more."""
        now = self._ledger.clock()
        return now > since + LEASE_SECONDS or (
            now > since + PROMPT_SECONDS and self._is_calm(since - LEASE_SECONDS, now)
        )

    def _judge_pauses(self, request: PlannedJob) -> None:
        for what in ("account", ("group", request.group), ("batch", request.batch)):
            since = self._paused.get(what)
            if since is not None and self._is_over_the_wire(since):
                self._ledger.fail(
                    f"job {request.number} is submitted while {what} is paused since {since:.1f} s"
                )

    def _judge_cap(self, request: PlannedJob) -> None:
        most, since = self._caps.get(request.group, (0, 0.0))
        group = request.group
        self._judge_limit(request, most, since, f"group {group}", lambda one: one.group == group)

    def _judge_keys(self, request: PlannedJob) -> None:
        for key in request.all_keys:
            pattern = f"{key.partition(':')[0]}:*"
            implied = (1, 0.0) if pattern == "session:*" else (0, 0.0)
            most, since = self._key_limits.get(key) or self._key_limits.get(pattern, implied)
            has_key = partial(_has_key, key)
            self._judge_limit(request, most, since, f"key {key}", has_key)

    def _judge_rates(self, request: PlannedJob) -> None:
        """Judge that a job begins no sooner than the rates of its keys let it."""
        now = self._ledger.clock()
        for key in request.all_keys:
            at, interval = self.begins_at(key), self._interval_of(key)
            if now < at - PROMPT_SECONDS < math.inf and self._is_calm(0.0, now, ()):
                self._ledger.fail(
                    f"I3: job {request.number} is submitted {at - now:.1f} s before the rate of its"
                    f" key {key} lets it: one in {interval:g} s"
                )

    def _judge_limit(
        self,
        request: PlannedJob,
        most: int,
        since: float,
        what: str,
        belongs: Callable[[PlannedJob], bool],
    ) -> None:
        """Judge that no more runs go on than a limit allows, which holds since a time; 0 = none."""
        ledger = self._ledger
        # Runs whose claims Redis may have lost take no slot of their group.
        if not most or ledger.lost_writes or not self._is_over_the_wire(since):
            return
        live = self._live(belongs)
        if len(live) >= most:
            ledger.fail(
                f"I3: job {request.number} is submitted while {live} of its {what} run; "
                f"its limit is {most}"
            )

    def _judge_budget(self, request: PlannedJob) -> None:
        """Judge that a strict budget is enough for what ended, what is live, and this run."""
        steps, since = self._budget
        ledger, now = self._ledger, self._ledger.wall()
        if not (steps and request.max_steps) or ledger.lost_writes:
            return
        window = self._budget_window
        is_new = window and abs(ledger.clock() - window) < LEASE_SECONDS
        if not self._is_over_the_wire(since) or is_new:
            return
        counted = max(self._counts_from, self._window_began())
        live = self._live(_has_budget)
        committed = request.max_steps + sum(self._requests[one].max_steps for one in live)
        # Its end is recorded, or its `max_steps` are still committed.
        spent = sum(
            taken_steps(run, now)
            for number, runs in ledger.runs.items()
            if number in ledger.accepted
            and number in self._requests
            and self._requests[number].max_steps
            and (len(runs) == 1 or ledger.has_known_runs(number))
            for run in runs
            if run.is_over(now) and self._simulated(run.ended) >= counted
        )
        if spent + committed > steps:
            ledger.fail(
                f"I3: job {request.number} is submitted while {spent} steps are spent and"
                f" {committed} committed, its own with them; the budget is {steps}"
            )

    def _live(self, belongs: Callable[[PlannedJob], bool]) -> list[int]:
        """Return the jobs of a kind whose last run goes on for sure, and takes what runs take."""
        ledger, live = self._ledger, []
        for number, runs in ledger.runs.items():
            job, other = ledger.accepted.get(number), self._requests.get(number)
            if job is None or other is None or not belongs(other) or not runs:
                continue
            if len(runs) > 1 and not ledger.has_known_runs(number):
                continue
            run, now = runs[-1], ledger.wall()
            # A run that no call reaches is abandoned, and may go on: an orphan, of no group.
            longest = min(ledger.max_run_seconds, CANCEL_SECONDS)
            is_stuck = job.is_stuck or ledger.refuses_cancels
            is_abandoned = is_stuck and now - run.created > longest
            # One that nobody knows takes nothing once it would be over.
            longest = max(ledger.max_run_seconds, other.limit)
            is_abandoned |= now - run.created > longest and ledger.is_hidden(run)
            is_excused = job.may_repeat or job.is_settled_by_operator or is_abandoned
            if not is_excused and not run.is_over(now):
                live.append(number)
        return live

    def _judge_canary(self, request: PlannedJob) -> None:
        """Judge that the rest of a batch waits until enough of its canary jobs completed."""
        count, batch, ledger = self._canaries.get(request.batch, 0), request.batch, self._ledger
        is_settled = self.is_settled(("batch", batch)) and batch not in self._released
        if not count or request.route != "batch" or not is_settled:
            return
        members = sorted(one.number for one in self._requests.values() if one.batch == batch)
        canary = [*dict.fromkeys((*self._stored.get(batch, ()), *members))][:count]
        if request.number in canary or ledger.lost_writes:
            return
        now = ledger.wall()
        ends = {
            number: {run.status(now) for run in ledger.runs[number] if run.is_over(now)}
            for number in canary
        }
        if batch in self._resumed and any(found - {"completed"} for found in ends.values()):
            return  # its canary may have aborted it before the resume
        completed = sum("completed" in found for found in ends.values())
        if completed < CANARY_RATIO * len(canary):
            ledger.fail(
                f"job {request.number} is submitted while {completed} of the canary jobs"
                f" {canary} of its batch have completed"
            )

    def _judge_wait(self) -> None:
        """Judge that nothing is submitted while Skyvern has asked for a wait."""
        now = self._ledger.clock()
        self._waits = [wait for wait in self._waits if wait[1] > now]
        for since, until in self._waits:
            known = since + PROMPT_SECONDS
            if not self._is_calm(since, now):
                known += 6 * self._slowness() or _SLOW_SECONDS
            if known < now < until - 1 and self._is_calm(since - 30, now, _SLOW):
                self._ledger.fail(f"a submission comes {until - now:.1f} s before `Retry-After`")
                self._waits.clear()
                return

    def _judge_turns(self, request: PlannedJob) -> None:
        """Judge that neither less urgent jobs nor other groups pass a job without a bound (I7).

        Groups take turns: each other one may pass it once before its own group has its next. So may
        groups that come meanwhile, but not without a bound.
        """
        ledger, now = self._ledger, self._ledger.clock()
        most = PASSED + 3 * min(ledger.max_live_runs(), 20)
        came = self._came(request.group)
        for number, job in ledger.accepted.items():
            other = self._requests.get(number)
            if other is None or not self._waits_its_turn(other, job.accepted_at):
                continue
            if other.group == request.group and other.priority == request.priority:
                self._turns.pop(number, None)
                continue
            turns = self._turns.setdefault(number, _Turns(since=now))
            if other.priority == request.priority and request.group not in turns.groups:
                turns.groups.add(request.group)
                turns.new += came > turns.since
            elif other.priority <= request.priority:
                turns.passed += 1
            if turns.passed > most or turns.new > most + len(turns.groups) - turns.new:
                self._submitted.add(number)  # it is reported once
                ledger.fail(
                    f"I7: job {number} (priority {other.priority}, group {other.group}) waits"
                    f" since {job.accepted_at:.1f} s, and {turns.passed} submissions passed it"
                    f" beside turns of {len(turns.groups)} groups, {turns.new} of them new"
                )

    def _came(self, group: str) -> float:
        """Return when the first job of a group was accepted, simulated seconds."""
        times = (
            job.accepted_at
            for number, job in self._ledger.accepted.items()
            if number in self._requests and self._requests[number].group == group
        )
        return next(times, math.inf)

    def _waits_its_turn(self, request: PlannedJob, accepted_at: float) -> bool:
        """Say whether nothing but other jobs keeps a job from being submitted."""
        number, now = request.number, self._ledger.clock()
        return (
            number not in self._submitted
            and request.route != "batch"
            and not request.delay
            and request.deadline is None
            and request.run != KILLS_WORKERS  # its submissions do not arrive
            and number not in self._ledger.cancels
            and request.group not in self._capped
            and self.is_settled(("cap", request.group))
            and not request.all_keys
            and not request.max_steps  # it may not fit the budget
            and not self.is_paused(request)
            and now > accepted_at + PROMPT_SECONDS
            and accepted_at > self._ledger.last_death
            and self._is_calm(accepted_at - LEASE_SECONDS, now)
            # After a failover any job may own a run that nobody can tell whose it is.
            and not (self._ledger.lost_writes and self._ledger.is_any_run_hidden())
        )


def _has_key(key: str, request: PlannedJob) -> bool:
    return key in request.all_keys


def _has_budget(request: PlannedJob) -> bool:
    return bool(request.max_steps)
