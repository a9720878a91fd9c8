"""A person pauses an account, and sets its limits while work goes on."""

from __future__ import annotations

import pytest

from runqueue.errors import InvalidLimits
from runqueue.operator import pausing
from runqueue.records.limits import AccountLimits
from runqueue.store import limits
from tests.runqueue.lua.clockwork import Clockwork


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


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("concurrent_runs", -1, "expected 0 (none) to 1,000,000, got -1"),
        ("concurrent_runs", 1.5, "expected a whole number, got 1.5"),
        ("requests_per_second", float("nan"), "expected 0 (none) to 100,000, got nan"),
        ("runs", 1, "expected one of submissions_per_second"),
    ],
)
def test_a_limit_that_is_none_changes_nothing(
    clock: Clockwork, name: str, value: float, said: str
) -> None:
    with pytest.raises(InvalidLimits) as refused:
        set_limits(clock, burst_size=7, **{name: value})
    assert [(e.field, e.message.startswith(said)) for e in refused.value.errors] == [(name, True)]
    assert set_limits(clock).live == {}
