"""How jobs and batches end: cancels, deadlines, take-overs, expiry, retention."""

import pytest

from runqueue.records import claim_items
from runqueue.records.batch import BatchStatus
from runqueue.records.job import EnqueueStatus
from runqueue.request.retry_policy import Retry
from runqueue.store import job_calls, operator_calls, worker_calls
from tests.runqueue.lua.clockwork import (
    CLAIM_AGE,
    DAY,
    LEASE,
    RETENTION,
    SECOND,
    UPLOAD,
    Clockwork,
    dump,
    spec,
)

HOUR = 3_600


def left_over(clock: Clockwork) -> set[str]:
    """What the server holds for jobs and batches."""
    lasting = ("meta", "counters", "limits", "wake", "group:", "gcra:", "claim:", "processes")
    names = {key.removeprefix(clock.key("")) for key in dump(clock.client)}
    return {name for name in names if not name.startswith(lasting)}


def cancels(clock: Clockwork) -> list[str]:
    """Take the runs whose cancel is due."""
    clock.heartbeat(first=True)
    taken = clock.run(worker_calls.cancel_claim(clock.account, "p1", 100, 0, LEASE))
    return [item.job_id for item in taken.items]


# Cancels.


@pytest.mark.parametrize("delay", [None, 60])
def test_a_cancel_before_the_submission_ends_the_job_at_once(
    clock: Clockwork, delay: int | None
) -> None:
    run_at = None if delay is None else clock.now + delay * SECOND
    (job,) = clock.enqueue(1, run_at=run_at)
    assert clock.cancel(job) == [1]
    assert clock.state(job) == "canceled"
    clock.wait(60)
    assert clock.sweep("promote_due") == 0
    assert clock.claimed() == []


