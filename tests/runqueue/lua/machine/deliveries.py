"""Webhooks on their way to those who wait for them, and what people say about them."""

from __future__ import annotations

from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runqueue.records.claim_items import ClaimAnswer
from runqueue.records.delivery import Delivered, DueDelivery
from runqueue.store import delivery_calls
from tests.runqueue.lua.clockwork import ACCOUNT, DAY, SECOND
from tests.runqueue.lua.machine.hook import ELSEWHERE, URLS, Breaker, Shares
from tests.runqueue.lua.machine.model import OVER, MJob, few, has, often
from tests.runqueue.lua.machine.webhooks import Webhooks

#: What the worker tells the script: until a delivery comes again, how long one is worth a try.
LEASE, SPAN = 20 * SECOND, DAY


class Deliveries(Webhooks):
    """The axis beside the states: no job's state ever waits for it."""

    @precondition(lambda self: any(job.hook.delivery == "pending" for job in self.jobs.values()))
    @rule(
        name=st.sampled_from("abc"),
        want=st.sampled_from([0, 1, 3, 50]),
        wait=st.sampled_from([0, 0, 10, 100]),
    )
    def delivery_claim(self, name: str, want: int, wait: int) -> None:
        """Take what is due: what we send, and what is looked at."""
        self.clock.wait(wait)
        if wait:
            self.heartbeat(name)
        process = self.names[name]
        call = delivery_calls.delivery_claim(
            ACCOUNT, process, want, 0, linger=False, lease_us=LEASE, span_us=SPAN
        )
        taken = self.clock.run(call)
        if not self.alive(process):
            assert taken.answer is ClaimAnswer.FENCED
            return
        shares = Shares(want)
        relays = self.take_relays(self.relays.room(self.now, want), shares)
        self.relays.take(self.now, len(relays))
        looks = self.take_watches(self.requests.room(self.now, want - len(relays)), shares)
        self.requests.take(self.now, len(looks))
        items = cast("list[DueDelivery]", taken.items)
        assert [item.job_id for item in items] == [job.id for job in relays + looks]
        for item in items:
            self.check_delivery(item, self.jobs[item.job_id])
        is_left = self.waiting("relays") or self.waiting("watches")
        assert not (want and is_left) or taken.next_us, "nothing to wait for although some are due"
        self.on_the_way = [*self.on_the_way, *items][-30:]

    def check_delivery(self, item: DueDelivery, job: MJob) -> None:
        """A delivery says what the record does, and a signature is that of the body."""
        hook = job.hook
        assert (item.attempt, item.run_id, item.ended_us) == (job.attempt, job.run_id, job.ended)
        assert (item.via, item.tries, item.looks) == (hook.via, hook.tries, hook.looks)
        assert (item.forced, item.url) == (bool(hook.forced), hook.url)
        assert item.signed == hook.signed
        body = hook.kept if hook.kept is not None else job.result or b""
        assert item.body == (body if hook.via == "relay" else b"")

    def waiting(self, index: str) -> list[MJob]:
        """The jobs of an index that are due, first come first."""
        found = [j for j in self.jobs.values() if j.hook.index == index and j.hook.due <= self.now]
        return sorted(found, key=lambda job: (job.hook.due, job.id))

    def take_relays(self, room: int, shares: Shares) -> list[MJob]:
        """As many as may go, none to a receiver that does not answer, or has its share."""
        taken: list[MJob] = []
        for job in self.waiting("relays"):
            if len(taken) >= room:
                break
            url = job.hook.url or job.url
            until = self.now + SECOND
            if not shares.is_full(url):
                until = self.breaker(url).closed_until(self.now)
            if until <= self.now:
                job.hook.due = job.hook.sending = self.now + LEASE
                taken.append(job)
                shares.take(url)
            elif self.now > max(job.hook.forced, job.ended) + SPAN:
                job.hook.settle("gave_up")
            else:
                job.hook.due = until
        return taken

    def take_watches(self, room: int, shares: Shares) -> list[MJob]:
        """As many as may be looked at."""
        taken: list[MJob] = []
        for job in self.waiting("watches"):
            if len(taken) >= room:
                break
            url = job.hook.url or job.url
            job.hook.due = self.now + (SECOND if shares.is_full(url) else LEASE)
            if job.hook.due == self.now + LEASE:
                taken.append(job)
                shares.take(url)
        return taken

    def breaker(self, url: str) -> Breaker:
        """That of the URL's receiver; one of its own that stays closed where there is none."""
        return self.breakers.get(url, Breaker())

    @precondition(lambda self: self.on_the_way)
    @rule(
        ns=few,
        verdict=st.sampled_from(["again", "again", "delivered", "gave_up", "unknown"]),
        tried=st.booleans(),
        answered=st.booleans(),
        wait=st.sampled_from([0, 5, 300]),
        signed=st.sampled_from(["", "", "api 1"]),
        again=often,
    )
    def record_delivery(
        self,
        *,
        ns: list[int],
        verdict: str,
        tried: bool,
        answered: bool,
        wait: int,
        signed: str,
        again: bool,
    ) -> None:
        """Deliveries were tried, or looked at; at times long ago."""
        picked = [self.on_the_way[n % len(self.on_the_way)] for n in ns]
        how = {"tried": tried, "answered": answered, "again": again}
        self.record_outcomes(picked, verdict, wait=wait, signed=signed, **how)

    @precondition(lambda self: any(job.hook.delivery == "pending" for job in self.jobs.values()))
    @rule(
        verdict=st.sampled_from(["again", "again", "delivered", "gave_up", "unknown"]),
        times=st.integers(1, 6),
        wait=st.sampled_from([0, 10, 100]),
    )
    def deliver_due(self, verdict: str, times: int, wait: int) -> None:
        """What is due is sent, or looked at, several times."""
        for _ in range(times):
            self.wait(wait, beat=True)
            self.heartbeat("a")
            self.delivery_claim("a", 50, 0)
            if self.on_the_way:
                self.record_all(verdict, 5)

    @precondition(lambda self: self.on_the_way)
    @rule(verdict=st.sampled_from(["again", "again", "delivered"]), wait=st.sampled_from([0, 5]))
    def record_all(self, verdict: str, wait: int) -> None:
        """Every delivery that is on its way has come to something: a receiver is up, or down."""
        how = {"tried": True, "answered": verdict == "delivered", "again": True}
        self.record_outcomes(self.on_the_way, verdict, wait=wait, signed="", **how)

    def record_outcomes(
        self,
        picked: list[DueDelivery],
        verdict: str,
        *,
        tried: bool,
        answered: bool,
        wait: int,
        signed: str,
        again: bool,
    ) -> None:
        """Record what came of deliveries, and say what must have become of each."""
        items, urls = [], []
        for sent in picked:
            url = sent.url or next((url for url in URLS if url in sent.envelope.decode()), "")
            is_relay = sent.via == "relay"
            urls.append(url if is_relay else "")
            items.append(
                Delivered(
                    sent.job_id,
                    sent.attempt,
                    verdict,
                    was_tried=is_relay or tried,
                    wait_us=wait * SECOND,
                    endpoint=urls[-1],
                    answered=answered,
                    signed="" if is_relay else signed,
                    body=b"" if is_relay or not signed else b"signed",
                    tries=sent.tries,
                    looks=sent.looks,
                )
            )

        def none_again(_: list[int], second: list[int]) -> None:
            assert not any(second)

        call = delivery_calls.record_delivery(ACCOUNT, items)
        codes = self.send(call, again, none_again)
        for item, url, code in zip(items, urls, codes, strict=True):
            assert code == self.settle_delivery(item, url)

    def settle_delivery(self, item: Delivered, url: str) -> int:
        """What becomes of a job by one outcome; 1 = it was news to it."""
        job = self.jobs.get(item.job_id)
        if job is None or not job.hook.delivery or job.attempt != item.attempt:
            return 0
        hook, is_pending = job.hook, job.hook.delivery == "pending"
        is_news = (hook.tries, hook.looks) == (item.tries, item.looks)
        arrived = item.verdict == "delivered" and item.was_tried
        if not is_news and not (arrived and is_pending and not hook.forced):
            return 0
        hook.tries += item.was_tried
        hook.looks += not item.was_tried
        if url and item.answered:
            self.breakers.pop(url, None)
        elif url:
            self.breakers.setdefault(url, Breaker()).failed(self.now)
        if not is_pending:
            return 0
        if item.verdict == "again":
            hook.due, hook.sending = self.now + item.wait_us, 0
        else:
            hook.settle(item.verdict)
        if item.signed and item.verdict != "delivered":
            hook.signed, hook.kept = item.signed, item.body
        return 1

    # What people and consumers say.

    @precondition(has(*OVER))
    @rule(ns=few, url=st.sampled_from(["", "", ELSEWHERE]), again=often)
    def deliver_again(self, ns: list[int], url: str, again: bool) -> None:
        """Webhooks are to be sent again, or to another address."""
        jobs = self.pick_all(ns, *OVER)
        codes = self.send(delivery_calls.deliver_again(ACCOUNT, [j.id for j in jobs], url), again)
        asked: set[str] = set()
        for job, code in zip(jobs, codes, strict=True):
            has_one = bool(job.run_id and (job.hook.delivery or url))
            assert code == int(has_one)
            if has_one and job.id not in asked:
                asked.add(job.id)
                job.hook.send_again(self.now, url)

    @precondition(has())
    @rule(ns=few, again=often)
    def confirm_delivery(self, ns: list[int], again: bool) -> None:
        """Consumers have the results."""
        jobs = self.pick_all(ns)
        codes = self.send(delivery_calls.confirm_delivery(ACCOUNT, [j.id for j in jobs]), again)
        for job, code in zip(jobs, codes, strict=True):
            assert code == int(bool(job.hook.delivery))
            if job.hook.delivery not in {"", "delivered"}:
                job.hook.settle("delivered")
