"""The time of a batch: what has not been submitted by then is not, and uploads end some day."""

import pytest

from runqueue.errors import BatchExpired
from runqueue.records.batch import BatchRules, BatchStatus
from runqueue.records.job import JobState
from runqueue.store import job_calls, operator_calls, worker_calls
from tests.runqueue.lua.clockwork import DAY, RETENTION, SECOND, UPLOAD, Clockwork

HOUR = 3_600.0
ONE_HOUR = BatchRules(expires_after=HOUR)


def run_one(clock: Clockwork) -> str:
    """Claim one job and find its run."""
    clock.heartbeat(first=True)
    taken = clock.claim(1).items
    assert clock.accept(taken) == [1]
    return str(taken[0].job_id)


def late(clock: Clockwork, seconds: float = HOUR) -> None:
    """Let a batch's time be up, and the sweep see it."""
    clock.wait(seconds)
    clock.sweep("hold_expired")


# Batches whose time is up.


def test_nothing_more_is_submitted_once_the_time_of_a_batch_is_up(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(3, ONE_HOUR)
    found = clock.read(batch)
    assert found.expires_at is not None
    assert found.sealed_at is not None
    assert (found.expires_at - found.sealed_at).total_seconds() == HOUR
    late(clock, HOUR - 0.001)
    assert clock.claimed(1) == jobs[:1]
    late(clock, 0.001)
    assert clock.claimed() == []
    assert clock.read(batch).held == "expired"
    assert clock.read(batch).held_reason == "not all of it was submitted within 3600 s"


def test_runs_under_way_go_on_and_then_it_is_expired(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(3, ONE_HOUR)
    job = run_one(clock)
    late(clock)
    assert clock.read(batch).status is BatchStatus.FINALIZING
    clock.wait(5)
    clock.finish(job)
    found = clock.read(batch)
    assert (found.status, found.states) == (
        BatchStatus.EXPIRED,
        {JobState.COMPLETED: 1, JobState.READY: 2},
    )
    assert found.finished_at is not None
    assert found.expires_at is not None
    assert (found.finished_at - found.expires_at).total_seconds() == 5


@pytest.mark.parametrize("hold", ["paused", "canary"])
def test_a_batch_that_something_else_held_expires_all_the_same(clock: Clockwork, hold: str) -> None:
    canary = 1 if hold == "canary" else None
    batch, _ = clock.batch_of(3, BatchRules(expires_after=HOUR, canary=canary))
    if hold == "paused":
        clock.hold(batch)
    assert clock.read(batch).held == hold
    late(clock)
    assert clock.read(batch).status is BatchStatus.EXPIRED


def test_an_expired_batch_that_is_resumed_goes_on_without_an_end_of_its_time(
    clock: Clockwork,
) -> None:
    batch, jobs = clock.batch_of(3, ONE_HOUR)
    assert clock.claimed(1) == jobs[:1]
    late(clock)
    assert clock.claimed() == []
    found = clock.queue.resume_batch(batch)
    assert (found.held, found.status, found.expires_at) == (None, BatchStatus.IN_PROGRESS, None)
    late(clock)
    clock.heartbeat(first=True)
    assert clock.claimed() == jobs[1:]
    assert clock.read(batch).held is None


def test_an_expired_batch_is_not_paused_and_may_be_canceled(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(3, ONE_HOUR)
    late(clock)
    assert clock.hold(batch) == "expired"
    assert clock.cancel_batch(batch) == 3
    clock.sweep("sweep_canceled")
    assert clock.read(batch).status is BatchStatus.CANCELED
    assert clock.states(jobs) == {"canceled"}


def test_expiring_costs_the_same_whatever_the_size(clock: Clockwork) -> None:
    def commands() -> int:
        return int(clock.client.info("commandstats").get("cmdstat_hset", {}).get("calls", 0))

    costs = []
    for size in (1, 1_000):
        clock.batch_of(size, ONE_HOUR)
        before = commands()
        late(clock)
        costs.append(commands() - before)
    assert costs[0] == costs[1]


# Uploads that were never finished.


def test_an_upload_that_was_never_finished_is_shown_as_expired_for_a_week(clock: Clockwork) -> None:
    batch = clock.open_batch(BatchRules(canary=2))
    jobs = clock.enqueue(5, batch=batch)
    clock.wait(UPLOAD / SECOND)
    clock.sweep("expire_batches", UPLOAD)
    assert clock.states(jobs) == {None}
    found = clock.read(batch)
    assert (found.status, found.total, found.states) == (BatchStatus.EXPIRED, 0, {})
    assert found.held_reason == "its upload was not finished in time: enqueue its jobs again"
    assert found.finished_at is not None
    listed = clock.run(job_calls.list_batches(clock.account, "", 10)).batches
    assert [(one.id, one.status) for one in listed] == [(batch, BatchStatus.EXPIRED)]
    clock.wait(RETENTION / SECOND - 1)
    clock.sweep("expire_batches", UPLOAD)
    assert clock.read(batch).status is BatchStatus.EXPIRED
    clock.wait(1)
    clock.sweep("expire_batches", UPLOAD)
    assert [key for key in clock.dump() if batch in key] == []
    assert clock.members("batches") == clock.members("unsealed") == []


def test_an_upload_that_expired_does_not_go_on(clock: Clockwork) -> None:
    batch = clock.open_batch()
    clock.enqueue(2, batch=batch)
    clock.wait(UPLOAD / SECOND)
    clock.sweep("expire_batches", UPLOAD)
    before = clock.dump()
    for act in (clock.queue.pause_batch, clock.queue.resume_batch, clock.queue.retry_failed):
        with pytest.raises(BatchExpired, match="enqueue them again"):
            act(batch)
    assert clock.hold(batch, "resume", "expired") == "expired"
    assert clock.seal(batch) == job_calls.EXPIRED
    assert clock.cancel_batch(batch) == 0
    assert clock.dump() == before


def test_a_job_that_ran_outlives_its_upload(clock: Clockwork) -> None:
    batch = clock.open_batch()
    kept, _ = clock.enqueue(2, batch=batch)
    clock.cancel(kept)
    clock.wait(UPLOAD / SECOND)
    clock.sweep("expire_batches", UPLOAD)
    assert (clock.state(kept), clock.field(kept, "batch")) == ("canceled", None)
    assert clock.read(batch).total == 0


def test_an_upload_that_was_canceled_stays_canceled_and_goes_with_its_jobs(
    clock: Clockwork,
) -> None:
    batch = clock.open_batch()
    jobs = clock.enqueue(2, batch=batch)
    clock.cancel_batch(batch)
    clock.wait(UPLOAD / SECOND)
    clock.sweep("expire_batches", UPLOAD)
    assert clock.members("unsealed") == [batch], "its jobs have not been swept yet"
    clock.sweep("sweep_canceled")
    clock.sweep("expire_batches", UPLOAD)
    found = clock.read(batch)
    assert (found.status, found.total) == (BatchStatus.CANCELED, 2)
    assert clock.states(jobs) == {"canceled"}
    clock.wait((RETENTION + DAY) / SECOND)
    clock.sweep("retire")
    assert [key for key in clock.dump() if batch in key] == []


def test_an_upload_that_is_taken_apart_in_steps_shows_no_jobs_meanwhile(clock: Clockwork) -> None:
    batch = clock.open_batch(BatchRules(callback_url="https://user.test/hook"))
    clock.enqueue(1_000, batch=batch)
    clock.enqueue(500, batch=batch)
    clock.wait(UPLOAD / SECOND)
    assert clock.sweep("expire_batches", UPLOAD) == 1_000
    found = clock.read(batch)
    assert (found.status, found.total, found.states) == (BatchStatus.EXPIRED, 0, {})
    assert clock.callbacks() == [], "it is told once all of it is gone"
    assert clock.sweep("expire_batches", UPLOAD) == 502, (
        "999 went first, and the batch itself was looked at twice"
    )
    assert [due.what for due in clock.callbacks()] == ["expired"]


# Batches whose jobs have all ended.


@pytest.mark.parametrize("rules", [BatchRules(), ONE_HOUR])
def test_a_batch_whose_jobs_have_all_ended_keeps_its_status_when_it_is_canceled(
    clock: Clockwork, rules: BatchRules
) -> None:
    batch, _ = clock.batch_of(3, rules)
    clock.end_all("completed", "failed", "completed")
    before = clock.dump()
    assert clock.cancel_batch(batch) == 3
    assert clock.dump() == before
    assert clock.read(batch).status is BatchStatus.COMPLETED


def test_a_job_that_is_replayed_while_its_expired_batch_is_swept_is_not_lost(
    clock: Clockwork,
) -> None:
    batch, jobs = clock.batch_of(15, BatchRules(expires_after=60))
    expire_for_a_week(clock)
    sweep = worker_calls.sweep(clock.account, "sweep_canceled", 10)
    assert clock.run(sweep) == 10
    assert clock.run(operator_calls.replay(clock.account, clock.seen(jobs[0]))) == [1]
    assert clock.run(sweep) == 5
    clock.resume(batch)
    assert clock.claimed(100) == [jobs[0]]


def test_what_is_done_again_in_a_batch_that_expired_long_ago_goes_in_time_too(
    clock: Clockwork,
) -> None:
    batch, jobs = clock.batch_of(2, BatchRules(expires_after=60))
    expire_for_a_week(clock)
    clock.sweep("sweep_canceled")
    assert clock.queue.retry_failed(batch, canceled=True).jobs == 2
    for _ in range(3 * RETENTION // DAY):
        clock.wait(DAY / SECOND)
        for script in ("hold_expired", "sweep_canceled", "retire"):
            clock.sweep(script)
    assert clock.states(jobs) == {None}
    assert [key for key in clock.dump() if batch in key] == []
    assert clock.members("expiring") == []


def expire_for_a_week(clock: Clockwork) -> None:
    """The time of a batch is up, and nobody resumes it."""
    clock.wait(60)
    clock.sweep("hold_expired")
    clock.wait(RETENTION / SECOND)
    clock.sweep("hold_expired")


@pytest.mark.parametrize("n", [50, 300])
def test_uploads_that_were_abandoned_keep_nobody_waiting(clock: Clockwork, n: int) -> None:
    late = clock.open_batch()
    clock.enqueue(1, batch=late)
    clock.now += UPLOAD
    for _ in range(n):
        clock.run(job_calls.discard_batch(clock.account, clock.open_batch()))
    # As the worker does: asked again while as many were looked at as the limit says.
    while clock.run(worker_calls.sweep(clock.account, "expire_batches", UPLOAD, 10)) >= 10:
        pass
    assert clock.members("unsealed") == [late]
    assert clock.read(late).status is BatchStatus.EXPIRED
