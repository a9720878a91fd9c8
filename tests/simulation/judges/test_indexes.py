"""The judge of indexes sees what does not agree with the records."""

from collections.abc import Callable

import pytest
import redis

from simulation.judges.indexes import judge_indexes
from tests.runqueue.lua.clockwork import Clockwork


@pytest.fixture
def clock(redis_url: str) -> Clockwork:
    """An account of an empty server, its clock driven by the test."""
    return Clockwork(redis.Redis.from_url(redis_url))


def judged(clock: Clockwork) -> list[str]:
    found = list[str]()
    judge_indexes(clock.client, clock.account, found.append)
    return found


def all_states(clock: Clockwork) -> None:
    """Jobs in every state that an index or a lane holds."""
    clock.enqueue(1, run_at=clock.now + 10**9)
    clock.enqueue(2, group="g")
    clock.enqueue(1, deadline=clock.now + 10**9)
    clock.unconfirmed(1, priority=0)
    clock.running(1, priority=0)
    (dead,) = clock.enqueue(1, priority=0)
    clock.claimed(1)
    clock.refuse(dead)
    clock.enqueue(1, priority=0)
    clock.claimed(1)


def test_an_account_whose_indexes_agree_is_sound(clock: Clockwork) -> None:
    all_states(clock)

    assert judged(clock) == []


def drop(name: str) -> Callable[[Clockwork], object]:
    return lambda clock: clock.client.delete(clock.key(name))


def add(zset: str) -> Callable[[Clockwork], object]:
    def act(clock: Clockwork) -> None:
        (job,) = clock.enqueue(1)
        clock.client.zadd(clock.key(zset), {job: clock.now})

    return act


@pytest.mark.parametrize(
    "act",
    [
        *map(drop, ("due", "poll", "dead", "reconcile", "unconfirmed", "claims:p1", "deadlines")),
        *map(drop, ("lane:2:g:-", "counters", "group:default")),
        *map(add, ("due", "poll", "dead", "reconcile", "unconfirmed", "claims:p1")),
        lambda clock: clock.client.hincrby(clock.key("group:g"), "live", 1),
        lambda clock: clock.client.hincrby(clock.key("counters"), "ready:2", 1),
    ],
)
def test_what_is_missing_or_too_much_is_seen(
    clock: Clockwork, act: Callable[[Clockwork], object]
) -> None:
    all_states(clock)

    act(clock)

    assert judged(clock) != []
