"""What people do to jobs, by the thousand: found page by page, settled, canceled."""

from __future__ import annotations

from typing import Any

import pytest

from runqueue import JobState
from runqueue.cli.shared.queues import find
from runqueue.ids import new_id
from runqueue.operator.decisions import Settled
from runqueue.producer.listing import PAGE, Filter
from runqueue.records import claim_items
from runqueue.store import worker_calls
from runqueue.store.sending import run
from tests.runqueue.cli.commanding import Desk, done, line, lines

PREFIX = "runqueue:{default}:"
#: Several pages, and no whole number of them.
MANY = 2 * PAGE + 234


def found(desk: Desk, state: JobState = JobState.DEAD, **wanted: Any) -> list[str]:
    return [job.id for job in find(desk.queue, Filter(state=state, **wanted))]


def test_every_job_of_a_state_is_found_once_over_many_pages(desk: Desk) -> None:
    ids = desk.dead(lines(MANY))

    ids_found = found(desk)

    assert len(ids_found) == MANY
    assert set(ids_found) == set(ids)


@pytest.mark.parametrize("count", [PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, MANY])
def test_jobs_that_died_in_the_same_instant_are_found_once_each(desk: Desk, count: int) -> None:
    ids = desk.dead(lines(count))
    desk.client.zadd(f"{PREFIX}dead", dict.fromkeys(ids, 1_800_000_000_000_000))

    assert sorted(found(desk)) == sorted(ids)


def test_jobs_are_found_oldest_first(desk: Desk) -> None:
    ids = [desk.dead([line(f"order-{number}")])[0] for number in range(5)]

    assert found(desk) == ids


def test_jobs_that_leave_while_they_are_gone_through_hide_no_others(desk: Desk) -> None:
    desk.dead(lines(MANY))

    replayed = sum(
        done(desk.queue.replay([job.id])) for job in find(desk.queue, Filter(state=JobState.DEAD))
    )

    assert replayed == MANY
    assert desk.states() == {"ready": MANY}


def test_jobs_that_come_while_they_are_gone_through_are_not_found_twice(desk: Desk) -> None:
    desk.dead(lines(PAGE + 10))
    going = find(desk.queue, Filter(state=JobState.DEAD))
    seen = [next(going).id]
    desk.dead([line("late")])

    seen += [job.id for job in going]

    assert len(seen) == len(set(seen)) == PAGE + 11


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ({}, "abc"),
        ({"group": "shop"}, "bc"),
        ({"group": "nobody"}, ""),
        ({"reason": "ENGINE"}, "ab"),
        ({"reason": "large"}, "c"),
        ({"group": "shop", "reason": "engine"}, "b"),
        ({"batch": "nonsense"}, ""),
    ],
)
def test_a_filter_leaves_the_jobs_that_fit_all_of_it(
    desk: Desk, wanted: dict[str, Any], keys: str
) -> None:
    desk.dead([line("a"), line("b", group="shop")])
    desk.dead([line("c", group="shop")], "Too large")

    jobs = find(desk.queue, Filter(state=JobState.DEAD, **wanted))

    assert {job.custom_id for job in jobs} == set(keys)


def test_jobs_of_every_account_are_found_or_of_one(desk: Desk) -> None:
    desk.know("second")
    ids = desk.dead([line("a")])
    other = desk.queue.enqueue_many([line("a", account="second")])[0].job_id
    lost = [claim_items.Lost(job.job_id, job.attempt, "no") for job in desk.claim("second")]
    run(desk.client, worker_calls.mark_dead("second", lost))

    assert found(desk) == [*ids, other]
    assert [job.id for job in find(desk.queue, Filter(state=JobState.DEAD), "second")] == [other]


@pytest.mark.parametrize(
    "state", [JobState.SCHEDULED, JobState.UNCONFIRMED, JobState.RUNNING, JobState.DEAD]
)
def test_jobs_of_each_state_with_an_index_are_found(desk: Desk, state: JobState) -> None:
    (answer,) = desk.queue.enqueue_many(
        [line("a", **({"delay": 60} if state is JobState.SCHEDULED else {}))]
    )
    jobs = desk.claim()
    if state is JobState.UNCONFIRMED:
        desk.lose(jobs)
    elif state is JobState.DEAD:
        desk.refuse(jobs)
    elif state is JobState.RUNNING:
        accepted = [claim_items.RunAccepted(job.job_id, job.attempt, "r", "", 0) for job in jobs]
        run(desk.client, worker_calls.mark_running("default", accepted))

    for other in (JobState.SCHEDULED, JobState.UNCONFIRMED, JobState.RUNNING, JobState.DEAD):
        assert found(desk, other) == ([answer.job_id] if other is state else [])


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.FAILED, JobState.CANCELED])
def test_jobs_that_ended_are_found_by_the_state_that_they_ended_in(
    desk: Desk, state: JobState
) -> None:
    (answer,) = desk.queue.enqueue_many([line("a")])
    desk.end(desk.claim(), state.value)

    for other in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED):
        assert found(desk, other) == ([answer.job_id] if other is state else [])


