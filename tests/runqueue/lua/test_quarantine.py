"""A script that fails has written what it did before; a job that cannot be read stops nobody.

A record cannot be read if its key has another type, or if a number of it is none.
"""

from collections.abc import Callable
from typing import cast

import pytest
import redis

from runqueue.records import claim_items
from runqueue.store import job_calls, operator_calls, worker_calls
from runqueue.store.key_limits import KeyLimit, set_limit
from tests.runqueue.lua.clockwork import (
    CLAIM_AGE,
    DAY,
    GRACE,
    LEASE,
    RETENTION,
    SECOND,
    SPACING,
    UPLOAD,
    Clockwork,
    spec,
)
from tests.runqueue.lua.webhooks import due, ended

UNREADABLE = "UNREADABLE job"
HOW = ["type", "attempt", "deadline"]


def damage(clock: Clockwork, job_id: str, how: str = "type") -> None:
    """Make a job's record unreadable."""
    key = clock.key(f"job:{job_id}")
    if how == "type":
        clock.client.set(key, "foreign")
    else:
        clock.client.hset(key, how, "x")


def count(clock: Clockwork, field: str) -> int:
    """One of the account's counters."""
    return int(clock.client.hget(clock.key("counters"), field) or 0)


def quarantined(clock: Clockwork) -> list[str]:
    return clock.members("quarantined")


def claim(clock: Clockwork, want: int, claim_id: str) -> list[str]:
    return [job.job_id for job in clock.claim(want, claim_id=claim_id).items]


# Claims.


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("how", [*HOW, "deaths"])
def test_a_claim_keeps_what_it_took_before_a_job_that_cannot_be_read(
    clock: Clockwork, how: str, at: int
) -> None:
    jobs = clock.enqueue(6)
    clock.heartbeat(first=True)
    bad = jobs.pop(at)
    damage(clock, bad, how)

    with pytest.raises(redis.ResponseError, match=f"{UNREADABLE} {bad}"):
        claim(clock, 10, "one")

    assert quarantined(clock) == [bad]
    assert claim(clock, 10, "one") == (jobs[:at] or jobs), "the same claim again"
    claim(clock, 10, "two")
    assert clock.states(jobs) == {"submitting"}
    assert clock.members("claims:p1") == sorted(jobs)
    assert (count(clock, "live"), count(clock, "ready:2"), count(clock, "claims")) == (5, 1, 5)
    assert clock.claim(10).items == []


@pytest.mark.parametrize("kind", ["groups", "a batch", "keys"])
def test_other_lanes_are_claimed_from_beside_a_job_that_cannot_be_read(
    clock: Clockwork, kind: str
) -> None:
    jobs = list[str]()
    if kind == "groups":
        for n in range(4):
            jobs += clock.enqueue(3, group=f"g{n}")
    elif kind == "a batch":
        _, jobs = clock.batch_of(6)
        jobs += clock.enqueue(3)
    else:
        clock.run(set_limit(clock.account, "site:a", KeyLimit(max_concurrent=2)))
        jobs = [*clock.enqueue(6, keys=["site:a"]), *clock.enqueue(3)]
    clock.heartbeat(first=True)
    bad = jobs.pop(4)
    damage(clock, bad)

    taken = list[str]()
    for n in range(30):
        try:
            got = claim(clock, 2, f"claim{n}")
        except redis.ResponseError as error:
            assert bad in str(error)  # noqa: PT017 - which of the claims meets it is not fixed
            got = claim(clock, 2, f"claim{n}")
        taken += got
        clock.accept([claim_items.Claimed(job, 1, b"") for job in got])
        finish(clock, got)
        clock.wait(1)

    assert sorted(taken) == sorted(jobs)
    assert quarantined(clock) == [bad]
    assert (count(clock, "live"), count(clock, "ready:2")) == (0, 1)


