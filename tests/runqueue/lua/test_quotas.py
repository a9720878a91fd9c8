"""Quotas: what would be more than may wait is refused whole, and what is there goes its way."""

from typing import Any

import pytest

from runqueue.connection.client import speaking_of
from runqueue.errors import QuotaReached
from runqueue.records import claim_items
from runqueue.records.job import JobState
from runqueue.records.quotas import Quota
from runqueue.request.retry_policy import Retry
from runqueue.store import inbox_calls, job_calls, operator_calls, worker_calls
from tests.runqueue.lua.clockwork import LEASE, SECOND, UPLOAD, Clockwork, spec

#: A job of `spec` with the body `a`, as it is stored.
SIZE = len(job_calls.encode_job(spec("job0")).stored)


def refused(clock: Clockwork, n: int = 1, **options: Any) -> str:
    """Hand in jobs that are refused; returns the words."""
    before = clock.dump()
    with pytest.raises(QuotaReached) as told, speaking_of("redis://queue"):
        clock.enqueue(n, **options)
    after = clock.dump()
    for data in (before, after):
        data.setdefault(clock.key("counters"), {}).pop(b"refused_by_quota", None)
    assert after == before, "nothing is stored"
    return str(told.value)


def quota_use(clock: Clockwork) -> dict[str, int]:
    """What is counted as waiting, by what and by whom."""
    found: Any = clock.client.hgetall(clock.key("quota_use"))
    return {name.decode(): int(n) for name, n in found.items() if int(n)}


def test_jobs_beyond_what_may_wait_are_refused_all_or_none(clock: Clockwork) -> None:
    clock.limit(waiting_jobs=3)
    clock.enqueue(2)

    said = refused(clock, 2)

    assert said == "quota: account 'default' may have 3 jobs waiting, and this would be more"
    clock.enqueue(1)
    refused(clock)


def test_a_job_that_is_known_is_no_further_one(clock: Clockwork) -> None:
    clock.limit(waiting_jobs=1)
    (first,) = clock.enqueue(1, names=["order-17"])

    (again,) = clock.enqueue_specs([spec("order-17")])

    assert again.job_id == first


def test_what_goes_back_to_its_lane_is_never_refused(clock: Clockwork) -> None:
    clock.limit(waiting_jobs=1, waiting_bytes=SIZE)
    (back,) = clock.enqueue(1)
    assert clock.claimed() == [back]
    clock.enqueue(1)

    assert clock.give_back(back) == 1

    assert clock.state(back) == "ready"
    refused(clock)


def test_retries_and_replays_are_never_refused(clock: Clockwork) -> None:
    clock.limit(waiting_jobs=1, waiting_bytes=SIZE)
    retry = Retry(max_attempts=2)
    (again,) = clock.running(retry=retry)
    (dead,) = clock.enqueue(1)
    assert clock.claimed() == [dead]
    assert clock.refuse(dead) == 1
    clock.enqueue(1)

    run = claim_items.RunAgain(again, 1, f"r-{again}", "failed", "no luck", 0, b"")
    assert clock.run(worker_calls.retry_run(clock.account, [run])) == [1]
    assert clock.run(operator_calls.replay(clock.account, clock.seen(dead))) == [1]

    assert (clock.state(again), clock.state(dead)) == ("scheduled", "ready")
    refused(clock)


def test_one_name_that_has_as_much_waiting_as_it_may_keeps_no_other_out(clock: Clockwork) -> None:
    clock.quota = Quota("shop", 2, 0)
    clock.enqueue(2)
    said = refused(clock)
    assert said.startswith("quota: shop in account 'default' may have 2 jobs waiting")

    clock.quota = Quota("lab", 2, 0)
    clock.enqueue(2)
    clock.quota = None
    clock.enqueue(10)


