"""People hold batches, set groups, and have what failed in a batch done again."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runqueue.records.job import JobState
from runqueue.store import groups, job_calls, operator_calls
from runqueue.store.groups import KEEP
from tests.runqueue.lua.clockwork import ACCOUNT
from tests.runqueue.lua.machine.model import GROUPS, LIVE, OVER, often, picks
from tests.runqueue.lua.machine.people import People


class Batching(People):
    """What people may do at any time, to any batch and group."""

    def batch_named(self, n: int) -> str:
        """One of the batches."""
        return list(self.batches)[n % len(self.batches)]

    @precondition(lambda self: self.batches)
    @rule(n=picks, again=often)
    def pause_batch(self, n: int, again: bool) -> None:
        """Nothing more of a batch is to be submitted."""
        name = self.batch_named(n)
        batch = self.batches[name]
        held = self.send(job_calls.hold_batch(ACCOUNT, name, "pause"), again)
        if batch.held in {"", "canary"}:
            batch.held = "paused"
        assert held == batch.held

    @precondition(lambda self: self.batches)
    @rule(n=picks, late=often, again=often)
    def resume_batch(self, n: int, late: bool, again: bool) -> None:
        """A batch is to go on; `late` after something else holds it."""
        name = self.batch_named(n)
        batch = self.batches[name]
        seen = "another" if late else batch.held
        held = self.send(job_calls.hold_batch(ACCOUNT, name, "resume", seen), again)
        if not late and batch.held not in {"", "canceled"}:
            batch.resume()
        self.judge()
        assert held == batch.held

    @precondition(lambda self: any(batch.held for batch in self.batches.values()))
    @rule(want=st.sampled_from([1, 500]))
    def claim_and_resume(self, want: int) -> None:
        """A claim meets what is held; then all of it goes on, and claims go on with it."""
        self.heartbeat("a")
        self.claim("a", want, again=False, behind=0)
        for n, batch in enumerate(list(self.batches.values())):
            while batch.held not in {"", "canceled"} and not batch.emptied:
                self.resume_batch(n, late=False, again=True)
        self.claim("a", want, again=False, behind=0)

    @precondition(lambda self: any(batch.jobs for batch in self.batches.values()))
    @rule(n=picks, again=often)
    def retry_batch(self, n: int, again: bool) -> None:
        """What ended badly in a batch is to be done again."""
        name = self.batch_named(n)
        mine = [self.jobs[job_id] for job_id in self.batches[name].jobs]
        bad = [job for job in mine if job.state in OVER - {"completed"}]
        _, seen = self.clock.run(job_calls.ended_badly(ACCOUNT, name, 0, 1_000))
        expected = [((job.id, job.attempt, job.ended), job.state) for job in bad]
        assert sorted((one.seen, one.state) for one in seen) == sorted(expected)
        jobs = [self.jobs[one.seen[0]] for one in seen]
        codes = self.send(operator_calls.replay(ACCOUNT, [one.seen for one in seen]), again)
        self.replayed(jobs, codes, late=False)

    @rule(
        group=st.sampled_from(GROUPS),
        cap=st.sampled_from([KEEP, KEEP, None, 1, 2, 5]),
        paused=st.sampled_from([None, None, True, False]),
        again=often,
    )
    def set_group(self, *, group: str, cap: object, paused: bool | None, again: bool) -> None:
        """A group is capped, paused, or goes on."""
        assert cap is None or cap is KEEP or isinstance(cap, int)
        found = self.send(groups.set_group(ACCOUNT, group, cap, paused), again)
        if cap is not KEEP:
            self.caps[group] = cap or 0
        if paused is not None:
            (self.paused.add if paused else self.paused.discard)(group)
        assert found.max_concurrent == (self.caps[group] or None)
        assert found.paused == (group in self.paused)
        assert found.live == self.live(group)
        waits = {
            job.group
            for job in self.jobs.values()
            if job.state == JobState.READY and self.runs(job) and job.id not in self.suspects
        }
        assert found.waiting or group not in waits

    @precondition(lambda self: any(job.state in LIVE for job in self.jobs.values()))
    @rule(group=st.sampled_from(GROUPS))
    def squeeze_group(self, group: str) -> None:
        """A group is paused, claims pass it by, and it goes on with a cap, then without one."""
        for cap, paused in ((KEEP, True), (1, False), (None, None)):
            self.set_group(group=group, cap=cap, paused=paused, again=True)
            self.claim_more(500)

    def unset_groups(self) -> None:
        """No group has settings any more."""
        for group in GROUPS:
            self.set_group(group=group, cap=None, paused=False, again=False)
