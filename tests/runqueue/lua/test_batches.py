"""Batches on their way: paused and resumed, where they stand, and what failed done again."""

import time
from itertools import product

import pytest

from runqueue.errors import BatchNotFound
from runqueue.records.batch import BatchStatus, Retried
from runqueue.records.job import JobState
from runqueue.store import job_calls, operator_calls
from tests.runqueue.lua.clockwork import UPLOAD, Clockwork, spec


def listed(clock: Clockwork, lanes: str = "2:default") -> list[str]:
    found = clock.client.lrange(clock.key(f"lanes:{lanes}"), 0, -1)
    return [raw.decode() for raw in found]  # type: ignore[union-attr]


def resume(clock: Clockwork, batch: str) -> str | None:
    return clock.hold(batch, "resume", clock.read(batch).held or "")


# Pausing.


def test_nothing_of_a_paused_batch_is_claimed_until_it_is_resumed(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(3)
    assert clock.claimed(1) == jobs[:1]
    assert clock.hold(batch) == "paused"
    assert clock.claimed() == []
    assert listed(clock) == [], "a claim that meets its lane takes it out"
    clock.client.delete(clock.key("wake"))
    assert resume(clock, batch) == ""
    assert clock.client.exists(clock.key("wake")) == 1
    assert clock.claimed() == jobs[1:]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("met", [True, False])
def test_pausing_and_resuming_lists_each_lane_once(clock: Clockwork, times: int, met: bool) -> None:
    batch = clock.open_batch()
    jobs = clock.enqueue(2, batch=batch) + clock.enqueue(2, batch=batch, group="g", priority=1)
    clock.seal(batch)
    for _ in range(times):
        assert clock.hold(batch) == clock.hold(batch) == "paused"
        if met:
            assert clock.claimed() == []
        assert resume(clock, batch) == ""
        assert clock.hold(batch, "resume", "paused") == "", "said again"
    assert listed(clock) == listed(clock, "1:g") == [batch]
    assert sorted(clock.claimed()) == sorted(jobs)


def test_a_batch_that_nobody_knows(clock: Clockwork) -> None:
    batch = clock.new_id()
    before = clock.dump()
    assert clock.hold(batch) is None
    assert clock.hold(batch, "resume", "paused") is None
    for act in (clock.queue.pause_batch, clock.queue.resume_batch, clock.queue.retry_failed):
        with pytest.raises(BatchNotFound, match=batch):
            act(batch)
    assert clock.dump() == before


def test_holding_costs_the_same_whatever_the_size(clock: Clockwork) -> None:
    small, _ = clock.batch_of(1)
    big = clock.open_batch()
    for _ in range(40):
        clock.enqueue(1_000, batch=big)
    clock.seal(big)

    def commands(batch: str) -> int:
        before = int(clock.client.info("stats")["total_commands_processed"])
        clock.hold(batch)
        clock.hold(batch, "resume", "paused")
        return int(clock.client.info("stats")["total_commands_processed"]) - before

    assert commands(small) == commands(big)
    began = time.perf_counter()
    clock.hold(big)
    clock.hold(big, "resume", "paused")
    clock.run(operator_calls.cancel_batch(clock.account, big))
    assert time.perf_counter() - began < 0.5


# Where a batch stands.


def test_a_batch_goes_through_its_statuses(clock: Clockwork) -> None:
    batch = clock.open_batch()
    clock.enqueue(3, batch=batch)
    found = clock.read(batch)
    assert (found.status, found.sealed_at) == (BatchStatus.VALIDATING, None)
    clock.wait(1)
    clock.seal(batch)
    found = clock.read(batch)
    assert found.status is BatchStatus.IN_PROGRESS
    assert found.sealed_at is not None
    assert (found.sealed_at - found.created_at).total_seconds() == 1
    clock.wait(1)
    clock.end_all("completed", "failed")
    clock.claimed()
    assert clock.read(batch).finished_at is None
    job = clock.members("claims:p1")[0]
    clock.wait(1)
    clock.refuse(job)
    clock.wait(1)
    found = clock.read(batch)
    assert found.status is BatchStatus.COMPLETED
    assert found.finished_at is not None
    assert (found.finished_at - found.created_at).total_seconds() == 3
    assert found.request_counts == {
        "total": 3,
        "completed": 1,
        "failed": 1,
        "canceled": 0,
        "dead": 1,
    }


def test_a_canceled_upload_that_another_takes_over_is_over(clock: Clockwork) -> None:
    batch, other = clock.open_batch(), clock.open_batch()
    clock.enqueue(names=["a"], batch=batch)
    clock.run(operator_calls.cancel_batch(clock.account, batch))
    assert clock.read(batch).finished_at is None
    clock.enqueue(names=["a"], batch=other)
    assert clock.read(batch).finished_at is not None


@pytest.mark.parametrize("first", ["seal", "end"])
def test_a_batch_whose_jobs_are_over_when_it_is_sealed_is_over(
    clock: Clockwork, first: str
) -> None:
    batch = clock.open_batch()
    jobs = clock.enqueue(2, batch=batch)
    if first == "end":
        clock.cancel(*jobs)
        assert clock.read(batch).finished_at is None
    clock.seal(batch)
    if first == "seal":
        clock.cancel(*jobs)
    assert clock.read(batch).status is BatchStatus.COMPLETED
    assert clock.read(batch).finished_at is not None


# Doing again what failed.


def test_what_failed_is_done_again_and_the_batch_is_not_over_any_more(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(4)
    clock.end_all("completed", "failed")
    (dead,) = clock.claimed(1)
    clock.refuse(dead)
    clock.cancel(jobs[3])
    assert clock.read(batch).finished_at is not None
    done = clock.queue.retry_failed(batch)
    assert done == Retried({JobState.FAILED: 1, JobState.DEAD: 1}, canceled_left=1)
    found = clock.read(batch)
    assert (found.status, found.finished_at) == (BatchStatus.IN_PROGRESS, None)
    done = clock.queue.retry_failed(batch)
    assert (done.jobs, done.canceled_left) == (0, 1), "they are ready"
    assert sorted(clock.end_all(*["completed"] * 2)) == sorted(jobs[1:3])
    found = clock.read(batch)
    assert (found.request_counts["completed"], found.request_counts["canceled"]) == (3, 1)
    assert found.finished_at is not None


def test_a_retry_leaves_alone_what_another_batch_took_over(clock: Clockwork) -> None:
    old = clock.open_batch()
    clock.enqueue(names=["a", "b"], batch=old)
    batch = clock.open_batch()
    (taken,) = clock.enqueue(names=["a"], batch=batch)
    clock.seal(batch)
    clock.cancel(taken)
    clock.seal(old)
    assert clock.queue.retry_failed(old, canceled=True).jobs == 0
    assert clock.queue.retry_failed(batch, canceled=True).jobs == 1


# Lists of batches.


def test_batches_are_listed_the_newest_first_and_each_once(clock: Clockwork) -> None:
    made = []
    for n in range(7):
        clock.wait(n % 2)
        made.append(clock.batch_of(1)[0])
    seen: list[str] = []
    cursor = ""
    for page in range(4):
        found = clock.run(job_calls.list_batches(clock.account, cursor, 2))
        seen += [batch.id for batch in found.batches]
        cursor = found.cursor
        if page == 1:
            clock.batch_of(1)
    assert cursor == ""
    assert sorted(seen) == sorted(made)
    order = [clock.read(batch).created_at for batch in seen]
    assert order == sorted(order, reverse=True)


def test_a_page_of_batches_costs_as_many_commands_however_many_were_made_at_one_time(
    clock: Clockwork,
) -> None:
    made = sorted((clock.open_batch() for _ in range(5)), reverse=True)
    others = ["z" * 19 + "".join(letters) for letters in product("abcdef", repeat=5)]
    clock.client.zadd(clock.key("batches"), dict.fromkeys(others, clock.now))
    page = job_calls.list_batches(clock.account, f"{clock.now} {others[0]}", 3)
    assert [batch.id for batch in clock.run(page).batches] == made[:3]
    assert clock.commands(page) < 50


@pytest.mark.parametrize("other", ["goes on", "is abandoned"])
def test_a_job_that_another_upload_took_and_that_came_back_stands_in_its_batch_once(
    clock: Clockwork, other: str
) -> None:
    first, second = clock.open_batch(), clock.open_batch()
    jobs = [spec(name) for name in "abc"]
    clock.enqueue_specs(jobs, first)
    clock.enqueue_specs(jobs[1:], second)
    if other == "is abandoned":
        clock.run(job_calls.discard_batch(clock.account, second))
        clock.sweep("expire_batches", UPLOAD)
    answers = clock.enqueue_specs(jobs, first)  # the same packet, since its answer was lost
    assert clock.run(job_calls.list_batch(clock.account, first, 0, 100)) == [
        a.job_id for a in answers
    ]
    assert clock.seal(first) == 3
    assert sorted(clock.claimed()) == sorted(a.job_id for a in answers)
    assert not clock.client.exists(clock.key(f"batch_left:{first}"))


def test_an_upload_without_what_another_took_over_is_not_accepted_in_part(clock: Clockwork) -> None:
    first, second = clock.open_batch(), clock.open_batch()
    clock.enqueue_specs([spec("a"), spec("b")], first)
    clock.enqueue_specs([spec("b")], second)
    before = clock.dump()
    assert clock.run(job_calls.seal_batch(clock.account, first, 2)) == job_calls.MISMATCH
    assert clock.dump() == before
    assert clock.run(job_calls.seal_batch(clock.account, first, 1)) == 1
    assert clock.run(job_calls.seal_batch(clock.account, first, 2)) == 1, "it was accepted before"
