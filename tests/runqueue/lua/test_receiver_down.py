"""A receiver is down for ten minutes while thousands of runs end: nobody loses anything by it."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from runqueue.records.delivery import Delivered, DueDelivery
from tests.runqueue.lua.clockwork import SECOND, Clockwork
from tests.runqueue.lua.webhooks import awaited, counts, outcome, receive, record, take, told

JOBS, AT_ONCE, PLACES = 5_000, 500, 64
DOWN_FOR = 600
RATE, BURST = 50, 10
#: What the worker waits before each further try.
SCHEDULE = (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
#: How long a try at a receiver takes that is down, and at one that is up.
TIMEOUT, ANSWER = 10, 0.05


@dataclass
class World:
    """The receiver, what is on its way to it, and how often it was tried."""

    clock: Clockwork
    up_at: int
    sending: deque[tuple[int, DueDelivery]] = field(default_factory=deque)
    tries: list[int] = field(default_factory=list)
    tries_while_down: int = 0
    accepted: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def is_up(self) -> bool:
        return self.clock.now >= self.up_at

    def send(self, item: DueDelivery) -> None:
        """Begin a try."""
        takes = ANSWER if self.is_up else TIMEOUT
        self.tries.append(self.clock.now)
        self.tries_while_down += not self.is_up
        self.sending.append((self.clock.now + round(takes * SECOND), item))
        self.accepted[item.job_id, item.attempt] += self.is_up

    def answers(self) -> list[Delivered]:
        """What came of the tries that are over."""
        over = [item for at, item in self.sending if at <= self.clock.now]
        self.sending = deque(pair for pair in self.sending if pair[0] > self.clock.now)
        return [self.answer(item) for item in over]

    def answer(self, item: DueDelivery) -> Delivered:
        if self.accepted[item.job_id, item.attempt]:
            return outcome(item)
        return outcome(item, "again", wait_us=SCHEDULE[item.tries] * SECOND)

    def turn(self) -> int:
        """Record what came of tries, and begin others; returns when there is more to do."""
        answers = self.answers()
        assert record(self.clock, *answers) == [1] * len(answers)
        taken = take(self.clock, PLACES - len(self.sending), stay_idle=True)
        for item in taken.items:
            assert isinstance(item, DueDelivery)
            self.send(item)
        ends = [at for at, _ in self.sending]
        return min([taken.next_us or self.clock.now + SECOND, *ends])


def test_all_are_told_once_and_a_dead_receiver_is_hardly_tried(clock: Clockwork) -> None:
    clock.limit(webhooks_per_second=RATE)
    jobs = [job for _ in range(JOBS // AT_ONCE) for job in awaited(clock, AT_ONCE)]
    world = World(clock, clock.now + DOWN_FOR * SECOND)
    begin, each, over = clock.now, DOWN_FOR * SECOND // JOBS, 0
    while world.accepted.total() < JOBS or world.sending:
        ending = jobs[over : (clock.now - begin) // each + 1]
        assert receive(clock, *map(told, ending)) == ["ended"] * len(ending)
        over += len(ending)
        clock.now = max(clock.now + SECOND // 20, min(world.turn(), clock.now + SECOND))
    assert counts(clock) == {"delivered": JOBS}
    assert world.accepted == Counter({(job, 1): 1 for job in jobs})
    assert most_in_a_second(world.tries) <= RATE + BURST
    took = (world.tries[-1] - world.up_at) / SECOND
    print(
        f"\n{JOBS} webhooks, their receiver down for {DOWN_FOR} s: {world.tries_while_down} tries"
        f" meanwhile, {len(world.tries)} in all; told {took:.0f} s after it was up; at most"
        f" {most_in_a_second(world.tries)} tries in a second"
    )
    assert world.tries_while_down <= PLACES + 20


def most_in_a_second(tries: list[int]) -> int:
    """The most tries in any window of a second."""
    most, first = 0, 0
    for last, at in enumerate(tries):
        while tries[first] <= at - SECOND:
            first += 1
        most = max(most, last - first + 1)
    return most
