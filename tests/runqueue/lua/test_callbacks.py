"""Callbacks of batches: what is to be told, when, how often, and that nothing of it is lost."""

from collections.abc import Sequence

import pytest

from runqueue.errors import BatchNotFound, InvalidBatch
from runqueue.ids import new_id
from runqueue.records.batch import BatchRules, BatchStatus
from runqueue.records.claim_items import ClaimAnswer
from runqueue.store import job_calls
from runqueue.store.delivery_calls import callback_again, callback_claim
from tests.runqueue.lua.clockwork import CALLBACK_LEASE, DAY, RETENTION, SECOND, UPLOAD, Clockwork

URL = "https://User.test:8443/hook?token=secret"
TOLD = BatchRules(callback_url=URL)


def told(clock: Clockwork) -> list[tuple[str, float | None]]:
    """Deliver all that is due: what happened, and the shares."""
    found = clock.callbacks()
    assert [clock.tell(due) for due in found] == [1] * len(found)
    return [(due.what, due.share) for due in found]


def shares(*at: float, **rules: float) -> BatchRules:
    return BatchRules(callback_url=URL, callback_at=tuple(at), **rules)  # type: ignore[arg-type]


def end(clock: Clockwork, *states: str) -> Sequence[str]:
    return clock.end_all(*states)


# What is told.


