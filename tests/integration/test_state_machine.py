"""A life of an account at random, on the real scripts, with a model of it beside them.

Every rule runs one script, at times twice (its reply was lost and it is sent again), says in Python
what must have become of the jobs, and the invariants compare the whole database with that.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any, TypeVar, cast

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runqueue import calls, stages
from runqueue.job import EnqueueStatus
from runqueue.scripts import Call
from runqueue.stages import Accepted, Answer, Claimed, Finished, GivenBack, Lost, Polled
from tests.integration.clockwork import (
    ACCOUNT,
    CLAIM_AGE,
    DAY,
    KEEP,
    LEASE,
    SECOND,
    UPLOAD,
    Clockwork,
    dump,
    spec,
)

T = TypeVar("T")

LIVE = {"submitting", "unconfirmed", "running"}
OVER = {"completed", "failed", "canceled", "dead"}
WAITING = {"ready", "scheduled"}
#: job.py's table, and what adoption of a higher attempt adds (Redis lost the claim).
ALLOWED = {
    "scheduled": {"ready", "canceled", "dead", "running"},
    "ready": {"submitting", "canceled", "dead", "running"},
    "submitting": {"ready", "running", "unconfirmed", "dead", "canceled"},
    "unconfirmed": {"ready", "running", "dead", "canceled"},
    "running": {"completed", "failed", "canceled"},
}
GROUPS = ("default", "g1", "g2")
#: Keys that stand for the account itself, or wait for a person (strays), not for a job.
LASTING = ("meta", "counters", "limits", "wake", "stray", "group:", "gcra:", "claim:")


@dataclass
class MJob:
    """What the model knows of a job."""

    id: str
    digest: str
    state: str
    priority: int
    group: str
    batch: str | None
    run_at: int | None
    deadline: int | None
    attempt: int = 0
    cancel: str | None = None
    process: str | None = None
    claimed: int = 0
    run_id: str | None = None
    ended: int = 0
    result: bytes | None = None
    flagged: bool = False


@dataclass
class MBatch:
    """What the model knows of a batch."""

    opened: int
    sealed: bool = False
    canceled: bool = False
    to_sweep: bool = False
    retired: int = 0
    jobs: list[str] = field(default_factory=list)


@dataclass
class Limiter:
    """A GCRA beside the script's."""

    rate: float
    burst: int
    tat: int = 0
    grants: list[tuple[int, int]] = field(default_factory=list)

    @property
    def interval(self) -> int:
        return ceil(SECOND / self.rate)

    def room(self, now: int, want: int) -> int:
        if not self.rate:
            return want
        free = now + self.burst * self.interval - max(self.tat, now)
        return max(0, min(want, floor(free / self.interval)))

    def take(self, now: int, n: int) -> None:
        if not self.rate or not n:
            return
        self.tat = max(self.tat, now) + n * self.interval
        self.grants.append((now, n))
        total = 0
        for at, count in reversed(self.grants[-60:]):
            total += count
            assert total <= self.burst + self.rate * (now - at) / SECOND + 1e-6


def has(*states: str) -> Callable[[Any], bool]:
    """Tell whether there is a job in one of the states (in any, if none is named)."""
    return lambda machine: machine.pick(0, *states) is not None


picks = st.integers(0, 1_000)
few = st.lists(picks, min_size=1, max_size=3)
often = st.sampled_from([False, False, True])
waiting = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(GROUPS)), min_size=4, max_size=12)


