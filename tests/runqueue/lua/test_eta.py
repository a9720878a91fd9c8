"""How long a batch takes yet: by how fast its jobs end."""

from datetime import timedelta

import pytest

from runqueue.records.batch import Batch
from runqueue.records.claim_items import Finished, RunAccepted
from runqueue.records.forecast import Capacity, seconds_for
from runqueue.store import job_calls, worker_calls
from tests.runqueue.lua.clockwork import ACCOUNT, SECOND, Clockwork

TEN_RUNS = {"concurrent_runs": 10, "submissions_per_second": 2, "burst_size": 20}


@pytest.fixture
def clock(clock: Clockwork) -> Clockwork:
    """An account that a worker serves all the time."""
    clock.client.zadd(clock.key("processes"), {"p0": 2**60})
    return clock


def eta_note(found: Batch) -> str:
    assert (found.seconds_left, found.eta) == (None, None)
    return found.eta_note or ""


def rounds(clock: Clockwork, n: int, size: int, seconds: float, state: str = "completed") -> None:
    """Have n rounds of so many runs that take so long."""
    for _ in range(n):
        clock.heartbeat(first=True)
        taken = clock.claim(size).items
        assert len(taken) == size
        clock.run(
            worker_calls.mark_running(
                ACCOUNT,
                [
                    RunAccepted(i.job_id, i.attempt, f"r-{i.job_id}", "created", SECOND)
                    for i in taken
                ],
            )
        )
        clock.wait(seconds)
        ends = [Finished(i.job_id, 1, f"r-{i.job_id}", state, state, "", b"{}") for i in taken]
        assert clock.run(worker_calls.finish(ACCOUNT, ends)) == [1] * size


def left(clock: Clockwork, batch: str) -> float:
    found = clock.read(batch).seconds_left
    assert found is not None
    return found


def test_once_enough_has_ended_its_own_pace_says_it(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=5)
    batch, _ = clock.batch_of(100)
    rounds(clock, 4, 5, 50)
    assert left(clock, batch) == pytest.approx(80 * 10, rel=0.01)
    found = clock.read(batch)
    assert found.eta is not None
    now = found.created_at + timedelta(seconds=200)
    assert (found.eta - now).total_seconds() == pytest.approx(800, rel=0.01)
    assert found.as_dict()["eta"] == found.eta.isoformat()
    assert found.as_dict()["seconds_left"] == found.seconds_left


def test_a_batch_that_stalls_takes_longer_and_longer_until_nobody_knows(clock: Clockwork) -> None:
    batch, _ = clock.batch_of(100)
    rounds(clock, 2, 10, 50)
    before = left(clock, batch)
    clock.wait(390)
    assert left(clock, batch) > 4 * before
    clock.wait(11)
    assert clock.read(batch).seconds_left is None


# The account's figures.


def test_an_account_knows_how_long_its_runs_take_whoever_told_of_their_ends(
    clock: Clockwork,
) -> None:
    clock.limit(**TEN_RUNS)
    clock.enqueue(10)
    assert clock.run(job_calls.stats(ACCOUNT)).capacity == Capacity(2.0, 10, None)
    rounds(clock, 1, 10, 5_000)
    stats = clock.run(job_calls.stats(ACCOUNT))
    assert stats.capacity == Capacity(2.0, 10, 5_000.0)
    assert stats.as_dict()["mean_run_seconds"] == 5_000.0
    assert seconds_for(100, stats.capacity) == 50_000.0