@pytest.mark.parametrize("how", ["claim", "cancel", "deadline", "batch", "upload", "retire"])
def test_however_a_job_stops_waiting_its_place_is_free(clock: Clockwork, how: str) -> None:
    clock.quota = Quota("shop", 3, 0)
    clock.limit(waiting_bytes=10**6)
    clock.heartbeat(first=True)
    batch = clock.open_batch() if how in {"batch", "upload"} else None
    deadline = clock.now + 60 * SECOND if how == "deadline" else None
    jobs = clock.enqueue(3, batch=batch, deadline=deadline)
    assert quota_use(clock)["jobs:shop"] == 3

    if how == "claim":
        assert len(clock.claimed()) == 3
    elif how == "deadline":
        clock.wait(61)
        clock.sweep("expire_deadlines")
    elif batch and how == "batch":
        clock.seal(batch)
        clock.cancel_batch(batch)
        clock.sweep("sweep_canceled")
    elif batch:
        clock.run(job_calls.discard_batch(clock.account, batch))
        clock.sweep("expire_batches", UPLOAD)
    else:
        assert clock.cancel(*jobs) == [1, 1, 1]
        clock.wait(8 * 86_400)
        clock.heartbeat(first=True)
        clock.sweep("retire")

    assert "jobs:shop" not in quota_use(clock)
    assert "bytes" not in quota_use(clock)
    clock.enqueue(3)


def ended(clock: Clockwork, n: int, **options: Any) -> list[str]:
    """Jobs that are canceled while they wait."""
    jobs = clock.enqueue(n, **options)
    assert clock.cancel(*jobs) == [1] * n
    return jobs


def is_whole(clock: Clockwork, job: str) -> bool:
    """Whether the request of a job is still stored."""
    body: Any = clock.client.get(clock.key(f"body:{job}"))
    return b"prompt" in body


@pytest.mark.parametrize("how", ["cancel", "deadline", "batch"])
@pytest.mark.parametrize("quota", [Quota("shop", 2, 0), None])
def test_the_request_of_a_job_that_is_counted_goes_if_it_ends_unsubmitted(
    clock: Clockwork, how: str, quota: Quota | None
) -> None:
    clock.limit(waiting_jobs=2, waiting_bytes=2 * SIZE)
    clock.quota = quota
    clock.heartbeat(first=True)
    batch = clock.open_batch() if how == "batch" else None
    jobs = clock.enqueue(
        2, batch=batch, deadline=clock.now + 60 * SECOND if how == "deadline" else None
    )
    if batch:
        clock.seal(batch)
        clock.cancel_batch(batch)
        clock.sweep("sweep_canceled")
    elif how == "deadline":
        clock.wait(61)
        clock.sweep("expire_deadlines")
    else:
        assert clock.cancel(*jobs) == [1, 1]

    assert [is_whole(clock, job) for job in jobs] == [False, False]
    assert clock.states(jobs) == {"dead" if how == "deadline" else "canceled"}
    assert quota_use(clock) == {}


def test_a_job_whose_request_is_gone_is_read_by_its_name_and_not_replayed(clock: Clockwork) -> None:
    clock.quota = Quota("shop", 2, 0)
    (job,) = ended(clock, 1, names=["order-17"])

    read = clock.job(job)

    assert (read.custom_id, read.kind, read.state) == ("order-17", "task", JobState.CANCELED)
    assert clock.run(operator_calls.replay(clock.account, clock.seen(job))) == [4]
    assert clock.state(job) == "canceled"


def test_a_job_that_another_upload_takes_over_is_charged_once(clock: Clockwork) -> None:
    clock.limit(waiting_jobs=2, waiting_bytes=2 * SIZE)
    clock.quota = Quota("shop", 2, 2 * SIZE)
    names = ["jobA", "jobB"]
    clock.enqueue(batch=clock.open_batch(), names=names)
    clock.quota = Quota("lab", 2, 2 * SIZE)

    clock.enqueue_specs([spec(name) for name in names], clock.open_batch())

    assert quota_use(clock) == {"bytes": 2 * SIZE, "jobs:lab": 2, "bytes:lab": 2 * SIZE}


def taken(clock: Clockwork, want: int = 100) -> claim_items.Taken[Any]:
    """Take lines of the inbox."""
    call = worker_calls.heartbeat("default", "p1", LEASE, -1, 0, first=True)
    clock.run(call)
    return clock.run(
        inbox_calls.inbox_take("default", "p1", want, 0, stay_idle=False, lease_us=30 * SECOND)
    )


@pytest.mark.parametrize("quota", [{"waiting_jobs": 1}, {"waiting_bytes": SIZE}])
def test_a_full_account_leaves_its_inbox_alone_and_looks_again(
    clock: Clockwork, quota: dict[str, float]
) -> None:
    clock.limit(**quota)
    clock.enqueue(1)
    clock.client.rpush(clock.key("inbox"), "a")

    found = taken(clock)
    assert (list(found.items), found.next_us - clock.now) == ([], SECOND)
    clock.claimed()

    assert len(taken(clock).items) == 1
