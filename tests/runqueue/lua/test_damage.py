"""One damaged record, lane or batch hurts itself alone, and comes back once it is mended.

What is damaged is a key of a type that is not its own, or a number that is none.
"""

import re
from collections.abc import Callable
from hashlib import sha1
from typing import cast

import pytest
import redis

from runqueue.records import claim_items
from runqueue.records.batch import BatchRules
from runqueue.store import (
    job_calls,
    key_limits,
    operator_calls,
    worker_calls,
)
from runqueue.store.key_limits import KeyLimit
from tests.runqueue.lua.clockwork import (
    CLAIM_AGE,
    DAY,
    GRACE,
    KEEP,
    LEASE,
    SECOND,
    SPACING,
    UPLOAD,
    Clockwork,
)
from tests.runqueue.lua.webhooks import due, ended, receive, told, watched

DAMAGE = ["type", "attempt", "deaths", "deadline"]


def damage_key(clock: Clockwork, name: str) -> None:
    """Have something else write to a key; what it held is kept."""
    key = clock.key(name)
    if clock.client.exists(key):
        clock.client.rename(key, f"kept:{key}")
    clock.client.set(key, "foreign")


def mend_key(clock: Clockwork, name: str) -> None:
    """Put back what the key held."""
    key = clock.key(name)
    clock.client.delete(key)
    if clock.client.exists(f"kept:{key}"):
        clock.client.rename(f"kept:{key}", key)


def damage_job(clock: Clockwork, job_id: str, how: str = "type") -> Callable[[], None]:
    """Damage a job's record; returns what mends it."""
    key = clock.key(f"job:{job_id}")
    if how == "type":
        damage_key(clock, f"job:{job_id}")
        return lambda: mend_key(clock, f"job:{job_id}")
    before = clock.field(job_id, how)
    clock.client.hset(key, how, "x")

    def mend() -> None:
        if before is None:
            clock.client.hdel(key, how)
        else:
            clock.client.hset(key, how, before)

    return mend


def count(clock: Clockwork, field: str) -> int:
    """One of the account's counters."""
    return int(clock.client.hget(clock.key("counters"), field) or 0)


def set_aside(clock: Clockwork) -> set[str]:
    """What is out of the others' way since it is damaged."""
    found = cast("set[bytes]", clock.client.smembers(clock.key("damaged")))
    return {member.decode() for member in found}


def look_again(clock: Clockwork) -> None:
    """Look again at what was set aside, which says what is still damaged."""
    try:
        clock.sweep("recheck")
    except redis.ResponseError as error:
        assert "WRONGTYPE" in str(error)  # noqa: PT017 - where nothing is damaged any more none comes


# Claims.


@pytest.mark.parametrize("how", DAMAGE)
def test_a_claim_passes_over_a_damaged_record(clock: Clockwork, how: str) -> None:
    jobs = clock.enqueue(6)
    bad = jobs.pop(3)
    mend = damage_job(clock, bad, how)

    assert clock.claimed(10) == jobs

    assert clock.states(jobs) == {"submitting"}
    assert clock.members("claims:p1") == sorted(jobs)
    assert (count(clock, "live"), count(clock, "ready:2"), count(clock, "claims")) == (5, 1, 5)
    with pytest.raises(redis.ResponseError, match=bad):
        clock.sweep("recheck")
    mend()
    assert clock.sweep("recheck") == 1
    assert clock.claimed(10) == [bad]
    assert (count(clock, "live"), count(clock, "ready:2"), count(clock, "claims")) == (6, 0, 6)
    assert set_aside(clock) == set()


@pytest.mark.parametrize(
    "name", ["lane:2:bad:-", "lanes:2:bad", "group:bad", "the cap", "its places"]
)
def test_a_claim_passes_over_a_damaged_lane(clock: Clockwork, name: str) -> None:
    good = clock.enqueue(6, group="good")
    bad = clock.enqueue(6, group="bad")
    field = {"the cap": "cap", "its places": "live"}.get(name)
    if field:
        clock.client.hset(clock.key("group:bad"), field, "x")
    else:
        damage_key(clock, name)
    clock.heartbeat(first=True)

    taken = [job.job_id for _ in range(3) for job in clock.claim(2).items]

    assert taken == good
    assert clock.members("claims:p1") == sorted(good)
    assert count(clock, "live") == 6
    assert clock.tick().messages.get("submit") is None, "it is in nobody's way"
    if field:
        clock.client.hdel(clock.key("group:bad"), field)
    else:
        mend_key(clock, name)
    look_again(clock)
    assert clock.claimed(10) == bad


