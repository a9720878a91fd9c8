"""Whose turn it is: priorities, groups, lanes of batches, caps."""

from collections import Counter

import pytest

from runqueue.store import job_calls, operator_calls
from tests.runqueue.lua.clockwork import Clockwork


def groups_of(clock: Clockwork, job_ids: list[str]) -> Counter[str]:
    return Counter(clock.field(job_id, "group") or "default" for job_id in job_ids)


def test_priorities_are_strict(clock: Clockwork) -> None:
    low, normal = clock.enqueue(3, priority=3), clock.enqueue(3)
    urgent, high = clock.enqueue(3, priority=0), clock.enqueue(3, priority=1)
    order = [job for _ in range(6) for job in clock.claimed(2)]
    assert order == urgent + high + normal + low


def test_a_lane_is_first_in_first_out_over_many_calls(clock: Clockwork) -> None:
    jobs = [job for _ in range(5) for job in clock.enqueue(4)]
    assert [job for _ in range(7) for job in clock.claimed(3)] == jobs


def test_groups_take_turns_whatever_the_length_of_their_lanes(clock: Clockwork) -> None:
    clock.enqueue(90, group="big")
    clock.enqueue(30, group="small")
    taken = [job for _ in range(40) for job in clock.claimed(1)]
    assert groups_of(clock, taken) == {"big": 20, "small": 20}


def test_a_group_with_one_job_at_a_time_starves_nobody(clock: Clockwork) -> None:
    clock.enqueue(100, group="many")
    taken = []
    for _ in range(40):
        clock.enqueue(1, group="drip")
        taken += clock.claimed(1)
    found = groups_of(clock, taken)
    assert abs(found["many"] - found["drip"]) <= 1


def test_a_group_that_slept_gets_no_catch_up(clock: Clockwork) -> None:
    clock.enqueue(200, group="busy")
    clock.enqueue(1, group="late")
    assert len(clock.claimed(100)) == 100
    clock.enqueue(50, group="late")
    found = groups_of(clock, [job for _ in range(20) for job in clock.claimed(1)])
    assert abs(found["busy"] - found["late"]) <= 1


def test_new_groups_do_not_pass_one_that_waits_again_and_again(clock: Clockwork) -> None:
    (waiting,) = clock.enqueue(1, group="waits")
    taken = []
    for number in range(20):  # the names of the new groups come before that of the other one
        clock.enqueue(1, group=f"new{number}")
        taken += clock.claimed(1)
    assert waiting in taken[:2]


@pytest.mark.parametrize("name", ["a", "z"])
def test_a_new_group_has_its_turn_once_each_other_one_had_one(clock: Clockwork, name: str) -> None:
    for group in ("b", "c", "d"):
        clock.enqueue(20, group=group)
    for _ in range(5):
        clock.claimed(1)
    (new,) = clock.enqueue(1, group=name)
    assert new in [job for _ in range(4) for job in clock.claimed(1)]


def test_lanes_of_batches_take_turns_in_a_group(clock: Clockwork) -> None:
    batches = [clock.open_batch() for _ in range(3)]
    for batch in batches:
        clock.enqueue(50, batch=batch)
        clock.seal(batch)
    taken = [job for _ in range(30) for job in clock.claimed(1)]
    assert Counter(clock.field(job, "batch") for job in taken) == dict.fromkeys(batches, 10)


def test_nothing_of_an_open_batch_is_claimed_before_it_is_sealed(clock: Clockwork) -> None:
    batch = clock.open_batch()
    jobs = clock.enqueue(3, batch=batch)
    assert clock.claimed() == []
    assert clock.client.exists(clock.key("wake")) == 0
    assert clock.seal(batch) == 3
    assert clock.client.exists(clock.key("wake")) == 1
    assert clock.claimed() == jobs


def test_a_held_batch_costs_others_no_turn(clock: Clockwork) -> None:
    for _ in range(300):
        batch = clock.open_batch()
        clock.enqueue(2, batch=batch)
        clock.seal(batch)
        clock.run(operator_calls.cancel_batch(clock.account, batch))
    jobs = clock.enqueue(5)
    assert clock.claimed(10) == [], "200 held lanes a call at most"
    assert clock.claimed(10) == jobs
    assert clock.client.lrange(clock.key("lanes:2:default"), 0, -1) == []


@pytest.mark.parametrize("end", ["finish", "refuse", "give_back"])
def test_a_group_returns_when_a_place_is_freed_and_somebody_is_woken(
    clock: Clockwork, end: str
) -> None:
    clock.client.hset(clock.key("group:shop"), "max_concurrent", 1)
    first, *others = clock.enqueue(3, group="shop")
    clock.heartbeat(first=True)
    taken = clock.claim(10)
    assert not clock.claim(10).items
    clock.client.delete(clock.key("wake"))
    if end == "finish":
        clock.accept(taken.items)
        assert not clock.claim(10).items
        clock.finish(first)
    elif end == "refuse":
        clock.refuse(first)
    else:
        clock.give_back(first)
    assert clock.client.exists(clock.key("wake")) == 1
    assert clock.claimed(10) == [first if end == "give_back" else others[0]]


def test_the_cap_on_runs_counts_what_is_unconfirmed(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=3)
    clock.enqueue(10)
    first, second, _ = clock.claimed(10)
    clock.lose(first)
    assert clock.claimed(10) == []
    clock.refuse(second)
    assert len(clock.claimed(10)) == 1


def test_a_thousand_canceled_jobs_are_passed_over_in_steps(clock: Clockwork) -> None:
    gone = [job for _ in range(3) for job in clock.enqueue(1_000)]
    for start in range(0, 3_000, 1_000):
        assert set(clock.cancel(*gone[start : start + 1_000])) == {1}
    jobs = clock.enqueue(2)
    taken = [clock.claimed(500) for _ in range(5)]
    assert [job for some in taken for job in some] == jobs


def test_a_claim_ends_a_bounded_number_of_jobs_whose_deadline_is_over(clock: Clockwork) -> None:
    for _ in range(4):
        clock.enqueue(1_000, deadline=clock.now + 1)
    clock.wait(1)
    jobs = clock.enqueue(1)
    assert clock.claimed(10) == []
    ended = clock.run(job_calls.stats(clock.account)).totals["ended:dead"]
    assert 0 < ended < 4_000
    found: list[str] = []
    for _ in range(6):
        found += clock.claimed(10)
    assert found == jobs
    assert clock.run(job_calls.stats(clock.account)).totals["ended:dead"] == 4_000


def test_accounts_know_nothing_of_one_another(clock: Clockwork) -> None:
    other = Clockwork(clock.client, "other")
    other.limit(concurrent_runs=1)
    jobs, theirs = clock.enqueue(names=["a", "b"]), other.enqueue(names=["a", "b"])
    assert not set(jobs) & set(theirs)
    before = {key: value for key, value in other.dump().items() if "{other}" in key}
    assert clock.claimed() == jobs
    clock.refuse(jobs[0])
    clock.give_back(jobs[1], "account")
    assert {key: value for key, value in other.dump().items() if "{other}" in key} == before
    assert other.claimed() == theirs[:1]