@pytest.mark.parametrize("name", ["lane:2:g1:-", "lanes:2:g1", "group:g1", "claims:p1"])
def test_a_claim_that_meets_an_index_of_a_wrong_type_loses_no_job(
    clock: Clockwork, name: str
) -> None:
    jobs = [job for n in range(3) for job in clock.enqueue(2, group=f"g{n}")]
    clock.heartbeat(first=True)
    key = clock.key(name)
    if clock.client.exists(key):
        clock.client.rename(key, "kept")
    clock.client.set(key, "foreign")

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        claim(clock, 10, "one")

    clock.client.delete(key)
    if clock.client.exists("kept"):
        clock.client.rename("kept", key)
    taken = [*claim(clock, 10, "one"), *claim(clock, 10, "two")]
    if name != "claims:p1":
        assert sorted(taken) == sorted(jobs)
        assert clock.members("claims:p1") == sorted(jobs)
    assert quarantined(clock) == []
    assert count(clock, "live") == len(clock.client.keys(clock.key("job:*"))) == 6


def test_a_claim_made_again_leaves_out_a_job_that_cannot_be_read_any_more(clock: Clockwork) -> None:
    jobs = clock.enqueue(3)
    clock.heartbeat(first=True)
    claim(clock, 10, "one")
    damage(clock, jobs[1], "attempt")

    with pytest.raises(redis.ResponseError, match=f"{UNREADABLE} {jobs[1]}"):
        claim(clock, 10, "one")

    assert claim(clock, 10, "one") == [jobs[0], jobs[2]]


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
    over = [claim_items.RunAbandoned(job, f"r-{job}") for job in jobs]
    clock.run(worker_calls.abandon_run(clock.account, over))


def cancel_overdue(clock: Clockwork, jobs: list[str]) -> None:
    overdue = [claim_items.Overdue(job, 1, f"r-{job}", "deadline") for job in jobs]
    clock.run(worker_calls.cancel_overdue(clock.account, overdue))


def cancel(clock: Clockwork, jobs: list[str]) -> None:
    clock.cancel(*jobs)


def search(clock: Clockwork, jobs: list[str]) -> None:
    clock.wait(30)
    found_none = [claim_items.Searched(job, 1, "not_found", SECOND, GRACE) for job in jobs]
    clock.run(worker_calls.record_search(clock.account, found_none, clock.now, SPACING))


def settle(clock: Clockwork, jobs: list[str]) -> None:
    clock.run(operator_calls.settle(clock.account, [(job, 1, 0) for job in jobs], "resubmit"))


def replay(clock: Clockwork, jobs: list[str]) -> None:
    ended_at = int(clock.field(jobs[0], "ended") or clock.now)
    seen = [(job, 1, ended_at) for job in jobs]
    clock.run(operator_calls.replay(clock.account, seen))


RECORDING: list[tuple[str, Act, str]] = [
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
]
#: The indexes whose members say what became of a job.
INDEXES = ["poll", "due", "dead", "unconfirmed", "reconcile", "claims:p1"]


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
def test_all_but_the_job_that_cannot_be_read_are_recorded_when_a_call_is_made_again(
    clock: Clockwork, state: str, act: Act, becomes: str, how: str
) -> None:
    jobs = bring_to(clock, state)
    good = [jobs[0], jobs[2]]
    damage(clock, jobs[1], how)

    with pytest.raises(redis.ResponseError, match=f"{UNREADABLE} {jobs[1]}"):
        act(clock, jobs)
    for _ in range(2 if act is search else 1):
        act(clock, jobs)

    assert quarantined(clock) == [jobs[1]]
    assert clock.states(good) == {becomes}
    indexed = {
        "running": ["poll"],
        "scheduled": ["due"],
        "unconfirmed": ["unconfirmed", "reconcile"],
        "dead": ["dead"],
    }.get(becomes, [])
    for name in INDEXES:
        members = set(clock.members(name))
        assert set(good) <= members if name in indexed else not set(good) & members, name
    count_of = {"canceling": "running"}.get(state, state)
    if becomes != count_of:
        assert count(clock, f"{count_of}:2") == 1
    assert count(clock, f"{becomes}:2") == (3 if becomes == count_of else 2)
    if becomes == "ready":
        assert sorted(clock.claimed(10)) == sorted(good)


