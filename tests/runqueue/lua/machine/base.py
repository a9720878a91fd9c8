"""The account under test, its model, and how a script is sent and its jobs are picked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import redis
from hypothesis.stateful import RuleBasedStateMachine

from runqueue.records.delivery import DueDelivery
from runqueue.store.scripts import ScriptCall
from tests.runqueue.lua.clockwork import KEEP, Clockwork
from tests.runqueue.lua.machine.hook import Breaker
from tests.runqueue.lua.machine.mbatch import MBatch
from tests.runqueue.lua.machine.model import (
    ALLOWED,
    MAX_RUN,
    OVER,
    POISON,
    SUSPECT,
    WAITING,
    Hold,
    Limiter,
    MJob,
    Pace,
    Turn,
)

T = TypeVar("T")


class Watched(Clockwork):
    """The clock of a machine: before each script its batches have done what their rules say."""

    def __init__(self, machine: Base) -> None:
        super().__init__(machine.client)
        self.machine = machine

    def run(self, call: ScriptCall[T]) -> T:
        """Send a call at the clock's time."""
        self.machine.judge()
        return super().run(call)


class Base(RuleBasedStateMachine):
    """The model beside the database, and what every part of the machine needs."""

    client: redis.Redis
    cap: int
    caps: dict[str, int]
    paused: set[str]
    dispatches: Limiter
    requests: Limiter
    relays: Limiter
    #: Callbacks of uploads that were given up, which the next claim drops.
    dropped: set[str]
    #: Whether those who claim have webhooks sent to our receiver.
    receives: bool
    #: Whether the last claim had webhooks sent to our receiver; None = there was none.
    received: bool | None = None

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.clock = Watched(self)
        self.jobs: dict[str, MJob] = {}
        self.batches: dict[str, MBatch] = {}
        self.dropped = set()
        self.names = {"a": "a0", "b": "b0", "c": "c0"}
        self.leases: dict[str, int] = {}
        self.said_goodbye: set[str] = set()
        self.seen: dict[str, str] = {}
        self.reported: dict[str, str] = {}
        self.adopted: dict[tuple[str, int], str] = {}
        #: Run -> (the job it was submitted for, its attempt); job -> its strays, oldest first.
        self.strays: dict[str, tuple[str, int]] = {}
        self.stray_jobs: dict[str, list[str]] = {}
        self.strays_counted = 0
        #: Runs that were somebody's -> (the job, since when it is known).
        self.past_owners: dict[str, tuple[str, int]] = {}
        self.stray_cancels: set[str] = set()
        #: Discarded job -> the next attempt of its id, its request, and that request's first.
        self.kept_attempts: dict[str, tuple[int, str, int]] = {}
        self.attempts_kept_until = 0
        #: Strays that take a slot -> their next look; all strays -> when they were noticed.
        self.stray_looks: dict[str, int] = {}
        self.stray_since: dict[str, int] = {}
        self.suspects: dict[str, int] = {}
        self.alone: dict[str, str] = {}
        self.turn = Turn()
        self.ends: Counter[str] = Counter()
        self.hold = Hold()
        self.pace = Pace()
        self.breakers: dict[str, Breaker] = {}
        self.on_the_way: list[DueDelivery] = []
        self.paused = set()
        self.made = 0
        self.claims = 0

    @property
    def now(self) -> int:
        """The clock's time."""
        return self.clock.now

    def judge(self) -> None:
        """Each batch does what its rules say, by where its jobs stand now."""
        for batch in self.batches.values():
            jobs = [self.jobs[job_id] for job_id in batch.jobs]
            states = Counter(job.state for job in jobs) + batch.gone
            of_canary = Counter(job.state for job in jobs if job.canary) + batch.gone_canary
            batch.judge(states, of_canary)

    def all_ended(self, name: str) -> bool:
        """Tell whether no job of a batch is left to end."""
        return all(self.jobs[job_id].state in OVER for job_id in self.batches[name].jobs)

    def send(
        self, call: ScriptCall[T], again: bool, check: Callable[[T, T], None] | None = None
    ) -> T:
        """Send a call; the second time (`again`) must change nothing that the first did not."""
        self.watch()
        reply = self.clock.run(call)
        if again:
            before = self.clock.dump()
            second = self.clock.run(call)
            after = self.clock.dump()
            assert after == before
            if check:
                check(reply, second)
        return reply

    def watch(self) -> None:
        """Every change of state is one of the table's, and a suspect is ready."""
        for job in self.jobs.values():
            before = self.seen.get(job.id, job.state)
            known = before == job.state or job.state in ALLOWED.get(before, ())
            assert known, (before, job.state)
            self.seen[job.id] = job.state
        for job_id in list(self.suspects):
            if job_id not in self.jobs or self.jobs[job_id].state != "ready":
                del self.suspects[job_id]

    def pick(self, n: int, *states: str) -> MJob | None:
        """One of the jobs in these states (any state if none is named)."""
        found = [job for job in self.jobs.values() if not states or job.state in states]
        return found[n % len(found)] if found else None

    def pick_all(self, ns: list[int], *states: str) -> list[MJob]:
        """Several of the jobs in these states; one may come twice."""
        return [job for n in ns if (job := self.pick(n, *states))]

    def runs(self, job: MJob) -> bool:
        """Tell whether a job's batch lets it be claimed."""
        if job.batch is None:
            return True
        batch = self.batches[job.batch]
        return batch.sealed and (not batch.held or (batch.held == "canary" and job.canary))

    def free(self, group: str) -> int:
        """How many more jobs of a group may have a slot."""
        if group in self.paused:
            return 0
        most = self.caps[group]
        return max(0, most - self.live(group)) if most else 1_000

    def live(self, group: str | None = None) -> int:
        """Slots taken."""
        return sum(job.is_live and group in (None, job.group) for job in self.jobs.values())

    def slots(self) -> int:
        """Slots taken by jobs and by strays that may still run."""
        return self.live() + len(self.stray_looks)

    def lane(self, job: MJob) -> str:
        """The lane it waits in."""
        return f"{job.priority}:{job.group}:{self.lane_name(job)}"

    def lane_name(self, job: MJob) -> str:
        """What its lane is called in its group's list."""
        return f"{job.batch}{'+' * job.canary}" if job.batch else "-"

    def alive(self, process: str) -> bool:
        """Tell whether a lease holds."""
        return self.leases.get(process, 0) > self.now

    # What becomes of a job.

    def end(self, job: MJob, state: str) -> None:
        """A job is over."""
        job.state, job.ended, job.process = state, self.now, None
        self.ends[state] += 1

    def cancel_waiting(self, job: MJob) -> bool:
        """A job that waits is not wanted; tells whether it has a run, which is to be canceled."""
        if not self.take_stray(job):
            self.end(job, "canceled")
            return False
        job.deaths, job.cancel = 0, "asked"
        return True

    def end_with_run(self, job: MJob, state: str, result: bytes | None, signed: str = "") -> None:
        """A job is over with its run; a cancel for want of time makes it a failure."""
        late = job.cancel not in {None, "asked"} and state == "canceled"
        self.end(job, "failed" if late else state)
        job.result = result
        job.runs += 1
        job.hook.begin(self.now, signed)

    def end_without_run(self, job: MJob) -> None:
        """A job is over that has no run."""
        self.end(job, "canceled" if job.cancel == "asked" else "dead")

    def doubt(self, job: MJob) -> None:
        """Nobody knows whether a run of the job exists."""
        job.state, job.process, job.since = "unconfirmed", None, self.now

    def settle(self, job: MJob) -> None:
        """A job is not unconfirmed any more."""
        job.negatives, job.negative_at, job.slot = 0, 0, True

    def ready_again(self, job: MJob) -> None:
        """A job surely has no run."""
        self.settle(job)
        if job.cancel:
            self.end_without_run(job)
        elif job.deaths >= POISON:
            self.end(job, "dead")
        else:
            job.state, job.process = "ready", None
            if job.deaths == SUSPECT:
                self.suspects[job.id] = self.now

    def add_stray(self, run_id: str, job_id: str, attempt: int, look_us: int | None) -> None:
        """A run has no owner; without a look it takes no slot."""
        if run_id not in self.strays:
            self.stray_since[run_id] = self.now
            if look_us is not None:
                self.stray_looks[run_id] = self.now + look_us
            self.strays[run_id] = (job_id, attempt)
            self.strays_counted += 1
            self.stray_jobs.setdefault(job_id, []).append(run_id)

    def stray_last(self, run_id: str) -> int:
        """Until when a stray takes a slot that nobody sees to be over."""
        job_id, _ = self.strays[run_id]
        is_its_jobs = self.clock.field(job_id, "run_id") == run_id
        began = self.clock.field(job_id, "started") if is_its_jobs else None
        return int(began or self.stray_since[run_id]) + MAX_RUN

    def forget_stray(self, run_id: str) -> None:
        """A run has an owner, or needs none."""
        job_id, _ = self.strays.pop(run_id)
        self.stray_cancels.discard(run_id)
        self.stray_looks.pop(run_id, None)
        del self.stray_since[run_id]
        left = [other for other in self.stray_jobs.pop(job_id, []) if other != run_id]
        if left:
            self.stray_jobs[job_id] = left

    def later_stray(self, job: MJob) -> str | None:
        """The first stray of an attempt that the job's record does not know."""
        strays = self.stray_jobs.get(job.id, ())
        return next((run_id for run_id in strays if self.strays[run_id][1] > job.attempt), None)

    def take_stray(self, job: MJob) -> bool:
        """A job whose run is known as a stray has it from now on; tells whether there is one."""
        run_id = self.later_stray(job)
        if run_id is None:
            return False
        _, attempt = self.strays[run_id]
        assert (job.id, attempt) not in self.adopted, "two runs of one attempt"
        self.find_via(job, attempt)
        self.forget_stray(run_id)
        self.adopted[job.id, attempt], self.reported[run_id] = run_id, job.id
        job.state, job.attempt, job.run_id = "running", attempt, run_id
        return True

    def find_via(self, job: MJob, attempt: int) -> None:
        """A job gets a run; of a claim that Redis lost nobody knows how its webhook travels."""
        if attempt == job.attempt and (job.hook.via or job.state == "submitting"):
            return
        if job.url:
            is_watched = self.received is False and job.hook.via != "relay"
            job.hook.via = "watch" if is_watched else "relay"

    def owners(self) -> dict[str, str]:
        """Whose each run is: a run that is over stays its job's as long as there is a record.

        Of one that was somebody's it stays known for a week.
        """
        past = {run_id: f"~{job_id}" for run_id, (job_id, _) in self.past_owners.items()}
        return past | {
            run_id: job.id
            for job in self.jobs.values()
            for run_id in job.past_runs | {job.run_id}
            if run_id
        }

    def keep_attempts(self, job: MJob) -> None:
        """A job is discarded: another request with its id is to count on from its attempts."""
        if not job.attempt:
            return
        upcoming, request, first = self.kept_attempts.get(job.id, (0, job.digest, 0))
        if request != job.digest:
            first = upcoming
        self.kept_attempts[job.id] = max(upcoming, job.attempt + 1), job.digest, first
        self.attempts_kept_until = self.now + KEEP

    def attempts_before(self, job: MJob) -> int:
        """What a new job counts its attempts on from."""
        if self.now >= self.attempts_kept_until:
            return 0
        upcoming, request, first = self.kept_attempts.get(job.id, (0, job.digest, 0))
        return first if request == job.digest else upcoming

    def keep_owners(self, job: MJob) -> None:
        """A job goes before its time: its runs are known to have been its own."""
        for run_id in job.past_runs | {job.run_id}:
            if run_id:
                self.past_owners[run_id] = job.id, self.now

    def drop_run(self, job: MJob) -> None:
        """A job's run is over, and another is to come."""
        if job.run_id:
            job.past_runs.add(job.run_id)
        job.run_id = None

    def forget(self, job: MJob) -> None:
        """A job's record is gone, and with it whose its runs were; its strays stay shown.

        They stay for a later life of its key if it was dead: then its run may not have been known.
        So they do if such a later life waited in an upload that was never finished.
        """
        if job.state != "dead" and job.state not in WAITING:
            self.stray_jobs.pop(job.id, None)
        del self.jobs[job.id]
        self.seen.pop(job.id, None)
        for key in [key for key in self.adopted if key[0] == job.id]:
            del self.adopted[key]
        for run_id in [run for run, owner in self.reported.items() if owner == job.id]:
            del self.reported[run_id]

    def remove(self, job: MJob) -> None:
        """A job's retention is over."""
        self.forget(job)
        batch = self.batches.get(job.batch or "")
        if job.batch and batch:
            batch.jobs.remove(job.id)
            batch.gone[job.state] += 1
            batch.gone_canary[job.state] += job.canary
            self.judge()
            if batch.is_spent:
                del self.batches[job.batch]
