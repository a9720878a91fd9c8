"""How much may go: permits per second, bursts, shares, and holds."""

from collections.abc import Iterator

import pytest

from runqueue.records.claim_items import ClaimAnswer, GivenBack, Lost
from runqueue.store import job_calls, worker_calls
from tests.runqueue.lua.clockwork import LEASE, SECOND, WORKFLOW_RUN, Clockwork, spec


def grants(clock: Clockwork, seconds: float, want: int = 500) -> Iterator[tuple[int, int]]:
    """Claim at `next_us` for so long; yields (when, how many)."""
    end = clock.now + round(seconds * SECOND)
    while clock.now < end:
        clock.heartbeat(first=True)
        taken = clock.claim(want)
        if taken.items:
            yield clock.now, len(taken.items)
        assert taken.next_us > clock.now
        clock.now = taken.next_us


def most_in_a_second(granted: list[tuple[int, int]]) -> int:
    return max(sum(n for at, n in granted if start <= at < start + SECOND) for start, _ in granted)


@pytest.mark.parametrize(
    ("rate", "burst"), [(10, 1), (10, 10), (3, 2), (50, 5), (0.5, 1), (200, 20), (7, 100)]
)
def test_no_second_grants_more_than_limit_and_burst_and_the_rate_is_used(
    clock: Clockwork, rate: float, burst: int
) -> None:
    clock.limit(submissions_per_second=rate, burst_size=burst)
    for _ in range(5):
        clock.enqueue(1_000)
    seconds = min(60.0, 4_000 / rate)
    granted = list(grants(clock, seconds))
    assert most_in_a_second(granted) <= burst + max(rate, 1)
    assert sum(n for _, n in granted) >= 0.99 * rate * seconds


def test_submissions_get_70_percent_of_the_request_rate(clock: Clockwork) -> None:
    clock.limit(requests_per_second=20)
    clock.enqueue(1_000)
    total = sum(n for _, n in grants(clock, 30))
    assert 0.99 * 14 * 30 <= total <= 14 * 30 + 1


def test_reads_find_permits_while_submissions_take_theirs(clock: Clockwork) -> None:
    clock.running(50)
    clock.limit(requests_per_second=20)
    clock.enqueue(1_000)
    clock.wait(2)
    polled = 0
    for _ in range(1_000):
        clock.heartbeat(first=True)
        clock.claim(10)
        call = worker_calls.poll_claim(clock.account, "p1", 10, 0, SECOND)
        polled += len(clock.run(call).items)
        clock.wait(0.01)
    assert polled >= 0.3 * 20 * 10 * 0.95


def test_a_clock_that_went_back_closes_the_gate_no_longer_than_a_burst(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=10, burst_size=5)
    clock.enqueue(100)
    assert len(clock.claimed(10)) == 5
    clock.wait(-3_600)
    assert clock.claimed(10) == []
    clock.wait(0.5)
    assert len(clock.claimed(10)) == 5


def hold_of(clock: Clockwork) -> float:
    """Seconds for which nothing is submitted."""
    return clock.run(job_calls.stats(clock.account)).hold_seconds


