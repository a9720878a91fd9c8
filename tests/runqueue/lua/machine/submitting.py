"""Claims, and what became of submissions."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runqueue.records import claim_items
from runqueue.records.claim_items import ClaimAnswer, Claimed, GivenBack, Lost, RunAccepted
from runqueue.store import codec, worker_calls
from tests.runqueue.lua.clockwork import ACCOUNT, SECOND
from tests.runqueue.lua.machine.model import LIVE, WAITING, MJob, few, has, often
from tests.runqueue.lua.machine.processes import Processes


class Submitting(Processes):
    """Jobs are claimed, and their submissions bring a run, surely none, or who knows."""

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
        options = {"receives": self.receives}
        call = worker_calls.claim(ACCOUNT, process, f"c{self.made}", want, tick_us, **options)
        lanes, rings = self.lanes(), self.rings()
        if self.alone.get(process) not in {None, *self.mine(process)}:
            again = False  # others have one turn: a claim that takes none of them is not remembered

        def same(first: claim_items.Taken[Any], second: claim_items.Taken[Any]) -> None:
            assert second.items == first.items

        taken = self.send(call, again, same)
        if behind > 5:
            assert taken.answer is ClaimAnswer.STALE
            return
        if not self.alive(process):
            assert taken.answer is ClaimAnswer.FENCED
            return
        assert taken.answer is ClaimAnswer.OK
        self.received = self.receives
        rate = self.pace.dispatch(self.dispatches.full, self.now)
        self.pace.forget_if_over(self.dispatches.full, self.now)
        room, slots = self.room(want, rate)
        probes = self.hold.is_due(self.now)
        suspect, room = self.take_on_suspect(process, room, rings)
        adopted = self.adopt_met()
        self.bury_overdue()
        items = cast("list[Claimed]", taken.items)
        if suspect:
            assert [item.job_id for item in items] == [suspect], "claimed beside others"
        else:
            self.check_claim(taken, room, slots, adopted, lanes)
        for item in items:
            job = self.jobs[item.job_id]
            assert job.state == "ready"
            assert not self.later_stray(job), "submitted beside its run"
            job.attempt += 1
            assert item.attempt == job.attempt
            assert codec.read_request(item.stored)[1]["prompt"] == job.digest, "packed or plain"
            job.state, job.process, job.claimed = "submitting", process, self.now
            job.hook.via = self.via(job)
        self.claims += len(items)
        self.pace.count(self.now, len(items))
        self.dispatches.take(self.now, len(items), rate)
        self.requests.take(self.now, len(items))
        self.check_caps(items, adopted)
        if items and probes:
            self.hold.let_through(self.now, items[0].job_id)

    def via(self, job: MJob) -> str:
        """How the webhook of a run that is submitted now travels."""
        if self.receives:
            return "relay" if job.url else "push"
        return "watch" if job.url else ""

    def check_caps(self, items: list[Claimed], adopted: list[tuple[MJob, bool]]) -> None:
        """Nothing is claimed beyond a limit; a stray that may still run counts."""
        if self.cap and (items or adopted):
            assert self.slots() <= self.cap
        for group in {self.jobs[item.job_id].group for item in items}:
            assert not self.caps[group] or self.live(group) <= self.caps[group]

    def room(self, want: int, rate: float) -> tuple[int, int]:
        """How many may be claimed, and how many if permits and holds did not count."""
        room = want
        if self.cap:
            room = min(room, max(0, self.cap - self.slots()))
        slots = room
        room = self.hold.room(self.now, room)
        return self.requests.room(self.now, self.dispatches.room(self.now, room, rate)), slots

    @precondition(lambda self: self.suspects)
    @rule(name=st.sampled_from("abc"), want=st.sampled_from([1, 5]))
    def claim_suspect(self, name: str, want: int) -> None:
        """Claim with a lease that holds, in time for a suspect, and with the turn free."""
        self.wait(2 if self.turn.process in {"", self.names[name]} else 31, beat=True)
        for _ in range(2):  # who has it may claim nothing until it is through, and keeps the turn
            self.heartbeat(name)
            self.claim(name, want, again=True, behind=0)
            self.clock.wait(1)

    def take_on_suspect(self, process: str, room: int, rings: set[int]) -> tuple[str, int]:
        """The suspect that this claim takes ('' none), and the room that it leaves for others."""
        mine = self.mine(process)
        if self.alone.get(process) in mine:
            self.turn.take(process, self.now)
            return "", 0
        others_turn = self.alone.pop(process, None) is not None and bool(rings)
        waiting = sorted((at, job_id) for job_id, at in self.suspects.items() if at <= self.now)
        if not waiting or room < 1 or not self.turn.take(process, self.now) or others_turn:
            return "", room
        for _, job_id in waiting:
            job = self.jobs[job_id]
            waits = any(priority < job.priority for priority in rings)
            if waits or not self.runs(job) or not self.free(job.group):
                self.suspects[job.id] = self.now + SECOND
            elif mine:
                return "", 0
            else:
                del self.suspects[job.id]
                if job.deadline is None or job.deadline > self.now:
                    self.alone[process] = job.id
                    return job.id, 0
                break
        return "", room

    def mine(self, process: str) -> set[str]:
        """The jobs whose submissions that process has claimed."""
        return {job.id for job in self.jobs.values() if job.process == process}

    def rings(self) -> set[int]:
        """The priorities at which groups stand in a ring."""
        return {at for at in range(4) if self.client.exists(self.clock.key(f"ring:{at}"))}

    def check_claim(
        self,
        taken: claim_items.Taken[Any],
        room: int,
        slots: int,
        adopted: list[tuple[MJob, bool]],
        lanes: dict[str, list[str]],
    ) -> None:
        """As many as may go have gone, in their order."""
        claimable = [job for job in self.jobs.values() if self.is_claimable(job)]
        free = {group: self.free(group) for group in self.caps}
        waiting = Counter(job.group for job in claimable)
        most = sum(max(0, min(n, free[group])) for group, n in waiting.items())
        left = room - sum(not had_slot for _, had_slot in adopted) if self.cap else room
        assert min(left, most) <= len(taken.items) <= min(room, most)
        if most and slots and not room:
            assert taken.next_us > self.now, "nothing to wait for although jobs wait for a permit"
        self.check_order([job.job_id for job in taken.items], claimable, lanes, free)

    def adopt_met(self) -> list[tuple[MJob, bool]]:
        """Read which jobs a claim met whose run was known as a stray: they have it now.

        Beside each: whether the stray had a slot already.
        """
        adopted = []
        for job in self.jobs.values():
            run_id = self.later_stray(job)
            if job.state != "ready" or run_id is None:
                continue
            had_slot = run_id in self.stray_looks
            if self.clock.state(job.id) == "running":
                self.take_stray(job)
                job.hook.via = self.via(job)
                adopted.append((job, had_slot))
            else:
                assert self.clock.state(job.id) in {"ready", "dead"}, "submitted beside its run"
        return adopted

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
            self.record_runs([(job, 0) for job in mine], "new", again=False)

    def is_claimable(self, job: MJob) -> bool:
        """Tell whether a claim may take the job from its lane; suspects wait apart."""
        return job.state == "ready" and self.runs(job) and job.id not in self.suspects

    def bury_overdue(self) -> None:
        """Read which jobs a claim met after their deadline, and so ended."""
        for job in self.jobs.values():
            if job.state == "ready" and job.deadline is not None and job.deadline <= self.now:
                assert self.clock.state(job.id) in {"ready", "dead"}
                if self.clock.state(job.id) == "dead":
                    assert self.runs(job)
                    self.end(job, "dead")

    def lanes(self) -> dict[str, list[str]]:
        lanes: dict[str, list[str]] = {}
        for raw in cast("list[bytes]", self.client.keys(self.clock.key("lane:*"))):
            ids = cast("list[bytes]", self.client.lrange(raw, 0, -1))
            lanes[raw.decode().removeprefix(self.clock.key("lane:"))] = [i.decode() for i in ids]
        return lanes

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
        places: dict[str, dict[str, int]] = {}  # where each job stands first, by lane
        latest: Counter[str] = Counter()  # the last place from which one was taken
        for lane, line in lanes.items():
            places[lane] = {job_id: place for place, job_id in reversed(list(enumerate(line)))}
        for mate in map(self.jobs.__getitem__, chosen):
            lane = self.lane(mate)
            latest[lane] = max(latest[lane], places[lane].get(mate.id, 0))
        for job in left:
            overdue = job.deadline is not None and job.deadline <= self.now
            if used[job.group] < free[job.group] and not overdue:
                assert job.priority >= lowest
            lane = self.lane(job)
            assert latest[lane] <= places[lane][job.id]

    @precondition(has())
    @rule(
        ns=few,
        live=st.sampled_from([True, True, True, False]),
        shift=st.sampled_from([0, 0, 0, 0, 0, -1, 1, 2]),
        which=st.sampled_from(["new", "new", "new", "own", "earlier", "other", "stray"]),
        again=often,
    )
    def mark_running(
        self, *, ns: list[int], live: bool, shift: int, which: str, again: bool
    ) -> None:
        """Submissions brought runs: of this attempt, of an earlier one, of one that Redis lost."""
        jobs = self.pick_all(ns, *(LIVE if live and shift == 0 else ()))
        if jobs:
            self.record_runs([(job, shift) for job in jobs], which, again)

    def run_of(self, job: MJob, which: str) -> str:
        """A new run, the job's own, one it had before, another job's, or a stray."""
        self.made += 1
        others = [other.run_id for other in self.jobs.values() if other.run_id]
        known = {
            "own": job.run_id,
            "earlier": sorted(job.past_runs)[:1],
            "other": others[:1],
            "stray": list(self.strays)[:1],
        }[which]
        if isinstance(known, list):
            known = next(iter(known), None)
        return known or f"run{self.made}"

    def record_runs(self, found: list[tuple[MJob, int]], which: str, again: bool) -> None:
        """Record runs, and say what must have come of each."""
        items = []
        for job, shift in found:
            self.made += 1
            run_id = f"run{self.made}" if which == "new" else self.run_of(job, which)
            items.append(
                RunAccepted(job.id, max(1, job.attempt + shift), run_id, "created", SECOND)
            )
        owners = self.owners()
        codes = self.send(worker_calls.mark_running(ACCOUNT, items), again)
        any_accepted = False
        for item, code in zip(items, codes, strict=True):
            job = self.jobs[item.job_id]
            if item.run_id in owners:
                assert code == (0 if owners[item.run_id] == job.id else 3)
                waits = job.state == "submitting" and job.attempt == item.attempt
                if code == 3 and waits:  # the other's run may be its own
                    self.doubt(job)
            elif self.adopts(job, item.attempt):
                assert code == 1
                any_accepted |= job.state == "submitting"
                self.adopt(job, item.attempt, item.run_id)
                owners[item.run_id] = job.id
            else:
                assert code == 2
                self.add_stray(item.run_id, job.id, item.attempt, SECOND)
                self.reported[item.run_id] = self.strays[item.run_id][0]  # whose it was first
        if any_accepted:
            self.hold.accepted(self.now)

    def adopt(self, job: MJob, attempt: int, run_id: str) -> None:
        """A job has its run."""
        assert (job.id, attempt) not in self.adopted, "two runs of one attempt"
        self.find_via(job, attempt)
        self.adopted[job.id, attempt] = run_id
        self.reported[run_id] = job.id
        if run_id in self.strays:
            self.forget_stray(run_id)
        self.settle(job)
        job.deaths = 0
        job.state, job.attempt, job.run_id, job.process = "running", attempt, run_id, None

    def adopts(self, job: MJob, attempt: int) -> bool:
        """Tell whether a run of that attempt is the job's from now on; none had one before."""
        if attempt == job.attempt:
            came_late = job.state in WAITING and (job.id, attempt) not in self.adopted
            return job.state in {"submitting", "unconfirmed"} or (attempt > 0 and came_late)
        return attempt > job.attempt and job.state in WAITING | {"submitting", "unconfirmed"}

    def may_leave(self, job: MJob, attempt: int) -> bool:
        return job.attempt == attempt and job.state in {"submitting", "unconfirmed"}

    @precondition(has("submitting", "unconfirmed"))
    @rule(
        ns=few,
        shift=st.sampled_from([0, 0, 0, -1, 1]),
        why=st.sampled_from(["void", "not_sent", "busy", "limited", "account"]),
        wait=st.sampled_from([0, 0, 5, 300]),
        named=st.sampled_from([0.0, 0.0, 0.5, 3.0, 40.0]),
        again=often,
    )
    def give_back(
        self, *, ns: list[int], shift: int, why: str, wait: int, named: float, again: bool
    ) -> None:
        """Submissions that surely brought no run."""
        jobs = self.pick_all(ns, "submitting", "submitting", "unconfirmed")
        items = [GivenBack(j.id, j.attempt + shift, wait * SECOND, "because", named) for j in jobs]
        if not items:
            return
        codes = self.send(worker_calls.give_back(ACCOUNT, items, why), again)
        probe_is_back = False
        # The last is given back first: all go to the heads of their lanes, and keep their order.
        for item, code in reversed(list(zip(items, codes, strict=True))):
            job = self.jobs[item.job_id]
            assert code == int(self.may_leave(job, item.attempt))
            if code:
                # Its process lives, and only could not reach Redis for a while.
                if job.state == "unconfirmed" and job.died == job.attempt > 0:
                    job.deaths, job.died = job.deaths - 1, 0
                probe_is_back |= self.hold.is_probe(self.now, job.id)
                self.ready_again(job)
        if probe_is_back:
            self.hold.probe_is_back(self.now)
        if why == "limited" and any(codes):
            self.pace.slow_down(named, self.dispatches.full, self.now)
        if why != "void" and any(codes) and (why != "limited" or wait):
            self.hold.ask(self.now, why, wait * SECOND)

    @precondition(has("submitting", "unconfirmed"))
    @rule(ns=few, shift=st.sampled_from([0, 0, 0, -1, 1]), again=often)
    def mark_dead(self, ns: list[int], shift: int, again: bool) -> None:
        """Submissions that the server refused."""
        jobs = self.pick_all(ns, "submitting", "unconfirmed")
        if not jobs:
            return
        items = [Lost(job.id, job.attempt + shift, "422") for job in jobs]
        codes = self.send(worker_calls.mark_dead(ACCOUNT, items), again)
        probing = False
        for item, code in zip(items, codes, strict=True):
            job = self.jobs[item.job_id]
            assert code == int(self.may_leave(job, item.attempt))
            if code:
                probing |= self.hold.is_probe(self.now, job.id)
                self.settle(job)
                self.end_without_run(job)
        if not self.hold.count(self.now, "refusals", sum(codes), 20, 60 * SECOND) and probing:
            self.hold.answered(self.now)

    @precondition(has("ready"))
    @rule(troubles=st.booleans())
    def go_wrong(self, troubles: bool) -> None:
        """Submissions go wrong in a row."""
        for _ in range(10 if troubles else 20):
            self.clock.wait(1)
            self.claim_more(2)
            mine = [job for job in self.jobs.values() if job.process == self.names["a"]]
            for n in range(len(mine)):
                if troubles:
                    self.mark_unconfirmed([n], 0, trouble=True, again=False)
                else:
                    self.mark_dead([n], 0, again=False)
        if self.hold.probe and has("ready")(self):
            self.fail_probe(0.5, troubles)

    @precondition(lambda self: self.hold.probe and has("ready")(self) and self.hold.rows)
    @rule(seconds=st.sampled_from([0, 0.5]), troubles=st.booleans())
    def fail_probe(self, seconds: float, troubles: bool) -> None:
        """A hold ends, and the job that is let through fails as well."""
        self.clock.wait(max(0, self.hold.until - self.now) / SECOND)
        self.claim_more(5)
        mine = [job for job in self.jobs.values() if job.process == self.names["a"]]
        self.clock.wait(seconds)
        for n in range(len(mine)):
            if troubles:
                self.mark_unconfirmed([n], 0, trouble=True, again=False)
            else:
                self.mark_dead([n], 0, again=False)

    @precondition(has("submitting"))
    @rule(ns=few, shift=st.sampled_from([0, 0, 0, -1, 1]), trouble=st.booleans(), again=often)
    def mark_unconfirmed(self, ns: list[int], shift: int, trouble: bool, again: bool) -> None:
        """Submissions whose answer was lost."""
        jobs = self.pick_all(ns, "submitting")
        if not jobs:
            return
        items = [Lost(job.id, job.attempt + shift, "cut off", trouble) for job in jobs]
        codes = self.send(worker_calls.mark_unconfirmed(ACCOUNT, items), again)
        for item, code in zip(items, codes, strict=True):
            job = self.jobs[item.job_id]
            assert code == int(job.state == "submitting" and job.attempt == item.attempt)
            if code:
                self.doubt(job)
        self.hold.count(self.now, "troubles", trouble * sum(codes), 10, 5 * SECOND)
