"""Jobs that ended badly are done again, or removed for good."""

from __future__ import annotations

from typing import cast

import pytest

from runqueue import BatchNotFound, EnqueueStatus, JobNotFound, JobState
from runqueue.ids import new_id
from runqueue.operator.decisions import Settled
from runqueue.producer.listing import PAGE
from runqueue.store import worker_calls
from runqueue.store.sending import run
from tests.runqueue.cli.commanding import Desk, done, line, lines

PREFIX = "runqueue:{default}:"
#: Several pages, and no whole number of them.
MANY = 2 * PAGE + 234


def test_a_replayed_job_s_attempts_and_runs_go_on_and_those_that_retry_bounds_begin_anew(
    desk: Desk,
) -> None:
    (answer,) = desk.queue.enqueue_many(
        [line("a", group="shop", priority="high", deadline=3_600, retry={"max_attempts": 2})]
    )
    job_id = answer.job_id
    desk.end(desk.claim(), "failed")
    before = desk.queue.get(job_id)
    assert (before.attempts, before.runs) == (1, 1)

    assert done(desk.queue.replay([job_id])) == 1

    job = desk.queue.get(job_id)
    assert (job.state, job.attempts, job.runs) == (JobState.READY, 1, 1)
    assert desk.client.hget(f"runqueue:{{default}}:job:{job_id}", "runs") is None
    assert (job.run_id, job.run_status, job.reason, job.result) == (None,) * 4
    assert (job.deadline, job.started_at, job.ended_at) == (None,) * 3
    assert (job.group, job.priority, job.custom_id) == ("shop", before.priority, "a")
    assert [(taken.job_id, taken.attempt) for taken in desk.claim()] == [(job_id, 2)]


def test_a_replayed_job_s_old_cancel_is_forgotten(desk: Desk) -> None:
    job_id = desk.queue.enqueue_many([line("a")])[0].job_id
    jobs = desk.claim()
    desk.queue.cancel(job_id)
    desk.refuse(jobs)
    assert desk.queue.get(job_id).state is JobState.CANCELED

    desk.queue.replay([job_id])
    desk.end(desk.claim())

    job = desk.queue.get(job_id)
    assert (job.state, job.attempts, job.cancel_requested) == (JobState.COMPLETED, 2, False)


def test_only_what_ended_badly_is_replayed_and_only_once(desk: Desk) -> None:
    desk.queue.enqueue_many([line("done")])
    desk.end(desk.claim())
    (job_id,) = desk.dead([line("a")])
    over, unknown = desk.queue.enqueue_many([line("done")])[0].job_id, new_id("default")

    assert desk.queue.replay([over, unknown, "nonsense", job_id, job_id]) == {
        over: Settled.NOT_ENDED_BADLY,
        unknown: Settled.NO_SUCH_JOB,
        "nonsense": Settled.NO_SUCH_JOB,
        job_id: Settled.DONE,
    }
    assert desk.queue.replay([job_id]) == {job_id: Settled.NOT_ENDED_BADLY}
    assert desk.states() == {"ready": 1, "completed": 1}
    assert len(desk.claim()) == 1


def test_thousands_are_replayed_and_run_again(desk: Desk) -> None:
    ids = desk.dead(lines(MANY))

    assert done(desk.queue.replay(ids)) == MANY

    claimed: list[str] = []
    while jobs := desk.claim():
        assert {job.attempt for job in jobs} == {2}
        claimed += [job.job_id for job in jobs]
        desk.end(jobs)
    assert sorted(claimed) == sorted(ids)
    assert desk.states() == {"completed": MANY}


def test_a_job_of_a_batch_is_replayed_within_it(desk: Desk) -> None:
    batch = desk.queue.open_batch()
    (answer, _) = desk.queue.enqueue_many(lines(2), batch=batch)
    desk.queue.seal_batch(batch)
    desk.refuse(desk.claim())

    desk.queue.replay([answer.job_id])

    assert desk.queue.get_batch(batch).states == {JobState.READY: 1, JobState.DEAD: 1}
    assert [job.job_id for job in desk.claim()] == [answer.job_id]


def test_a_job_of_a_canceled_batch_is_not_replayed_and_that_is_said(desk: Desk) -> None:
    batch = desk.queue.open_batch()
    (answer,) = desk.queue.enqueue_many([line("a")], batch=batch)
    desk.queue.seal_batch(batch)
    desk.queue.cancel_batch(batch)
    run(desk.client, worker_calls.sweep("default", "sweep_canceled", 100))
    assert desk.queue.get(answer.job_id).state is JobState.CANCELED

    replayed = desk.queue.replay([answer.job_id])

    assert replayed == {answer.job_id: Settled.BATCH_CANCELED}
    assert desk.claim() == []


def test_discarding_frees_the_idempotency_key(desk: Desk) -> None:
    (job_id,) = desk.dead([line("order-17")])
    other = line("order-17", prompt="Another request.")
    assert desk.queue.enqueue_many([other])[0].status is EnqueueStatus.CONFLICT

    assert done(desk.queue.discard([job_id])) == 1
    with pytest.raises(JobNotFound):
        desk.queue.get(job_id)
    answer = desk.queue.enqueue_many([other])[0]

    assert (answer.status, answer.job_id) == (EnqueueStatus.NEW, job_id)
    assert desk.states() == {"ready": 1}


def test_only_dead_jobs_are_discarded_and_only_once(desk: Desk) -> None:
    ready = desk.queue.enqueue_many([line("b", delay=60)])[0].job_id
    (job_id,) = desk.dead([line("a")])

    settled = desk.queue.discard([job_id, ready, "nonsense"])
    assert list(settled.values()) == [Settled.DONE, Settled.NOT_DEAD, Settled.NO_SUCH_JOB]
    assert desk.queue.discard([job_id]) == {job_id: Settled.NO_SUCH_JOB}
    assert desk.states() == {"scheduled": 1}


def test_discarding_leaves_nothing_of_thousands_behind(desk: Desk) -> None:
    ids = desk.dead(lines(MANY))

    assert done(desk.queue.discard(ids)) == MANY

    keys = cast("list[bytes]", desk.client.keys("*"))
    left = {key.decode().removeprefix(PREFIX).split(":")[0] for key in keys}
    assert left.isdisjoint({"job", "body", "result", "dead", "unconfirmed"})
    assert desk.states() == {}


def test_a_batch_whose_jobs_are_all_discarded_is_gone(desk: Desk) -> None:
    batch = desk.queue.open_batch()
    ids = [answer.job_id for answer in desk.queue.enqueue_many(lines(3), batch=batch)]
    desk.queue.seal_batch(batch)
    desk.refuse(desk.claim())

    desk.queue.discard(ids[:2])
    assert desk.queue.get_batch(batch).total == 3
    desk.queue.discard(ids[2:])

    with pytest.raises(BatchNotFound):
        desk.queue.get_batch(batch)
