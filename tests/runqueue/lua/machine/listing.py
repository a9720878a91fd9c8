"""Runs that are left to the list of live runs, and what a list brings about."""

from __future__ import annotations

from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from runqueue.records.claim_items import ClaimAnswer
from runqueue.store import live_run_calls, worker_calls
from runqueue.store.live_run_calls import ListReading, Shown
from tests.runqueue.lua.clockwork import ACCOUNT, LEASE, SECOND, WORKFLOW_RUN
from tests.runqueue.lua.machine.following import Following
from tests.runqueue.lua.machine.model import MAX_RUN, few, has, often

LIST_LEASE = 30 * SECOND


class Listing(Following):
    """Lists are read by one process at a time; they end nothing."""

    def listed(self) -> dict[str, float]:
        """The jobs whose runs are left to lists, by when they joined."""
        found = self.client.zrange(self.clock.key("listed"), 0, -1, withscores=True)
        pairs = cast("list[tuple[bytes, float]]", found)
        return {member.decode(): score for member, score in pairs}

    def looks(self) -> dict[str, float]:
        """When each running job is looked at."""
        found = self.client.zrange(self.clock.key("poll"), 0, -1, withscores=True)
        pairs = cast("list[tuple[bytes, float]]", found)
        return {member.decode(): score for member, score in pairs}

    @invariant()
    def lists_know_only_what_runs(self) -> None:
        """Whatever is left to lists runs, and has a look of its own (see `check_indexes`)."""
        assert self.listed().keys() <= self.looks().keys()

    @precondition(has("running"))
    @rule(name=st.sampled_from("abc"), want=st.sampled_from([1, 50]), many=often)
    def poll_claim_with_lists(self, name: str, want: int, many: bool) -> None:
        """A process that may list takes what is due; what joins lists costs no permit."""
        process = self.names[name]
        if many:  # as if there were enough of them
            self.client.hset(self.clock.key("meta"), "lists_on", 1)
            self.client.hset(self.clock.key("meta"), "lists_max_run", 7_200 * SECOND)
        before, looks = self.listed(), self.looks()
        strays = sum(at <= self.now for at in looks.values())
        call = worker_calls.poll_claim(
            ACCOUNT, process, want, 0, LEASE, may_list=True, ahead_us=SECOND
        )
        taken = self.clock.run(call)
        if not self.alive(process):
            assert taken.answer is ClaimAnswer.FENCED
            return
        room = self.requests.room(self.now, want)
        assert len(taken.items) <= room
        self.requests.take(self.now, len(taken.items))
        looked = self.look_at_strays(room, strays)
        assert [item.run_id for item in taken.items if not item.job_id] == looked
        joined = self.listed().keys() - before.keys()
        for job_id in joined:
            job = self.jobs[job_id]
            assert (job.state, job.cancel) == ("running", None)
            assert looks[job_id] <= self.now < self.looks()[job_id]
        assert not joined & {item.job_id for item in taken.items}

    @rule(name=st.sampled_from("abc"))
    def read_list(self, name: str) -> None:
        """A process takes the reading, unless another has it, and says when the next is due."""
        process = self.names[name]
        reader, until = self.client.hmget(self.clock.key("meta"), "list_by", "list_until")
        call = live_run_calls.lists_claim(ACCOUNT, process, 1, 0, LIST_LEASE, least_us=0)
        taken = self.clock.run(call)
        if not self.alive(process):
            assert taken.answer is ClaimAnswer.FENCED
        elif reader not in {None, process.encode()} and int(until or 0) > self.now:
            assert not taken.items
        elif taken.items:
            [reading] = cast("list[ListReading]", taken.items)
            assert set(reading.orphans) == self.stray_looks.keys()
            after = self.now + 5 * SECOND
            assert self.clock.run(live_run_calls.lists_done(ACCOUNT, process, after)) == 0

    @precondition(has("running", "completed"))
    @rule(ns=few, wrong=st.booleans(), ago=st.sampled_from([0, 0, 60]), again=often)
    def miss_runs(self, ns: list[int], wrong: bool, ago: int, again: bool) -> None:
        """A list, which may be wrong, does not show runs: they are looked at, and that is all."""
        jobs = self.pick_all(ns, "running", "completed")
        runs = [(job.id, "another" if wrong else job.run_id or "") for job in jobs]
        listed, began = self.listed(), self.now - ago * SECOND
        call = live_run_calls.lists_missing(ACCOUNT, runs, began, SECOND, LEASE)
        codes = self.send(call, again)
        for job, code in zip(jobs, codes, strict=True):
            if job.id not in listed or wrong:
                assert code == 0
            elif listed[job.id] > began - SECOND:
                assert code == 2
            else:
                assert code == 1
                assert self.looks()[job.id] <= self.now + LEASE

    @precondition(lambda self: self.stray_looks)
    @rule(live=st.booleans(), again=often)
    def list_strays(self, live: bool, again: bool) -> None:
        """A list shows strays, or does not."""
        run_ids = sorted(self.stray_looks)
        if live:
            shown = [Shown("", run_id, "running") for run_id in run_ids]
            call = live_run_calls.lists_seen(ACCOUNT, shown, 300 * SECOND, MAX_RUN, WORKFLOW_RUN)
            assert self.send(call, again) == len(run_ids)
            for run_id in run_ids:
                last = self.stray_last(run_id)
                self.stray_looks[run_id] = min(self.now + 300 * SECOND, last)
            return
        asked = [("", run_id) for run_id in run_ids]
        codes = self.send(
            live_run_calls.lists_missing(ACCOUNT, asked, self.now, SECOND, LEASE), again
        )
        for run_id, code in zip(run_ids, codes, strict=True):
            is_new = self.stray_since[run_id] > self.now - SECOND
            assert code == (2 if is_new else 1)
            if not is_new and self.stray_looks[run_id] > self.now + LEASE:
                self.stray_looks[run_id] = self.now

    @rule(off=st.sampled_from([0, 60]), again=often)
    def end_lists(self, off: int, again: bool) -> None:
        """Lists are no help for a while."""
        listed = self.listed()
        call = live_run_calls.lists_end(ACCOUNT, off * SECOND)
        released = self.send(call, again)
        assert released == len(listed)
        assert not self.listed()
        assert all(self.looks()[job_id] <= self.now for job_id in listed)
