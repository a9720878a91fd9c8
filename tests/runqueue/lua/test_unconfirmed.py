"""Unconfirmed jobs: when they are looked for, what two searches that find nothing mean, orphans."""

from typing import Any

import pytest

from runqueue.records import claim_items
from runqueue.records.claim_items import Searched, Taken, Unconfirmed
from runqueue.store import job_calls, operator_calls, worker_calls
from runqueue.store.scripts import ScriptCall
from tests.runqueue.lua.clockwork import (
    CLAIM_AGE,
    GRACE,
    LEASE,
    SECOND,
    SPACING,
    WORKFLOW_RUN,
    Clockwork,
)

MICROSECOND = 1 / SECOND


def reconcile(
    clock: Clockwork, process: str = "p1", want: int = 10, tick_us: int = 0
) -> Taken[Any]:
    clock.heartbeat(process, first=True)
    return clock.run(worker_calls.reconcile_claim(clock.account, process, want, tick_us, LEASE))


def next_look(clock: Clockwork, job: str) -> float:
    """Seconds until a job's next look."""
    score = clock.client.zscore(clock.key("reconcile"), job)
    assert score is not None
    return (float(score) - clock.now) / SECOND


# Being looked for.


def test_a_lost_answer_is_looked_for_after_two_seconds(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed(deadline=clock.now + 3_600 * SECOND, on_unconfirmed="hold")
    since = clock.now
    taken = reconcile(clock)
    assert (taken.items, taken.consumer_left, taken.next_us) == ([], True, since + 2 * SECOND)
    clock.wait(2)
    (unconfirmed,) = reconcile(clock).items
    assert isinstance(unconfirmed, Unconfirmed)
    assert (unconfirmed.job_id, unconfirmed.attempt, unconfirmed.since_us) == (job, 1, since)
    assert (unconfirmed.on_unconfirmed, unconfirmed.cancel) == ("hold", "")
    assert b'"prompt":"a"' in unconfirmed.stored


def test_a_look_that_nobody_records_comes_again_after_its_lease(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    clock.wait(2)
    assert [unconfirmed.job_id for unconfirmed in reconcile(clock).items] == [job]
    clock.wait(14.999)
    assert reconcile(clock).items == []
    clock.wait(0.001)
    assert [unconfirmed.job_id for unconfirmed in reconcile(clock).items] == [job]


def test_the_tick_sends_one_search_at_a_time(clock: Clockwork) -> None:
    clock.unconfirmed(3)
    assert "reconcile" not in clock.tick().messages
    clock.wait(2)
    assert clock.tick().messages["reconcile"] == 1
    reconcile(clock)
    clock.wait(1)
    assert "reconcile" not in clock.tick().messages, "it has a consumer"


# Two searches that find nothing.


def test_two_not_found_count_from_the_grace_on_and_a_spacing_apart_to_the_microsecond(
    clock: Clockwork,
) -> None:
    (job,) = clock.unconfirmed()
    clock.wait(30 - MICROSECOND)
    assert clock.search(job) == 1
    assert clock.field(job, "not_found_count") is None
    clock.wait(MICROSECOND)
    assert clock.search(job) == 1
    assert clock.field(job, "not_found_count") == "1"
    clock.wait(30 - MICROSECOND)
    assert clock.search(job) == 1
    assert clock.field(job, "not_found_count") == "1"
    clock.wait(MICROSECOND)
    assert clock.search(job) == 2
    assert clock.state(job) == "ready"
    assert clock.claimed() == [job]
    assert clock.field(job, "attempt") == "2"
    assert clock.field(job, "not_found_count") is None


def test_the_next_look_is_when_it_would_count(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    clock.wait(10)
    clock.search(job)
    assert next_look(clock, job) == 20
    clock.wait(20)
    clock.search(job)
    assert next_look(clock, job) == 30
    clock.wait(1)
    clock.search(job, again=5)
    assert next_look(clock, job) == 5
    clock.search(job, "unknown")
    assert next_look(clock, job) == 600


def test_searches_that_say_nothing_never_make_a_not_found(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    for _ in range(10):
        clock.wait(60)
        assert clock.search(job, "unknown") == 1
    assert clock.search(job) == 1
    clock.wait(60)
    assert clock.search(job, "unknown") == 1
    assert clock.state(job) == "unconfirmed"
    assert clock.search(job) == 2


def test_a_search_recorded_twice_counts_once(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    clock.wait(60)
    assert clock.search(job) == 1
    before = clock.dump()
    assert clock.search(job) == 1
    assert clock.dump() == before


def test_a_search_for_an_earlier_attempt_says_nothing_of_this_one(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    clock.give_back(job)
    clock.claimed()
    clock.lose(job, 2)
    clock.wait(60)
    assert clock.search(job, attempt=1) == 0
    assert clock.field(job, "not_found_count") is None


def test_the_time_as_unconfirmed_begins_anew_with_each_attempt(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    clock.wait(30)
    clock.search(job)
    assert clock.give_back(job) == 1
    assert clock.claimed() == [job]
    clock.lose(job, 2)
    clock.wait(30)
    assert clock.search(job, attempt=2) == 1, "the first negative of this attempt"


def test_a_run_found_after_one_not_found_is_adopted(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    clock.wait(30)
    clock.search(job)
    assert clock.found(job, 1, "run1") == 1
    clock.wait(30)
    assert clock.search(job) == 0
    assert (clock.state(job), clock.field(job, "not_found_count")) == ("running", None)
    assert clock.members("reconcile") == clock.members("unconfirmed") == []


def test_jobs_settled_by_searches_go_to_the_heads_of_their_lanes_and_wake_the_claimers(
    clock: Clockwork,
) -> None:
    jobs = clock.unconfirmed(2)
    clock.enqueue(1)
    clock.client.delete(clock.key("wake"))
    for _ in range(2):
        clock.wait(30)
        items = [Searched(job, 1, "not_found", SECOND, GRACE) for job in jobs]
        clock.run(worker_calls.record_search(clock.account, items, clock.now, SPACING))
    assert clock.client.llen(clock.key("wake")) == 1
    assert set(clock.claimed(2)) == set(jobs)
    assert clock.client.hget(clock.key("counters"), "resubmitted") == b"2"


# What the job asked for.


@pytest.mark.parametrize("policy", ["", "auto", "hold", "resubmit"])
def test_a_cancel_forbids_that_a_job_is_submitted_again(clock: Clockwork, policy: str) -> None:
    (job,) = clock.unconfirmed(on_unconfirmed=policy)
    clock.cancel(job)
    clock.wait(30)
    assert clock.search(job, "unknown") == 1
    assert clock.search(job) == 1
    clock.wait(30)
    assert clock.search(job, "unknown") == 1
    assert clock.search(job) == 2
    assert clock.state(job) == "canceled"


def test_a_job_whose_time_was_up_without_a_run_is_dead(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed(deadline=clock.now + SECOND)
    clock.wait(1)
    clock.sweep("expire_deadlines")
    assert clock.deny(job) == 2
    assert (clock.state(job), clock.field(job, "reason")) == ("dead", "deadline")
    assert clock.members("dead") == [job]


def test_a_job_that_asked_to_be_held_stays_for_people(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed(on_unconfirmed="hold")
    for _ in range(5):
        clock.wait(60)
        assert clock.search(job) == 1
    assert clock.members("reconcile") == clock.members("unconfirmed_no_slot") == [job]
    clock.cancel(job)
    assert clock.search(job) == 2, "it was denied often enough"
    assert clock.state(job) == "canceled"


def test_a_job_that_stays_for_people_gives_its_slot_back_once_it_surely_has_no_run(
    clock: Clockwork,
) -> None:
    clock.limit(concurrent_runs=1)
    (job,) = clock.unconfirmed(on_unconfirmed="hold")
    since = clock.now
    (waiting,) = clock.enqueue(1)
    clock.wait(30)
    clock.search(job)
    clock.wait(30)
    clock.search(job, "unknown")
    assert clock.claimed() == []
    clock.search(job)
    assert clock.client.zscore(clock.key("unconfirmed_no_slot"), job) == since
    before = clock.dump()
    assert clock.search(job) == 1
    assert clock.dump() == before
    assert clock.claimed() == [waiting]
    assert clock.found(job, 1, "run1") == 1
    assert clock.run(job_calls.stats(clock.account)).live == 2


@pytest.mark.parametrize("verdict", ["unknown", "not_found"])
def test_a_job_that_asked_for_it_is_submitted_again_after_the_grace(
    clock: Clockwork, verdict: str
) -> None:
    (job,) = clock.unconfirmed(on_unconfirmed="resubmit")
    clock.wait(30 - MICROSECOND)
    assert clock.search(job, verdict) == 1
    clock.wait(MICROSECOND)
    assert clock.search(job, verdict) == 2
    assert clock.claimed() == [job]


def test_a_held_job_that_surely_has_no_run_gives_no_second_slot_back(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    clock.wait(7_200)
    clock.sweep("free_slots", 7_200 * SECOND, WORKFLOW_RUN)
    assert clock.deny(job) == 2
    assert clock.run(job_calls.stats(clock.account)).live == 0
    assert clock.members("unconfirmed_no_slot") == []
    assert clock.claimed() == [job]
    assert clock.run(job_calls.stats(clock.account)).live == 1


# Runs and their owners.


def test_a_run_that_is_another_job_s_stays_with_it(clock: Clockwork) -> None:
    first, second = clock.unconfirmed(2)
    assert clock.found(first, 1, "run1") == 1
    assert clock.found(second, 1, "run1") == 3
    assert clock.state(second) == "unconfirmed"
    assert clock.client.exists(clock.key("orphans")) == 0
    owners = clock.run(bound(clock, "run1", "nobody's"))
    assert owners == [first, ""]


def bound(clock: Clockwork, *run_ids: str) -> ScriptCall[list[str]]:
    return worker_calls.owned_runs(clock.account, run_ids)


def test_when_a_run_was_submitted_is_told_until_its_job_has_another(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    claimed = clock.now
    clock.claimed()
    clock.wait(3)
    clock.found(job, 1, "run1")
    clock.wait(10)
    call = worker_calls.submission_times(clock.account, ["nobody's", "run1"])
    assert clock.run(call) == (clock.now, [None, (claimed, claimed + 3 * SECOND)])
    clock.finish(job, run_id="run1")
    assert clock.run(call)[1] == [None, (claimed, claimed + 3 * SECOND)]
    clock.client.hset(clock.key(f"job:{job}"), "run_id", "run2")
    assert clock.run(call)[1] == [None, None]


def test_a_new_record_gets_the_run_that_redis_forgot_instead_of_a_second_one(
    clock: Clockwork,
) -> None:
    job = clock.new_id("k")
    assert clock.found(job, 3, "run3") == 2
    other, same = clock.enqueue(names=["other", "k"])
    assert same == job
    assert clock.claimed() == [other]
    assert (clock.state(job), clock.field(job, "run_id")) == ("running", "run3")
    assert clock.field(job, "attempt") == "3"
    assert clock.run(bound(clock, "run3")) == [job]
    assert clock.client.exists(clock.key("orphans"), clock.key("orphan_jobs")) == 0
    assert clock.finish(job, attempt=3, run_id="run3") == 1


def test_a_job_that_was_claimed_once_is_not_given_an_orphan(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.give_back(job)
    clock.claimed()
    assert clock.found(job, 1, "late") == 2
    clock.give_back(job, attempt=2)
    assert clock.claimed() == [job]
    assert clock.field(job, "attempt") == "3"


def test_a_discarded_job_submitted_again_gets_its_orphan_not_a_second_run(clock: Clockwork) -> None:
    (job,) = clock.enqueue(names=["k"])
    clock.claimed()
    clock.refuse(job)
    assert clock.found(job, 1, "run1") == 2
    assert clock.run(operator_calls.discard(clock.account, [job])) == [1]
    clock.enqueue(names=["k"])
    assert clock.claimed() == []
    assert clock.field(job, "run_id") == "run1"


def test_a_new_record_gets_the_second_orphan_when_the_first_is_over(clock: Clockwork) -> None:
    job = clock.new_id("k")
    for attempt in (1, 2):
        assert clock.found(job, attempt, f"run{attempt}") == 2
    assert clock.run(worker_calls.drop_orphans(clock.account, ["run1"])) == 1
    clock.enqueue(names=["k"])
    assert clock.claimed() == []
    assert clock.field(job, "run_id") == "run2"


def run_again(clock: Clockwork, job: str, attempt: int, run_id: str) -> None:
    again = claim_items.RunAgain(job, attempt, run_id, "failed", "it failed", 0, b"{}")
    assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]
    clock.sweep("promote_due")


def test_an_attempt_that_had_its_run_gets_no_second_one(clock: Clockwork) -> None:
    (job,) = clock.running()
    run_again(clock, job, 1, f"r-{job}")
    assert clock.found(job, 1, "twin") == 2
    assert clock.claimed() == [job]


def test_a_run_of_a_later_attempt_that_redis_forgot_is_not_made_again(clock: Clockwork) -> None:
    (job,) = clock.running()
    assert clock.found(job, 2, "run2") == 2
    run_again(clock, job, 1, f"r-{job}")
    assert clock.claimed() == []
    assert (clock.field(job, "attempt"), clock.field(job, "run_id")) == ("2", "run2")
    run_again(clock, job, 2, "run2")
    assert clock.claimed() == [job]
    assert clock.field(job, "attempt") == "3"


def test_a_search_counts_from_when_it_began_not_from_when_it_was_recorded(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    began = clock.now
    clock.wait(50)
    found_none = [Searched(job, 1, "not_found", SECOND, GRACE)]
    clock.run(worker_calls.record_search(clock.account, found_none, began, SPACING))
    assert clock.field(job, "not_found_count") is None


def test_an_unconfirmed_job_tells_when_its_submission_was_claimed_and_whether_it_was_marked(
    clock: Clockwork,
) -> None:
    marked, no_marker = clock.enqueue(2)
    clock.heartbeat("p1", first=True)
    claimed = clock.now
    clock.claim(1)
    clock.run(worker_calls.claim(clock.account, "p1", "no_marker", 1, 0, marked=False))
    clock.wait(600)
    clock.sweep("expire_leases", CLAIM_AGE)
    clock.wait(2)
    unconfirmed_jobs = {unconfirmed.job_id: unconfirmed for unconfirmed in reconcile(clock).items}
    assert {unconfirmed.claimed_us for unconfirmed in unconfirmed_jobs.values()} == {claimed}
    assert (unconfirmed_jobs[marked].marked, unconfirmed_jobs[no_marker].marked) == (True, False)


def test_an_unconfirmed_job_tells_what_the_server_s_clock_showed_at_its_last_claim(
    clock: Clockwork,
) -> None:
    (job,) = clock.enqueue(1)
    clock.heartbeat("p1", first=True)
    clock.run(worker_calls.claim(clock.account, "p1", "first", 1, 0, date_us=7 * SECOND))
    clock.lose(job)
    clock.wait(2)
    assert [unconfirmed.date_us for unconfirmed in reconcile(clock).items] == [7 * SECOND]

    clock.deny(job)
    clock.heartbeat("p1", first=True)
    clock.claim(1)
    clock.lose(job, 2)
    clock.wait(2)

    assert [unconfirmed.date_us for unconfirmed in reconcile(clock).items] == [None]


def test_a_process_that_knows_no_date_claims_by_what_another_one_told_last(
    clock: Clockwork,
) -> None:
    ahead = 40 * SECOND
    beat = worker_calls.heartbeat(
        clock.account, "p1", LEASE, -1, 0, first=True, date_us=clock.now + ahead
    )
    clock.run(beat)
    clock.wait(5)
    (job,) = clock.unconfirmed()
    claimed = clock.now
    clock.wait(2)

    assert [unconfirmed.date_us for unconfirmed in reconcile(clock).items] == [claimed + ahead]
    assert clock.state(job) == "unconfirmed"


def test_a_job_that_is_marked_again_is_searched_again(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.heartbeat("p1", first=True)
    clock.run(worker_calls.claim(clock.account, "p1", "no_marker", 1, 0, marked=False))
    clock.give_back(job)
    assert clock.claimed() == [job]
    clock.lose(job, 2)
    clock.wait(2)
    assert [unconfirmed.marked for unconfirmed in reconcile(clock).items] == [True]


def test_a_run_that_is_another_job_s_leaves_the_submission_that_found_it_unconfirmed(
    clock: Clockwork,
) -> None:
    (first,) = clock.unconfirmed()
    (second,) = clock.enqueue(1)
    assert clock.claimed(1) == [second]
    assert clock.found(first, 1, "run1") == 1, "found by comparing, but it is the second's"
    assert clock.found(second, 1, "run1") == 3
    assert clock.state(second) == "unconfirmed"
