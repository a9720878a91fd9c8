"""People: they settle doubts, have jobs done again, remove dead ones, look after strays."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runqueue.records import claim_items
from runqueue.store import operator_calls, worker_calls
from tests.runqueue.lua.clockwork import ACCOUNT
from tests.runqueue.lua.machine.hook import MHook
from tests.runqueue.lua.machine.model import GROUPS, MJob, few, has, often, picks
from tests.runqueue.lua.machine.producing import Producing
from tests.runqueue.lua.machine.submitting import Submitting


class People(Producing, Submitting):
    """What people may do at any time, to any job."""

    @precondition(has())
    @rule(ns=few, right=st.booleans(), fail=st.booleans(), late=often, again=often)
    def decide(self, *, ns: list[int], right: bool, fail: bool, late: bool, again: bool) -> None:
        """People say that there is no run, or that nobody shall look for it any more."""
        jobs = self.pick_all(ns, *(["unconfirmed"] if right else []))
        seen = [(job.id, job.attempt - late, job.ended) for job in jobs]
        what = "fail" if fail else "resubmit"
        call = operator_calls.settle(ACCOUNT, seen, what, "enough")
        codes = self.send(call, again)
        for job, code in zip(jobs, codes, strict=True):
            if job.state != "unconfirmed" or late:
                assert code == 0
            elif fail:
                assert code == 1
                self.settle(job)
                self.end_without_run(job)
            elif job.cancel:
                assert code == 2
            else:
                assert code == 1
                job.deaths = 0
                self.ready_again(job)

    @precondition(has("unconfirmed"))
    @rule(n=picks, which=st.sampled_from(["new", "new", "earlier", "other", "stray"]), again=often)
    def adopt_by_hand(self, n: int, which: str, again: bool) -> None:
        """A person knows the run of an unconfirmed job."""
        job = self.pick(n, "unconfirmed")
        if job is None:
            return
        run_id = f"found{self.made}" if which == "new" else self.run_of(job, which)
        self.made += 1
        owner = self.owners().get(run_id)
        code = self.send(operator_calls.adopt(ACCOUNT, job.id, job.attempt, run_id), again)
        assert code == (1 if owner is None else 0 if owner == job.id else 3)
        if owner is None:
            self.adopt(job, job.attempt, run_id)

    @precondition(has())
    @rule(ns=few, right=st.booleans(), late=often, again=often)
    def replay(self, ns: list[int], right: bool, late: bool, again: bool) -> None:
        """Jobs that ended badly are to be done again, those of a canceled batch never."""
        jobs = self.pick_all(ns, *(["dead", "failed", "canceled"] if right else []))
        seen = [(job.id, job.attempt - late, job.ended) for job in jobs]
        codes = self.send(operator_calls.replay(ACCOUNT, seen), again)
        self.replayed(jobs, codes, late=late)

    def replayed(self, jobs: list[MJob], codes: list[int], *, late: bool) -> None:
        """Jobs were to be done again, as they were seen, `late` at an earlier attempt."""
        for job, code in zip(jobs, codes, strict=True):
            ended_badly = job.state in {"dead", "failed", "canceled"} and not late
            may_go = 4 if self.is_request_dropped(job) else 1
            if self.is_in_canceled_batch(job.batch):
                may_go = 2
            assert code == (may_go if ended_badly else 0)
            if code == 1:
                self.drop_run(job)
                job.state, job.cancel, job.deadline, job.result = "ready", None, None, None
                job.runs, job.deaths, job.ended, job.flagged = 0, 0, 0, False
                job.hook = MHook()

    @precondition(lambda self: any(batch.jobs for batch in self.batches.values()))
    @rule(n=picks)
    def replay_canceled(self, n: int) -> None:
        """The jobs of a batch that is canceled, swept or not, stay as they are."""
        full = [name for name, batch in self.batches.items() if batch.jobs]
        name = full[n % len(full)]
        self.cancel_batch(list(self.batches).index(name), again=False)
        self.sweep_canceled(again=False)
        if not self.batches[name].canceled:
            return  # all of them had ended, and it stays what it was
        jobs = self.batches[name].jobs
        seen = [(i, self.jobs[i].attempt, self.jobs[i].ended) for i in jobs]
        codes = self.send(operator_calls.replay(ACCOUNT, seen), again=False)
        assert set(codes) <= {0, 2}, "0 = it had not ended badly"

    @precondition(lambda self: not self.cap)
    @rule(jobs=st.lists(st.tuples(st.just(0), st.sampled_from(GROUPS)), min_size=24, max_size=24))
    def break_open(self, jobs: list[tuple[int, str]]) -> None:
        """The server fails, for many jobs, and goes on failing."""
        self.enqueue_many(jobs, None, "")
        self.go_wrong(troubles=True)

    def is_request_dropped(self, job: MJob) -> bool:
        """Tell whether a job is counted by a quota, and ended without having been submitted."""
        return self.is_counted and job.attempt == 0 and job.state in {"canceled", "dead"}

    def is_in_canceled_batch(self, batch: str | None) -> bool:
        """Tell whether a job's batch was canceled."""
        return batch is not None and self.batches[batch].canceled

    @precondition(has("dead"))
    @rule(ns=few, right=st.booleans(), again=often)
    def discard(self, ns: list[int], right: bool, again: bool) -> None:
        """Dead jobs are to be forgotten."""
        jobs = self.pick_all(ns, *(["dead"] if right else []))
        codes = self.send(operator_calls.discard(ACCOUNT, [job.id for job in jobs]), again)
        for job, code in zip(jobs, codes, strict=True):
            if job.id not in self.jobs:
                assert code == -1, "named twice"
            else:
                assert code == int(job.state == "dead")
                if code:
                    self.keep_owners(job)
                    self.keep_attempts(job)
                    self.remove(job)

    # Strays.

    @rule(key=st.sampled_from(["k0", "k1", "k2", "k3"]), attempt=st.integers(1, 3), again=often)
    def late_run(self, key: str, attempt: int, again: bool) -> None:
        """A run comes of a job whose record Redis lost."""
        job_id = self.clock.new_id(key)
        if job_id in self.jobs:
            return
        self.made += 1
        run_id = f"late{self.made}"
        item = claim_items.RunAccepted(job_id, attempt, run_id, "created", 0)
        assert self.send(worker_calls.mark_running(ACCOUNT, [item]), again) == [2]
        self.add_stray(run_id, job_id, attempt, 0)

    @rule(key=st.sampled_from(["k0", "k1", "k2", "k3"]), group=st.sampled_from(GROUPS))
    def hand_in_late(self, key: str, group: str) -> None:
        """A job whose record Redis lost is handed in again, after its run came."""
        self.late_run(key, 1, again=False)
        self.enqueue(
            keyed=key,
            twin=False,
            body="a",
            priority=0,
            group=group,
            delay=None,
            deadline=None,
            batch=None,
            policy="",
            again=False,
        )
        self.claim_more(5)

    @precondition(lambda self: self.strays)
    @rule(n=picks, again=often)
    def cancel_strays(self, n: int, again: bool) -> None:
        """A person asks for the end of a stray, and of one that is none."""
        run_id = list(self.strays)[n % len(self.strays)]
        assert self.send(operator_calls.cancel_strays(ACCOUNT, [run_id, "none"]), again) == [1, -1]
        self.stray_cancels.add(run_id)

    @precondition(lambda self: self.strays)
    @rule(n=picks, again=often)
    def strays_over(self, n: int, again: bool) -> None:
        """A look at a stray says that it is over: it is shown, and takes no slot."""
        run_id = list(self.strays)[n % len(self.strays)]

        def none_left(_: int, second: int) -> None:
            assert second == 0

        call = worker_calls.strays_over(
            ACCOUNT, [claim_items.EndedStray(run_id), claim_items.EndedStray("none")]
        )
        assert self.send(call, again, none_left) == int(run_id in self.stray_looks)
        self.stray_looks.pop(run_id, None)

    @precondition(lambda self: self.strays)
    @rule(n=picks, again=often)
    def drop_strays(self, n: int, again: bool) -> None:
        """A stray is over."""
        run_id = list(self.strays)[n % len(self.strays)]
        assert self.send(worker_calls.drop_strays(ACCOUNT, [run_id, "none"]), again) == 1
        (job_id, _), since = self.strays[run_id], self.stray_since[run_id]
        self.forget_stray(run_id)
        if run_id not in self.owners():
            self.past_owners[run_id] = job_id, since