def test_the_run_of_a_job_that_cannot_be_read_is_kept_as_an_orphan(clock: Clockwork) -> None:
    jobs = bring_to(clock, "submitting")
    damage(clock, jobs[1])
    with pytest.raises(redis.ResponseError, match=UNREADABLE):
        mark_running(clock, jobs)

    mark_running(clock, jobs)

    assert clock.members("orphan_polls") == [f"r-{jobs[1]}"]


@pytest.mark.parametrize(
    ("state", "act", "becomes", "index"),
    [
        ("submitting", mark_running, "running", "poll"),
        ("dead", mark_running, "dead", "orphan_polls"),
        ("canceling", give_up, "failed", "orphan_polls"),
    ],
)
def test_a_call_made_again_polls_runs_whose_index_had_a_wrong_type(
    clock: Clockwork, state: str, act: Act, becomes: str, index: str
) -> None:
    jobs = bring_to(clock, state)
    clock.client.set(clock.key(index), "foreign")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        act(clock, jobs)
    assert clock.states(jobs) <= {"running", becomes}
    clock.client.delete(clock.key(index))

    act(clock, jobs)

    runs = jobs if index == "poll" else [f"r-{job}" for job in jobs]
    assert clock.members(index) == sorted(runs)
    assert clock.states(jobs) == {becomes}
    assert count(clock, "live") + len(clock.members("orphan_polls")) == 3
    assert count(clock, f"{becomes}:2") == 3
    assert clock.members("claims:p1") == []


# What is due by time.


def promote(clock: Clockwork) -> None:
    clock.sweep("promote_due")


def deadlines(clock: Clockwork) -> None:
    clock.sweep("expire_deadlines")


def leases(clock: Clockwork) -> None:
    clock.sweep("expire_leases", CLAIM_AGE)


def uploads(clock: Clockwork) -> None:
    clock.sweep("expire_batches", UPLOAD)


def cancel_batches(clock: Clockwork) -> None:
    clock.sweep("sweep_canceled")


def retire(clock: Clockwork) -> None:
    clock.sweep("retire")


def free_slots(clock: Clockwork) -> None:
    clock.sweep("free_slots", 60 * SECOND, 60 * SECOND)


def scheduled(clock: Clockwork) -> list[str]:
    jobs = clock.enqueue(3, run_at=clock.now + 60 * SECOND)
    clock.wait(61)
    return jobs


def overdue(clock: Clockwork) -> list[str]:
    jobs = clock.enqueue(3, deadline=clock.now + 60 * SECOND)
    clock.wait(61)
    return jobs


def of_the_dead(clock: Clockwork) -> list[str]:
    jobs = bring_to(clock, "submitting")
    clock.wait(LEASE / SECOND + 1)
    return jobs


def old(clock: Clockwork) -> list[str]:
    jobs = bring_to(clock, "running")
    finish(clock, jobs)
    clock.wait(RETENTION / SECOND + DAY / SECOND)
    return jobs


def long_lost(clock: Clockwork) -> list[str]:
    jobs = bring_to(clock, "unconfirmed")
    clock.wait(120)
    return jobs


def unfinished(clock: Clockwork) -> list[str]:
    jobs = clock.enqueue(3, batch=clock.open_batch())
    clock.wait(UPLOAD / SECOND + 1)
    return jobs


def canceled(clock: Clockwork) -> list[str]:
    batch, jobs = clock.batch_of(3)
    assert clock.cancel_batch(batch) == 3
    return jobs


@pytest.mark.parametrize(
    ("bring", "sweep", "becomes"),
    [
        (scheduled, promote, "ready"),
        (overdue, deadlines, "dead"),
        (of_the_dead, leases, "unconfirmed"),
        (old, retire, None),
        (long_lost, free_slots, "unconfirmed"),
        (unfinished, uploads, None),
        (canceled, cancel_batches, "canceled"),
    ],
    ids=["promote", "deadlines", "leases", "retire", "free_slots", "uploads", "canceled"],
)
def test_a_sweep_made_again_does_what_is_due_of_all_jobs_that_can_be_read(
    clock: Clockwork,
    bring: Callable[[Clockwork], list[str]],
    sweep: Callable[[Clockwork], None],
    becomes: str | None,
) -> None:
    jobs = bring(clock)
    damage(clock, jobs[0])

    with pytest.raises(redis.ResponseError, match=f"{UNREADABLE} {jobs[0]}"):
        sweep(clock)
    sweep(clock)

    assert quarantined(clock) == [jobs[0]]
    assert clock.states(jobs[1:]) == {becomes}
    if sweep is free_slots:
        assert sorted(clock.members("unconfirmed_no_slot")) == sorted(jobs[1:])