@pytest.mark.parametrize("batch", [None, "a batch"])
def test_a_damaged_lane_of_keys_holds_up_no_other_and_goes_on_once_it_is_mended(
    clock: Clockwork, batch: str | None
) -> None:
    clock.run(key_limits.set_limit(clock.account, "site:*", KeyLimit(1)))
    batch = batch and clock.open_batch()
    first, *bad = clock.enqueue(3, keys=["site:a"], batch=batch)
    good = clock.enqueue(2, keys=["site:b"], batch=batch)
    if batch:
        clock.seal(batch)
    assert set(clock.claimed()) == {first, good[0]}
    name = f"lane:2:default:{batch or '-'}|site:a"
    damage_key(clock, name)
    for job in (first, good[0]):
        clock.found(job, 1, f"r-{job}")
    with pytest.raises(redis.ResponseError, match=re.escape(name)):
        clock.finish(first, run_id=f"r-{first}")
    clock.finish(good[0], run_id=f"r-{good[0]}")

    assert clock.claimed() == good[1:]
    assert set_aside(clock) == {f"lane {batch or '-'} 2:default|site:a"}

    mend_key(clock, name)
    look_again(clock)
    clock.wait(40)
    clock.heartbeat(first=True)
    assert clock.claimed() == bad[:1]


@pytest.mark.parametrize("damaged", ["many", "5- -", "0 -", "- 0", ""])
@pytest.mark.parametrize("key", ["site:a", "session:pbs_1"])
def test_a_limit_that_cannot_be_read_lets_one_at_a_time(
    clock: Clockwork, key: str, damaged: str
) -> None:
    clock.run(key_limits.set_limit(clock.account, key, KeyLimit(3)))
    clock.client.hset(clock.key("key_limits"), key, damaged)
    first, second = clock.enqueue(2, keys=[key, "site:b"])

    assert clock.claimed() == [first]
    assert set_aside(clock) == set()
    (shown,) = [use for use in clock.run(key_limits.list_keys(clock.account)) if use.key == key]
    assert (shown.max_concurrent, shown.waiting) == ((1 if damaged else None), 1)

    clock.run(key_limits.set_limit(clock.account, key, KeyLimit(3)))
    assert clock.claimed() == [second]


def test_lanes_whose_list_was_lost_are_listed_once_the_key_is_free(clock: Clockwork) -> None:
    jobs = clock.enqueue(2)
    clock.client.delete(clock.key("lanes:2:default"))
    clock.client.set(clock.key("lanes:2:default"), "foreign")
    assert clock.claimed(2) == []

    clock.client.delete(clock.key("lanes:2:default"))
    clock.sweep("recheck")

    assert clock.claimed(2) == jobs


def test_a_claim_passes_over_a_damaged_batch(clock: Clockwork) -> None:
    batch, bad = clock.batch_of(2)
    good = clock.enqueue(2)
    damage_key(clock, f"batch:{batch}")

    assert clock.claimed(10) == good

    mend_key(clock, f"batch:{batch}")
    look_again(clock)
    assert clock.claimed(10) == bad


def test_a_claim_goes_on_beside_a_suspect_whose_record_is_damaged(clock: Clockwork) -> None:
    (suspect,) = clock.enqueue(1)
    for attempt in (1, 2):
        clock.claimed()
        clock.die()
        clock.deny(suspect, attempt)
    mend = damage_job(clock, suspect)
    (other,) = clock.enqueue(1)

    assert clock.claimed() == [other]

    clock.accept([claim_items.Claimed(other, 1, b"")])
    mend()
    look_again(clock)
    assert clock.members("suspects") == [suspect]
    assert clock.claimed() == [suspect]


