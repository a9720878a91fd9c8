"""An account that an older version wrote to, brought up to this one's layout."""

import pytest
import redis

from runqueue.store import groups, worker_calls
from tests.runqueue.lua.clockwork import DAY, KEEP, LEASE, SECOND, WORKFLOW_RUN, Clockwork


def migrate(clock: Clockwork, limit: int = 1_000) -> bool:
    return clock.run(worker_calls.migrate(clock.account, limit))


def made_old(clock: Clockwork) -> None:
    """Take away what version 1 did not write."""
    clock.client.delete(clock.key("reconcile"), clock.key("dead"))
    clock.client.hdel(clock.key("meta"), "schema")


def test_a_new_account_is_up_to_date_at_once_and_stays_as_it_is(clock: Clockwork) -> None:
    assert migrate(clock)
    before = clock.dump()
    assert migrate(clock)
    assert clock.dump() == before


def test_unconfirmed_jobs_of_an_older_version_are_looked_for(clock: Clockwork) -> None:
    with_slot, parked = clock.doubtful(2)
    clock.wait(7_200)
    clock.sweep("free_slots", 7_200 * SECOND, WORKFLOW_RUN)
    made_old(clock)
    assert migrate(clock)
    clock.heartbeat(first=True)
    taken = clock.run(worker_calls.reconcile_claim(clock.account, "p1", 10, 0, LEASE))
    assert {doubt.job_id for doubt in taken.items} == {with_slot, parked}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 1_000])
def test_unconfirmed_jobs_of_an_older_version_are_listed_in_steps(
    clock: Clockwork, limit: int
) -> None:
    parked = clock.doubtful(4)
    clock.wait(7_200)
    clock.sweep("free_slots", 7_200 * SECOND, WORKFLOW_RUN)
    with_slot = clock.doubtful(3)
    made_old(clock)
    for _ in range(100):
        before = len(clock.members("reconcile"))
        is_done = migrate(clock, limit)
        assert len(clock.members("reconcile")) <= before + limit
        if is_done:
            break
    assert sorted(clock.members("reconcile")) == sorted(with_slot + parked)
    progress = ("migrate_doubts", "migrate_day", "migrate_at")
    assert clock.client.hmget(clock.key("meta"), *progress) == [None, None, None]


def test_a_counter_that_is_off_costs_no_more_where_many_jobs_are_parked(clock: Clockwork) -> None:
    clock.enqueue(1)
    assert migrate(clock)
    clock.client.hset(clock.key("counters"), "dead:2", 1)
    few = clock.commands(worker_calls.migrate(clock.account, 100))
    parked = {f"n{i:023d}": i for i in range(5_000)}
    for index in ("parked", "reconcile"):
        clock.client.zadd(clock.key(index), parked)
    assert clock.commands(worker_calls.migrate(clock.account, 100)) == few


def test_unconfirmed_jobs_that_an_older_worker_left_are_found_among_many(clock: Clockwork) -> None:
    (job,) = clock.doubtful()
    assert migrate(clock)
    parked = {f"n{i:023d}": i for i in range(250)}
    for index in ("parked", "reconcile"):
        clock.client.zadd(clock.key(index), parked)
    clock.client.zrem(clock.key("reconcile"), job)
    for _ in range(3):
        assert clock.commands(worker_calls.migrate(clock.account, 100)) < 150
    assert job in clock.members("reconcile")


@pytest.mark.parametrize("limit", [1, 3, 4, 1_000])
def test_dead_jobs_of_an_older_version_are_listed_in_steps_with_the_times_of_their_ends(
    clock: Clockwork, limit: int
) -> None:
    ends = {}
    for _ in range(3):
        dead, completed, replayed = clock.enqueue(3)
        clock.claimed(10)
        for job in (dead, replayed):
            clock.refuse(job)
        clock.found(completed, 1, "run" + completed)
        clock.finish(completed, run_id="run" + completed)
        ends[dead] = clock.now
        clock.client.hset(clock.key(f"job:{replayed}"), "state", "ready")
        clock.wait(1.5 * DAY / SECOND)
    made_old(clock)
    calls = 1
    while not migrate(clock, limit):
        calls += 1
        assert calls < 100
    assert calls > 1 or limit == 1_000
    found = clock.dump()[clock.key("dead")]
    assert {job.decode(): at for job, at in found} == ends
    assert clock.client.hmget(clock.key("meta"), "migrate_day", "migrate_at") == [None, None]


def test_an_account_that_a_newer_version_wrote_to_is_left_alone(clock: Clockwork) -> None:
    clock.doubtful()
    clock.client.hset(clock.key("meta"), "schema", 99)
    before = clock.dump()
    with pytest.raises(redis.ResponseError, match="NEWER 99"):
        migrate(clock)
    assert clock.dump() == before


def test_what_an_older_version_left_is_removed_in_its_time(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.refuse(job)
    made_old(clock)
    migrate(clock)
    clock.wait(KEEP / SECOND)
    clock.sweep("retire", KEEP)
    assert clock.client.exists(clock.key("dead"), clock.key(f"job:{job}")) == 0


def test_what_an_older_worker_leaves_during_an_upgrade_is_listed_later(clock: Clockwork) -> None:
    assert migrate(clock)
    doubtful, dead = clock.enqueue(2)
    clock.claimed()
    clock.lose(doubtful)
    clock.refuse(dead)
    clock.client.delete(clock.key("reconcile"), clock.key("dead"))  # version 1 has no such lists
    assert migrate(clock)
    assert (clock.members("reconcile"), clock.members("dead")) == ([doubtful], [dead])


def test_strays_of_an_older_version_are_forgotten_in_their_time(clock: Clockwork) -> None:
    made_old(clock)
    told = f"{clock.new_id('k')} 1 {clock.now} late"
    clock.client.hset(clock.key("strays"), "old", told)
    while not migrate(clock):
        pass
    clock.wait((KEEP + DAY) / SECOND)
    clock.heartbeat("p1", first=True)
    clock.sweep("retire", KEEP)
    assert not clock.client.exists(clock.key("strays"))


@pytest.mark.parametrize("limit", [10, 1_000])
def test_groups_that_an_older_version_paused_are_listed(clock: Clockwork, limit: int) -> None:
    names = [f"g{n}" for n in range(300)]
    for name in names:
        paused = int(name[1:]) % 2 == 0
        clock.run(groups.set_group(clock.account, name, 3, paused))
    clock.client.delete(clock.key("paused_lanes"))

    steps = next(n for n in range(1, 200) if migrate(clock, limit))

    for priority in range(4):
        places = [f"{priority}:{name}" for name in names]
        assert clock.client.smismember(clock.key("paused_lanes"), places) == [1, 0] * 150
    assert (steps > 1) == (limit < 300)
    before = clock.dump()
    assert migrate(clock)
    assert clock.dump() == before