def test_jobs_of_a_state_without_an_index_are_looked_for_among_all(desk: Desk) -> None:
    desk.dead([line("a")])
    (ready,) = desk.queue.enqueue_many([line("b")])

    assert found(desk, JobState.READY) == [ready.job_id]
    assert found(desk, JobState.SUBMITTING) == []


def test_what_stands_in_an_index_without_being_there_is_passed_over(desk: Desk) -> None:
    ids = desk.dead([line("a")])
    ready = desk.queue.enqueue_many([line("b")])[0].job_id
    desk.client.zadd(f"{PREFIX}dead", {ready: 1, new_id("default"): 2})

    assert found(desk) == ids


@pytest.mark.parametrize(("what", "state"), [("resubmit", JobState.READY), ("fail", JobState.DEAD)])
def test_thousands_of_unconfirmed_jobs_are_settled_at_once(
    desk: Desk, what: str, state: JobState
) -> None:
    ids = desk.unconfirmed(lines(MANY))

    settled = getattr(desk.queue, what)(ids)

    assert settled == dict.fromkeys(ids, Settled.DONE)
    assert desk.states() == {state.value: MANY}
    assert desk.queue.stats()["default"].live == 0


def test_a_job_failed_by_a_person_says_so_in_bounded_words(desk: Desk) -> None:
    plain, explained = desk.unconfirmed(lines(2))

    desk.queue.fail([plain])
    desk.queue.fail([explained], "x" * 2_000)

    assert desk.queue.get(plain).reason == "failed by a person"
    assert (desk.queue.get(explained).reason or "").startswith("failed by a person: xxx")
    assert len(desk.queue.get(explained).reason or "") == 500


def test_an_adopted_run_frees_no_slot_and_takes_no_second(desk: Desk) -> None:
    (job_id,) = desk.unconfirmed([line("a")])

    assert desk.queue.adopt(job_id, "tsk_1") is Settled.DONE
    assert desk.queue.adopt(job_id, "tsk_1") is Settled.DONE
    assert desk.queue.adopt(job_id, "tsk_2") is Settled.NOT_UNCONFIRMED
    assert desk.queue.stats()["default"].live == 1


def test_a_cancel_is_asked_of_what_has_not_ended(desk: Desk) -> None:
    (gone,) = desk.dead([line("a")])
    (unconfirmed,) = desk.unconfirmed([line("b")])
    ready = desk.queue.enqueue_many([line("c")])[0].job_id

    settled = desk.queue.cancel_jobs([gone, unconfirmed, ready, "nonsense"])

    assert list(settled.values()) == [
        Settled.OVER,
        Settled.WILL_BE_CANCELED,
        Settled.CANCELED,
        Settled.NO_SUCH_JOB,
    ]

    assert desk.queue.get(ready).state is JobState.CANCELED
    assert desk.queue.get(unconfirmed).cancel_requested


def test_orphans_of_every_account_are_gone_through_and_canceled(desk: Desk) -> None:
    desk.know("second")
    runs = {f"tsk_{number}" for number in range(MANY)}
    for account, names in (("default", sorted(runs)), ("second", ["tsk_x"])):
        made = [claim_items.RunAccepted(new_id(account), 1, name, "", 0) for name in names]
        for start in range(0, len(made), 500):
            part = made[start : start + 500]
            run(desk.client, worker_calls.mark_running(account, part))

    orphans = list(desk.queue.orphans())

    assert {orphan.run_id for orphan in orphans} == {*runs, "tsk_x"}
    assert [orphan.run_id for orphan in desk.queue.orphans(account="second")] == ["tsk_x"]
    assert (
        desk.queue.cancel_orphans({orphan.run_id: orphan for orphan in orphans}.values())
        == MANY + 1
    )
    assert desk.client.zcard(f"{PREFIX}cancels") == MANY
    assert desk.queue.cancel_orphans([orphans[0]._replace(run_id="tsk_unknown")]) == 0