@pytest.mark.parametrize("stage", ["poll", "cancel", "reconcile"])
def test_a_stage_made_again_takes_all_jobs_that_can_be_read(clock: Clockwork, stage: str) -> None:
    jobs = bring_to(
        clock, {"poll": "running", "cancel": "canceling", "reconcile": "unconfirmed"}[stage]
    )
    clock.wait(10)
    clock.heartbeat(first=True)
    damage(clock, jobs[1])
    take = getattr(worker_calls, f"{stage}_claim")

    with pytest.raises(redis.ResponseError, match=f"{UNREADABLE} {jobs[1]}"):
        clock.run(take(clock.account, "p1", 10, 0, LEASE))
    clock.wait(LEASE / SECOND)
    clock.heartbeat(first=True)

    found = clock.run(take(clock.account, "p1", 10, 0, LEASE)).items
    assert sorted(item.job_id for item in found) == sorted([jobs[0], jobs[2]])


def test_webhooks_of_all_other_jobs_are_delivered(clock: Clockwork) -> None:
    jobs = ended(clock, 3)
    clock.wait(30)
    damage(clock, jobs[0])

    with pytest.raises(redis.ResponseError, match=f"{UNREADABLE} {jobs[0]}"):
        due(clock)
    clock.wait(300)

    assert sorted(item.job_id for item in due(clock)) == sorted(jobs[1:])


# A person.


@pytest.mark.parametrize("how", ["type", "attempt"])
@pytest.mark.parametrize("state", ["ready", "running"])
def test_a_quarantined_job_is_discarded_and_enqueued_again(
    clock: Clockwork, state: str, how: str
) -> None:
    jobs = bring_to(clock, state)
    damage(clock, jobs[1], how)
    with pytest.raises(redis.ResponseError, match=UNREADABLE):
        clock.cancel(jobs[1])
    assert clock.run(job_calls.stats(clock.account)).quarantined_ids == (jobs[1],)

    assert clock.run(operator_calls.discard(clock.account, jobs)) == [0, 1, 0]

    assert quarantined(clock) == []
    assert clock.state(jobs[1]) is None
    if how == "attempt":
        assert count(clock, f"{state}:2") == 2
        assert count(clock, "live") == (2 if state == "running" else 0)
    found = cast("list[bytes]", clock.client.keys(clock.key(f"*{jobs[1]}*")))
    assert found == []


def test_a_known_job_that_cannot_be_read_keeps_no_other_of_its_call_out(clock: Clockwork) -> None:
    (bad,) = clock.enqueue(names=["b"])
    damage(clock, bad)

    answers = clock.enqueue_specs([spec(name) for name in ("a", "b", "c")])

    assert [answer.status for answer in answers] == ["new", "conflict", "new"]


def test_a_call_that_fails_half_way_has_its_jobs_claimed_when_it_is_made_again(
    clock: Clockwork,
) -> None:
    batch = clock.open_batch()
    later = clock.now + 60 * SECOND
    jobs = [spec("a"), spec("b", run_at=later), spec("c")]
    clock.client.set(clock.key("due"), "foreign")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        clock.enqueue_specs(jobs, batch)
    clock.client.delete(clock.key("due"))

    answers = clock.enqueue_specs(jobs, batch)

    assert [answer.status for answer in answers] == ["known", "new", "new"]
    assert clock.seal(batch) == 3
    assert (count(clock, "enqueued"), count(clock, "ready:2"), count(clock, "scheduled:2")) == (
        3,
        2,
        1,
    )
    assert sorted(clock.claimed()) == sorted([answers[0].job_id, answers[2].job_id])
    clock.wait(61)
    promote(clock)
    assert clock.claimed() == [answers[1].job_id]
