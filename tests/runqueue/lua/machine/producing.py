"""Handing jobs in, alone and in batches."""

from __future__ import annotations

import pytest
import redis
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runqueue.records.batch import NO_RULES, BatchRules
from runqueue.records.job import EnqueueStatus
from runqueue.store import job_calls, worker_calls
from tests.runqueue.lua.clockwork import ACCOUNT, DAY, SECOND, UPLOAD, spec
from tests.runqueue.lua.machine.base import Base
from tests.runqueue.lua.machine.mbatch import FINAL, MBatch
from tests.runqueue.lua.machine.model import (
    GROUPS,
    LIVE,
    WAITING,
    MJob,
    often,
    picks,
    waiting,
)

URL = "https://user.test/told"
#: What batches are opened with.
RULES = [
    NO_RULES,
    NO_RULES,
    BatchRules(abort_at_failure_ratio=0.5, abort_after=2),
    BatchRules(canary=1, canary_ratio=1),
    BatchRules(canary=3, canary_ratio=0.6),
    BatchRules(abort_at_failure_ratio=0.3, abort_after=1, canary=2, canary_ratio=0.5),
    BatchRules(expires_after=16),
    BatchRules(expires_after=70, canary=1, canary_ratio=0.5, callback_url=URL, callback_at=(0.5,)),
    BatchRules(abort_at_failure_ratio=0.5, callback_url=URL, callback_at=(0.3, 0.9)),
]