def test_a_cancel_during_the_submission_is_sent_once_the_run_is_known(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    assert clock.cancel(job) == [2]
    assert (clock.state(job), cancels(clock)) == ("submitting", [])
    clock.found(job, 1, "run1")
    assert (clock.state(job), cancels(clock)) == ("running", [job])
    assert clock.finish(job, run_id="run1", state="canceled") == 1
    assert clock.state(job) == "canceled"


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("answer", ["give_back", "refuse"])
def test_a_canceled_submission_that_brought_no_run_ends_canceled(
    clock: Clockwork, answer: str, lost: bool
) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    if lost:
        clock.lose(job)
    clock.cancel(job)
    assert getattr(clock, answer)(job) == 1
    assert clock.state(job) == "canceled"


def test_a_cancel_of_a_running_job_is_tried_again_until_its_end_is_known(clock: Clockwork) -> None:
    (job,) = clock.running()
    assert clock.cancel(job, job) == [2, 2]
    assert cancels(clock) == [job]
    assert cancels(clock) == []
    clock.wait(15)
    assert cancels(clock) == [job]
    clock.finish(job, state="canceled")
    clock.wait(15)
    assert cancels(clock) == []


def test_a_cancel_after_the_end_and_of_a_stranger_changes_nothing(clock: Clockwork) -> None:
    (job,) = clock.running()
    clock.finish(job)
    before = clock.dump()
    assert clock.cancel(job, "nobody") == [0, -1]
    assert clock.dump() == before


def test_a_canceled_batch_is_claimed_no_more_and_swept_in_steps(clock: Clockwork) -> None:
    batch = clock.open_batch()
    jobs = clock.enqueue(10, batch=batch)
    clock.enqueue(5, batch=batch, run_at=clock.now + HOUR * SECOND)
    clock.seal(batch)
    running, sent = clock.claimed(2)
    clock.found(running, 1, "run1")
    assert clock.cancel_batch(batch) == 15
    assert clock.claimed() == []
    steps = [clock.run(worker_calls.sweep(clock.account, "sweep_canceled", 4)) for _ in range(4)]
    assert steps == [4, 4, 4, 3]
    assert clock.states(jobs[2:]) == {"canceled"}
    assert (clock.state(running), clock.state(sent)) == ("running", "submitting")
    assert cancels(clock) == [running]
    clock.give_back(sent)
    clock.finish(running, run_id="run1", state="canceled")
    found = clock.run(job_calls.get_batch(clock.account, batch))
    assert found is not None
    assert found.is_over
    assert found.states == {"canceled": 15}


def test_a_canceled_batch_takes_no_more_jobs(clock: Clockwork) -> None:
    batch = clock.open_batch()
    clock.enqueue(1, batch=batch)
    clock.run(operator_calls.cancel_batch(clock.account, batch))
    clock.sweep("sweep_canceled")
    with pytest.raises(Exception, match="SEALED"):
        clock.enqueue(1, batch=batch)


# Deadlines.


@pytest.mark.parametrize("delay", [0, 60])
def test_a_deadline_that_passes_in_the_queue_ends_the_job_dead(
    clock: Clockwork, delay: int
) -> None:
    (job,) = clock.enqueue(1, run_at=clock.now + delay * SECOND, deadline=clock.now + 30 * SECOND)
    clock.wait(29.9)
    assert clock.sweep("expire_deadlines") == 0
    clock.wait(0.1)
    assert clock.sweep("expire_deadlines") == 1
    assert clock.state(job) == "dead"
    assert "deadline" in str(clock.field(job, "reason"))


def test_a_run_canceled_by_its_deadline_has_failed(clock: Clockwork) -> None:
    (job,) = clock.running(deadline=clock.now + 30 * SECOND)
    clock.wait(30)
    assert clock.sweep("expire_deadlines") == 1
    assert clock.field(job, "cancel") is None, "it may be over: it is looked at first"
    assert clock.overdue(job) == 1
    assert (clock.state(job), clock.field(job, "cancel")) == ("running", "deadline")
    assert cancels(clock) == [job]
    clock.finish(job, state="canceled")
    assert (clock.state(job), clock.field(job, "reason")) == ("failed", "deadline")


@pytest.mark.parametrize("is_claimed", [True, False])
def test_a_run_that_is_said_too_late_to_take_too_long_ends_no_extra_run_and_no_waiting_job(
    clock: Clockwork, is_claimed: bool
) -> None:
    (job,) = clock.running(retry=Retry(max_attempts=3))
    again = claim_items.RunAgain(job, 1, f"r-{job}", "failed", "no luck", 0, b"{}")
    assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]
    clock.sweep("promote_due")
    if is_claimed:
        assert clock.claimed() == [job]
        assert clock.found(job, 2, "second") == 1
    before = clock.dump()

    assert clock.overdue(job, "time limit: the run took longer than 7200 s") == 0

    assert clock.dump() == before


def give_up(clock: Clockwork, job: str, run_id: str = "", *, is_over: bool = False) -> int:
    """Give a canceled run up, by default the job's own."""
    item = claim_items.RunAbandoned(job, run_id or f"r-{job}", is_over)
    return clock.run(worker_calls.abandon_run(clock.account, [item]))[0]


def test_a_run_whose_cancel_is_abandoned_is_shown_and_takes_a_slot(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=1)
    (job,) = clock.running()
    assert give_up(clock, job) == 0, "not canceled"
    clock.cancel(job)
    assert give_up(clock, job, "another") == 0
    assert give_up(clock, job) == 1
    assert clock.state(job) == "failed"
    assert clock.client.hkeys(clock.key("orphans")) == [f"r-{job}".encode()]
    assert clock.finish(job) == 0
    (second,) = clock.enqueue(1)
    assert clock.claimed() == []
    clock.run(worker_calls.orphans_over(clock.account, [claim_items.EndedOrphan(f"r-{job}")]))
    assert clock.claimed() == [second]