def test_the_end_of_a_batch_is_told_once(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(2, TOLD)
    end(clock, "completed")
    assert told(clock) == []
    end(clock, "failed")
    (due,) = clock.callbacks()
    assert (due.what, due.share, due.url, due.tries) == ("completed", None, URL, 0)
    assert due.batch.status is BatchStatus.COMPLETED
    assert due.at_us == clock.now
    assert clock.tell(due) == 1
    clock.wait(3_600)
    assert told(clock) == []
    assert clock.read(batch).callback is not None


def test_each_share_is_told_once_when_so_many_jobs_have_ended(clock: Clockwork) -> None:
    clock.batch_of(10, shares(0.75, 0.1, 0.5, 0.5))
    end(clock, "completed")
    assert told(clock) == [("progress", 0.1)]
    end(clock, *["failed"] * 3)
    assert told(clock) == []
    end(clock, "completed")
    assert told(clock) == [("progress", 0.5)]
    end(clock, *["completed"] * 5)
    assert told(clock) == [("progress", 0.75), ("completed", None)]


def test_jobs_that_end_in_one_script_bring_every_share_that_they_pass(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(10, shares(0.2, 0.4, 0.9))
    clock.cancel_batch(batch)
    clock.sweep("sweep_canceled")
    assert told(clock) == [
        ("progress", 0.2),
        ("progress", 0.4),
        ("progress", 0.9),
        ("canceled", None),
    ]


def test_an_end_that_comes_again_is_told_under_another_id(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(2, TOLD)
    end(clock, "failed", "completed")
    (first,) = clock.callbacks()
    assert first.name == f"msg_{batch}_1_completed"
    clock.queue.retry_failed(batch)
    end(clock, "completed")
    (second,) = clock.callbacks()
    assert second.name == f"msg_{batch}_2_completed"
    assert (clock.tell(second), clock.tell(first)) == (1, 1), "each in its own time"


def test_every_final_status_is_told_as_what_it_is(clock: Clockwork) -> None:
    rules = {"callback_url": URL, "expires_after": 60.0}
    aborted, _ = clock.batch_of(2, BatchRules(abort_at_failure_ratio=0.5, abort_after=1, **rules))  # type: ignore[arg-type]
    end(clock, "failed")
    assert told(clock) == [("failed", None)]
    clock.resume(aborted)
    clock.cancel_batch(aborted)
    assert told(clock) == []
    clock.sweep("sweep_canceled")
    assert told(clock) == [("canceled", None)]
    clock.batch_of(2, BatchRules(**rules))  # type: ignore[arg-type]
    clock.wait(60)
    clock.sweep("hold_expired")
    assert told(clock) == [("expired", None)]


def test_an_expired_batch_with_a_run_under_way_is_told_with_the_end_of_that(
    clock: Clockwork,
) -> None:
    _, jobs = clock.batch_of(2, BatchRules(callback_url=URL, expires_after=60))
    clock.heartbeat(first=True)
    clock.accept(clock.claim(1).items)
    clock.wait(60)
    clock.sweep("hold_expired")
    assert told(clock) == []
    clock.finish(jobs[0])
    assert told(clock) == [("expired", None)]


def test_an_empty_batch_is_told_and_stays_until_that_has_arrived(clock: Clockwork) -> None:
    batch = clock.open_batch(shares(0.5))
    clock.seal(batch)
    (due,) = clock.callbacks()
    assert due.what == "completed"
    for _ in range(3):
        clock.wait(UPLOAD / SECOND)
        clock.sweep("expire_batches", UPLOAD)
        assert clock.read(batch).callback is not None
    assert clock.tell(due) == 1
    clock.wait(UPLOAD / SECOND)
    clock.sweep("expire_batches", UPLOAD)
    assert [key for key in clock.dump() if batch in key] == []


# Claims and records.


def test_what_nobody_recorded_comes_again_under_the_same_id(clock: Clockwork) -> None:
    clock.batch_of(1, TOLD)
    end(clock, "completed")
    (first,) = clock.callbacks()
    assert clock.callbacks() == []
    clock.wait(CALLBACK_LEASE / SECOND)
    (second,) = clock.callbacks(process="p2")
    assert (second.name, second.tries) == (first.name, first.tries)


def test_a_delivery_that_was_recorded_late_counts_once(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(1, TOLD)
    end(clock, "completed")
    (first,) = clock.callbacks()
    clock.wait(CALLBACK_LEASE / SECOND)
    (second,) = clock.callbacks()
    assert clock.tell(second, "again", wait=5, error="the receiver answered 500") == 1
    assert clock.tell(first) == 1, "the receiver has it"
    assert clock.tell(first) == clock.tell(second) == 0
    found = clock.read(batch).callback
    assert found is not None
    assert (found.pending, found.delivered, found.abandoned, found.error) == (0, 1, 0, None)


def test_no_more_are_taken_than_asked_for_and_none_without_a_lease(clock: Clockwork) -> None:
    for _ in range(3):
        clock.batch_of(1, TOLD)
    end(clock, *["completed"] * 3)
    assert len(clock.callbacks(2)) == 2
    assert len(clock.callbacks(2)) == 1
    call = callback_claim(clock.account, "px", 2, 0, stay_idle=False, lease_us=CALLBACK_LEASE)
    assert clock.run(call).answer is ClaimAnswer.FENCED


def test_the_tick_sends_a_consumer_for_callbacks_that_are_due(clock: Clockwork) -> None:
    clock.batch_of(1, TOLD)
    clock.heartbeat(first=True)
    assert "callbacks" not in clock.tick().messages
    end(clock, "completed")
    clock.wait(1)
    assert clock.tick().messages["callbacks"] == 1


# Retention.


def test_a_callback_outlives_the_jobs_of_its_batch(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(2, TOLD)
    end(clock, "completed", "completed")
    (due,) = clock.callbacks()
    clock.wait((RETENTION + DAY) / SECOND)
    clock.sweep("retire")
    (again,) = clock.callbacks()
    assert (again.batch.id, again.batch.total) == (batch, 2)
    assert clock.tell(due) == 1
    assert [key for key in clock.dump() if batch in key] == []
    assert clock.members("batches") == clock.members("callbacks") == []


def abandoned(clock: Clockwork, rules: BatchRules = TOLD, jobs: int = 1) -> str:
    """A batch whose callbacks were all given up."""
    batch, _ = clock.batch_of(jobs, rules)
    end(clock, *["completed"] * jobs)
    for due in clock.callbacks():
        assert clock.tell(due, "abandoned", error="the receiver answered 410") == 1
    return batch


def test_callbacks_that_were_abandoned_are_sent_again_as_what_they_were(clock: Clockwork) -> None:
    batch = abandoned(clock, shares(0.5), jobs=2)
    happened = clock.now
    clock.wait(3_600)

    assert clock.queue.retry_callbacks(batch) == 2

    assert (found := clock.read(batch).callback) is not None
    assert (found.pending, found.abandoned) == (2, 0)
    first, second = clock.callbacks()
    assert (first.name, second.name) == (f"msg_{batch}_1_progress", f"msg_{batch}_2_completed")
    assert (first.share, first.tries, first.at_us, first.url) == (0.5, 0, happened, URL)
    assert [clock.tell(due) for due in (first, second)] == [1, 1]
    assert (found := clock.read(batch).callback) is not None
    assert (found.pending, found.delivered, found.abandoned, found.error) == (0, 2, 0, None)
    assert clock.queue.retry_callbacks(batch) == 0


def test_callbacks_are_sent_again_to_another_url_which_is_the_batch_s_from_then_on(
    clock: Clockwork,
) -> None:
    batch = abandoned(clock)
    other = "https://other.test/hook"

    assert clock.queue.retry_callbacks(batch, other) == 1

    (due,) = clock.callbacks()
    assert due.url == other
    assert (found := clock.read(batch).callback) is not None
    assert found.endpoint == "https://other.test"
    with pytest.raises(InvalidBatch, match="callback_url: expected"):
        clock.queue.retry_callbacks(batch, "ftp://other.test")


def test_a_retry_of_callbacks_whose_answer_was_lost_sends_nothing_twice(clock: Clockwork) -> None:
    batch = abandoned(clock)
    call = callback_again(clock.account, batch)
    assert clock.run(call) == 1
    (due,) = clock.callbacks()
    clock.tell(due, "abandoned")

    assert clock.run(call) == 1, "said again, it tells what it came to"

    assert clock.callbacks() == []


def test_a_batch_that_nobody_was_to_be_told_of_has_no_callback_to_send_again(
    clock: Clockwork,
) -> None:
    batch, _ = clock.batch_of(1)
    end(clock, "completed")
    assert clock.queue.retry_callbacks(batch, "https://other.test") == 0
    assert clock.read(batch).callback is None
    with pytest.raises(BatchNotFound):
        clock.queue.retry_callbacks(new_id(clock.account))


@pytest.mark.parametrize("verdict", ["delivered", "abandoned"])
def test_a_batch_whose_callbacks_are_settled_goes_with_its_jobs(
    clock: Clockwork, verdict: str
) -> None:
    batch, _ = clock.batch_of(2, shares(0.5))
    end(clock, "completed", "completed")
    for due in clock.callbacks():
        clock.tell(due, verdict)
    assert clock.read(batch).callback is not None
    clock.wait((RETENTION + DAY) / SECOND)
    clock.sweep("retire")
    assert [key for key in clock.dump() if batch in key] == []


def test_an_upload_that_was_given_up_drops_what_it_had_to_tell_openly(clock: Clockwork) -> None:
    batch = clock.open_batch(TOLD)
    clock.cancel_batch(batch)
    clock.run(job_calls.discard_batch(clock.account, batch))
    clock.sweep("expire_batches", UPLOAD)
    assert clock.callbacks() == []
    assert clock.run(job_calls.stats(clock.account)).totals["callbacks:dropped"] == 1
    assert clock.members("callbacks") == []


# Secrets.


def test_no_more_of_the_url_than_its_endpoint_is_shown(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(1, TOLD)
    end(clock, "completed")
    (due,) = clock.callbacks()
    for shown in (clock.read(batch), clock.read(batch).as_dict(), due, [due], TOLD):
        assert "secret" not in repr(shown)
    call = job_calls.open_batch(clock.account, clock.new_id(), "", TOLD)
    assert "secret" not in repr(call)