class Producing(Base):
    """Producers hand jobs in, and batches are opened, sealed, canceled and expire."""

    @rule(
        keyed=st.sampled_from([None, None, "k0", "k1", "k2", "k3"]),
        twin=often,
        body=st.sampled_from(["a", "a", "a", "b"]),
        priority=st.integers(0, 3),
        group=st.sampled_from(GROUPS),
        delay=st.sampled_from([None] * 5 + [1, 60, DAY // SECOND]),
        deadline=st.sampled_from([None] * 5 + [2, 120]),
        batch=st.sampled_from([None, None, 0, 1, 2, 3]),
        policy=st.sampled_from(["", "", "park", "resubmit"]),
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
        policy: str,
        again: bool,
    ) -> None:
        """Hand in a job, with `twin` the same key twice in one call."""
        target = self.batch_at(batch)
        run_at = None if delay is None else self.now + delay * SECOND
        due = None if deadline is None else self.now + deadline * SECOND
        self.made += 1
        name = keyed or f"job{self.made}"
        job_id = self.clock.new_id(name)
        job = spec(
            name,
            body=body,
            priority=priority,
            group=group,
            run_at=run_at,
            deadline=due,
            on_unconfirmed=policy,
        )
        call = self.clock.handing_in([job] * (1 + twin), target)
        if target and (self.batches[target].sealed or self.batches[target].held in FINAL):
            before = self.clock.dump()
            with pytest.raises(redis.ResponseError, match=r"SEALED|EXPIRED"):
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
            self.batches[known.batch].marked -= known.canary
        if target:
            self.batches[target].jobs.append(job_id)
        state = "scheduled" if run_at else "ready"
        fresh = MJob(job_id, body, state, priority, group, target, run_at, due, policy or "auto")
        fresh.canary = bool(target) and self.batches[target or ""].marks()
        if known:  # it is what it was, in another batch: its markers are used once
            fresh.attempt, fresh.past_runs = known.attempt, known.past_runs
        else:
            fresh.attempt = self.attempts_before(fresh)
        self.jobs[job_id] = fresh
        self.seen.pop(job_id, None)

    def batch_at(self, n: int | None) -> str | None:
        """One of the batches; None = of none, or there is none."""
        return None if n is None or not self.batches else list(self.batches)[n % len(self.batches)]

    def is_moved(self, known: MJob, target: str | None) -> bool:
        """Tell whether handing a known job in again takes it from a batch not accepted yet."""
        if known.state not in WAITING or known.batch in (None, target):
            return False
        return not self.batches[known.batch].sealed

    @rule(
        jobs=waiting,
        batch=st.sampled_from([None, 0, 1]),
        policy=st.sampled_from(["", "park", "resubmit"]),
    )
    def enqueue_many(self, jobs: list[tuple[int, str]], batch: int | None, policy: str) -> None:
        """Hand in several jobs in one call."""
        open_ = [name for name, b in self.batches.items() if not (b.sealed or b.held in FINAL)]
        target = open_[batch % len(open_)] if open_ and batch is not None else None
        handed = []
        for priority, group in jobs:
            self.made += 1
            name = f"job{self.made}"
            handed.append(spec(name, priority=priority, group=group, on_unconfirmed=policy))
        for job, answer in zip(handed, self.clock.hand_in(handed, target), strict=True):
            assert answer.status is EnqueueStatus.NEW
            model = MJob(
                answer.job_id, "a", "ready", int(job.priority), job.group, target, None, None
            )
            model.on_unconfirmed = policy or "auto"
            self.jobs[model.id] = model
            if target:
                self.batches[target].jobs.append(model.id)
                model.canary = self.batches[target].marks()

    @precondition(lambda self: len(self.batches) < 4)
    @rule(rules=st.sampled_from(RULES), again=often)
    def open_batch(self, rules: BatchRules, again: bool) -> None:
        """Open a batch, four at most."""
        batch = self.clock.new_id()
        self.send(job_calls.open_batch(ACCOUNT, batch, "upload", rules), again)
        self.batches[batch] = MBatch(self.now, rules)

    @precondition(lambda self: self.batches)
    @rule(n=picks, more=st.sampled_from([None, 0, 1]), again=often)
    def seal_batch(self, n: int, more: int | None, again: bool) -> None:
        """Seal a batch, if it holds so many jobs, or so many more than it does."""
        name = list(self.batches)[n % len(self.batches)]
        batch = self.batches[name]
        jobs = len(batch.jobs) + batch.retired
        expected = None if more is None else jobs + more
        size = self.send(job_calls.seal_batch(ACCOUNT, name, expected), again)
        if batch.held == "expired" and not batch.sealed:
            assert size == job_calls.EXPIRED
        elif more and not batch.sealed:
            assert size == job_calls.MISMATCH
            return
        else:
            assert size == jobs
        batch.seal(self.now)

    @precondition(lambda self: self.batches)
    @rule(n=picks, again=often)
    def cancel_batch(self, n: int, again: bool) -> None:
        """Cancel a batch."""
        name = list(self.batches)[n % len(self.batches)]
        batch = self.batches[name]
        size = self.send(job_calls.cancel_batch(ACCOUNT, name), again)
        assert size == len(batch.jobs) + batch.retired
        batch.cancel(all_ended=self.all_ended(name))

    @precondition(lambda self: any(not batch.sealed for batch in self.batches.values()))
    @rule(n=picks, again=often)
    def discard_batch(self, n: int, again: bool) -> None:
        """Give an upload up."""
        open_ = [name for name, batch in self.batches.items() if not batch.sealed]
        name = open_[n % len(open_)]
        batch = self.batches[name]
        given_up = self.send(job_calls.discard_batch(ACCOUNT, name), again)
        assert given_up == (batch.look is not None), "one that was canceled goes with its jobs"
        batch.look = 0 if given_up else None

    @precondition(lambda self: any(batch.to_sweep for batch in self.batches.values()))
    @rule(again=often)
    def sweep_canceled(self, again: bool) -> None:
        """Walk the canceled batches."""
        self.send(worker_calls.sweep(ACCOUNT, "sweep_canceled", 1_000), again)
        for batch in self.batches.values():
            for job in [self.jobs[i] for i in batch.jobs if batch.to_sweep and i in self.jobs]:
                if job.state in WAITING:
                    self.cancel_waiting(job)
                elif job.state in LIVE:
                    job.cancel = job.cancel or "asked"
            batch.to_sweep = False

    @precondition(lambda self: self.batches)
    @rule(again=often)
    def expire_batches(self, again: bool) -> None:
        """Remove what was never sealed for a day; its record stays, but of what was given up."""
        self.send(worker_calls.sweep(ACCOUNT, "expire_batches", UPLOAD, 1_000), again)
        for name, batch in list(self.batches.items()):
            if batch.look is None or batch.look > self.now - UPLOAD:
                continue
            if batch.sealed or batch.emptied:
                if batch.waiting:
                    batch.look = self.now
                else:
                    self.remove_upload(name)
            elif batch.look == 0:
                self.dropped |= {f"{name} {event}" for event in batch.waiting}
                self.remove_upload(name)
            elif batch.canceled and (batch.jobs or batch.retired):
                batch.look = batch.look if batch.to_sweep else None
            else:
                self.take_out_jobs(name)
                batch.empty(self.now)

    def remove_upload(self, name: str) -> None:
        """Nothing of an upload is left."""
        self.take_out_jobs(name)
        del self.batches[name]

    def take_out_jobs(self, name: str) -> None:
        """What was not accepted is forgotten; what ran, or was canceled, outlives its upload."""
        for job_id in self.batches[name].jobs:
            job = self.jobs[job_id]
            if job.state in WAITING:
                self.keep_owners(job)
                self.keep_attempts(job)
                self.forget(job)
            else:
                job.batch = None
