"""Callbacks of batches are claimed, tried, and settled; batches run out of time."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runqueue.records.claim_items import ClaimAnswer
from runqueue.store import delivery_calls, worker_calls
from runqueue.store.delivery_calls import CallbackOutcome, DueCallback
from tests.runqueue.lua.clockwork import ACCOUNT, CALLBACK_LEASE, SECOND
from tests.runqueue.lua.machine.mbatch import MEvent
from tests.runqueue.lua.machine.model import often, picks
from tests.runqueue.lua.machine.processes import Processes


class Callbacks(Processes):
    """What time does to batches, and how it is told."""

    #: Callbacks that a worker has taken, and may record at any time.
    taken: list[DueCallback]

    def __init__(self) -> None:
        super().__init__()
        self.taken = []

    def on_their_way(self) -> Iterator[tuple[str, MEvent]]:
        """Every callback that is to be told yet, as the scripts list it."""
        for name, batch in self.batches.items():
            for event, told in batch.waiting.items():
                yield f"{name} {event}", told

    @precondition(lambda self: any(batch.expires for batch in self.batches.values()))
    @rule(until=st.booleans(), again=often)
    def hold_expired(self, *, until: bool, again: bool) -> None:
        """Hold the batches whose time is up; `until` then."""
        first = min(batch.expires for batch in self.batches.values() if batch.expires)
        if until and first - self.now < 3_600 * SECOND:
            self.clock.now = max(self.now, first)
        self.send(worker_calls.sweep(ACCOUNT, "hold_expired", 1_000), again)
        for name, batch in self.batches.items():
            if batch.expires and batch.expires <= self.now:
                batch.expire(self.now, all_ended=self.all_ended(name))

    @precondition(lambda self: self.dropped or any(b.waiting for b in self.batches.values()))
    @rule(name=st.sampled_from("abc"), want=st.sampled_from([0, 1, 50]))
    def callback_claim(self, name: str, want: int) -> None:
        """A process takes callbacks that are due."""
        process = self.names[name]
        call = delivery_calls.callback_claim(
            ACCOUNT, process, want, 0, linger=False, lease_us=CALLBACK_LEASE
        )
        taken = self.clock.run(call)
        if not self.alive(process):
            assert taken.answer is ClaimAnswer.FENCED
            return
        due = {one: told for one, told in self.on_their_way() if told.due <= self.now}
        found = {f"{item.batch.id} {item.event}": item for item in taken.items}
        assert found.keys() <= due.keys()
        assert len(found) <= want
        if want > len(due) + len(self.dropped):
            assert found.keys() == due.keys()
            self.dropped.clear()
        else:
            left = self.client.zrange(self.clock.key("callbacks"), 0, -1)
            self.dropped &= {raw.decode() for raw in left}  # type: ignore[union-attr]
        for one, item in found.items():
            assert item.tries == due[one].tries
            due[one].due = self.now + CALLBACK_LEASE
            self.taken.append(item)

    @precondition(lambda self: self.taken)
    @rule(
        n=picks,
        verdict=st.sampled_from(["delivered", "delivered", "again", "gave_up"]),
        tried=st.booleans(),
        wait=st.sampled_from([0, 1, 70]),
        again=often,
    )
    def record_callback(self, *, n: int, verdict: str, tried: bool, wait: int, again: bool) -> None:
        """A worker records what came of a callback, perhaps long after its lease."""
        item = self.taken.pop(n % len(self.taken))
        name = item.batch.id
        told = CallbackOutcome(name, item.event, item.tries, verdict, tried, "words", wait * SECOND)
        # One that was not tried changes nothing but when it is: it may be said again.
        again = again and (tried or verdict != "again")
        (code,) = self.send(delivery_calls.record_callback(ACCOUNT, [told]), again)
        batch = self.batches.get(name)
        event = batch.waiting.get(item.event) if batch else None
        is_news = event and (event.tries == item.tries or verdict == "delivered")
        assert code == bool(is_news)
        if not (batch and event and is_news):
            return
        if verdict == "again":
            event.tries, event.due = event.tries + tried, self.now + wait * SECOND
            return
        del batch.waiting[item.event]
        batch.told[verdict] += 1
        if batch.is_spent:
            del self.batches[name]

    def tell_all(self) -> None:
        """Every callback is delivered."""
        self.clock.wait(CALLBACK_LEASE / SECOND + 70)
        self.heartbeat("a")
        self.callback_claim("a", 1_000)
        while self.taken:
            self.record_callback(n=0, verdict="delivered", tried=True, wait=0, again=False)
        assert not list(self.on_their_way())