@pytest.mark.parametrize(
    ("why", "state"), [("asked", "canceled"), ("deadline: it took too long", "failed")]
)
def test_a_canceled_run_that_is_over_but_cannot_be_read_ends_its_job(
    clock: Clockwork, why: str, state: str
) -> None:
    clock.limit(concurrent_runs=1)
    (job,) = clock.running()
    assert clock.cancel(job) == [2] if why == "asked" else clock.overdue(job, why) == 1
    assert give_up(clock, job, is_over=True) == 1
    assert give_up(clock, job, is_over=True) == 0
    assert clock.state(job) == state
    assert clock.field(job, "reason") == f"{why} (the run is over, but cannot be read)"
    assert clock.run(job_calls.stats(clock.account)).orphans == 0
    (second,) = clock.enqueue(1)
    assert clock.claimed() == [second]


# Results.


def test_a_last_run_without_a_result_leaves_none_of_an_earlier_one(clock: Clockwork) -> None:
    (job,) = clock.running()
    again = claim_items.RunAgain(job, 1, f"r-{job}", "failed", "no luck", 0, b"first")
    assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]
    clock.sweep("promote_due")
    clock.claimed()
    assert clock.found(job, 2, "run2") == 1
    clock.cancel(job)
    again = claim_items.RunAgain(job, 2, "run2", "failed", "no luck", 0, b"")
    assert clock.run(worker_calls.retry_run(clock.account, [again])) == [2]
    assert clock.client.exists(clock.key(f"result:{job}")) == 0


def test_a_result_is_recorded_once(clock: Clockwork) -> None:
    (job,) = clock.running()
    assert clock.finish(job, result=b'{"output":1}') == 1
    assert clock.finish(job, result=b'{"output":2}', state="failed") == 0
    found = clock.run(job_calls.get_jobs(clock.account, [job]))[0]
    assert found is not None
    assert (found.state, found.output, found.runs) == ("completed", 1, 1)


@pytest.mark.parametrize(("attempt", "run_id"), [(1, "another"), (2, ""), (0, "")])
def test_an_end_of_another_run_or_attempt_is_none_of_the_job_s(
    clock: Clockwork, attempt: int, run_id: str
) -> None:
    (job,) = clock.running()
    assert clock.finish(job, attempt=attempt, run_id=run_id) == 0
    assert clock.state(job) == "running"


def test_a_poll_that_nobody_records_comes_again(clock: Clockwork) -> None:
    (job,) = clock.running()
    call = worker_calls.poll_claim(clock.account, "p1", 10, 0, LEASE)
    assert not clock.run(call).items
    clock.wait(1)
    assert [due.job_id for due in clock.run(call).items] == [job]
    assert not clock.run(call).items
    clock.wait(14.9)
    clock.heartbeat(first=True)
    assert not clock.run(call).items
    clock.wait(0.1)
    assert [due.job_id for due in clock.run(call).items] == [job]
    assert clock.run(worker_calls.poll_now(clock.account, [job, "nobody"])) == 1
    assert [due.job_id for due in clock.run(call).items] == [job]


# Handing in again, and uploads.


def test_the_same_key_and_body_is_the_same_job_at_every_stage(clock: Clockwork) -> None:
    job = spec("k")
    first = clock.enqueue_specs([job])[0]

    def again() -> None:
        before = clock.dump()
        answer = clock.enqueue_specs([job])[0]
        assert (answer.status, answer.job_id) == (EnqueueStatus.KNOWN, first.job_id)
        assert answer.state == clock.state(first.job_id)
        assert clock.enqueue_specs([spec("k", body="b")])[0].status is EnqueueStatus.CONFLICT
        assert clock.dump() == before

    again()
    clock.claimed()
    again()
    clock.found(first.job_id, 1, "run1")
    again()
    clock.finish(first.job_id, run_id="run1")
    again()


def test_twins_in_one_call_are_one_job(clock: Clockwork) -> None:
    answers = clock.enqueue_specs([spec("k"), spec("k"), spec("k", body="b")])
    assert [a.status for a in answers] == [
        EnqueueStatus.NEW,
        EnqueueStatus.KNOWN,
        EnqueueStatus.CONFLICT,
    ]
    assert clock.claimed() == [answers[0].job_id]


