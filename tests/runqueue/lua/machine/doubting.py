"""Unconfirmed jobs: searches that find nothing, slots given back, and who takes them up."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runqueue.records.claim_items import ClaimAnswer, Searched
from runqueue.store import worker_calls
from tests.runqueue.lua.clockwork import ACCOUNT, GRACE, LEASE, SECOND, SPACING, WORKFLOW_RUN
from tests.runqueue.lua.machine.model import MAX_RUN, MJob, few, has, often
from tests.runqueue.lua.machine.submitting import Submitting


class Doubting(Submitting):
    """The runs of unconfirmed jobs are looked for."""

    @precondition(has("unconfirmed"))
    @rule(name=st.sampled_from("abc"), want=st.sampled_from([0, 1, 50]))
    def reconcile_claim(self, name: str, want: int) -> None:
        """Take jobs whose look is due."""
        process = self.names[name]
        taken = self.clock.run(worker_calls.reconcile_claim(ACCOUNT, process, want, 0, LEASE))
        if not self.alive(process):
            assert taken.answer is ClaimAnswer.FENCED
            return
        assert len(taken.items) <= want
        assert taken.recover_from_us == 0
        for item in taken.items:
            job = self.jobs[item.job_id]
            assert (job.state, job.attempt, job.since) == (
                "unconfirmed",
                item.attempt,
                item.since_us,
            )
            assert (job.on_unconfirmed, job.cancel or "") == (item.on_unconfirmed, item.cancel)

    @precondition(has("unconfirmed"))
    @rule(
        ns=few,
        shift=st.sampled_from([0, 0, 0, -1, 1]),
        verdict=st.sampled_from(["negative", "negative", "unknown"]),
        again=often,
    )
    def record_search(self, ns: list[int], shift: int, verdict: str, again: bool) -> None:
        """Searches found nothing."""
        self.find_nothing(self.pick_all(ns, "unconfirmed"), shift, verdict, again)

    def find_nothing(self, jobs: list[MJob], shift: int, verdict: str, again: bool) -> None:
        """Record searches, and say what must have come of each."""
        items = [
            Searched(job.id, job.attempt + shift, verdict, 600 * SECOND, GRACE) for job in jobs
        ]
        if not items:
            return
        codes = self.send(worker_calls.record_search(ACCOUNT, items, self.now, SPACING), again)
        for item, code in zip(items, codes, strict=True):
            job = self.jobs[item.job_id]
            if job.state != "unconfirmed" or job.attempt != item.attempt:
                assert code == 0
            elif self.leaves(job, verdict):
                assert code == 2
                self.ready_again(job)
            else:
                assert code == 1
                if verdict == "negative" and job.negatives >= 2 and self.is_mature(job):
                    job.slot = False

    def is_mature(self, job: MJob) -> bool:
        """Tell whether a search counts by now."""
        return self.now >= job.since + GRACE

    def leaves(self, job: MJob, verdict: str) -> bool:
        """Count a search, and tell whether the job is unconfirmed no more."""
        if not self.is_mature(job):
            return False
        if verdict == "negative" and (not job.negatives or self.now >= job.negative_at + SPACING):
            job.negatives, job.negative_at = job.negatives + 1, self.now
        is_sure = verdict == "negative" and job.negatives >= 2
        if job.cancel or job.on_unconfirmed == "auto":
            return is_sure
        return job.on_unconfirmed == "resubmit"

    @precondition(has("unconfirmed"))
    @rule(ns=few, wait=st.sampled_from([0, 30]), again=often)
    def search_twice(self, ns: list[int], wait: int, again: bool) -> None:
        """Two searches in their time found no run."""
        for seconds in (30, wait):
            self.clock.wait(seconds)
            self.record_search(ns, 0, "negative", again)

    @precondition(has("ready"))
    @rule(rounds=st.integers(1, 3), want=st.sampled_from([1, 2, 50]), again=often)
    def haunt(self, rounds: int, want: int, again: bool) -> None:
        """Processes die while they submit, and no run is found of what they held."""
        for _ in range(rounds):
            self.claim_more(want)
            held = [job for job in self.jobs.values() if job.process == self.names["a"]]
            self.die("a", again)
            for _ in range(2):
                self.wait(30, beat=True)
                self.find_nothing(held, 0, "negative", again)

    @precondition(has("unconfirmed"))
    @rule(hours=st.sampled_from([0, 2]), again=often)
    def free_slots(self, hours: int, again: bool) -> None:
        """Unconfirmed jobs that are older than any run give their slots back."""
        self.clock.wait(hours * 3_600)
        self.send(worker_calls.sweep(ACCOUNT, "free_slots", MAX_RUN, WORKFLOW_RUN, 1_000), again)
        for job in self.jobs.values():
            if job.state == "unconfirmed" and job.since <= self.now - MAX_RUN:
                job.slot = False
