"""What is told of the line: what may go, its longest wait, how fast it goes, what holds it."""

import pytest

from runqueue.observe.collector import families
from runqueue.observe.family import AccountSample
from runqueue.observe.statistics import read_figures
from runqueue.records.account import AccountStats
from runqueue.records.health import health_of
from runqueue.request.job_spec import Priority
from runqueue.store import groups, job_calls
from tests.runqueue.lua.clockwork import Clockwork


def stats(clock: Clockwork) -> AccountStats:
    return clock.run(job_calls.stats(clock.account))


def told(clock: Clockwork, name: str) -> dict[tuple[str, ...], float]:
    """What the page for Prometheus says of the account, by its other labels."""
    seen = AccountSample(clock.account, stats(clock), clock.run(read_figures(clock.account)))
    return {
        tuple(value for label, value in sample.labels.items() if label != "account"): sample.value
        for family in families([seen])
        for sample in family.samples
        if sample.name == name
    }


def test_only_what_may_go_is_claimable(clock: Clockwork) -> None:
    clock.enqueue(3)
    batch, _ = clock.batch_of(4)
    clock.enqueue(5, group="shop")
    assert stats(clock).claimable == 12
    clock.hold(batch)
    clock.run(groups.set_group(clock.account, "shop", paused=True))
    assert stats(clock).claimable == 3
    clock.run(groups.set_group(clock.account, "shop", 2, paused=False))
    assert stats(clock).claimable == 5
    clock.heartbeat(first=True)
    assert len(clock.claim(10).items) == 5
    assert stats(clock).claimable == 0


def test_the_longest_wait_is_found_behind_any_number_of_canceled_jobs(clock: Clockwork) -> None:
    first = clock.enqueue(900)
    clock.wait(10)
    clock.enqueue(1)
    clock.wait(10)
    clock.enqueue(700)
    clock.cancel(*first)

    assert stats(clock).oldest_ready_seconds == 20 - 10


def test_what_a_paused_or_full_group_or_a_held_batch_keeps_back_counts_as_no_wait(
    clock: Clockwork,
) -> None:
    clock.limit(concurrent_runs=1)
    clock.running(group="full")
    clock.enqueue(1, group="full")
    clock.enqueue(1, group="off")
    held, _ = clock.batch_of(1)
    clock.wait(4_000)
    assert stats(clock).oldest_ready_seconds == 4_000
    clock.run(groups.set_group(clock.account, "full", 1))
    clock.run(groups.set_group(clock.account, "off", paused=True))
    clock.hold(held)
    clock.enqueue(1)
    clock.wait(5)

    assert stats(clock).oldest_ready_seconds == 5
    assert stats(clock).in_line[Priority.NORMAL] == 1


def test_the_pace_is_what_the_limit_of_all_calls_leaves(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=10, requests_per_second=2)
    clock.enqueue(60)
    clock.heartbeat(first=True)
    taken = 0
    for _ in range(80):
        taken += len(clock.claim(10).items)
        clock.wait(0.25)
        clock.heartbeat()

    assert told(clock, "runqueue_pace") == {(): 1.4}
    assert taken / 20 == pytest.approx(1.4, rel=0.1)
    clock.wait(1)
    assert str(health_of(stats(clock))) == "submitting: up to 1.4 a second (70 % of 2 calls)"