def test_an_upload_killed_half_way_and_run_again_ends_whole(clock: Clockwork) -> None:
    names = [f"line{n}" for n in range(10)]
    dead, whole = clock.open_batch(), clock.open_batch()
    clock.enqueue(names=names[:6], batch=dead)
    jobs = clock.enqueue(names=names, batch=whole)
    assert clock.seal(whole) == 10
    assert clock.claimed() == jobs
    clock.wait(24 * HOUR)
    assert clock.sweep("expire_batches", UPLOAD) > 0
    assert clock.states(jobs) == {"submitting"}
    assert (clock.read(dead).status, clock.read(dead).total) == (BatchStatus.EXPIRED, 0)


def test_a_job_taken_over_runs_once_with_its_new_options_though_both_are_sealed(
    clock: Clockwork,
) -> None:
    one, two = clock.open_batch(), clock.open_batch()
    clock.enqueue(names=["a", "b"], batch=one, priority=0, group="g1")
    (job,) = clock.enqueue(names=["a"], batch=two, priority=3, group="g2")
    assert (clock.seal(one), clock.seal(two)) == (1, 1)
    first, *others = clock.claimed()
    assert first != job
    assert others == [job]
    for taken in (first, job):
        clock.refuse(taken)
    for batch in (one, two):
        found = clock.run(job_calls.get_batch(clock.account, batch))
        assert found is not None
        assert (found.is_over, found.total) == (True, 1)


def test_an_upload_never_sealed_expires_after_24_hours_and_leaves_nothing(clock: Clockwork) -> None:
    batch = clock.open_batch()
    clock.enqueue(5, batch=batch, deadline=clock.now + DAY * 3)
    clock.enqueue(5, batch=batch, run_at=clock.now + DAY * 3, group="g1", priority=0)
    clock.wait(24 * HOUR - 1)
    clock.sweep("expire_batches", UPLOAD)
    assert clock.run(job_calls.get_batch(clock.account, batch)) is not None
    clock.wait(1)
    for _ in range(3):
        clock.run(worker_calls.sweep(clock.account, "expire_batches", UPLOAD, 4))
    clock.sweep("expire_batches", UPLOAD)
    assert clock.read(batch).status is BatchStatus.EXPIRED
    clock.wait(RETENTION / SECOND)
    clock.sweep("expire_batches", UPLOAD)
    assert left_over(clock) == set()
    states = clock.run(job_calls.stats(clock.account)).states
    assert not any(states.values())


def run_again(clock: Clockwork, job: str, run_id: str, attempt: int = 1) -> None:
    """Have a job, of which this run was found, run again."""
    assert clock.found(job, attempt, run_id) == 1
    item = claim_items.RunAgain(job, attempt, run_id, "failed", "no luck", HOUR * SECOND, b"{}")
    assert clock.run(worker_calls.retry_run(clock.account, [item])) == [1]


def test_an_upload_that_expired_leaves_no_run_of_its_jobs_after_a_week(clock: Clockwork) -> None:
    """Redis lost the batch's seal and the claims of its jobs; their runs were found."""
    batch = clock.open_batch()
    (job,) = clock.enqueue(1, batch=batch)
    run_again(clock, job, "run1")
    clock.wait(24 * HOUR)
    clock.sweep("expire_batches", UPLOAD)
    clock.wait((RETENTION + DAY) / SECOND)
    clock.sweep("expire_batches", UPLOAD)
    clock.sweep("expire_leases", CLAIM_AGE)
    for _ in range(2):
        clock.sweep("retire")
    assert left_over(clock) == set()


