"""Leases, deaths, goodbyes, and time."""

from __future__ import annotations

from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runqueue.store import worker_calls
from tests.runqueue.lua.clockwork import ACCOUNT, CLAIM_AGE, DAY, KEEP, LEASE, START
from tests.runqueue.lua.machine.base import Base
from tests.runqueue.lua.machine.model import LIVE, OVER, WAITING, has, often


class Processes(Base):
    """Processes come and go, time passes, sweeps walk."""

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
        held = self.send(worker_calls.bye(ACCOUNT, process), again)
        mine = [j for j in self.jobs.values() if j.process == process]
        assert held == len(mine)
        self.said_goodbye.add(process)
        if self.turn.process == process:
            self.turn.drop()
        self.alone.pop(process, None)
        self.leases[process] = self.now
        self.names[name] = f"{name}{int(process[1:]) + 1}"

    @precondition(has("submitting"))
    @rule(again=often)
    def expire_leases(self, again: bool) -> None:
        """Take over what dead processes, or endless submissions, left."""
        for _ in range(0, len(self.leases), 16):  # the script looks at 16 dead processes a call
            self.clock.sweep("expire_leases", CLAIM_AGE)
        self.send(worker_calls.sweep(ACCOUNT, "expire_leases", CLAIM_AGE, 1_000), again)
        for job in self.jobs.values():
            if job.state != "submitting":
                continue
            process = cast(str, job.process)
            if job.claimed <= self.now - CLAIM_AGE or not self.alive(process):
                died = not self.alive(process) and process not in self.said_goodbye
                self.doubt(job)
                job.deaths += died
                job.died = job.attempt if died else job.died
        for process in [name for name in self.alone if not self.alive(name)]:
            del self.alone[process]
        if self.turn.process and not self.alive(self.turn.process):
            self.turn.drop()

    @precondition(has("submitting"))
    @rule(name=st.sampled_from("abc"), again=often)
    def die(self, name: str, again: bool) -> None:
        """A process dies, the others go on, and what it was submitting is taken over."""
        for _ in range(4):
            self.clock.wait(4)
            for other in "abc".replace(name, ""):
                self.heartbeat(other)
        self.expire_leases(again)

    @rule(seconds=st.sampled_from([0.001, 0.05, 0.3, 1, 4, 16, 70]), beat=st.booleans())
    def wait(self, seconds: float, beat: bool) -> None:
        """Let time pass, with or without heartbeats."""
        while beat and seconds > 5:
            self.clock.wait(5)
            seconds -= 5
            for name in "abc":
                self.heartbeat(name)
        self.clock.wait(seconds)

    @precondition(lambda self: self.now < START + 300 * DAY)  # retire.lua looks back 400 days
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
        self.send(worker_calls.sweep(ACCOUNT, "promote_due", 1_000), again)
        for job in self.jobs.values():
            if job.state == "scheduled" and cast(int, job.run_at) <= self.now:
                job.state = "ready"

    @precondition(lambda self: any(job.deadline for job in self.jobs.values()))
    @rule(again=often)
    def expire_deadlines(self, again: bool) -> None:
        """End what waited too long."""
        self.send(worker_calls.sweep(ACCOUNT, "expire_deadlines", 1_000), again)
        for job in self.jobs.values():
            if job.deadline is None or job.deadline > self.now or job.flagged:
                continue
            if job.state in WAITING and self.take_stray(job):
                job.deaths, job.flagged = 0, True
            elif job.state in WAITING:
                self.end(job, "dead")
            elif job.state in LIVE:
                job.flagged = True
                if job.state != "running":  # a running one is looked at first
                    job.cancel = job.cancel or "deadline"

    @precondition(lambda self: self.strays or self.past_owners or has(*OVER)(self))
    @rule(again=often)
    def retire(self, again: bool) -> None:
        """Remove what ended a week ago; who ended twice may keep later ends of its day waiting."""
        self.send(worker_calls.sweep(ACCOUNT, "retire", KEEP, 1_000), again)
        for job in list(self.jobs.values()):
            is_due = job.state in OVER and job.ended <= self.now - KEEP
            is_gone = self.clock.state(job.id) is None
            assert is_due or not is_gone, "removed too early"
            assert is_gone or not is_due or job.ended > self.now - KEEP - DAY, "kept too long"
            if is_gone:
                self.remove(job)
        for run_id, since in list(self.stray_since.items()):
            is_gone = not self.client.hexists(self.clock.key("strays"), run_id)
            assert not is_gone or since <= self.now - KEEP, "forgotten too early"
            assert is_gone or since > self.now - KEEP - DAY, "shown too long"
            if is_gone:
                self.forget_stray(run_id)
                if run_id not in self.owners():
                    self.reported.pop(run_id, None)
        past = list(self.past_owners.items())
        known = self.clock.run(worker_calls.bound_runs(ACCOUNT, [run_id for run_id, _ in past]))
        for (run_id, (_, since)), owner in zip(past, known, strict=True):
            assert owner or since // DAY <= (self.now - KEEP) // DAY, "forgotten too early"
            assert not owner or since > self.now - KEEP - DAY, "known too long"
            if not owner:
                del self.past_owners[run_id]
                self.reported.pop(run_id, None)

    @precondition(lambda self: self.strays or has(*OVER)(self))
    @rule()
    def retire_all(self) -> None:
        """A week later."""
        self.wait_long(8 * 24)
        self.retire(again=True)
