"""A life of an account at random, on the real scripts, with a model of it beside them.

Every rule runs one script, at times twice (its reply was lost and it is sent again), says in Python
what must have become of the jobs, and the invariants compare the whole database with that.
"""

from __future__ import annotations

import os
import sys
from typing import cast

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runqueue.records.claim_items import EndedStray, Finished, Lost
from runqueue.records.quotas import Quota
from runqueue.store import worker_calls
from tests.runqueue.lua.clockwork import ACCOUNT, DAY, KEEP, SECOND, UPLOAD, dump
from tests.runqueue.lua.machine.batching import Batching
from tests.runqueue.lua.machine.callbacks import Callbacks
from tests.runqueue.lua.machine.checks import Checks
from tests.runqueue.lua.machine.deliveries import Deliveries
from tests.runqueue.lua.machine.doubting import Doubting
from tests.runqueue.lua.machine.hook import URLS
from tests.runqueue.lua.machine.model import (
    EXPIRING,
    GROUPS,
    LASTING,
    OVER,
    WAITING,
    Limiter,
    MJob,
    few,
    has,
    often,
    waiting,
)
from tests.runqueue.lua.machine.packing import Packing
from tests.runqueue.lua.machine.webhooks import BY


class Account(Batching, Doubting, Deliveries, Callbacks, Packing, Checks):
    """One account and everything that can happen to it."""

    @initialize(
        cap=st.sampled_from([0, 0, 2, 5, 8]),
        dispatch=st.sampled_from([0, 0, 2, 10]),
        requests=st.sampled_from([0, 0, 0, 5, 20]),
        burst=st.sampled_from([0, 3, 10]),
        caps=st.tuples(*[st.sampled_from([0, 0, 0, 1, 3])] * len(GROUPS)),
        jobs=waiting,
        policy=st.sampled_from(["", "", "park", "resubmit"]),
        relays=st.sampled_from([0, 0, 1, 5]),
        receives=st.booleans(),
        awaited=st.sampled_from(["", *BY, *BY]),
        urls=st.lists(st.sampled_from(URLS), min_size=1, max_size=8),
        quota=st.sampled_from([None, Quota("shop", 10**6, 0)]),
        charges=st.booleans(),
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
        policy: str,
        relays: int,
        receives: bool,
        awaited: str,
        urls: list[str],
        quota: Quota | None,
        charges: bool,
    ) -> None:
        """Set the account's limits, begin the leases, hand in the first jobs; some have ended."""
        self.receives, self.relays = receives, Limiter(relays, 10)
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
            webhooks_per_second=relays,
            waiting_bytes=10**9 if charges else 0,
        )
        self.clock.quota = quota
        self.is_counted = charges or quota is not None
        for group, most in self.caps.items():
            self.set_group(group=group, cap=most or None, paused=None, again=False)
        for process in "abc":
            self.heartbeat(process)
        if awaited:
            self.end_awaited(urls, False, awaited)
        self.receives = receives
        self.enqueue_many(jobs, None, policy)

    @precondition(has("running"))
    @rule(ns=few, shift=st.sampled_from([0, 1]), again=often)
    def run_again(self, *, ns: list[int], shift: int, again: bool) -> None:
        """Runs ended badly, their jobs are ready again, and another run of theirs is found."""
        jobs = [job for job in self.pick_all(ns, "running") if not job.cancel]
        if not jobs:
            return
        self.record_runs([(job, shift) for job in jobs], "new", again)
        self.retry_run(ns, "", 0, True, again)
        self.promote_due(again)
        self.record_runs([(job, 0) for job in jobs], "new", again)

    @precondition(has("submitting", "unconfirmed"))
    @rule(ns=few, state=st.sampled_from(["completed", ""]), again=often)
    def tell_of_doubtful(self, *, ns: list[int], state: str, again: bool) -> None:
        """Answers are lost, slots are given back after hours; then webhooks tell of the runs."""
        self.mark_unconfirmed(ns, 0, False, again)
        self.free_slots(2, again)
        self.webhooks_of(self.pick_all(ns, "unconfirmed"), state, final=True)

    def end_waiting(self, job: MJob) -> None:
        """End a job that waits, or the run that is known as its stray."""
        has_run = self.cancel_waiting(job)
        self.watch()
        assert self.clock.cancel(job.id) == [2 if has_run else 1]
        if has_run:
            assert self.clock.finish(job.id, attempt=job.attempt, run_id=job.run_id or "") == 1
            self.end_with_run(job, "completed", b"{}")

    # The end: whatever happened, the account can be brought to rest and leaves nothing behind.

    def teardown(self) -> None:
        """Let every job come to an end, and a week go by: only the account's own keys are left."""
        if not hasattr(self, "cap") or sys.exc_info()[0] is not None:
            return  # a step failed: its own error is the one to show
        self.clock.wait(3_600)
        self.unset_groups()
        self.expire_leases(again=False)
        for name in list(self.batches):
            self.cancel_batch(list(self.batches).index(name), again=False)
        self.sweep_canceled(again=False)
        self.watch()  # one of them may have its run by now
        for job in list(self.jobs.values()):
            if job.state == "unconfirmed":
                items = [Lost(job.id, job.attempt, "422")]
                assert self.clock.run(worker_calls.mark_dead(ACCOUNT, items)) == [1]
                self.settle(job)
                self.end_without_run(job)
                self.hold.count(self.now, "refusals", 1, 20, 60 * SECOND)
            elif job.state == "running":
                run_id = cast(str, job.run_id)
                done = Finished(job.id, job.attempt, run_id, "completed", "completed", "", b"")
                assert self.clock.run(worker_calls.finish(ACCOUNT, [done])) == [1]
                self.end_with_run(job, "completed", None)
            elif job.state in WAITING:
                self.end_waiting(job)
        self.agrees()
        assert {job.state for job in self.jobs.values()} <= OVER
        self.tell_all()
        self.clock.wait(10 * DAY / SECOND)
        self.expire_leases(again=False)
        self.heartbeat("a")
        over = [EndedStray(run_id) for run_id in self.stray_looks]
        self.clock.run(worker_calls.strays_over(ACCOUNT, over))
        for _ in range(3):
            self.clock.wait(1)
            assert not self.clock.claim(500, self.names["a"]).items
        for script, span in (("retire", KEEP), ("expire_batches", UPLOAD)):
            for _ in range(3):
                self.clock.sweep(script, span)
        self.clock.wait(KEEP / SECOND)
        self.expire_leases(again=False)
        self.heartbeat("a")
        self.clock.sweep("expire_batches", UPLOAD)
        assert self.clock.run(worker_calls.bye(ACCOUNT, self.names["a"])) == 0
        left = [key.removeprefix(self.clock.key("")) for key in dump(self.client)]
        expiring = {key for key in left if key.startswith(EXPIRING)}
        kept = [key for key in expiring if self.client.ttl(self.clock.key(key)) <= 0]
        ownerless = [key for key in left if key not in expiring and not key.startswith(LASTING)]
        assert not kept + ownerless


@pytest.mark.timeout(3_600)  # a failure takes minutes to shrink; `long` takes them anyway
def test_an_account_keeps_its_word_whatever_happens(client: redis.Redis) -> None:
    """12 lives; `make check` has 60 (HYPOTHESIS_PROFILE=ci), HYPOTHESIS_PROFILE=long 2,000."""
    machine = type("AccountHere", (Account,), {"client": client})
    profile = os.environ.get("HYPOTHESIS_PROFILE", "quick")
    run_state_machine_as_test(machine, settings=settings.get_profile(profile))