def test_a_job_that_another_upload_takes_over_keeps_the_runs_that_it_had(clock: Clockwork) -> None:
    (job,) = clock.enqueue(names=["k"], batch=clock.open_batch())
    run_again(clock, job, "run1")
    batch = clock.open_batch()
    clock.enqueue(names=["k"], batch=batch)
    assert clock.found(job, 1, "run1") == 0
    run_again(clock, job, "run2", attempt=2)
    clock.seal(batch)
    assert clock.cancel(job) == [1]
    assert clock.claimed() == []
    clock.wait((RETENTION + DAY) / SECOND)
    clock.sweep("expire_leases", CLAIM_AGE)
    for _ in range(2):
        clock.sweep("retire")
        clock.sweep("expire_batches", UPLOAD)
        clock.wait(RETENTION / SECOND)
    assert left_over(clock) == set()


def test_an_upload_that_is_being_removed_can_be_neither_sealed_nor_added_to(
    clock: Clockwork,
) -> None:
    batch = clock.open_batch()
    clock.enqueue(names=["a", "b"], batch=batch)
    clock.wait(24 * HOUR)
    assert clock.run(worker_calls.sweep(clock.account, "expire_batches", UPLOAD, 1)) == 2, (
        "it, and a job"
    )
    assert clock.seal(batch) == job_calls.EXPIRED
    with pytest.raises(Exception, match="EXPIRED"):
        clock.enqueue(1, batch=batch)
    other = clock.open_batch()
    jobs = clock.enqueue(names=["a", "b"], batch=other)
    clock.sweep("expire_batches", UPLOAD)
    clock.seal(other)
    assert clock.claimed() == jobs


def test_an_upload_abandoned_is_removed_by_the_next_sweep(clock: Clockwork) -> None:
    batch, sealed = clock.open_batch(), clock.open_batch()
    gone = clock.enqueue(3, batch=batch)
    kept = clock.enqueue(3, batch=sealed)
    clock.seal(sealed)
    assert clock.run(job_calls.discard_batch(clock.account, batch))
    assert not clock.run(job_calls.discard_batch(clock.account, sealed)), "it was accepted"
    clock.sweep("expire_batches", UPLOAD)
    assert clock.states(gone) == {None}
    assert clock.seal(batch) == -1
    assert clock.claimed() == kept


# Retention.


def test_everything_of_a_job_goes_once_its_retention_is_over(clock: Clockwork) -> None:
    batch = clock.open_batch()
    jobs = clock.enqueue(3, batch=batch)
    clock.seal(batch)
    clock.heartbeat(first=True)
    clock.accept(clock.claim(2).items)
    for job in jobs[:2]:
        clock.finish(job)
    clock.cancel(jobs[2])
    clock.claimed()
    clock.wait(RETENTION / SECOND - 0.001)
    assert clock.sweep("retire") == 0
    clock.wait(0.001)
    assert clock.sweep("retire") == 3
    clock.sweep("expire_leases", CLAIM_AGE)
    assert left_over(clock) == set()
    assert not any(clock.run(job_calls.stats(clock.account)).states.values())


def test_while_more_is_to_be_removed_the_tick_asks_for_the_next_sweep_at_once(
    clock: Clockwork,
) -> None:
    clock.enqueue(3)
    clock.end_all("completed", "completed", "completed")
    clock.wait(RETENTION / SECOND)
    clock.heartbeat(first=True)
    assert "sweep" in clock.tick().messages
    assert clock.run(worker_calls.sweep(clock.account, "retire", 2)) == 2
    clock.wait(2)
    assert "sweep" in clock.tick().messages
    assert clock.run(worker_calls.sweep(clock.account, "retire", 2)) == 1
    clock.wait(2)
    assert "sweep" not in clock.tick().messages


def test_lanes_of_a_batch_that_no_claim_met_go_with_it(clock: Clockwork) -> None:
    batch = clock.open_batch()
    jobs = clock.enqueue(3, batch=batch)
    clock.seal(batch)
    clock.cancel(*jobs)
    clock.wait((RETENTION + DAY) / SECOND)
    clock.sweep("retire")
    assert clock.claimed() == []
    assert not {name for name in left_over(clock) if name.startswith("lane")}
