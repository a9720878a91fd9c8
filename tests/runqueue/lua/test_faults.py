"""What a full or a loaded Redis does to a transition: all of it, or nothing.

On a server of their own: these tests change its settings.
"""

from collections.abc import Callable, Iterator

import pytest
import redis

from lab.valkeys import start_valkey
from runqueue.records import claim_items
from runqueue.records.claim_items import ClaimAnswer
from runqueue.request.job_spec import JobSpec
from runqueue.store import job_calls, operator_calls, worker_calls
from tests.runqueue.lua.clockwork import (
    CLAIM_AGE,
    LEASE,
    RETENTION,
    SECOND,
    UPLOAD,
    Clockwork,
    dump,
    spec,
)


@pytest.fixture(scope="module")
def own_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A server for this file alone."""
    server = start_valkey(tmp_path_factory.mktemp("faults"))
    with redis.Redis(port=server.port) as client:
        yield client
    server.stop()


@pytest.fixture
def clock(own_client: redis.Redis) -> Iterator[Clockwork]:
    """An account of that server, empty."""
    own_client.flushall()
    yield Clockwork(own_client)
    own_client.config_set("maxmemory", 0)


def fill_up(clock: Clockwork) -> None:
    clock.client.config_set("maxmemory", 1)


def _spec(n: int) -> JobSpec:
    return spec(f"line{n}", deadline=2_000_000_000 * SECOND)


# A full server.


def test_a_full_server_refuses_jobs_with_nothing_half_written(clock: Clockwork) -> None:
    batch = clock.open_batch()
    before = clock.dump()
    fill_up(clock)
    for target in (None, batch):
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            clock.enqueue_specs([_spec(n) for n in range(50)], target)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        clock.open_batch()
    assert clock.dump() == before


def test_an_upload_that_filled_the_server_is_abandoned(clock: Clockwork) -> None:
    batch = clock.open_batch()
    clock.enqueue(3, batch=batch)
    fill_up(clock)
    assert clock.run(job_calls.discard_batch(clock.account, batch)) == 1
    clock.sweep("expire_batches", UPLOAD)
    assert [key for key in clock.dump() if batch in key] == []


def test_a_full_server_refuses_claims_with_nothing_half_written(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=10, concurrent_runs=5)
    clock.enqueue(10)
    clock.heartbeat(first=True)
    before = clock.dump()
    fill_up(clock)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        clock.claim(5)
    assert clock.dump() == before


Act = Callable[[Clockwork, str], object]


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize(
    ("act", "state"),
    [
        (lambda clock, job: clock.found(job, 1, "run1"), "running"),
        (lambda clock, job: clock.refuse(job), "dead"),
        (lambda clock, job: clock.give_back(job, "busy"), "ready"),
    ],
    ids=["run", "refused", "given back"],
)
def test_a_full_server_records_what_became_of_a_submission(
    clock: Clockwork, act: Act, state: str, lost: bool
) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    if lost:
        clock.lose(job)
    fill_up(clock)
    assert act(clock, job) == 1
    assert clock.state(job) == state


def test_a_full_server_records_a_lost_answer(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    fill_up(clock)
    assert clock.lose(job) == 1


def test_a_full_server_settles_unconfirmed_jobs(clock: Clockwork) -> None:
    searched, denied, failed, again = clock.unconfirmed(4)
    clock.wait(30)
    fill_up(clock)
    taken = clock.run(worker_calls.reconcile_claim(clock.account, "p1", 10, 0, LEASE))
    assert taken.answer is ClaimAnswer.FENCED
    clock.heartbeat(first=True)
    taken = clock.run(worker_calls.reconcile_claim(clock.account, "p1", 10, 0, LEASE))
    assert len(taken.items) == 4
    assert clock.search(searched) == 1
    assert clock.deny(denied) == 2
    assert clock.run(
        operator_calls.settle(clock.account, clock.seen(failed), "fail", "enough")
    ) == [1]
    assert clock.run(operator_calls.settle(clock.account, clock.seen(again), "resubmit")) == [1]
    assert [clock.state(job) for job in (searched, denied, failed, again)] == [
        "unconfirmed",
        "ready",
        "dead",
        "ready",
    ]


def test_a_full_server_lets_a_recovery_end_and_permits_be_taken(clock: Clockwork) -> None:
    clock.limit(requests_per_second=10)
    clock.enqueue(1)
    clock.claimed(0)
    clock.heartbeat(first=True)
    clock.tick()
    clock.another_server()
    clock.heartbeat("p1", 5)
    fill_up(clock)
    taken = clock.run(worker_calls.reconcile_claim(clock.account, "p1", 10, 0, LEASE))
    assert taken.recover_from_us
    assert clock.run(worker_calls.permits(clock.account, 1))[0] == 1
    done = worker_calls.recovered(clock.account, taken.recover_from_us, taken.recover_since_us)
    assert clock.run(done)


def test_a_full_server_records_an_orphan(clock: Clockwork) -> None:
    fill_up(clock)
    assert clock.found("nobody", 1, "run1") == 2
    assert clock.client.hlen(clock.key("orphans")) == 1


def test_a_full_server_records_the_end_of_a_run(clock: Clockwork) -> None:
    (job,) = clock.running()
    fill_up(clock)
    assert clock.finish(job, result=b'{"output":"' + b"x" * 10_000 + b'"}') == 1
    assert clock.state(job) == "completed"


def test_a_full_server_keeps_leases_polls_cancels_and_ticks_going(clock: Clockwork) -> None:
    """Only what has ended frees memory: if nobody looked at runs, it would stay full for ever."""
    first, second = clock.running(2)
    clock.wait(2)
    fill_up(clock)
    assert clock.heartbeat()
    assert clock.tick().messages["poll"] == 1
    due = clock.run(worker_calls.poll_claim(clock.account, "p1", 10, 0, LEASE))
    assert {item.job_id for item in due.items} == {first, second}
    assert (
        clock.run(
            worker_calls.mark_polled(clock.account, [claim_items.Polled(first, 1, "", SECOND)])
        )
        == 1
    )
    assert clock.cancel(first) == [2]
    taken = clock.run(worker_calls.cancel_claim(clock.account, "p1", 10, 0, LEASE))
    assert [item.job_id for item in taken.items] == [first]
    assert clock.run(
        worker_calls.abandon_run(clock.account, [claim_items.RunAbandoned(first, f"r-{first}")])
    ) == [1]


def test_a_full_server_frees_memory_by_its_sweeps(clock: Clockwork) -> None:
    (job,) = clock.running()
    clock.finish(job)
    (open_,) = clock.enqueue(1, batch=clock.open_batch())
    (late,) = clock.enqueue(1, deadline=clock.now + SECOND)
    (soon,) = clock.enqueue(1, run_at=clock.now + RETENTION + UPLOAD)
    batch = clock.open_batch()
    (canceled,) = clock.enqueue(1, batch=batch)
    clock.seal(batch)
    (sent,) = clock.claimed(1)
    assert sent == late
    fill_up(clock)
    assert clock.cancel_batch(batch) == 1
    assert clock.sweep("sweep_canceled") == 1
    clock.wait((RETENTION + UPLOAD) / SECOND)
    assert clock.sweep("expire_leases", CLAIM_AGE) == 1
    assert clock.sweep("expire_deadlines") == 1
    assert clock.sweep("promote_due") == 1
    assert clock.sweep("expire_batches", UPLOAD) == 2, "the batch, and its job"
    assert clock.sweep("retire") >= 1
    assert [clock.state(i) for i in (job, open_, late, soon, canceled)] == [
        None,
        None,
        "unconfirmed",
        "ready",
        None if clock.state(canceled) is None else "canceled",
    ]


# A thousand at once, and numbers.


def test_every_recording_script_takes_a_thousand_jobs(clock: Clockwork) -> None:
    jobs = clock.enqueue(1_000, group="g1", deadline=2_000_000_000 * SECOND)
    claimed = [job for _ in range(2) for job in clock.claimed(500)]
    assert claimed == jobs
    lost = [claim_items.Lost(job, 1, "cut off") for job in jobs]
    assert clock.run(worker_calls.mark_unconfirmed(clock.account, lost)) == [1] * 1_000
    back = [claim_items.GivenBack(job, 1) for job in jobs]
    assert clock.run(worker_calls.give_back(clock.account, back, "void")) == [1] * 1_000
    assert {job for _ in range(2) for job in clock.claimed(500)} == set(jobs)
    claims = [claim_items.Claimed(job, 2, b"") for job in jobs]
    assert clock.accept(claims) == [1] * 1_000
    clock.wait(1)
    clock.heartbeat(first=True)
    due = clock.run(worker_calls.poll_claim(clock.account, "p1", 500, 0, LEASE))
    assert len(due.items) == 500
    polled = [claim_items.Polled(job, 2, "running", SECOND) for job in jobs]
    assert clock.run(worker_calls.mark_polled(clock.account, polled)) == 1_000
    assert clock.cancel(*jobs) == [2] * 1_000
    done = [
        claim_items.Finished(job, 2, f"r-{job}", "completed", "completed", "", b"{}")
        for job in jobs
    ]
    assert clock.run(worker_calls.finish(clock.account, done)) == [1] * 1_000
    clock.wait(RETENTION / SECOND)
    assert clock.sweep("retire") == 1_000


def test_what_people_and_searches_do_is_done_to_a_thousand_jobs(clock: Clockwork) -> None:
    jobs = clock.enqueue(1_000)
    clock.claimed(500)
    clock.claimed(500)
    lost = [claim_items.Lost(job, 1, "cut off", trouble=True) for job in jobs]
    assert clock.run(worker_calls.mark_unconfirmed(clock.account, lost)) == [1] * 1_000
    clock.run(job_calls.resume(clock.account))
    clock.wait(30)
    clock.heartbeat(first=True)
    due = clock.run(worker_calls.reconcile_claim(clock.account, "p1", 500, 0, LEASE))
    assert len(due.items) == 500
    for code in (1, 2):
        found_none = [
            claim_items.Searched(job, 1, "not_found", SECOND, 30 * SECOND) for job in jobs
        ]
        call = worker_calls.record_search(clock.account, found_none, clock.now, 30 * SECOND)
        assert clock.run(call) == [code] * 1_000
        clock.wait(30)
    assert {job for _ in range(2) for job in clock.claimed(500)} == set(jobs)
    lost = [claim_items.Lost(job, 2, "cut off") for job in jobs]
    clock.run(worker_calls.mark_unconfirmed(clock.account, lost))
    assert (
        clock.run(operator_calls.settle(clock.account, clock.seen(*jobs), "resubmit"))
        == [1] * 1_000
    )
    assert {job for _ in range(2) for job in clock.claimed(500)} == set(jobs)
    assert clock.accept([claim_items.Claimed(job, 3, b"") for job in jobs]) == [1] * 1_000
    again = [claim_items.RunAgain(job, 3, f"r-{job}", "failed", "no", 0, b"{}") for job in jobs]
    assert clock.run(worker_calls.retry_run(clock.account, again)) == [1] * 1_000
    assert clock.cancel(*jobs) == [1] * 1_000
    assert clock.run(operator_calls.replay(clock.account, clock.seen(*jobs))) == [1] * 1_000
    assert {job for _ in range(2) for job in clock.claimed(500)} == set(jobs)
    dead = [claim_items.Lost(job, 4, "422") for job in jobs]
    assert clock.run(worker_calls.mark_dead(clock.account, dead)) == [1] * 1_000
    _, page = clock.run(operator_calls.page_jobs(clock.account, "dead", "", 1_000))
    assert page == sorted(jobs)
    assert clock.run(operator_calls.discard(clock.account, jobs)) == [1] * 1_000
    left = [name for name in clock.dump() if jobs[0] in name]
    assert left == [clock.key(f"attempts:{jobs[0]}")]


def test_no_number_is_ever_stored_or_told_in_scientific_notation(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=100, burst_size=50, requests_per_second=1_000)
    jobs = clock.enqueue(20, deadline=clock.now + 3_600 * SECOND)
    clock.enqueue(5, run_at=clock.now + 60 * SECOND)
    clock.heartbeat(first=True)
    clock.tick()
    taken = clock.claim(10)
    clock.accept(taken.items[:5])
    for n, item in enumerate(taken.items[5:]):
        (clock.lose, clock.refuse, clock.give_back)[n % 3](item.job_id)
    clock.give_back(taken.items[-2].job_id, "busy")
    clock.cancel(*jobs)
    clock.finish(taken.items[0].job_id)
    clock.wait(60)
    clock.sweep("promote_due")
    texts: list[str] = []

    def collect(value: object) -> None:
        if isinstance(value, bytes):
            texts.append(value.decode("latin-1"))
        elif isinstance(value, (list, tuple, set)):
            for part in value:
                collect(part)
        elif isinstance(value, dict):
            for name, part in value.items():
                collect(name)
                collect(part)

    collect(dump(clock.client))
    assert len(texts) > 200
    assert [text for text in texts if "e+" in text] == []


# A server restarted.


def test_a_restarted_server_is_noticed_and_goes_on_once_the_runs_were_listed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    where = tmp_path_factory.mktemp("restart")
    server = start_valkey(where, aof=True)
    with redis.Redis(port=server.port) as client:
        clock = Clockwork(client)
        jobs = clock.enqueue(3)
        assert clock.claimed(1) == jobs[:1]
    server.stop()
    server = start_valkey(where, aof=True)
    try:
        with redis.Redis(port=server.port) as client:
            clock.client = client
            assert clock.claim(1).answer is ClaimAnswer.MOVED
            clock.heartbeat(sequence=1)
            taken = clock.run(worker_calls.reconcile_claim(clock.account, "p1", 10, 0, LEASE))
            loss = (taken.recover_from_us, taken.recover_since_us)
            assert clock.run(worker_calls.recovered(clock.account, *loss))
            assert [job.job_id for job in clock.claim(1).items] == jobs[1:2]
    finally:
        server.stop()
