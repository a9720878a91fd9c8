"""A person pauses an account, and sets its limits while work goes on."""

from __future__ import annotations

import pytest

from runqueue.errors import InvalidLimits
from runqueue.operator import pausing
from runqueue.records.limits import AccountLimits
from runqueue.store import job_calls, limits
from runqueue.store.live_processes import LEASE_SECONDS
from tests.runqueue.lua.clockwork import Clockwork
from worker.process import lease


def pause(clock: Clockwork, reason: str = "") -> bool:
    return clock.run(pausing.pause(clock.account, reason))


def resume(clock: Clockwork) -> str:
    return clock.queue.resume(clock.account)


def set_limits(clock: Clockwork, **values: float | None) -> AccountLimits:
    return clock.run(limits.set_limits(clock.account, values))


def test_nothing_of_a_paused_account_is_claimed_until_it_goes_on(clock: Clockwork) -> None:
    jobs = clock.enqueue(3)
    assert pause(clock, "a deployment")
    assert clock.claimed() == []
    clock.wait(400 * 86_400)
    assert clock.claimed() == []
    assert resume(clock) == "paused: a deployment"
    assert clock.claimed() == jobs


def test_a_paused_account_is_sent_no_submit_consumer_and_one_that_goes_on_is_woken(
    clock: Clockwork,
) -> None:
    clock.heartbeat(first=True)
    clock.enqueue(3)
    pause(clock)
    assert "submit" not in clock.tick().messages
    clock.client.delete(clock.key("wake"))
    resume(clock)
    assert clock.client.exists(clock.key("wake")) == 1
    clock.wait(1)
    assert clock.tick().messages["submit"] == 1


def test_runs_of_a_paused_account_go_on_to_their_ends(clock: Clockwork) -> None:
    (job,) = clock.running()
    pause(clock)
    clock.finish(job)
    assert clock.state(job) == "completed"


def test_a_pause_is_shown_with_its_reason_whatever_else_holds_the_account(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.give_back(job, "account", reason="HTTP 402")
    pause(clock, "look at the bill")
    found = clock.run(job_calls.stats(clock.account))
    assert (found.paused, found.hold_reason) == (True, "paused: look at the bill")
    assert found.hold_seconds > 365 * 86_400


def test_ending_a_pause_ends_no_hold_and_vouches_for_no_server(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.give_back(job, "account", reason="HTTP 402")
    pause(clock)
    before = clock.client.hget(clock.key("meta"), "sequence")
    assert resume(clock) == "paused"
    assert clock.claimed() == [], "the hold is not over"
    assert clock.client.hget(clock.key("meta"), "sequence") == before
    assert resume(clock) == "HTTP 402"
    assert clock.claimed() == [job]
    assert resume(clock) == ""


def test_a_pause_said_again_takes_the_last_reason_that_is_given(clock: Clockwork) -> None:
    assert pause(clock, "first")
    assert not pause(clock)
    assert clock.run(job_calls.stats(clock.account)).hold_reason == "paused: first"
    assert not pause(clock, "second")
    assert clock.run(job_calls.stats(clock.account)).hold_reason == "paused: second"


def test_a_limit_that_is_set_live_wins_until_it_is_reset(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=2)
    clock.enqueue(10)
    assert len(clock.claimed()) == 2
    clock.client.delete(clock.key("wake"))
    found = set_limits(clock, concurrent_runs=5)
    assert (found.environment["concurrent_runs"], found.live) == (2, {"concurrent_runs": 5})
    assert found.in_force["concurrent_runs"] == 5
    assert clock.client.exists(clock.key("wake")) == 1, "who waits for a slot looks again"
    assert len(clock.claimed()) == 3
    clock.limit(concurrent_runs=3)  # a worker that starts with another environment
    assert set_limits(clock).in_force["concurrent_runs"] == 5
    assert set_limits(clock, concurrent_runs=None).in_force["concurrent_runs"] == 3


def test_zero_is_no_limit_and_names_of_settings_will_do(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=2)
    clock.enqueue(4)
    clock.run(limits.set_limits(clock.account, {"max_concurrent_runs": 0}))
    assert len(clock.claimed()) == 4


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("concurrent_runs", -1, "expected 0 (none) to 1,000,000, got -1"),
        ("concurrent_runs", 1.5, "expected a whole number, got 1.5"),
        ("requests_per_second", float("nan"), "expected 0 (none) to 100,000, got nan"),
        ("runs", 1, "expected one of dispatches_per_second"),
    ],
)
def test_a_limit_that_is_none_changes_nothing(
    clock: Clockwork, name: str, value: float, said: str
) -> None:
    with pytest.raises(InvalidLimits) as refused:
        set_limits(clock, burst_size=7, **{name: value})
    assert [(e.field, e.message.startswith(said)) for e in refused.value.errors] == [(name, True)]
    assert set_limits(clock).live == {}


def test_fractions_of_a_rate_are_kept(clock: Clockwork) -> None:
    rate = 1 / 3
    assert set_limits(clock, dispatches_per_second=rate).live == {"dispatches_per_second": rate}


def test_the_seconds_of_a_lease_that_are_shown_are_the_worker_s() -> None:
    assert lease.LEASE_SECONDS == LEASE_SECONDS