def test_busy_doubles_the_hold_from_1_to_60_seconds(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    holds = []
    for attempt in range(1, 9):
        assert clock.claimed() == [job]
        clock.give_back(job, "busy", attempt)
        holds.append(hold_of(clock))
        clock.heartbeat(first=True)
        taken = clock.claim()
        assert not taken.items
        assert taken.next_us == clock.now + round(holds[-1] * SECOND)
        clock.now = taken.next_us
    assert holds == [1, 2, 4, 8, 16, 32, 60, 60]


def test_many_answers_of_one_moment_double_the_hold_once(clock: Clockwork) -> None:
    jobs = clock.enqueue(5)
    assert clock.claimed() == jobs
    for job in jobs:
        clock.give_back(job, "busy")
        clock.wait(0.01)
    assert 0.9 < hold_of(clock) <= 1


@pytest.mark.parametrize("why", ["busy", "not_sent", "account"])
def test_retry_after_is_honoured(clock: Clockwork, why: str) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.give_back(job, why, wait=90, reason="Too Many Requests")
    stats = clock.run(job_calls.stats(clock.account))
    assert stats.hold_seconds == 90
    assert stats.hold_reason == "Too Many Requests"
    clock.wait(89.9)
    assert clock.claimed() == []
    clock.wait(0.1)
    assert clock.claimed() == [job]


def test_an_account_on_hold_is_probed_with_one_job_a_minute(clock: Clockwork) -> None:
    jobs = clock.enqueue(5)
    clock.claimed(1)
    clock.give_back(jobs[0], "account", reason="HTTP 402")
    for attempt in range(2, 5):
        clock.wait(59.9)
        assert clock.claimed() == []
        clock.wait(0.1)
        assert clock.claimed() == [jobs[0]], "one job is let through to see"
        assert clock.claimed() == []
        clock.give_back(jobs[0], "account", attempt)


def test_an_acceptance_ends_the_hold(clock: Clockwork) -> None:
    jobs = clock.enqueue(5)
    clock.claimed(1)
    clock.give_back(jobs[0], "account")
    clock.wait(60)
    clock.heartbeat(first=True)
    probe = clock.claim(10)
    assert clock.accept(probe.items) == [1]
    assert hold_of(clock) == 0
    assert clock.claimed(10) == jobs[1:]


def test_polls_and_cancels_draw_on_the_request_rate(clock: Clockwork) -> None:
    jobs = clock.running(30)
    clock.cancel(*jobs)
    clock.wait(3)  # an odd second, in which polls leave no permit to cancels
    clock.limit(requests_per_second=10, burst_size=10)
    clock.heartbeat(first=True)
    canceled = clock.run(worker_calls.cancel_claim(clock.account, "p1", 6, 0, LEASE))
    polled = clock.run(worker_calls.poll_claim(clock.account, "p1", 30, 0, LEASE))
    assert (len(canceled.items), len(polled.items)) == (6, 4)
    assert polled.next_us > clock.now


def test_cancels_find_permits_while_polls_ask_more_often(clock: Clockwork) -> None:
    jobs = clock.running(20)
    clock.wait(2)
    clock.cancel(jobs[0])
    clock.limit(requests_per_second=2, burst_size=1)
    clock.heartbeat(first=True)
    canceled, polled = 0, 0
    for _ in range(40):  # four seconds
        found = clock.run(worker_calls.poll_claim(clock.account, "p1", 30, 0, SECOND))
        assert found.items or found.next_us > clock.now, "asked again without a pause"
        polled += len(found.items)
        clock.wait(0.05)
        canceling = clock.run(worker_calls.cancel_claim(clock.account, "p1", 30, 0, SECOND))
        canceled += len(canceling.items)
        clock.wait(0.05)
    assert canceled >= 1
    assert polled >= 3


def test_a_hold_while_claims_are_recovered_outlasts_acceptances_and_further_trouble(
    clock: Clockwork,
) -> None:
    clock.enqueue(5)
    clock.heartbeat(first=True)
    first, second = clock.claim(2).items
    clock.heartbeat(sequence=9)
    clock.give_back(second.job_id, "account", reason="HTTP 402")
    assert clock.accept([first]) == [1]
    stats = clock.run(job_calls.stats(clock.account))
    assert stats.hold_kind == "redis"
    assert clock.claim(5).answer is ClaimAnswer.MOVED
    assert "lost claims" in str(stats.hold_reason)


def test_jobs_given_back_together_keep_their_order(clock: Clockwork) -> None:
    jobs = clock.enqueue(6)
    assert clock.claimed(4) == jobs[:4]
    back = [GivenBack(job, 1) for job in jobs[:4]]
    assert clock.run(worker_calls.give_back(clock.account, back, "void")) == [1, 1, 1, 1]
    assert clock.claimed(10) == jobs


def test_dead_ids_at_the_head_of_a_lane_cost_no_pause(clock: Clockwork) -> None:
    jobs = clock.enqueue(1000) + clock.enqueue(1000)
    clock.run(job_calls.cancel(clock.account, jobs[:999] + jobs[1000:1999]))
    clock.heartbeat(first=True)
    taken = clock.claim(10)
    while taken.next_us:
        assert taken.next_us == clock.now
        taken = clock.claim(10)
    assert clock.state(jobs[-1]) == "submitting"


def test_a_held_job_gives_its_slot_back_after_the_longest_run_and_is_still_adopted(
    clock: Clockwork,
) -> None:
    clock.limit(concurrent_runs=1)
    held, waiting = clock.enqueue(2)
    assert clock.claimed() == [held]
    clock.run(worker_calls.mark_unconfirmed(clock.account, [Lost(held, 1, "who knows")]))
    clock.wait(7_199)
    assert clock.sweep("free_slots", 7_200 * SECOND, WORKFLOW_RUN) == 0
    assert clock.claimed() == []
    clock.wait(1)
    assert clock.sweep("free_slots", 7_200 * SECOND, WORKFLOW_RUN) == 1
    assert clock.sweep("free_slots", 7_200 * SECOND, WORKFLOW_RUN) == 0
    assert clock.state(held) == "unconfirmed"
    assert clock.claimed() == [waiting]

    assert clock.found(held, 1, "run1") == 1
    assert clock.run(job_calls.stats(clock.account)).live == 2
    clock.finish(held, run_id="run1")
    assert clock.run(job_calls.stats(clock.account)).live == 1
    assert not clock.client.exists(clock.key("unconfirmed_no_slot"))


def test_looking_jobs_up_stores_and_takes_over_nothing(clock: Clockwork) -> None:
    batch = clock.open_batch()
    clock.enqueue(batch=batch, names=["uploading"])
    clock.enqueue(names=["known"])
    encoded = [job_calls.encode_job(spec(name)) for name in ("uploading", "known", "fresh")]
    before = clock.dump()
    found = clock.run(job_calls.look_up(clock.account, encoded, [None] * 3))
    assert [answer.status.value for answer in found] == ["new", "known", "new"]
    assert clock.dump() == before


def test_a_worker_that_only_lost_its_lease_does_not_bring_its_limits_back(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=100)
    clock.limit(concurrent_runs=10)
    old = {"concurrent_runs": 100.0, "submissions_per_second": 5.0}
    assert clock.run(worker_calls.seed_limits(clock.account, old, first=False)) == {}
    limits = clock.run(job_calls.stats(clock.account)).limits
    assert (limits["concurrent_runs"], limits["submissions_per_second"]) == (10, 5)


def test_a_worker_that_starts_is_told_which_limits_it_changes(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=100, submissions_per_second=2)
    new = {"concurrent_runs": 10.0, "submissions_per_second": 2.0}
    assert clock.run(worker_calls.seed_limits(clock.account, new)) == {"concurrent_runs": 100}