def test_a_claim_goes_on_where_lanes_of_a_batch_cannot_be_listed(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(1, group="theirs")
    clock.client.hset(clock.key("listing"), batch, "0")
    damage_key(clock, f"batch_lanes:{batch}")
    jobs = clock.enqueue(2)

    assert set(jobs) <= set(clock.claimed(10))

    assert set(jobs) <= set(clock.members("claims:p1"))


def test_a_claim_asked_again_gives_the_jobs_whose_records_are_sound(clock: Clockwork) -> None:
    jobs = clock.enqueue(3)
    clock.heartbeat(first=True)
    clock.claim(3, claim_id="c1")
    damage_job(clock, jobs[1])

    again = clock.claim(3, claim_id="c1")

    assert [item.job_id for item in again.items] == [jobs[0], jobs[2]]


def test_a_claim_goes_on_although_the_record_of_a_suspect_under_way_is_damaged(
    clock: Clockwork,
) -> None:
    (suspect,) = clock.enqueue(1)
    for attempt in (1, 2):
        clock.claimed()
        clock.die()
        clock.deny(suspect, attempt)
    assert clock.claimed() == [suspect]
    (other,) = clock.enqueue(1)
    damage_job(clock, suspect)

    assert clock.claimed() == [other]


@pytest.mark.parametrize("name", ["lanes:2:bad", "group:bad"])
def test_a_batch_is_sealed_although_a_lane_of_it_is_damaged(clock: Clockwork, name: str) -> None:
    batch = clock.open_batch()
    bad = clock.enqueue(1, group="bad", batch=batch)
    good = [job for n in range(4) for job in clock.enqueue(1, group=f"g{n}", batch=batch)]
    damage_key(clock, name)

    assert clock.seal(batch) == 5

    assert sorted(clock.claimed(10)) == sorted(good)
    mend_key(clock, name)
    look_again(clock)
    assert clock.claimed(10) == bad


def test_a_damaged_number_of_the_account_is_met_before_a_claim_takes_anything(
    clock: Clockwork,
) -> None:
    jobs = clock.enqueue(2)
    clock.heartbeat(first=True)
    clock.client.hset(clock.key("meta"), "sequence", "x")

    with pytest.raises(redis.ResponseError, match="sequence"):
        clock.claim(2)

    assert clock.states(jobs) == {"ready"}
    assert clock.client.llen(clock.key("lane:2:default:-")) == 2


def test_a_tick_asks_for_every_consumer_although_a_lane_is_damaged(clock: Clockwork) -> None:
    (running,) = clock.running()
    clock.enqueue(1, group="bad")
    damage_key(clock, "lanes:2:bad")
    clock.wait(2)

    messages = clock.tick().messages

    assert messages["submit"] == messages["poll"] == 1
    assert running in clock.members("poll")


@pytest.mark.parametrize("name", ["poll", "relays", "callbacks", "cancels", "reconcile"])
def test_a_tick_has_a_damaged_index_met_by_its_own_consumer_alone(
    clock: Clockwork, name: str
) -> None:
    clock.enqueue(1)
    clock.heartbeat(first=True)
    damage_key(clock, name)

    messages = clock.tick().messages

    own = {"relays": "webhooks", "cancels": "cancel"}.get(name, name)
    assert messages["submit"] == messages[own] == 1


def test_a_tick_sets_times_back_although_a_record_is_damaged(clock: Clockwork) -> None:
    jobs = clock.running(3)
    damage_job(clock, jobs[1])
    ahead = clock.now + 3_600 * SECOND
    clock.client.zadd(clock.key("poll"), dict.fromkeys(jobs, ahead))
    told_of = f"{clock.now} {clock.now} {3_600 * SECOND} 1 ({clock.now}"
    clock.client.hset(clock.key("meta"), "set_back", told_of)

    clock.tick()

    scores = {clock.client.zscore(clock.key("poll"), job) for job in jobs}
    assert scores == {clock.now}


# What consumers take.


def test_a_damaged_record_keeps_no_other_run_from_its_poll(clock: Clockwork) -> None:
    jobs = clock.running(3)
    mend = damage_job(clock, jobs[0])
    clock.wait(2)
    clock.heartbeat(first=True)

    def polled() -> set[str]:
        due = clock.run(worker_calls.poll_claim(clock.account, "p1", 10, 0, LEASE))
        return {item.job_id for item in due.items}

    assert polled() == set(jobs[1:])

    mend()
    look_again(clock)
    assert polled() == {jobs[0]}


@pytest.mark.parametrize("how", ["started", "attempt", "runs"])
def test_a_number_that_is_none_keeps_no_other_run_from_its_poll(clock: Clockwork, how: str) -> None:
    jobs = clock.running(3)
    damage_job(clock, jobs[0], how)
    clock.wait(2)
    clock.heartbeat(first=True)

    due = clock.run(worker_calls.poll_claim(clock.account, "p1", 10, 0, LEASE))

    assert {item.job_id for item in due.items} == set(jobs[1:])


def test_a_damaged_record_keeps_no_other_run_from_its_cancel(clock: Clockwork) -> None:
    jobs = clock.running(3)
    clock.cancel(*jobs)
    mend = damage_job(clock, jobs[0])
    clock.heartbeat(first=True)

    def canceled() -> set[str]:
        due = clock.run(worker_calls.cancel_claim(clock.account, "p1", 10, 0, LEASE))
        return {item.job_id for item in due.items}

    assert canceled() == set(jobs[1:])

    mend()
    look_again(clock)
    assert canceled() == {jobs[0]}


@pytest.mark.parametrize("how", ["type", "claimed"])
def test_a_damaged_record_keeps_no_other_job_from_its_search(clock: Clockwork, how: str) -> None:
    jobs = clock.doubtful(3)
    mend = damage_job(clock, jobs[0], how)
    clock.wait(30)
    clock.heartbeat(first=True)

    def searched() -> set[str]:
        due = clock.run(worker_calls.reconcile_claim(clock.account, "p1", 10, 0, LEASE))
        return {item.job_id for item in due.items}

    assert searched() == set(jobs[1:])

    mend()
    look_again(clock)
    assert searched() == {jobs[0]}
    assert clock.members("unconfirmed") == sorted(jobs)


@pytest.mark.parametrize("name", ["body", "record", "tries", "webhook"])
@pytest.mark.parametrize("kind", [ended, watched])
def test_a_damaged_record_keeps_no_other_webhook_from_its_delivery(
    clock: Clockwork, kind: Callable[[Clockwork, int], list[str]], name: str
) -> None:
    jobs = kind(clock, 3)
    if name == "tries":
        clock.client.hset(clock.key(f"job:{jobs[0]}"), "tries", "x")
    elif name == "webhook":
        clock.client.hset(clock.key(f"webhook:{jobs[0]}"), "x", "x")
    else:
        key = clock.key(f"{'job' if name == 'record' else name}:{jobs[0]}")
        clock.client.delete(key)
        clock.client.sadd(key, "x")
    clock.wait(30)

    assert {item.job_id for item in due(clock)} >= set(jobs[1:])


def test_a_body_of_a_wrong_type_keeps_no_job_from_being_looked_for(clock: Clockwork) -> None:
    jobs = clock.doubtful(2)
    clock.client.delete(clock.key(f"body:{jobs[0]}"))
    clock.client.sadd(clock.key(f"body:{jobs[0]}"), "foreign")
    clock.wait(30)
    clock.heartbeat(first=True)

    due = clock.run(worker_calls.reconcile_claim(clock.account, "p1", 10, 0, LEASE))

    assert {item.job_id: bool(item.stored) for item in due.items} == {
        jobs[0]: False,
        jobs[1]: True,
    }


def test_a_batch_is_read_and_its_callback_told_although_its_paused_groups_cannot_be_read(
    clock: Clockwork,
) -> None:
    rules = BatchRules(callback_url="https://user.test/", callback_at=(0.5,))
    batch, _ = clock.batch_of(2, rules)
    clock.end_all("completed", "completed")
    waiting, _ = clock.batch_of(2)
    damage_key(clock, "paused_lanes")

    assert [due.batch.id for due in clock.callbacks()] == [batch] * 2
    listed = clock.run(job_calls.list_batches(clock.account, "", 10, sound_only=True))
    assert ({one.id for one in listed.batches}, listed.unread) == ({waiting, batch}, ())
    found = clock.run(job_calls.get_batch(clock.account, waiting))
    assert found is not None
    assert found.total == 2


def test_a_callback_of_a_damaged_batch_keeps_no_other_from_being_told(clock: Clockwork) -> None:
    rules = BatchRules(callback_url="https://user.test/", callback_at=())
    (bad, _), (good, _) = clock.batch_of(1, rules), clock.batch_of(1, rules)
    clock.end_all("completed", "completed")
    damage_key(clock, f"batch:{bad}")

    assert [due.batch.id for due in clock.callbacks()] == [good]

    mend_key(clock, f"batch:{bad}")
    clock.wait(60)
    clock.heartbeat(first=True)
    assert bad in [due.batch.id for due in clock.callbacks()]


# What is recorded of many jobs at once.

Act = Callable[[Clockwork, list[str]], object]


def mark_running(clock: Clockwork, jobs: list[str]) -> None:
    clock.accept([claim_items.Claimed(job, 1, b"") for job in jobs])


def mark_unconfirmed(clock: Clockwork, jobs: list[str]) -> None:
    lost = [claim_items.Lost(job, 1, "cut off") for job in jobs]
    clock.run(worker_calls.mark_unconfirmed(clock.account, lost))


def mark_dead(clock: Clockwork, jobs: list[str]) -> None:
    clock.run(
        worker_calls.mark_dead(clock.account, [claim_items.Lost(job, 1, "422") for job in jobs])
    )


def give_back(clock: Clockwork, jobs: list[str]) -> None:
    back = [claim_items.GivenBack(job, 1) for job in jobs]
    clock.run(worker_calls.give_back(clock.account, back, "void"))


def finish(clock: Clockwork, jobs: list[str]) -> None:
    done = [claim_items.Finished(j, 1, f"r-{j}", "completed", "completed", "", b"{}") for j in jobs]
    clock.run(worker_calls.finish(clock.account, done))


def run_again(clock: Clockwork, jobs: list[str]) -> None:
    again = [claim_items.RunAgain(j, 1, f"r-{j}", "failed", "no", 60 * SECOND, b"{}") for j in jobs]
    clock.run(worker_calls.retry_run(clock.account, again))


def mark_polled(clock: Clockwork, jobs: list[str]) -> None:
    polled = [claim_items.Polled(job, 1, "running", 60 * SECOND) for job in jobs]
    clock.run(worker_calls.mark_polled(clock.account, polled))


def give_up(clock: Clockwork, jobs: list[str]) -> None:
    clock.run(
        worker_calls.give_up(
            clock.account, [claim_items.RunGivenUp(job, f"r-{job}") for job in jobs]
        )
    )


def cancel_overdue(clock: Clockwork, jobs: list[str]) -> None:
    overdue = [claim_items.Overdue(job, 1, f"r-{job}", "deadline") for job in jobs]
    clock.run(worker_calls.cancel_overdue(clock.account, overdue))


def cancel(clock: Clockwork, jobs: list[str]) -> None:
    clock.cancel(*jobs)


def search(clock: Clockwork, jobs: list[str]) -> None:
    for _ in range(2):
        clock.wait(30)
        found_none = [claim_items.Searched(job, 1, "negative", SECOND, GRACE) for job in jobs]
        try:
            clock.run(worker_calls.record_search(clock.account, found_none, clock.now, SPACING))
        except redis.ResponseError as error:
            raised = error
    raise raised


def settle(clock: Clockwork, jobs: list[str]) -> None:
    seen = [(job, 1, 0) for job in jobs]
    clock.run(operator_calls.settle(clock.account, seen, "resubmit"))


def replay(clock: Clockwork, jobs: list[str]) -> None:
    seen = [(job, 1, clock.now) for job in jobs]
    clock.run(operator_calls.replay(clock.account, seen))


def discard(clock: Clockwork, jobs: list[str]) -> None:
    clock.run(operator_calls.discard(clock.account, jobs))


RECORDING: list[tuple[str, Act, str | None]] = [
    ("ready", cancel, "canceled"),
    ("submitting", mark_running, "running"),
    ("submitting", mark_unconfirmed, "unconfirmed"),
    ("submitting", mark_dead, "dead"),
    ("submitting", give_back, "ready"),
    ("unconfirmed", mark_running, "running"),
    ("unconfirmed", search, "ready"),
    ("unconfirmed", settle, "ready"),
    ("running", mark_polled, "running"),
    ("running", cancel_overdue, "running"),
    ("running", finish, "completed"),
    ("running", run_again, "scheduled"),
    ("canceling", give_up, "failed"),
    ("dead", replay, "ready"),
    ("dead", discard, None),
]
#: The indexes whose members tell what became of a job.
INDEXES = ["poll", "due", "dead", "unconfirmed", "reconcile", "claims:p1", "cancels"]


def bring_to(clock: Clockwork, state: str) -> list[str]:
    """Three jobs in a state, each of a group of its own."""
    jobs = [job for n in range(3) for job in clock.enqueue(1, group=f"g{n}")]
    if state != "ready":
        assert sorted(clock.claimed(3)) == sorted(jobs)
    if state == "unconfirmed":
        mark_unconfirmed(clock, jobs)
    elif state in {"running", "canceling"}:
        mark_running(clock, jobs)
    elif state == "dead":
        mark_dead(clock, jobs)
    if state == "canceling":
        clock.cancel(*jobs)
    return jobs


@pytest.mark.parametrize("how", ["type", "attempt"])
@pytest.mark.parametrize(
    ("state", "act", "becomes"),
    RECORDING,
    ids=[f"{state}-{act.__name__}" for state, act, _ in RECORDING],
)
def test_a_damaged_record_keeps_no_other_from_being_recorded(
    clock: Clockwork, state: str, act: Act, becomes: str | None, how: str
) -> None:
    jobs = bring_to(clock, state)
    good = [jobs[0], jobs[2]]
    before = {name: set(clock.members(name)) for name in INDEXES}
    act_mend = damage_job(clock, jobs[1], how)

    with pytest.raises(redis.ResponseError, match=jobs[1]):
        act(clock, jobs)

    act_mend()
    assert clock.states(good) == {becomes}
    indexed = {
        "running": ["poll"],
        "scheduled": ["due"],
        "unconfirmed": ["unconfirmed", "reconcile"],
        "dead": ["dead"],
    }.get(becomes or "", [])
    for name in INDEXES:
        members = set(clock.members(name))
        if name in indexed:
            assert set(good) <= members
        elif name != "cancels":
            assert not set(good) & members
        assert (jobs[1] in members) == (jobs[1] in before[name]), f"{name}: it stays where it was"
    count_of = {"canceling": "running"}.get(state, state)
    if becomes != count_of:
        assert count(clock, f"{count_of}:2") == 1
    if becomes:
        assert count(clock, f"{becomes}:2") == (3 if becomes == count_of else 2)
    if becomes == "ready":
        assert sorted(clock.claimed(10)) == sorted(good)


@pytest.mark.parametrize("name", ["lane:2:g1:-", "lanes:2:g1", "group:g1"])
@pytest.mark.parametrize(
    ("state", "act"),
    [("submitting", give_back), ("unconfirmed", settle), ("unconfirmed", search), ("dead", replay)],
)
def test_a_job_whose_lane_is_damaged_stays_where_it_is(
    clock: Clockwork, state: str, act: Act, name: str
) -> None:
    jobs = bring_to(clock, state)
    damage_key(clock, name)

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        act(clock, jobs)

    mend_key(clock, name)
    assert clock.state(jobs[1]) == state
    assert clock.states([jobs[0], jobs[2]]) == {"ready"}
    index = {"submitting": "claims:p1"}.get(state, state)
    assert clock.members(index) == [jobs[1]]
    assert count(clock, f"{state}:2") == 1
    assert sorted(clock.claimed(10)) == sorted([jobs[0], jobs[2]])


def test_a_run_whose_bucket_is_damaged_is_recorded_once_that_is_mended(clock: Clockwork) -> None:
    jobs = bring_to(clock, "submitting")
    buckets = [f"runs:{sha1(f'r-{job}'.encode()).hexdigest()[:4]}" for job in jobs]
    assume_apart = buckets.count(buckets[1]) == 1
    damage_key(clock, buckets[1])

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        mark_running(clock, jobs)

    if assume_apart:
        assert clock.states([jobs[0], jobs[2]]) == {"running"}
    assert clock.state(jobs[1]) == "submitting"
    assert jobs[1] in clock.members("claims:p1")
    mend_key(clock, buckets[1])
    mark_running(clock, jobs)
    assert clock.members("poll") == sorted(jobs)


@pytest.mark.parametrize("field", ["list_reach", "push_mean"])
def test_a_run_that_could_not_be_recorded_for_a_damaged_number_is_recorded_when_said_again(
    clock: Clockwork, field: str
) -> None:
    jobs = clock.enqueue(2)
    clock.heartbeat(first=True)
    taken = clock.claim(2, receives=field == "push_mean").items
    clock.client.hset(clock.key("meta"), mapping={"lists_on": "1", "push_dev": "1", field: "x"})
    with pytest.raises(redis.ResponseError):
        clock.accept(taken)
    assert clock.states(jobs) == {"submitting"}
    assert clock.members("claims:p1") == sorted(jobs)

    clock.client.hdel(clock.key("meta"), field)
    clock.client.hset(clock.key("meta"), "lists_max_run", str(DAY))
    clock.accept(taken)

    assert clock.states(jobs) == {"running"}
    assert clock.members("poll") == sorted(jobs)


def test_a_stray_s_run_is_adopted_once_the_index_of_strays_is_mended(clock: Clockwork) -> None:
    jobs = bring_to(clock, "submitting")
    clock.found("nobody", 1, f"r-{jobs[1]}")
    damage_key(clock, "stray_jobs")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        mark_running(clock, jobs)
    assert clock.states([jobs[0], jobs[2]]) == {"running"}
    assert clock.members("claims:p1") == [jobs[1]]

    mend_key(clock, "stray_jobs")
    mark_running(clock, jobs)

    assert clock.members("poll") == sorted(jobs)
    assert clock.client.hlen(clock.key("strays")) == 0


def test_the_end_of_a_batch_s_job_is_recorded_although_the_batch_is_damaged(
    clock: Clockwork,
) -> None:
    batch, _ = clock.batch_of(1)
    clock.enqueue(1, group="other")
    clock.heartbeat(first=True)
    taken = clock.claim(2).items
    clock.accept(taken)
    damage_key(clock, f"batch:{batch}")
    jobs = [item.job_id for item in taken]

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        finish(clock, jobs)

    assert clock.states(jobs) == {"completed"}
    assert count(clock, "live") == 0
    assert clock.client.hget(clock.key("group:other"), "live") == b"0"
    assert clock.members("busy") == []
    finish(clock, jobs)


def test_webhooks_end_their_jobs_although_one_of_them_has_a_damaged_record(
    clock: Clockwork,
) -> None:
    jobs = bring_to(clock, "running")
    mend = damage_job(clock, jobs[1])
    told_of = [told(job) for job in jobs]

    with pytest.raises(redis.ResponseError, match=jobs[1]):
        receive(clock, *told_of)

    assert clock.states([jobs[0], jobs[2]]) == {"completed"}
    mend()
    assert receive(clock, *told_of) == ["duplicate", "ended", "duplicate"]


# Sweeps.


@pytest.mark.parametrize("how", DAMAGE)
def test_jobs_become_ready_in_time_although_one_record_is_damaged(
    clock: Clockwork, how: str
) -> None:
    jobs = clock.enqueue(4, run_at=clock.now + SECOND)
    mend = damage_job(clock, jobs[1], how)
    clock.wait(2)

    with pytest.raises(redis.ResponseError, match=jobs[1]):
        clock.sweep("promote_due")

    good = [job for job in jobs if job != jobs[1]]
    assert clock.states(good) == {"ready"}
    assert (count(clock, "ready:2"), count(clock, "scheduled:2")) == (3, 1)
    assert clock.members("due") == []
    assert sorted(clock.claimed(10)) == sorted(good)
    mend()
    look_again(clock)
    assert clock.members("due") == [jobs[1]]
    assert clock.sweep("promote_due") == 1
    assert clock.claimed(10) == [jobs[1]]


@pytest.mark.parametrize("name", ["lane:2:bad:-", "lanes:2:bad", "group:bad"])
def test_jobs_become_ready_in_time_although_one_lane_is_damaged(
    clock: Clockwork, name: str
) -> None:
    at = clock.now + SECOND
    good = clock.enqueue(2, group="good", run_at=at)
    bad = clock.enqueue(2, group="bad", run_at=at)
    damage_key(clock, name)
    clock.wait(2)

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        clock.sweep("promote_due")

    assert clock.states(good) == {"ready"}
    assert clock.states(bad) == {"scheduled"}
    assert (count(clock, "ready:2"), count(clock, "scheduled:2")) == (2, 2)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        clock.sweep("recheck")
    assert clock.members("due") == []
    mend_key(clock, name)
    clock.sweep("recheck")
    assert clock.sweep("promote_due") == 2
    assert sorted(clock.claimed(10)) == sorted(good + bad)


def test_claims_of_a_dead_process_are_taken_over_although_one_record_is_damaged(
    clock: Clockwork,
) -> None:
    jobs = clock.enqueue(3)
    clock.claimed(3)
    claimed_at = clock.client.zscore(clock.key("claims:p1"), jobs[1])
    mend = damage_job(clock, jobs[1])

    with pytest.raises(redis.ResponseError, match=jobs[1]):
        clock.die()

    assert clock.states([jobs[0], jobs[2]]) == {"unconfirmed"}
    assert clock.members("processes") == []
    mend()
    look_again(clock)
    assert clock.state(jobs[1]) == "unconfirmed"
    assert int(clock.field(jobs[1], "claimed") or 0) == claimed_at, "its run may be as old"
    assert clock.members("unconfirmed") == clock.members("reconcile") == sorted(jobs)


def test_processes_whose_claims_are_damaged_hide_the_death_of_no_other(clock: Clockwork) -> None:
    damaged = [f"dead{n:02}" for n in range(40)]
    for process in damaged:
        clock.heartbeat(process, first=True)
        damage_key(clock, f"claims:{process}")
    clock.wait(1)
    (job,) = clock.enqueue(1)
    assert clock.claimed() == [job]
    clock.wait(LEASE / SECOND)

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        clock.sweep("expire_leases", CLAIM_AGE)

    assert clock.state(job) == "unconfirmed"
    assert clock.members("processes") == damaged, "they are looked at again"
    for process in damaged:
        mend_key(clock, f"claims:{process}")
    for _ in range(3):
        clock.sweep("expire_leases", CLAIM_AGE)
    assert clock.members("processes") == []


def test_deadlines_pass_although_one_record_is_damaged(clock: Clockwork) -> None:
    jobs = clock.enqueue(3, deadline=clock.now + SECOND)
    mend = damage_job(clock, jobs[1])
    clock.wait(2)

    with pytest.raises(redis.ResponseError, match=jobs[1]):
        clock.sweep("expire_deadlines")

    assert clock.states([jobs[0], jobs[2]]) == {"dead"}
    mend()
    look_again(clock)
    clock.sweep("expire_deadlines")
    assert clock.states(jobs) == {"dead"}
    assert clock.members("deadlines") == []


def test_a_canceled_batch_s_jobs_end_although_one_record_is_damaged(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(3)
    mend = damage_job(clock, jobs[1])
    clock.cancel_batch(batch)

    with pytest.raises(redis.ResponseError, match=jobs[1]):
        clock.sweep("sweep_canceled")

    assert clock.states([jobs[0], jobs[2]]) == {"canceled"}
    mend()
    look_again(clock)
    clock.sweep("sweep_canceled")
    assert clock.states(jobs) == {"canceled"}


def test_records_are_removed_in_time_although_one_is_damaged(clock: Clockwork) -> None:
    jobs = bring_to(clock, "running")
    finish(clock, jobs)
    mend = damage_job(clock, jobs[1])
    clock.wait(8 * DAY / SECOND)

    with pytest.raises(redis.ResponseError, match=jobs[1]):
        clock.sweep("retire", KEEP)

    assert clock.states([jobs[0], jobs[2]]) == {None}
    mend()
    look_again(clock)
    clock.wait(8 * DAY / SECOND)
    clock.sweep("retire", KEEP)
    assert clock.states(jobs) == {None}


def test_a_stray_is_forgotten_later_where_the_strays_are_damaged(clock: Clockwork) -> None:
    clock.found("nobody", 1, "run1")
    clock.wait(8 * DAY / SECOND)
    damage_key(clock, "strays")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        clock.sweep("retire", KEEP)

    mend_key(clock, "strays")
    clock.sweep("recheck")
    clock.wait(8 * DAY / SECOND)
    clock.sweep("retire", KEEP)

    assert clock.client.hlen(clock.key("strays")) == 0
    assert set_aside(clock) == set()


def test_slots_are_freed_in_time_although_one_record_is_damaged(clock: Clockwork) -> None:
    jobs = clock.doubtful(3)
    mend = damage_job(clock, jobs[1])
    clock.wait(2 * DAY / SECOND)

    with pytest.raises(redis.ResponseError, match=jobs[1]):
        clock.sweep("free_slots", DAY, DAY)

    assert clock.members("parked") == sorted([jobs[0], jobs[2]])
    mend()
    clock.sweep("free_slots", DAY, DAY)
    assert clock.members("parked") == sorted(jobs)


def test_an_unfinished_upload_expires_although_another_is_damaged(clock: Clockwork) -> None:
    bad, good = clock.open_batch(), clock.open_batch()
    clock.enqueue(1, batch=bad)
    (job,) = clock.enqueue(1, batch=good)
    damage_key(clock, f"batch:{bad}")
    clock.wait(UPLOAD / SECOND)

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        clock.sweep("expire_batches", UPLOAD)

    assert clock.state(job) is None
    mend_key(clock, f"batch:{bad}")
    clock.wait(30)
    clock.sweep("expire_batches", UPLOAD)
    assert (clock.read(bad).held, clock.read(good).held) == ("expired", "expired")
    assert count(clock, "ready:2") == 0


def test_a_batch_s_time_is_up_although_another_is_damaged(clock: Clockwork) -> None:
    bad, _ = clock.batch_of(1, BatchRules(expires_after=60))
    good, _ = clock.batch_of(1, BatchRules(expires_after=60))
    damage_key(clock, f"batch:{bad}")
    clock.wait(60)

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        clock.sweep("hold_expired")

    assert clock.read(good).held == "expired"
    mend_key(clock, f"batch:{bad}")
    clock.wait(30)
    clock.sweep("hold_expired")
    assert clock.read(bad).held == "expired"


def test_what_was_set_aside_and_is_gone_is_forgotten(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    damage_job(clock, job)
    clock.claimed()
    assert set_aside(clock) == {f"job {job}"}

    clock.client.delete(clock.key(f"job:{job}"))

    assert clock.sweep("recheck") == 1
    assert set_aside(clock) == set()


def test_a_running_job_that_was_set_aside_is_polled_and_keeps_its_cancel(clock: Clockwork) -> None:
    (job,) = clock.running()
    clock.cancel(job)
    for index in ("poll", "cancels"):
        clock.client.delete(clock.key(index))
    clock.client.sadd(clock.key("damaged"), f"job {job}")

    clock.sweep("recheck")

    assert clock.members("poll") == clock.members("cancels") == [job]
