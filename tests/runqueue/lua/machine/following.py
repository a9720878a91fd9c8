"""Runs that go on, end, are tried again, or are to be canceled."""

from __future__ import annotations

from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runqueue.records.claim_items import ClaimAnswer, Finished, Polled, RunAgain, RunGivenUp
from runqueue.store import job_calls, worker_calls
from tests.runqueue.lua.clockwork import ACCOUNT, LEASE, SECOND
from tests.runqueue.lua.machine.base import Base
from tests.runqueue.lua.machine.model import LIVE, WAITING, MJob, few, has, often, picks


class Following(Base):
    """Runs are polled, end, are run again, and are canceled."""

    @precondition(lambda self: self.stray_looks or has("running")(self))
    @rule(name=st.sampled_from("abc"), want=st.sampled_from([0, 1, 50]))
    def poll_claim(self, name: str, want: int) -> None:
        """Take runs whose poll is due, and strays in what they leave."""
        process = self.names[name]
        due = sum(at <= self.now for at in self.polls())
        taken = self.clock.run(worker_calls.poll_claim(ACCOUNT, process, want, 0, LEASE))
        if not self.alive(process):
            assert taken.answer is ClaimAnswer.FENCED
            return
        room = self.requests.room(self.now, want)
        assert len(taken.items) <= room
        self.requests.take(self.now, len(taken.items))
        looked = self.look_at_strays(room, due)
        assert [item.run_id for item in taken.items if not item.job_id] == looked
        for item in taken.items[len(looked) :]:
            job = self.jobs[item.job_id]
            assert (job.state, job.attempt, job.run_id) == ("running", item.attempt, item.run_id)

    def polls(self) -> list[float]:
        """When each running job is looked at next."""
        found = self.client.zrange(self.clock.key("poll"), 0, -1, withscores=True)
        return [score for _, score in cast("list[tuple[bytes, float]]", found)]

    def look_at_strays(self, room: int, jobs_due: int) -> list[str]:
        """Those that a poll looks at; one that never ends gives its slot up instead."""
        due = sorted((at, run_id) for run_id, at in self.stray_looks.items() if at <= self.now)
        most = max(room - jobs_due, room // 4)
        if most < 1 <= room and due and due[0][0] < self.now - LEASE:
            most = 1
        looked: list[str] = []
        for _, run_id in due[: max(most, 16)]:
            since, last = self.stray_since[run_id], self.stray_last(run_id)
            if self.now >= last:
                del self.stray_looks[run_id]
            elif len(looked) >= most:
                break
            else:
                look = self.now + max(LEASE, (self.now - since) // 10)
                self.stray_looks[run_id] = min(look, last)
                looked.append(run_id)
        return looked

    @precondition(has("running", "completed"))
    @rule(ns=few, shift=st.sampled_from([0, 0, -1, 1]), again=often)
    def mark_polled(self, ns: list[int], shift: int, again: bool) -> None:
        """Runs go on."""
        jobs = self.pick_all(ns, "running", "completed")
        items = [Polled(job.id, job.attempt + shift, "running", 5 * SECOND) for job in jobs]
        if items:
            known = self.send(worker_calls.mark_polled(ACCOUNT, items), again)
            assert known == sum(job.state == "running" for job in jobs if not shift)

    @precondition(has("running", "completed", "failed"))
    @rule(
        ns=few,
        wrong=st.sampled_from(["", "", "", "run", "attempt"]),
        state=st.sampled_from(["completed", "failed", "canceled"]),
        told=st.sampled_from([True, True, False]),
        again=often,
    )
    def finish(self, ns: list[int], wrong: str, state: str, told: bool, again: bool) -> None:
        """Runs are over; a result is recorded once, and that of an earlier run is none of it."""
        items = []
        for job in self.pick_all(ns, "running", "running", "completed", "failed"):
            self.made += 1
            attempt = job.attempt + (wrong == "attempt")
            run_id = "another" if wrong == "run" else job.run_id or ""
            result = f'{{"n":{self.made}}}'.encode() if told else b""
            items.append(Finished(job.id, attempt, run_id, state, state, "", result))
        if not items:
            return
        codes = self.send(worker_calls.finish(ACCOUNT, items), again)
        for item, code in zip(items, codes, strict=True):
            job = self.jobs[item.job_id]
            assert code == int(job.state == "running" and not wrong)
            if code:
                self.end_with_run(job, state, item.result or None)

    @precondition(has("running"))
    @rule()
    def finish_all(self) -> None:
        """Every run is over."""
        running = [job for job in self.jobs.values() if job.state == "running"]
        ends = [
            Finished(j.id, j.attempt, j.run_id or "", "completed", "completed", "", b"{}")
            for j in running
        ]
        assert self.clock.run(worker_calls.finish(ACCOUNT, ends)) == [1] * len(ends)
        for job in running:
            self.end_with_run(job, "completed", b"{}")

    @precondition(has("running"))
    @rule(
        ns=few,
        wrong=st.sampled_from(["", "", "", "run", "attempt"]),
        backoff=st.sampled_from([0, 1, 60]),
        told=st.sampled_from([True, True, False]),
        again=often,
    )
    def retry_run(self, ns: list[int], wrong: str, backoff: int, told: bool, again: bool) -> None:
        """Runs ended badly, and their jobs are to be run again."""
        items = []
        for job in self.pick_all(ns, "running"):
            self.made += 1
            attempt = job.attempt + (wrong == "attempt")
            run_id = "another" if wrong == "run" else job.run_id or ""
            result = f'{{"n":{self.made}}}'.encode() if told else b""
            words = ("failed", "it failed")
            items.append(RunAgain(job.id, attempt, run_id, *words, backoff * SECOND, result))
        codes = self.send(worker_calls.retry_run(ACCOUNT, items), again)
        for item, code in zip(items, codes, strict=True):
            job = self.jobs[item.job_id]
            if wrong or (job.state, job.run_id) != ("running", item.run_id):
                assert code == 0
                continue
            start = self.now + item.backoff_us
            if self.later_stray(job):
                assert code == 1
                self.go_on_with_stray(job, item.result or None)
            elif job.cancel or (job.deadline is not None and job.deadline <= start):
                assert code == 2
                self.end_with_run(job, "failed", item.result or None)
            else:
                assert code == 1
                job.result, job.runs = item.result or None, job.runs + 1
                self.drop_run(job)
                job.state, job.run_at = "scheduled", start

    def go_on_with_stray(self, job: MJob, result: bytes | None) -> None:
        """A job's run is over, and its further one is known."""
        job.result, job.runs = result, job.runs + 1
        self.drop_run(job)
        self.take_stray(job)
        job.deaths = 0

    @precondition(has())
    @rule(ns=few, again=often)
    def cancel(self, ns: list[int], again: bool) -> None:
        """People ask for the end of jobs."""
        jobs = self.pick_all(ns)
        if not jobs:
            return

        def codes_of(first: list[int], second: list[int]) -> None:
            assert [0 if code == 1 else code for code in first] == second

        codes = self.send(job_calls.cancel(ACCOUNT, [job.id for job in jobs]), again, codes_of)
        for job, code in zip(jobs, codes, strict=True):
            if job.state in WAITING:
                assert code == (2 if self.cancel_waiting(job) else 1)
            elif job.state in LIVE:
                assert code == 2
                job.cancel = job.cancel or "asked"
            else:
                assert code == 0

    @precondition(lambda self: self.stray_cancels or has("running")(self))
    @rule(name=st.sampled_from("abc"), want=st.sampled_from([0, 1, 50]))
    def cancel_claim(self, name: str, want: int) -> None:
        """Take runs whose cancel is due."""
        process = self.names[name]
        taken = self.clock.run(worker_calls.cancel_claim(ACCOUNT, process, want, 0, LEASE))
        if not self.alive(process):
            assert taken.answer is ClaimAnswer.FENCED
            return
        assert len(taken.items) <= self.requests.room(self.now, want)
        self.requests.take(self.now, len(taken.items))
        for item in taken.items:
            if not item.job_id:
                assert item.run_id in self.stray_cancels
                continue
            job = self.jobs[item.job_id]
            assert (job.state, job.run_id) == ("running", item.run_id)
            assert job.cancel is not None

    @precondition(has("running"))
    @rule(n=picks, right=st.booleans(), is_over=st.booleans(), again=often)
    def give_up(self, n: int, right: bool, is_over: bool, again: bool) -> None:
        """A cancel was never confirmed by a read; the server may say that the run is over."""
        job = self.pick(n, "running")
        if job is None:
            return
        run_id = cast(str, job.run_id)
        item = RunGivenUp(job.id, run_id if right else "another", is_over)
        codes = self.send(worker_calls.give_up(ACCOUNT, [item]), again)
        assert codes == [int(right and job.cancel is not None)]
        if right and job.cancel and self.later_stray(job):
            attempt = job.attempt
            self.go_on_with_stray(job, None)
            if not is_over:
                self.add_stray(run_id, job.id, attempt, 0)
        elif right and job.cancel and is_over:
            self.end_with_run(job, "canceled", None)
        elif right and job.cancel:
            self.end(job, "failed")
            job.result = None
            self.add_stray(run_id, job.id, job.attempt, 0)
