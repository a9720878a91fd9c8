"""The rules of batches: abort when too many fail, and a canary that goes first."""

from typing import Any

import pytest

from runqueue.errors import InvalidBatch
from runqueue.records.batch import BatchRules, BatchStatus
from runqueue.records.claim_items import RunAgain
from runqueue.records.job import JobState
from runqueue.store import operator_calls, worker_calls
from tests.runqueue.lua.clockwork import Clockwork

HALF = BatchRules(abort_at_failure_ratio=0.5, abort_after=4)


def resume(clock: Clockwork, batch: str) -> str | None:
    return clock.hold(batch, "resume", clock.read(batch).held or "")


# Aborting.


def test_too_many_failures_abort_a_batch(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(10, HALF)
    clock.end_all("failed", "failed", "completed")
    assert clock.read(batch).held is None, "fewer than four have ended"
    clock.end_all("completed")
    found = clock.read(batch)
    assert (found.held, found.status) == ("aborted", BatchStatus.FAILED)
    assert found.held_reason == "2 of 4 jobs that ended failed or are dead"
    assert found.finished_at is not None
    assert clock.claimed() == []


def test_dead_jobs_count_as_failures_and_canceled_ones_do_not(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(10, HALF)
    clock.cancel(*jobs[7:])
    taken = clock.claimed(2)
    clock.refuse(taken[0])
    assert clock.read(batch).held is None
    clock.refuse(taken[1])
    assert clock.read(batch).held is None, "2 of 5"
    clock.refuse(clock.claimed(1)[0])
    assert clock.read(batch).held == "aborted", "3 of 6"


def test_an_aborted_batch_is_over_with_its_last_run(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(10, HALF)
    clock.heartbeat(first=True)
    *bad, last = clock.claim(5).items
    clock.accept([*bad, last])
    for item in bad:
        clock.finish(item.job_id, state="failed")
    found = clock.read(batch)
    assert (found.status, found.finished_at) == (BatchStatus.FINALIZING, None)
    clock.wait(3)
    clock.finish(last.job_id)
    found = clock.read(batch)
    assert found.status is BatchStatus.FAILED
    assert found.finished_at is not None


def test_a_claim_given_back_ends_an_aborted_batch(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(10, HALF)
    jobs = clock.claimed(5)
    for job in jobs[:4]:
        clock.refuse(job)
    clock.give_back(jobs[4])
    assert clock.read(batch).status is BatchStatus.FAILED
    assert clock.read(batch).finished_at is not None


def test_an_aborted_batch_that_is_resumed_forgets_the_rule(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(10, HALF)
    clock.end_all(*["failed"] * 4)
    assert clock.hold(batch) == "aborted", "a pause adds nothing"
    assert clock.hold(batch, "resume", "paused") == "aborted", "that was another hold"
    assert resume(clock, batch) == ""
    found = clock.read(batch)
    assert (found.status, found.finished_at) == (BatchStatus.IN_PROGRESS, None)
    assert found.held_reason is None
    clock.end_all(*["failed"] * 6)
    assert clock.read(batch).status is BatchStatus.COMPLETED
    assert clock.states(jobs) == {"failed"}


def test_a_paused_batch_may_be_aborted(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(10, HALF)
    clock.heartbeat(first=True)
    taken = clock.claim(4).items
    clock.accept(taken)
    clock.hold(batch)
    for item in taken:
        clock.finish(item.job_id, state="failed")
    assert clock.read(batch).held == "aborted"


def test_a_canceled_batch_stays_canceled_whatever_its_rules_say(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(10, HALF)
    clock.heartbeat(first=True)
    taken = clock.claim(4).items
    clock.accept(taken)
    clock.run(operator_calls.cancel_batch(clock.account, batch))
    for item in taken:
        clock.finish(item.job_id, state="failed")
    assert clock.read(batch).status is BatchStatus.CANCELED


def test_an_aborted_batch_that_is_canceled_is_canceled(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(6, HALF)
    clock.end_all(*["failed"] * 4)
    clock.run(operator_calls.cancel_batch(clock.account, batch))
    clock.sweep("sweep_canceled")
    found = clock.read(batch)
    assert (found.status, found.request_counts["canceled"]) == (BatchStatus.CANCELED, 2)
    assert found.finished_at is not None


def test_a_share_that_is_met_exactly_is_met(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(40, BatchRules(abort_at_failure_ratio=0.1, abort_after=30))
    clock.end_all(*["completed"] * 27)
    clock.end_all(*["failed"] * 3)
    assert clock.read(batch).held == "aborted"


def test_the_deadline_of_jobs_counts_too(clock: Clockwork) -> None:
    batch = clock.open_batch(HALF)
    clock.enqueue(4, batch=batch, deadline=clock.now + 1)
    clock.enqueue(4, batch=batch)
    clock.seal(batch)
    clock.wait(1)
    assert len(clock.claimed()) == 4, "they are claimed in the script that buries the others"
    assert clock.read(batch).status is BatchStatus.FINALIZING


def test_an_aborted_batch_is_final_and_not_over_while_jobs_wait_in_it(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(6, HALF)
    clock.end_all(*["failed"] * 4)
    found = clock.read(batch)
    assert (found.status, found.status.is_final) == (BatchStatus.FAILED, True)
    assert found.finished_at is not None
    assert (found.is_over, found.states[JobState.READY]) == (False, 2)
    clock.cancel(*jobs)
    assert clock.read(batch).is_over


def test_what_failed_may_be_done_again_in_an_aborted_batch(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(4, HALF)
    jobs = clock.end_all(*["failed"] * 4)
    assert clock.read(batch).status is BatchStatus.FAILED
    assert clock.queue.retry_failed(batch).jobs == 4
    assert clock.claimed() == []
    resume(clock, batch)
    assert clock.claimed() == jobs


# The canary.


def test_only_the_canary_goes_until_it_has_completed(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(10, BatchRules(canary=3))
    assert clock.read(batch).held == "canary"
    assert clock.end_all(*["completed"] * 2) == jobs[:2]
    assert clock.claimed(10) == jobs[2:3]
    assert clock.claimed(10) == []
    clock.client.delete(clock.key("wake"))
    clock.heartbeat(first=True)
    clock.found(jobs[2], 1, f"r-{jobs[2]}")
    clock.finish(jobs[2])
    assert clock.client.exists(clock.key("wake")) == 1
    assert clock.read(batch).held is None
    assert clock.claimed(10) == jobs[3:]


def test_a_canary_that_fails_aborts_the_batch(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(10, BatchRules(canary=4, canary_ratio=0.75))
    clock.end_all("completed", "failed", "failed", "completed")
    found = clock.read(batch)
    assert (found.held, found.status) == ("aborted", BatchStatus.FAILED)
    assert found.held_reason == "2 of the first 4 jobs completed"
    assert clock.claimed(10) == []
    assert resume(clock, batch) == ""
    assert clock.claimed(10) == jobs[4:]


def test_enough_of_a_canary_is_enough(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(10, BatchRules(canary=4, canary_ratio=0.75))
    clock.end_all("completed", "failed", "completed", "completed")
    assert clock.read(batch).held is None
    assert clock.claimed(10) == jobs[4:]


def test_the_canary_is_the_first_of_the_upload_over_calls_groups_and_priorities(
    clock: Clockwork,
) -> None:
    batch = clock.open_batch(BatchRules(canary=4))
    first = clock.enqueue(2, batch=batch, group="a") + clock.enqueue(2, batch=batch, priority=3)
    clock.enqueue(2, batch=batch, priority=0)
    clock.seal(batch)
    assert sorted(clock.claimed(10)) == sorted(first)


def test_a_canary_job_that_comes_back_goes_again_and_no_other(clock: Clockwork) -> None:
    _, jobs = clock.batch_of(10, BatchRules(canary=2))
    assert clock.claimed(10) == jobs[:2]
    clock.give_back(jobs[0])
    assert clock.claimed(10) == jobs[:1]


def test_a_canary_job_that_is_run_again_goes_again_and_no_other(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(10, BatchRules(canary=1))
    clock.heartbeat(first=True)
    clock.accept(clock.claim().items)
    item = RunAgain(jobs[0], 1, f"r-{jobs[0]}", "failed", "no luck", 1_000_000, b"{}")
    assert clock.run(worker_calls.retry_run(clock.account, [item])) == [1]
    assert clock.claimed(10) == []
    clock.wait(1)
    clock.sweep("promote_due")
    assert clock.claimed(10) == jobs[:1]
    assert clock.read(batch).held == "canary"


def test_a_canary_that_scheduled_jobs_are_part_of_waits_for_them(clock: Clockwork) -> None:
    batch = clock.open_batch(BatchRules(canary=2))
    late = clock.enqueue(1, batch=batch, run_at=clock.now + 5_000_000)
    others = clock.enqueue(3, batch=batch)
    clock.seal(batch)
    assert clock.end_all("completed") == others[:1]
    assert clock.claimed(10) == []
    clock.wait(5)
    clock.sweep("promote_due")
    assert clock.end_all("completed") == late
    assert clock.claimed(10) == others[1:]


def test_a_batch_smaller_than_its_canary_just_runs(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(2, BatchRules(canary=5))
    clock.end_all("completed", "completed")
    assert clock.read(batch).status is BatchStatus.COMPLETED


def test_a_pause_during_the_canary_ends_alone(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(5, BatchRules(canary=2))
    assert clock.claimed(1) == jobs[:1]
    clock.hold(batch)
    assert clock.claimed(10) == []
    assert resume(clock, batch) == "canary"
    assert clock.hold(batch, "resume", "paused") == "canary", "said again"
    assert clock.claimed(10) == jobs[1:2]
    assert resume(clock, batch) == ""
    assert clock.claimed(10) == jobs[2:], "a person does not wait for the canary"


def test_a_canary_that_completes_while_its_batch_is_paused(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(5, BatchRules(canary=1))
    clock.heartbeat(first=True)
    clock.accept(clock.claim().items)
    clock.hold(batch)
    clock.finish(jobs[0])
    assert clock.read(batch).held == "paused"
    assert clock.claimed(10) == []
    assert resume(clock, batch) == ""
    assert clock.claimed(10) == jobs[1:]


def test_a_canary_that_another_upload_took_over(clock: Clockwork) -> None:
    old = clock.open_batch(BatchRules(canary=2))
    clock.enqueue(names=["a", "b", "c"], batch=old)
    new = clock.open_batch(BatchRules(canary=1))
    taken = clock.enqueue(names=["a", "b"], batch=new)
    clock.seal(old)
    assert clock.read(old).held is None
    clock.seal(new)
    assert clock.read(new).held == "canary"
    claimed = clock.claimed(10)
    assert len(claimed) == 2
    assert taken[0] in claimed
    assert taken[1] not in claimed


def test_a_canary_job_that_is_canceled_has_not_completed(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(5, BatchRules(canary=2, canary_ratio=0.5))
    clock.cancel(jobs[0], jobs[3])
    assert clock.read(batch).held == "canary", "the second of them is none of the canary"
    assert clock.end_all("completed") == jobs[1:2]
    assert clock.read(batch).held is None
    assert clock.claimed(10) == [jobs[2], jobs[4]]


def test_a_canary_job_whose_time_is_up_when_it_is_claimed_counts(clock: Clockwork) -> None:
    batch = clock.open_batch(BatchRules(canary=2, canary_ratio=0.5))
    clock.enqueue(1, batch=batch)
    clock.enqueue(1, batch=batch, deadline=clock.now + 5_000_000)
    others = clock.enqueue(2, batch=batch)
    clock.seal(batch)
    clock.end_all("completed")
    clock.wait(6)
    clock.claimed(1)
    assert clock.read(batch).held is None
    assert clock.states(others) <= {"ready", "submitting"}


def test_a_replayed_canary_job_is_waited_for_again(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(5, BatchRules(canary=2, canary_ratio=1))
    clock.end_all("failed")
    assert clock.queue.retry_failed(batch).jobs == 1
    clock.end_all("completed")
    assert clock.read(batch).held == "canary"
    clock.end_all("completed")
    assert clock.read(batch).held is None
    assert clock.claimed(10) == jobs[2:]


def test_canceling_a_batch_with_a_canary_drops_all_its_lanes(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(5, BatchRules(canary=2))
    clock.run(operator_calls.cancel_batch(clock.account, batch))
    assert clock.claimed(10) == []
    clock.sweep("sweep_canceled")
    assert clock.states(jobs) == {"canceled"}
    assert [key for key in clock.dump() if ":lane" in key] == []


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"abort_at_failure_ratio": 0}, "abort_at_failure_ratio"),
        ({"abort_at_failure_ratio": 1.1}, "abort_at_failure_ratio"),
        ({"abort_at_failure_ratio": float("nan")}, "abort_at_failure_ratio"),
        ({"abort_after": 0}, "abort_after"),
        ({"abort_after": 50}, "abort_after"),
        ({"canary": 5, "abort_after": 50}, "abort_after"),
        ({"canary_ratio": 0.5}, "canary_ratio"),
        ({"abort_at_failure_ratio": 0.5, "canary_ratio": 1}, "canary_ratio"),
        ({"canary": 0}, "canary"),
        ({"canary_ratio": -0.1}, "canary_ratio"),
        ({"canary": -1, "canary_ratio": 2}, "canary"),
        ({"expires_after": 0}, "expires_after"),
        ({"expires_after": -1.5}, "expires_after"),
        ({"expires_after": float("inf")}, "expires_after"),
        ({"callback_url": ""}, "callback_url"),
        ({"callback_url": "ftp://user.test/secret"}, "callback_url"),
        ({"callback_url": "https://user.test/secret" + "x" * 8000}, "callback_url"),
        ({"callback_at": (0.5,)}, "callback_at"),
        ({"callback_url": "https://user.test", "callback_at": (0.5, 1)}, "callback_at"),
        ({"callback_url": "https://user.test", "callback_at": (0,)}, "callback_at"),
        ({"callback_url": "https://user.test", "callback_at": (0.5,) * 101}, "callback_at"),
    ],
)
def test_a_rule_out_of_its_range_is_named(rules: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidBatch) as refused:
        BatchRules(**rules)
    assert field in {error.field for error in refused.value.errors}
    assert "secret" not in str(refused.value)


def test_a_callback_url_stands_in_no_repr() -> None:
    assert "secret" not in repr(BatchRules(callback_url="https://user.test/secret"))
