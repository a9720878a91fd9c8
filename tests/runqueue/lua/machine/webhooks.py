"""Webhooks come of runs, whatever their jobs have come to meanwhile."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runqueue.records.delivery import Report, Reported
from runqueue.request.retry_policy import Retry
from runqueue.store import delivery_calls
from tests.runqueue.lua.clockwork import ACCOUNT, spec
from tests.runqueue.lua.machine.hook import POLICY_LEASE, URLS
from tests.runqueue.lua.machine.listing import Listing
from tests.runqueue.lua.machine.model import OVER, MJob, few, has, often
from tests.runqueue.lua.machine.submitting import Submitting

#: How an end is known: a webhook, or a poll tells it; or Skyvern itself tells the user.
BY = ["webhook", "webhook", "poll", "skyvern"]


class Webhooks(Listing, Submitting):
    """Webhooks end jobs, find runs, and leave strays."""

    @rule(on=st.booleans())
    def turn_receiver(self, on: bool) -> None:
        """Those who claim have webhooks sent to our receiver from now on, or no more."""
        self.receives = on

    @rule(
        urls=st.lists(st.sampled_from([*URLS, ""]), min_size=1, max_size=4),
        policy=st.booleans(),
        claim=st.booleans(),
    )
    def enqueue_awaited(self, urls: list[str], policy: bool, claim: bool) -> None:
        """Hand in jobs whose end is to be told, some to be run again where that is bad."""
        retry = Retry(max_attempts=2) if policy else None
        names = [f"awaited{self.made + n}" for n in range(len(urls))]
        self.made += len(urls)
        jobs = [spec(name, url=url, retry=retry) for name, url in zip(names, urls, strict=True)]
        for answer, url in zip(self.clock.hand_in(jobs), urls, strict=True):
            job = MJob(answer.job_id, "a", "ready", 2, "default", None, None, None)
            job.url, job.has_policy = url, policy
            self.jobs[job.id] = job
        if claim:
            self.claim_more(500)

    @precondition(has("submitting", "unconfirmed", "running", *OVER))
    @rule(
        ns=few,
        which=st.sampled_from(["own", "own", "own", "new", "new", "earlier", "other", "stray"]),
        shift=st.sampled_from([0, 0, 0, 0, -1, 1]),
        state=st.sampled_from(["completed", "failed", "failed", "canceled", ""]),
        signed=st.sampled_from(["s1 1", "s2 2", ""]),
        final=st.booleans(),
        created=st.sampled_from([0, 0, 0, 1]),
        again=often,
    )
    def record_webhook(
        self,
        *,
        ns: list[int],
        which: str,
        shift: int,
        state: str,
        signed: str,
        final: bool,
        created: int,
        again: bool,
    ) -> None:
        """Webhooks come of runs: of this attempt, of another, of a run that is another job's."""
        items = []
        for job in self.pick_all(ns, "submitting", "unconfirmed", "running", *OVER):
            self.made += 1
            run_id = f"run{self.made}" if which == "new" else self.run_of(job, which)
            attempt = max(1, job.attempt + shift)
            body = f'{{"w":{self.made}}}'.encode()
            told = (job.id, attempt, run_id, "x", state, signed, final, body, created)
            items.append(Reported(*told))
        if items:
            self.receive(items, again)

    @rule(key=st.sampled_from(["k0", "k1", "k2", "k3"]), state=st.sampled_from(["completed", ""]))
    def record_webhook_of_nobody(self, key: str, state: str) -> None:
        """A webhook comes of a job whose record Redis lost, or of one that waits."""
        self.made += 1
        job_id, run_id = self.clock.new_id(key), f"run{self.made}"
        item = Reported(job_id, 1, run_id, "x", state, "s1 1", True, b"")
        self.receive([item], again=True)

    @precondition(has("submitting", "running"))
    @rule(state=st.sampled_from(["completed", "failed", ""]), final=st.booleans())
    def webhooks_of_all(self, state: str, final: bool) -> None:
        """A webhook comes of every run under way, at times before the submission's answer."""
        under_way = [job for job in self.jobs.values() if job.state in {"submitting", "running"}]
        self.webhooks_of(under_way, state, final)

    def webhooks_of(self, jobs: list[MJob], state: str, final: bool) -> None:
        """A webhook comes of each job's run, known or new."""
        items = []
        for job in jobs:
            self.made += 1
            run_id = job.run_id or f"run{self.made}"
            items.append(Reported(job.id, job.attempt, run_id, "x", state, "s1 1", final, b"{}"))
        self.receive(items, again=True)

    @rule(
        urls=st.lists(st.sampled_from([*URLS, ""]), min_size=1, max_size=6),
        policy=st.booleans(),
        by=st.sampled_from(BY),
    )
    def end_awaited(self, urls: list[str], policy: bool, by: str) -> None:
        """Jobs whose end is to be told end: by a webhook, or as a poll finds."""
        self.receives = by != "skyvern"
        self.enqueue_awaited(urls, policy, claim=True)
        if by == "webhook":
            self.webhooks_of_all("failed" if policy else "completed", final=not policy)
        mine = [job for job in self.jobs.values() if job.process == self.names["a"]]
        self.record_runs([(job, 0) for job in mine], "new", again=False)
        self.watch()
        if by != "webhook" and has("running")(self):
            self.finish_all()

    def receive(self, items: list[Reported], again: bool) -> None:
        """Record webhooks, and say what must have come of each."""

        def same(first: list[Report], second: list[Report]) -> None:
            for one, two in zip(first, second, strict=True):
                assert two.verdict in {one.verdict, "duplicate", "other"}

        reports = self.send(delivery_calls.record_webhook(ACCOUNT, items), again, same)
        any_accepted = False
        for item, report in zip(items, reports, strict=True):
            job = self.jobs.get(item.job_id)
            was_submitting = job is not None and job.state == "submitting"
            assert report.verdict == self.tell(job, item), (item, job)
            any_accepted |= was_submitting and job is not None and job.state != "submitting"
        if any_accepted:
            self.hold.accepted(self.now)

    def tell(self, job: MJob | None, item: Reported) -> str:
        """What comes of one webhook."""
        owner = self.owners().get(item.run_id)
        if job is None:
            return "other" if owner else self.tell_nobody(item)
        if owner == job.id:
            is_own = job.run_id == item.run_id
            return self.tell_own(job, item) if is_own else self.tell_late(item)
        if owner or item.created_us:
            return "other"  # another job's, or of an earlier life: it was made before the job
        may_be_claimed = item.attempt <= job.attempt or job.state == "unconfirmed"
        if not (self.adopts(job, item.attempt) and may_be_claimed):
            self.leave_stray(item)
            self.reported[item.run_id] = self.strays[item.run_id][0]  # whose it was first
            return "stray"
        self.adopt(job, item.attempt, item.run_id)
        self.watch()
        job.hook.came_to_us(self.now, bool(job.url))
        return self.tell_own(job, item)

    def tell_nobody(self, item: Reported) -> str:
        """What comes of a webhook of a job that there is no record of."""
        if not item.state:
            self.leave_stray(item)
        return "unknown"

    def tell_late(self, item: Reported) -> str:
        """What comes of a webhook of a run that is not the job's any more."""
        if item.state:
            self.stray_looks.pop(item.run_id, None)
        return "duplicate"

    def leave_stray(self, item: Reported) -> None:
        """A run is nobody's; one that is over takes no slot."""
        if item.state:
            self.stray_looks.pop(item.run_id, None)
        look = None if item.state else POLICY_LEASE
        self.add_stray(item.run_id, item.job_id, item.attempt, look)

    def tell_own(self, job: MJob, item: Reported) -> str:
        """What comes of a webhook of a job's own run."""
        if job.state != "running":
            if item.state:
                job.hook.came_to_us(self.now, bool(job.url))
                job.hook.keep(self.now, item.signed, item.body)
            return self.tell_late(item)
        if not item.state:
            return "noted"
        job.hook.came_to_us(self.now, bool(job.url))
        if item.state == "failed" and job.has_policy and not item.final:
            return "policy"
        self.end_with_run(job, item.state, item.body or None, item.signed)
        return "ended"