class Account(RuleBasedStateMachine):
    """One account and everything that can happen to it."""

    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.clock = Clockwork(self.client)
        self.jobs: dict[str, MJob] = {}
        self.batches: dict[str, MBatch] = {}
        self.names = {"a": "a0", "b": "b0", "c": "c0"}
        self.leases: dict[str, int] = {}
        self.seen: dict[str, str] = {}
        self.reported: dict[str, str] = {}
        self.adopted: dict[tuple[str, int], str] = {}
        self.strays: set[str] = set()
        self.gone: set[str] = set()
        self.ends: Counter[str] = Counter()
        self.hold_until = self.hold_step = 0
        self.hold_probe = False
        self.made = 0
        self.claims = 0

    @initialize(
        cap=st.sampled_from([0, 0, 2, 5, 8]),
        dispatch=st.sampled_from([0, 0, 2, 10]),
        requests=st.sampled_from([0, 0, 0, 5, 20]),
        burst=st.sampled_from([0, 3, 10]),
        caps=st.tuples(*[st.sampled_from([0, 0, 0, 1, 3])] * len(GROUPS)),
        jobs=waiting,
    )
    def begin(
        self,
        *,
        cap: int,
        dispatch: int,
        requests: int,
        burst: int,
        caps: tuple[int, ...],
        jobs: list[tuple[int, str]],
    ) -> None:
        """Set the account's limits, begin the leases, hand in the first jobs."""
        self.cap, self.caps = cap, dict(zip(GROUPS, caps, strict=True))
        share = 0.7 * requests
        rate = min(dispatch or share, share or dispatch)
        self.dispatches = Limiter(rate, max(1, burst))
        self.requests = Limiter(requests, max(1, burst))
        self.clock.limit(
            concurrent_runs=cap,
            dispatches_per_second=dispatch,
            requests_per_second=requests,
            burst_size=burst,
        )
        for group, most in self.caps.items():
            if most:
                self.client.hset(self.clock.key(f"group:{group}"), "cap", most)
        for process in "abc":
            self.heartbeat(process)
        self.enqueue_many(jobs, None)

    # Helpers.

    @property
    def now(self) -> int:
        return self.clock.now

    def send(self, call: Call[T], again: bool, check: Callable[[T, T], None] | None = None) -> T:
        """Send a call; the second time (`again`) must change nothing that the first did not."""
        reply = self.clock.run(call)
        if again:
            before = self.clock.dump()
            second = self.clock.run(call)
            after = self.clock.dump()
            assert after == before
            if check:
                check(reply, second)
        return reply

    def pick(self, n: int, *states: str) -> MJob | None:
        """One of the jobs in these states (any state if none is named)."""
        found = [job for job in self.jobs.values() if not states or job.state in states]
        return found[n % len(found)] if found else None

    def pick_all(self, ns: list[int], *states: str) -> list[MJob]:
        return [job for n in ns if (job := self.pick(n, *states))]

    def runs(self, batch: str | None) -> bool:
        return batch is None or (self.batches[batch].sealed and not self.batches[batch].canceled)

    def live(self, group: str | None = None) -> int:
        return sum(job.state in LIVE and group in (None, job.group) for job in self.jobs.values())

    def end(self, job: MJob, state: str) -> None:
        job.state, job.ended, job.process = state, self.now, None
        self.ends[state] += 1

    def alive(self, process: str) -> bool:
        return self.leases.get(process, 0) > self.now

    # Handing in.

    @rule(
        keyed=st.sampled_from([None, None, "k0", "k1", "k2", "k3"]),
        twin=often,
        body=st.sampled_from(["a", "a", "a", "b"]),
        priority=st.integers(0, 3),
        group=st.sampled_from(GROUPS),
        delay=st.sampled_from([None] * 5 + [1, 60, DAY // SECOND]),
        deadline=st.sampled_from([None] * 5 + [2, 120]),
        batch=st.sampled_from([None, None, 0, 1, 2, 3]),
        again=often,
    )
    def enqueue(
        self,
        *,
        keyed: str | None,
        twin: bool,
        body: str,
        priority: int,
        group: str,
        delay: int | None,
        deadline: int | None,
        batch: int | None,
        again: bool,
    ) -> None:
        """Hand in a job, with `twin` the same key twice in one call."""
        target: str | None = None
        if batch is not None and self.batches:
            target = list(self.batches)[batch % len(self.batches)]
        run_at = None if delay is None else self.now + delay * SECOND
        due = None if deadline is None else self.now + deadline * SECOND
        self.made += 1
        name = keyed or f"job{self.made}"
        job_id = self.clock.new_id(name)
        job = spec(name, body=body, priority=priority, group=group, run_at=run_at, deadline=due)
        call = self.clock.handing_in([job] * (1 + twin), target)
        if target and (self.batches[target].sealed or self.batches[target].canceled):
            before = self.clock.dump()
            with pytest.raises(redis.ResponseError, match="SEALED"):
                self.clock.run(call)
            assert self.clock.dump() == before
            return
        answers = self.send(call, again)
        known = self.jobs.get(job_id)
        expected = EnqueueStatus.NEW
        if known and known.digest != body:
            expected = EnqueueStatus.CONFLICT
        elif known and not self.is_moved(known, target):
            expected = EnqueueStatus.KNOWN
        assert answers[0].status is expected
        for answer in answers[1:]:
            assert answer.status in {expected, EnqueueStatus.KNOWN}
            assert answer.status is not EnqueueStatus.NEW
            if expected is EnqueueStatus.NEW:
                assert answer.batch == target
        if expected is not EnqueueStatus.NEW:
            return
        if known and known.batch:
            self.batches[known.batch].jobs.remove(job_id)
        if target:
            self.batches[target].jobs.append(job_id)
        state = "scheduled" if run_at else "ready"
        self.jobs[job_id] = MJob(job_id, body, state, priority, group, target, run_at, due)
        self.seen.pop(job_id, None)
        self.gone.discard(job_id)

    def is_moved(self, known: MJob, target: str | None) -> bool:
        """Tell whether handing a known job in again takes it from a batch not accepted yet."""
        if known.state not in WAITING or known.batch in (None, target):
            return False
        return not self.batches[known.batch].sealed

    @rule(
        jobs=waiting,
        batch=st.sampled_from([None, 0, 1]),
    )
    def enqueue_many(self, jobs: list[tuple[int, str]], batch: int | None) -> None:
        """Hand in several jobs in one call."""
        open_ = [name for name, b in self.batches.items() if not (b.sealed or b.canceled)]
        target = open_[batch % len(open_)] if open_ and batch is not None else None
        handed = []
        for priority, group in jobs:
            self.made += 1
            handed.append(spec(f"job{self.made}", priority=priority, group=group))
        for job, answer in zip(handed, self.clock.hand_in(handed, target), strict=True):
            assert answer.status is EnqueueStatus.NEW
            model = MJob(
                answer.job_id, "a", "ready", int(job.priority), job.group, target, None, None
            )
            self.jobs[model.id] = model
            if target:
                self.batches[target].jobs.append(model.id)

    # Batches.

    @precondition(lambda self: len(self.batches) < 4)
    @rule(again=often)
    def open_batch(self, again: bool) -> None:
        """Open a batch, four at most."""
        batch = self.clock.new_id()
        self.send(calls.open_batch(ACCOUNT, batch, "upload"), again)
        self.batches[batch] = MBatch(self.now)

    @precondition(lambda self: self.batches)
    @rule(n=picks, again=often)
    def seal_batch(self, n: int, again: bool) -> None:
        """Seal a batch."""
        name = list(self.batches)[n % len(self.batches)]
        assert self.send(calls.seal_batch(ACCOUNT, name), again) >= 0
        self.batches[name].sealed = True

    @precondition(lambda self: self.batches)
    @rule(n=picks, again=often)
    def cancel_batch(self, n: int, again: bool) -> None:
        """Cancel a batch."""
        name = list(self.batches)[n % len(self.batches)]
        assert self.send(calls.cancel_batch(ACCOUNT, name), again) >= 0
        self.batches[name].canceled = self.batches[name].to_sweep = True

    @precondition(lambda self: any(not batch.sealed for batch in self.batches.values()))
    @rule(n=picks, again=often)
    def discard_batch(self, n: int, again: bool) -> None:
        """Give an upload up."""
        open_ = [name for name, batch in self.batches.items() if not batch.sealed]
        name = open_[n % len(open_)]
        assert self.send(calls.discard_batch(ACCOUNT, name), again)
        self.batches[name].opened = 0

    @precondition(lambda self: any(batch.to_sweep for batch in self.batches.values()))
    @rule(again=often)
    def sweep_canceled(self, again: bool) -> None:
        """Walk the canceled batches."""
        self.send(stages.sweep(ACCOUNT, "sweep_canceled", 1_000), again)
        for batch in self.batches.values():
            for job in [self.jobs[i] for i in batch.jobs if batch.to_sweep and i in self.jobs]:
                if job.state in WAITING:
                    self.end(job, "canceled")
                elif job.state in LIVE:
                    job.cancel = job.cancel or "asked"
            batch.to_sweep = False

    @precondition(lambda self: self.batches)
    @rule(again=often)
    def expire_batches(self, again: bool) -> None:
        """Remove what was never sealed for a day."""
        self.send(stages.sweep(ACCOUNT, "expire_batches", UPLOAD, 1_000), again)
        for name, batch in list(self.batches.items()):
            if batch.opened > self.now - UPLOAD:
                continue
            if not batch.sealed or not (batch.jobs or batch.retired):
                for job_id in batch.jobs:
                    job = self.jobs.get(job_id)
                    if job and job.state in WAITING:
                        del self.jobs[job_id]
                        self.gone.add(job_id)
                    elif job:
                        job.batch = None
                del self.batches[name]

    # Submitting.

    @rule(
        name=st.sampled_from("abc"),
        want=st.sampled_from([0, 1, 2, 5, 50]),
        again=often,
        behind=st.sampled_from([0, 0, 1, 6]),
    )
    def claim(self, name: str, want: int, again: bool, behind: int) -> None:
        """Take ready jobs; a claim asked again gives the same jobs and no more permits."""
        self.made += 1
        process = self.names[name]
        tick_us = self.now - behind * SECOND if behind else 0
        call = stages.claim(ACCOUNT, process, f"c{self.made}", want, tick_us)
        lanes = self.lanes()

        def same(first: stages.Taken, second: stages.Taken) -> None:
            assert second.items == first.items

        taken = self.send(call, again, same)
        if behind > 5:
            assert taken.answer is Answer.STALE
            return
        if not self.alive(process):
            assert taken.answer is Answer.FENCED
            return
        assert taken.answer is Answer.OK
        self.bury_overdue()
        room, held = want, self.hold_until > self.now
        if self.cap:
            room = min(room, max(0, self.cap - self.live()))
        slots = room
        if held:
            room = 0
        elif self.hold_until and self.hold_probe:
            room = min(room, 1)
        room = self.requests.room(self.now, self.dispatches.room(self.now, room))
        claimable = [job for job in self.jobs.values() if self.is_claimable(job)]
        free = {
            group: most - self.live(group) if most else 1_000 for group, most in self.caps.items()
        }
        waiting = Counter(job.group for job in claimable)
        most = sum(max(0, min(n, free[group])) for group, n in waiting.items())
        items = cast("list[Claimed]", taken.items)
        assert len(items) == min(room, most)
        if most and slots and not room:
            assert taken.next_us > self.now, "nothing to wait for although jobs wait for a permit"
        self.check_order([job.job_id for job in items], claimable, lanes, free)
        for item in items:
            job = self.jobs[item.job_id]
            assert job.state == "ready"
            job.attempt += 1
            assert item.attempt == job.attempt
            assert job.id in item.stored.decode() or item.stored.startswith(b"{")
            job.state, job.process, job.claimed = "submitting", process, self.now
        self.claims += len(items)
        self.dispatches.take(self.now, len(items))
        self.requests.take(self.now, len(items))
        assert not items or not self.cap or self.live() <= self.cap
        if items and self.hold_until and self.hold_probe:
            self.hold_until = self.now + 60 * SECOND

    @precondition(has("ready"))
    @rule(want=st.sampled_from([1, 3, 500]))
    def claim_more(self, want: int) -> None:
        """Claim under a lease that holds."""
        self.heartbeat("a")
        self.claim("a", want, again=False, behind=0)

    @precondition(has("ready"))
    @rule(want=st.sampled_from([1, 2, 8]))
    def run_some(self, want: int) -> None:
        """Claim, and find that each submission brought a run."""
        self.claim_more(want)
        mine = [job for job in self.jobs.values() if job.process == self.names["a"]]
        if mine:
            self.record_runs([(job, 0) for job in mine], old=False, again=False)

    def is_claimable(self, job: MJob) -> bool:
        return job.state == "ready" and self.runs(job.batch)

    def bury_overdue(self) -> None:
        """Read which jobs a claim met after their deadline, and so ended."""
        for job in self.jobs.values():
            if job.state == "ready" and job.deadline is not None and job.deadline <= self.now:
                assert self.clock.state(job.id) in {"ready", "dead"}
                if self.clock.state(job.id) == "dead":
                    assert self.runs(job.batch)
                    self.end(job, "dead")

    def lanes(self) -> dict[str, list[str]]:
        lanes: dict[str, list[str]] = {}
        for raw in cast("list[bytes]", self.client.keys(self.clock.key("lane:*"))):
            ids = cast("list[bytes]", self.client.lrange(raw, 0, -1))
            lanes[raw.decode().removeprefix(self.clock.key("lane:"))] = [i.decode() for i in ids]
        return lanes

    def lane(self, job: MJob) -> str:
        return f"{job.priority}:{job.group}:{job.batch or '-'}"

    def check_order(
        self,
        taken: list[str],
        claimable: list[MJob],
        lanes: dict[str, list[str]],
        free: dict[str, int],
    ) -> None:
        """Priorities are strict where the group has a place, and a lane is first in, first out."""
        chosen = set(taken)
        left = [job for job in claimable if job.id not in chosen]
        used = Counter(self.jobs[i].group for i in taken)
        lowest = max((self.jobs[i].priority for i in taken), default=0)
        for job in left:
            overdue = job.deadline is not None and job.deadline <= self.now
            if used[job.group] < free[job.group] and not overdue:
                assert job.priority >= lowest
            line = lanes[self.lane(job)]
            for other in line[line.index(job.id) :]:
                mate = self.jobs.get(other)
                same = mate is not None and self.lane(mate) == self.lane(job)
                assert not (same and other in chosen and line.index(other) > line.index(job.id))

    @precondition(has())
    @rule(ns=few, shift=st.sampled_from([0, 0, 0, 0, 0, -1, 1, 2]), old=often, again=often)
    def mark_running(self, ns: list[int], shift: int, old: bool, again: bool) -> None:
        """Submissions brought runs: of this attempt, of an earlier one, of one that Redis lost."""
        jobs = self.pick_all(ns, *(LIVE if shift == 0 else ()))
        if jobs:
            self.record_runs([(job, shift) for job in jobs], old, again)

    def record_runs(self, found: list[tuple[MJob, int]], old: bool, again: bool) -> None:
        items = []
        for job, shift in found:
            self.made += 1
            run_id = job.run_id if old and job.run_id else f"run{self.made}"
            items.append(Accepted(job.id, max(0, job.attempt + shift), run_id, "created", SECOND))
        codes = self.send(stages.mark_running(ACCOUNT, items), again)
        any_adopted = False
        for item, code in zip(items, codes, strict=True):
            job = self.jobs[item.job_id]
            self.reported[item.run_id] = job.id
            if job.run_id == item.run_id:
                assert code == 0
            elif self.adopts(job, item.attempt):
                assert code == 1
                assert (job.id, item.attempt) not in self.adopted, "two runs of one attempt"
                self.adopted[job.id, item.attempt] = item.run_id
                job.state, job.attempt, job.run_id = "running", item.attempt, item.run_id
                job.process, any_adopted = None, True
            else:
                assert code == 2
                self.strays.add(item.run_id)
        if any_adopted and (self.hold_until <= self.now or self.hold_probe):
            self.hold_until = self.hold_step = 0
            self.hold_probe = False

    def adopts(self, job: MJob, attempt: int) -> bool:
        if attempt == job.attempt:
            return job.state in {"submitting", "unconfirmed"}
        return attempt > job.attempt and job.state in WAITING | {"submitting", "unconfirmed"}

    def may_leave(self, job: MJob, attempt: int) -> bool:
        return job.attempt == attempt and job.state in {"submitting", "unconfirmed"}

    @precondition(has("submitting", "unconfirmed"))
    @rule(
        ns=few,
        shift=st.sampled_from([0, 0, 0, -1, 1]),
        why=st.sampled_from(["void", "not_sent", "busy", "account"]),
        wait=st.sampled_from([0, 0, 5, 300]),
        again=often,
    )
    def give_back(self, ns: list[int], shift: int, why: str, wait: int, again: bool) -> None:
        """Submissions that surely brought no run."""
        jobs = self.pick_all(ns, "submitting", "submitting", "unconfirmed")
        items = [GivenBack(j.id, j.attempt + shift, wait * SECOND, "because") for j in jobs]
        if not items:
            return
        codes = self.send(stages.give_back(ACCOUNT, items, why), again)
        # The last is given back first: all go to the heads of their lanes, and keep their order.
        for item, code in reversed(list(zip(items, codes, strict=True))):
            job = self.jobs[item.job_id]
            assert code == int(self.may_leave(job, item.attempt))
            if code and job.cancel:
                self.end(job, "canceled" if job.cancel == "asked" else "dead")
            elif code:
                job.state, job.process = "ready", None
        if why != "void" and any(codes):
            self.hold(why, wait * SECOND)

    def hold(self, why: str, wait: int) -> None:
        if self.hold_until <= self.now:
            self.hold_step = min(max(2 * self.hold_step, SECOND), 60 * SECOND)
        pause = 60 * SECOND if why == "account" else self.hold_step
        self.hold_until = max(self.hold_until, self.now + max(pause, wait))
        self.hold_probe = self.hold_probe or why == "account"

    @precondition(has("submitting", "unconfirmed"))
    @rule(ns=few, shift=st.sampled_from([0, 0, 0, -1, 1]), again=often)
    def mark_dead(self, ns: list[int], shift: int, again: bool) -> None:
        """Submissions that the server refused."""
        jobs = self.pick_all(ns, "submitting", "unconfirmed")
        if not jobs:
            return
        items = [Lost(job.id, job.attempt + shift, "422") for job in jobs]
        codes = self.send(stages.mark_dead(ACCOUNT, items), again)
        for item, code in zip(items, codes, strict=True):
            job = self.jobs[item.job_id]
            assert code == int(self.may_leave(job, item.attempt))
            if code:
                self.end(job, "canceled" if job.cancel == "asked" else "dead")

    @precondition(has("submitting"))
    @rule(ns=few, shift=st.sampled_from([0, 0, 0, -1, 1]), again=often)
    def mark_unconfirmed(self, ns: list[int], shift: int, again: bool) -> None:
        """Submissions whose answer was lost."""
        jobs = self.pick_all(ns, "submitting")
        if not jobs:
            return
        items = [Lost(job.id, job.attempt + shift, "cut off") for job in jobs]
        codes = self.send(stages.mark_unconfirmed(ACCOUNT, items), again)
        for item, code in zip(items, codes, strict=True):
            job = self.jobs[item.job_id]
            assert code == int(job.state == "submitting" and job.attempt == item.attempt)
            if code:
                job.state, job.process = "unconfirmed", None

    # Following runs.

    @precondition(has("running"))
    @rule(name=st.sampled_from("abc"), want=st.sampled_from([0, 1, 50]))
    def poll_claim(self, name: str, want: int) -> None:
        """Take runs whose poll is due."""
        process = self.names[name]
        taken = self.clock.run(stages.poll_claim(ACCOUNT, process, want, 0, LEASE))
        if not self.alive(process):
            assert taken.answer is Answer.FENCED
            return
        assert len(taken.items) <= self.requests.room(self.now, want)
        self.requests.take(self.now, len(taken.items))
        for item in taken.items:
            job = self.jobs[item.job_id]
            assert (job.state, job.attempt, job.run_id) == ("running", item.attempt, item.run_id)

    @precondition(has("running", "completed"))
    @rule(ns=few, shift=st.sampled_from([0, 0, -1, 1]), again=often)
    def mark_polled(self, ns: list[int], shift: int, again: bool) -> None:
        """Runs go on."""
        jobs = self.pick_all(ns, "running", "completed")
        items = [Polled(job.id, job.attempt + shift, "running", 5 * SECOND) for job in jobs]
        if items:
            known = self.send(stages.mark_polled(ACCOUNT, items), again)
            assert known == sum(job.state == "running" for job in jobs if not shift)

    @precondition(has("running", "completed", "failed"))
    @rule(
        ns=few,
        wrong=st.sampled_from(["", "", "", "run", "attempt"]),
        state=st.sampled_from(["completed", "failed", "canceled"]),
        again=often,
    )
    def finish(self, ns: list[int], wrong: str, state: str, again: bool) -> None:
        """Runs are over; a result is recorded once."""
        items = []
        for job in self.pick_all(ns, "running", "running", "completed", "failed"):
            self.made += 1
            attempt = job.attempt + (wrong == "attempt")
            run_id = "another" if wrong == "run" else job.run_id or ""
            result = f'{{"n":{self.made}}}'.encode()
            items.append(Finished(job.id, attempt, run_id, state, state, "", result))
        if not items:
            return
        codes = self.send(stages.finish(ACCOUNT, items), again)
        for item, code in zip(items, codes, strict=True):
            job = self.jobs[item.job_id]
            assert code == int(job.state == "running" and not wrong)
            if code:
                late = job.cancel not in (None, "asked") and state == "canceled"
                self.end(job, "failed" if late else state)
                job.result = item.result

    @precondition(has("running"))
    @rule()
    def finish_all(self) -> None:
        """Every run is over."""
        running = [job for job in self.jobs.values() if job.state == "running"]
        ends = [
            Finished(j.id, j.attempt, j.run_id or "", "completed", "completed", "", b"{}")
            for j in running
        ]
        assert self.clock.run(stages.finish(ACCOUNT, ends)) == [1] * len(ends)
        for job in running:
            self.end(job, "completed")
            job.result = b"{}"

    @precondition(has())
    @rule(ns=few, again=often)
    def cancel(self, ns: list[int], again: bool) -> None:
        """People ask for the end of jobs."""
        jobs = self.pick_all(ns)
        if not jobs:
            return

        def codes_of(first: list[int], second: list[int]) -> None:
            assert [0 if code == 1 else code for code in first] == second

        codes = self.send(calls.cancel(ACCOUNT, [job.id for job in jobs]), again, codes_of)
        for job, code in zip(jobs, codes, strict=True):
            if job.state in WAITING:
                assert code == 1
                self.end(job, "canceled")
            elif job.state in LIVE:
                assert code == 2
                job.cancel = job.cancel or "asked"
            else:
                assert code == 0

    @precondition(has("running"))
    @rule(name=st.sampled_from("abc"), want=st.sampled_from([0, 1, 50]))
    def cancel_claim(self, name: str, want: int) -> None:
        """Take runs whose cancel is due."""
        process = self.names[name]
        taken = self.clock.run(stages.cancel_claim(ACCOUNT, process, want, 0, LEASE))
        if not self.alive(process):
            assert taken.answer is Answer.FENCED
            return
        assert len(taken.items) <= self.requests.room(self.now, want)
        self.requests.take(self.now, len(taken.items))
        for item in taken.items:
            job = self.jobs[item.job_id]
            assert (job.state, job.run_id) == ("running", item.run_id)
            assert job.cancel is not None

    @precondition(has("running"))
    @rule(n=picks, right=st.booleans(), again=often)
    def give_up(self, n: int, right: bool, again: bool) -> None:
        """A cancel was never confirmed."""
        job = self.pick(n, "running")
        if job is None:
            return
        run_id = cast(str, job.run_id)
        call = stages.give_up(ACCOUNT, [(job.id, run_id if right else "another")])
        assert self.send(call, again) == [int(right and job.cancel is not None)]
        if right and job.cancel:
            self.end(job, "failed")
            self.strays.add(run_id)

    # Processes.

    @rule(name=st.sampled_from("abc"))
    def heartbeat(self, name: str) -> None:
        """Renew a lease; a process that lost its own goes on under a new name."""
        process = self.names[name]
        if process not in self.leases and process.endswith("0"):
            assert self.clock.heartbeat(process, first=True)
        else:
            assert self.clock.heartbeat(process) is self.alive(process)
            if not self.alive(process):
                process = self.names[name] = f"{name}{int(process[1:]) + 1}"
                assert self.clock.heartbeat(process, first=True)
        self.leases[process] = self.now + LEASE

    @rule(name=st.sampled_from("abc"), again=often)
    def bye(self, name: str, again: bool) -> None:
        """A process ends in good order, or with claims still open."""
        process = self.names[name]
        if not self.alive(process):
            return
        held = self.send(stages.bye(ACCOUNT, process), again)
        mine = [j for j in self.jobs.values() if j.process == process]
        assert held == len(mine)
        self.leases[process] = self.now
        self.names[name] = f"{name}{int(process[1:]) + 1}"

    @precondition(has("submitting"))
    @rule(again=often)
    def expire_leases(self, again: bool) -> None:
        """Take over what dead processes, or endless submissions, left."""
        for _ in range(0, len(self.leases), 16):  # the script looks at 16 dead processes a call
            self.clock.sweep("expire_leases", CLAIM_AGE)
        self.send(stages.sweep(ACCOUNT, "expire_leases", CLAIM_AGE, 1_000), again)
        for job in self.jobs.values():
            if job.state != "submitting":
                continue
            old = job.claimed <= self.now - CLAIM_AGE
            if old or not self.alive(cast(str, job.process)):
                job.state, job.process = "unconfirmed", None

    # Time.

    @rule(seconds=st.sampled_from([0.001, 0.05, 0.3, 1, 4, 16, 70]), beat=st.booleans())
    def wait(self, seconds: float, beat: bool) -> None:
        """Let time pass, with or without heartbeats."""
        while beat and seconds > 5:
            self.clock.wait(5)
            seconds -= 5
            for name in "abc":
                self.heartbeat(name)
        self.clock.wait(seconds)

    @rule(hours=st.sampled_from([1, 25, 8 * 24, 30 * 24]))
    def wait_long(self, hours: int) -> None:
        """Let much time pass, nobody working."""
        self.clock.wait(hours * 3_600)
        for name in "abc":
            self.heartbeat(name)

    @precondition(has("scheduled"))
    @rule(again=often)
    def promote_due(self, again: bool) -> None:
        """Move scheduled jobs whose time has come."""
        self.send(stages.sweep(ACCOUNT, "promote_due", 1_000), again)
        for job in self.jobs.values():
            if job.state == "scheduled" and cast(int, job.run_at) <= self.now:
                job.state = "ready"

    @precondition(lambda self: any(job.deadline for job in self.jobs.values()))
    @rule(again=often)
    def expire_deadlines(self, again: bool) -> None:
        """End what waited too long."""
        self.send(stages.sweep(ACCOUNT, "expire_deadlines", 1_000), again)
        for job in self.jobs.values():
            if job.deadline is None or job.deadline > self.now or job.flagged:
                continue
            if job.state in WAITING:
                self.end(job, "dead")
            elif job.state in LIVE:
                job.flagged = True
                if job.state != "running":  # a running one is looked at first
                    job.cancel = job.cancel or "deadline"

    @precondition(has(*OVER))
    @rule(again=often)
    def retire(self, again: bool) -> None:
        """Remove what ended a week ago."""
        self.send(stages.sweep(ACCOUNT, "retire", KEEP, 1_000), again)
        for job in list(self.jobs.values()):
            if job.state in OVER and job.ended <= self.now - KEEP:
                del self.jobs[job.id]
                self.gone.add(job.id)
                self.forget(job)

    @precondition(has(*OVER))
    @rule()
    def retire_all(self) -> None:
        """A week later."""
        self.wait_long(8 * 24)
        self.retire(again=True)

    def forget(self, job: MJob) -> None:
        for key in [key for key in self.adopted if key[0] == job.id]:
            del self.adopted[key]
        for run_id in [run for run, owner in self.reported.items() if owner == job.id]:
            del self.reported[run_id]
        batch = self.batches.get(job.batch or "")
        if job.batch and batch:
            batch.jobs.remove(job.id)
            batch.retired += 1
            if not batch.jobs:
                del self.batches[job.batch]

    # What must hold after every step.

    @invariant()
    def agrees(self) -> None:
        """The whole database says what the model says."""
        everything = dump(self.client)
        prefix = self.clock.key("")
        data = {key.removeprefix(prefix): value for key, value in everything.items()}
        assert all(key.startswith(prefix) for key in everything)
        self.check_records(data)
        self.check_counters(data)
        self.check_indexes(data)
        self.check_lanes(data)
        self.check_runs(data)
        self.check_batches(data)
        assert "e+" not in repr(everything)
        assert len(data.get("wake", ())) <= 1
        sequence = int(data["meta"].get(b"sequence", 0)) if "meta" in data else 0
        assert sequence == self.claims

    def check_records(self, data: dict[str, Any]) -> None:
        for job in self.jobs.values():
            record = data[f"job:{job.id}"]
            state = record[b"state"].decode()
            assert state == job.state, job
            assert int(record.get(b"attempt", 0)) == job.attempt
            assert record.get(b"cancel", b"").decode() == (job.cancel or "")
            assert record.get(b"run_id", b"").decode() == (job.run_id or "")
            assert record.get(b"process", b"").decode() == (job.process or "")
            assert f"body:{job.id}" in data
            assert data.get(f"result:{job.id}") == job.result
            before = self.seen.get(job.id, state)
            assert before == state or state in ALLOWED.get(before, ()), (before, state)
            self.seen[job.id] = state
        for kind in ("job", "body", "result"):
            found = {key.split(":")[1] for key in data if key.startswith(f"{kind}:")}
            assert found <= self.jobs.keys()

    def check_counters(self, data: dict[str, Any]) -> None:
        counters = {k.decode(): int(v) for k, v in data.get("counters", {}).items()}
        records = Counter(f"{job.state}:{job.priority}" for job in self.jobs.values())
        by_state = {
            name: n for name, n in counters.items() if name[-2:] in {":0", ":1", ":2", ":3"}
        }
        assert {name: n for name, n in by_state.items() if n} == records
        for state in OVER:
            assert counters.get(f"ended:{state}", 0) == self.ends[state]
        assert counters.get("live", 0) == self.live()
        assert counters.get("strays", 0) == len(self.strays)
        for group in GROUPS:
            assert int(data.get(f"group:{group}", {}).get(b"live", 0)) == self.live(group)

    def check_indexes(self, data: dict[str, Any]) -> None:
        def members(name: str) -> set[str]:
            return {member.decode() for member, _ in data.get(name, ())}

        def jobs(*states: str) -> set[str]:
            return {job.id for job in self.jobs.values() if job.state in states}

        due = {member.decode(): score for member, score in data.get("due", ())}
        assert due == {job.id: job.run_at for job in self.jobs.values() if job.state == "scheduled"}
        assert members("unconfirmed") == jobs("unconfirmed")
        assert members("poll") == jobs("running")
        assert members("cancels") == {
            j.id for j in self.jobs.values() if j.cancel and j.state == "running"
        }
        deadlines = {member.decode(): score for member, score in data.get("deadlines", ())}
        assert deadlines == {
            job.id: job.deadline
            for job in self.jobs.values()
            if job.deadline is not None and job.state not in OVER and not job.flagged
        }
        claims: dict[str, str] = {}
        for name in data:
            if name.startswith("claims:"):
                assert not claims.keys() & members(name), "claimed twice"
                claims.update(dict.fromkeys(members(name), name.removeprefix("claims:")))
        assert claims == {
            job.id: job.process for job in self.jobs.values() if job.state == "submitting"
        }
        ended = Counter(
            i.decode() for key, ids in data.items() if key.startswith("ended:") for i in ids
        )
        for job in self.jobs.values():
            assert ended[job.id] >= (job.state in OVER)

    def check_lanes(self, data: dict[str, Any]) -> None:
        """Each ready job of a running batch can be claimed."""
        listed: dict[str, list[str]] = defaultdict(list)
        for key, value in data.items():
            if key.startswith("lanes:"):
                listed[key.removeprefix("lanes:")] = [batch.decode() for batch in value]
        for name, batches in listed.items():
            assert len(batches) == len(set(batches)), f"{name} lists a lane twice"
            priority, group = name.split(":")
            ring = {member.decode() for member, _ in data.get(f"ring:{priority}", ())}
            capped = b"capped" in data.get(f"group:{group}", {})
            assert group in ring or capped
            if capped:
                assert self.live(group) >= self.caps[group] > 0
        for job in self.jobs.values():
            if job.state != "ready":
                continue
            lane = [i.decode() for i in data[f"lane:{self.lane(job)}"]]
            assert job.id in lane
            if self.runs(job.batch):
                assert (job.batch or "-") in listed[f"{job.priority}:{job.group}"]
        live_lanes = {key for key in data if key.startswith("lane:")}
        for key in live_lanes:
            batch = key.split(":")[3]
            assert batch == "-" or batch in self.batches, f"{key} has no owner"

    def check_runs(self, data: dict[str, Any]) -> None:
        """No run is ever forgotten: it is a job's, or a stray."""
        strays = {run.decode() for run in data.get("strays", {})}
        assert strays == self.strays
        assert {run.decode() for run in data.get("stray_jobs", {}).values()} <= strays
        index = {
            run.decode(): owner.decode()
            for key, runs in data.items()
            if key.startswith("runs:")
            for run, owner in runs.items()
        }
        assert index == {job.run_id: job.id for job in self.jobs.values() if job.run_id}
        for run_id, job_id in self.reported.items():
            assert run_id in strays or index.get(run_id) == job_id

    def check_batches(self, data: dict[str, Any]) -> None:
        for name, batch in self.batches.items():
            record = data[f"batch:{name}"]
            assert record[b"sealed"] == str(int(batch.sealed)).encode()
            counts = Counter(self.jobs[i].state for i in batch.jobs)
            over = sum(n for state, n in counts.items() if state in OVER)
            stored = {
                key.decode().removeprefix("count:"): int(n)
                for key, n in record.items()
                if key.startswith(b"count:")
            }
            for state in LIVE | WAITING:
                assert stored.get(state, 0) == counts[state], (name, state)
            assert sum(stored.get(state, 0) for state in OVER) == over + batch.retired
            read = self.clock.run(calls.get_batch(ACCOUNT, name))
            assert read is not None
            assert read.total == len(batch.jobs) + batch.retired
            assert read.is_over == (batch.sealed and over == len(batch.jobs))
        for kind in ("batch", "batch_jobs", "batch_lanes"):
            found = {key.split(":")[1] for key in data if key.startswith(f"{kind}:")}
            assert found <= self.batches.keys(), f"{kind} without a batch"

    # The end: whatever happened, the account can be brought to rest and leaves nothing behind.

    def teardown(self) -> None:
        """Let every job come to an end, and a week go by: only the account's own keys are left."""
        if not hasattr(self, "cap") or sys.exc_info()[0] is not None:
            return  # a step failed: its own error is the one to show
        self.clock.wait(3_600)
        self.expire_leases(again=False)
        for name in list(self.batches):
            self.cancel_batch(list(self.batches).index(name), again=False)
        self.sweep_canceled(again=False)
        for job in list(self.jobs.values()):
            if job.state == "unconfirmed":
                items = [Lost(job.id, job.attempt, "422")]
                assert self.clock.run(stages.mark_dead(ACCOUNT, items)) == [1]
                self.end(job, "canceled" if job.cancel == "asked" else "dead")
            elif job.state == "running":
                run_id = cast(str, job.run_id)
                done = Finished(job.id, job.attempt, run_id, "completed", "completed", "", b"")
                assert self.clock.run(stages.finish(ACCOUNT, [done])) == [1]
                self.end(job, "completed")
            elif job.state in WAITING:
                assert self.clock.cancel(job.id) == [1]
                self.end(job, "canceled")
        self.agrees()
        assert {job.state for job in self.jobs.values()} <= OVER
        self.clock.wait(10 * DAY / SECOND)
        self.expire_leases(again=False)
        self.heartbeat("a")
        for _ in range(3):
            self.clock.wait(1)
            assert not self.clock.claim(500, self.names["a"]).items
        for script, span in (("retire", KEEP), ("expire_batches", UPLOAD)):
            for _ in range(3):
                self.clock.sweep(script, span)
        assert self.clock.run(stages.bye(ACCOUNT, self.names["a"])) == 0
        left = [key.removeprefix(self.clock.key("")) for key in dump(self.client)]
        ownerless = [key for key in left if not key.startswith(LASTING)]
        assert not ownerless, ownerless


@pytest.mark.timeout(3_600)  # a failure takes minutes to shrink; `long` takes them anyway
def test_an_account_keeps_its_word_whatever_happens(client: redis.Redis) -> None:
    """HYPOTHESIS_PROFILE=long runs many more lives than CI has time for."""
    machine = type("AccountHere", (Account,), {"client": client})
    profile = os.environ.get("HYPOTHESIS_PROFILE", "ci")
    run_state_machine_as_test(machine, settings=settings.get_profile(profile))
