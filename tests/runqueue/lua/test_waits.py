"""Why a job, a batch and an account are not submitted now: `waits.lua`, and its words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runqueue.operator import pausing
from runqueue.records.account import AccountStats
from runqueue.records.health import AccountHealth, HealthLevel, health_of
from runqueue.records.job import JobState
from runqueue.records.waits import Wait
from runqueue.store import groups, job_calls, key_limits
from runqueue.store.history import read_history
from runqueue.store.key_limits import KeyLimit
from tests.runqueue.lua.clockwork import SECOND, START, Clockwork
from tests.runqueue.lua.test_budgets import end, set_budget
from tests.runqueue.lua.test_eta import TEN_RUNS, rounds

pytestmark = pytest.mark.usefixtures("served")

#: When a day's budget is set anew: the midnight after the clock's first second.
MIDNIGHT = datetime(2027, 1, 16, tzinfo=UTC)


def waits(clock: Clockwork, job_id: str) -> tuple[Wait, ...]:
    """What a job waits for."""
    return clock.job(job_id).waits_for


def words(clock: Clockwork, job_id: str) -> list[str]:
    """What a job waits for, in words."""
    return [wait.words for wait in waits(clock, job_id)]


def stats(clock: Clockwork) -> AccountStats:
    return clock.run(job_calls.stats(clock.account))


def at(clock: Clockwork, seconds: float) -> datetime:
    """A time after now."""
    return datetime.fromtimestamp(clock.now / SECOND, UTC) + timedelta(seconds=seconds)


def hold(clock: Clockwork, seconds: float, kind: str = "breaker") -> None:
    """Hold the account."""
    meta = clock.key("meta")
    clock.client.hset(meta, "hold_until", str(clock.now + round(seconds * SECOND)))
    clock.client.hset(meta, mapping={"hold_kind": kind, "hold_reason": "HTTP 401"})


def limit(clock: Clockwork, key: str, **limits: Any) -> None:
    clock.run(key_limits.set_limit(clock.account, key, KeyLimit.of_rates(**limits)))


def test_a_job_that_may_go_waits_for_nothing(clock: Clockwork) -> None:
    (ready,) = clock.enqueue(keys=["host:a"])

    assert waits(clock, ready) == ()


def test_a_paused_account_is_named_with_who_and_why(clock: Clockwork) -> None:
    (ready,) = clock.enqueue()
    clock.run(pausing.pause(clock.account, "ana: a deployment"))

    (found,) = waits(clock, ready)

    assert (found.kind, found.until, found.needs_person) == ("account_paused", None, True)
    assert found.reason == "ana: a deployment"
    assert found.words == "account default is paused until `runqueue resume`: ana: a deployment"
    assert stats(clock).waits_for == (found,)


def test_a_held_account_is_named_with_its_end(clock: Clockwork) -> None:
    (ready,) = clock.enqueue()
    hold(clock, 60)

    (found,) = waits(clock, ready)

    assert (found.kind, found.name, found.until) == ("account_held", "breaker", at(clock, 60))
    assert found.words == "account default is held until 2027-01-15 08:01:00 UTC: HTTP 401"
    assert stats(clock).waits_for == (found,)
    clock.wait(61)
    assert waits(clock, ready) == ()


def test_a_batch_that_is_not_sealed_is_named(clock: Clockwork) -> None:
    batch = clock.open_batch()
    (ready,) = clock.enqueue(batch=batch)

    assert words(clock, ready) == [f"batch {batch} is not uploaded in full yet"]


def test_a_paused_batch_is_named(clock: Clockwork) -> None:
    batch, (ready,) = clock.batch_of(1)
    clock.hold(batch)

    (found,) = waits(clock, ready)

    assert (found.kind, found.name, found.needs_person) == ("batch", batch, True)
    assert found.words == f"batch {batch} is paused until `runqueue batch resume {batch}`"


def test_each_key_without_room_is_named_with_its_limit(clock: Clockwork) -> None:
    limit(clock, "host:a", max_concurrent=1)
    limit(clock, "login:*", max_concurrent=None, hour=1)
    jobs = clock.enqueue(2, keys=["host:a", "login:x", "free:y"])
    assert clock.claimed() == jobs[:1]

    (rate, full) = waits(clock, jobs[1])

    assert (full.kind, full.words) == ("key_full", "key host:a is at its limit of 1 at a time")
    assert (rate.kind, rate.until) == ("key_rate", at(clock, 3600))
    assert rate.words == ("key login:x lets one begin every 3600 s, next 2027-01-15 09:00:00 UTC")


def test_a_job_in_line_at_a_key_that_has_room_again_says_so(clock: Clockwork) -> None:
    limit(clock, "host:a", max_concurrent=1)
    jobs = clock.enqueue(2, keys=["host:a"])
    assert clock.claimed() == jobs[:1]
    limit(clock, "host:a", max_concurrent=2)

    assert words(clock, jobs[1]) == ["it is in line at key host:a"]


def test_an_occupied_browser_session_is_named(clock: Clockwork) -> None:
    (ready,) = clock.enqueue(keys=["session:pbs_1"])
    until = clock.now + 30 * SECOND
    clock.client.set(clock.key("key_pause:session:pbs_1"), f"{until} 1")

    (found,) = waits(clock, ready)

    assert (found.kind, found.until) == ("key_occupied", at(clock, 30))


@pytest.mark.parametrize(
    ("scope", "whose", "options"),
    [
        ("account", "the account", {}),
        ("group:acme", "group acme", {"group": "acme"}),
        ("key:login:a", "key login:a", {"keys": ["login:a"]}),
        ("key:login:*", "key login:a (key:login:*)", {"keys": ["login:a"]}),
    ],
)
def test_a_spent_budget_is_named_with_the_end_of_its_window(
    clock: Clockwork, scope: str, whose: str, options: dict[str, Any]
) -> None:
    set_budget(clock, scope, 10, "day")
    jobs = clock.enqueue(3, **options)
    assert clock.claimed() == jobs[:1]
    (committed,) = waits(clock, jobs[2])
    end(clock, jobs[0], 10)

    (found,) = waits(clock, jobs[2])

    assert committed.words == (
        f"the budget of {whose} has no room until 2027-01-16 00:00:00 UTC at the latest: 0 spent"
        " and 10 committed to live runs, of 10 steps a day"
    )
    assert (found.kind, found.until, found.needs_person) == ("budget", MIDNIGHT, False)
    assert found.words == (
        f"the budget of {whose} is spent until 2027-01-16 00:00:00 UTC: 10 of 10 steps a day"
    )


def test_a_budget_of_a_batch_in_all_needs_a_person_once_it_is_spent(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(2)
    set_budget(clock, f"batch:{batch}", 10)
    assert clock.claimed() == jobs[:1]
    end(clock, jobs[0], 10)

    (found,) = waits(clock, jobs[1])

    assert (found.until, found.needs_person) == (None, True)
    assert found.words == (
        f"the budget of batch {batch} is spent: 10 of 10 steps in all; set a larger one, or clear"
        " it"
    )
    assert clock.read(batch).waits_for == (found,)


def test_a_strict_budget_that_a_job_can_never_fit_is_named_and_no_time(clock: Clockwork) -> None:
    (never,) = clock.enqueue(max_steps=20)
    set_budget(clock, "account", 10, "day", is_strict=True)
    assert clock.claimed() == []

    (found,) = waits(clock, never)

    assert (found.kind, found.until, found.needs_person) == ("budget", None, True)
    assert "can never fit it: max_steps of 10 at most" in found.words


def test_a_job_with_a_time_names_it_and_what_it_will_meet_then(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=1)
    (scheduled,) = clock.enqueue(run_at=START + 3600 * SECOND, group="acme")
    clock.enqueue()
    clock.claimed()
    assert words(clock, scheduled) == ["scheduled until 2027-01-15 09:00:00 UTC"]

    clock.run(groups.set_group(clock.account, "acme", groups.KEEP, True))

    assert [wait.kind for wait in waits(clock, scheduled)] == ["group_paused", "scheduled"]


def test_full_slots_are_named(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=1)
    jobs = clock.enqueue(2)
    assert clock.claimed() == jobs[:1]

    assert words(clock, jobs[1]) == ["all 1 slots of account default are taken"]


def test_the_rate_is_named(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=0.1, burst_size=1)
    jobs = clock.enqueue(2)
    assert clock.claimed() == jobs[:1]

    (found,) = waits(clock, jobs[1])

    assert (found.kind, found.until) == ("rate", at(clock, 10))
    assert found.words == "account default is at its rate of 0.1 submissions a second"


@pytest.mark.parametrize("policy", ["auto", "hold"])
def test_an_unconfirmed_job_waits_for_the_search_for_its_run(clock: Clockwork, policy: str) -> None:
    (lost,) = clock.enqueue(on_unconfirmed=policy)
    clock.heartbeat(first=True)
    (taken,) = clock.claim(1).items
    clock.lose(taken.job_id, taken.attempt)

    (found,) = waits(clock, lost)

    assert (found.kind, found.needs_person) == ("search", policy == "hold")
    assert found.words.startswith("its answer was lost: its run is searched for")


def test_of_several_reasons_all_are_named_what_needs_a_person_first_then_the_last_end(
    clock: Clockwork,
) -> None:
    set_budget(clock, "account", 10, "day")
    limit(clock, "host:a", max_concurrent=1)
    jobs = clock.enqueue(2, keys=["host:a"])
    assert clock.claimed() == jobs[:1]
    hold(clock, 60)
    clock.run(pausing.pause(clock.account))

    kinds = [wait.kind for wait in waits(clock, jobs[1])]

    assert kinds == ["account_paused", "budget", "account_held", "key_full"]


def test_a_job_that_runs_or_ended_waits_for_nothing(clock: Clockwork) -> None:
    jobs = clock.enqueue(2)
    assert clock.claimed(1) == jobs[:1]
    clock.run(pausing.pause(clock.account))

    assert waits(clock, jobs[0]) == ()
    end(clock, jobs[0])
    assert waits(clock, jobs[0]) == ()


@pytest.mark.parametrize("what", ["paused", "held", "budget"])
def test_a_batch_has_no_eta_while_its_account_submits_nothing(clock: Clockwork, what: str) -> None:
    clock.limit(**TEN_RUNS)
    batch, _ = clock.batch_of(24)
    rounds(clock, 1, 10, 100)
    assert clock.read(batch).seconds_left is not None

    if what == "paused":
        clock.run(pausing.pause(clock.account, "ana"))
    elif what == "held":
        hold(clock, 60)
    else:
        set_budget(clock, "account", 10, "day")
        (other,) = clock.enqueue(priority=0)
        assert clock.claimed(1) == [other]
        end(clock, other, 10)

    found = clock.read(batch)
    assert (found.seconds_left, found.eta) == (None, None)
    assert found.eta_note == f"waits for: {stats(clock).waits_for[0].words}"


@pytest.mark.parametrize("is_strict", [False, True])
def test_what_a_page_of_jobs_reads_of_keys_and_their_budgets_is_bounded(
    clock: Clockwork, is_strict: bool
) -> None:
    set_budget(clock, "key:login:*", 50, "day", is_strict=is_strict)
    limit(clock, "host:a", max_concurrent=1)
    clock.enqueue(2, keys=["host:a"], priority=0)
    assert len(clock.claimed()) == 1  # another waits: there are lines at keys
    jobs = [
        clock.enqueue(keys=[f"login:{n}:{one}" for one in range(4)], max_steps=5)[0]
        for n in range(500)
    ]
    plain = [clock.enqueue(keys=["free:a"], max_steps=5)[0] for _ in range(375)]

    few = clock.commands(job_calls.get_jobs(clock.account, jobs[:125]))
    many = clock.commands(job_calls.get_jobs(clock.account, jobs))

    # Beyond 500 keys, what names others costs hardly more than what names the same.
    others = clock.commands(job_calls.get_jobs(clock.account, plain))
    assert many - few < others + 375 * 2
    assert many - others < 500 * 12


# What the ready jobs of an account wait for, where none is in line.


def health(clock: Clockwork) -> AccountHealth:
    return health_of(stats(clock))


def test_a_paused_group_is_named_as_why_nothing_is_submitted(clock: Clockwork) -> None:
    (ready,) = clock.enqueue(group="acme")
    clock.run(groups.set_group(clock.account, "acme", groups.KEEP, True))

    assert stats(clock).jobs_wait_for == waits(clock, ready)
    assert health(clock).level is HealthLevel.STOPPED
    assert health(clock).reason == "group acme is paused until `runqueue group set acme --resume`"


def test_a_group_at_its_limit_whose_run_goes_on_is_no_alarm(clock: Clockwork) -> None:
    clock.run(groups.set_group(clock.account, "acme", 1, None))
    clock.enqueue(3, group="acme")
    assert len(clock.claimed(1)) == 1

    assert health(clock).level is HealthLevel.GOOD
    assert health(clock).words == "Submitting as limits allow"
    assert health(clock).reason == "group acme is at its limit of 1 at a time"


def test_more_keys_than_are_looked_at_are_counted(clock: Clockwork) -> None:
    limit(clock, "host:*", max_concurrent=1)
    for n in range(6):
        clock.enqueue(2, keys=[f"host:{n}"])
    assert len(clock.claimed(12)) == 6

    assert len(stats(clock).jobs_wait_for) == 4
    assert health(clock).reason.endswith("; 6 keys or budgets have jobs that wait")


# What a paused account and a job that was deferred do not show.


def test_a_job_that_was_deferred_shows_no_time_of_its_own(clock: Clockwork) -> None:
    set_budget(clock, "group:acme", 10, "day", is_strict=True)
    first, second = clock.enqueue(2, group="acme", max_steps=8)
    clock.client.hset(clock.key(f"job:{second}"), "reason", "HTTP 503")
    assert clock.claimed(1) == [first]
    end(clock, first, 5)
    assert clock.claimed(1) == []

    assert (clock.job(second).state, clock.job(second).run_at) == (JobState.SCHEDULED, None)
    assert clock.job(second).failure_reason is None
    assert "the budget of group acme has no room for 8 steps until" in words(clock, second)[0]
    history = clock.run(read_history(clock.account, second))
    assert history is not None
    assert [step.what for step in history.steps if step.ahead] == []


@pytest.mark.parametrize(
    ("max_steps", "words"),
    [
        (2, "has no room for 2 steps until"),
        (9, "the strict budget of group gs can never fit it: max_steps of 2 at most"),
    ],
)
def test_a_budget_is_named_for_which_all_jobs_were_deferred(
    clock: Clockwork, max_steps: int, words: str
) -> None:
    clock.enqueue(1, group="gs", max_steps=1)
    (job,) = clock.enqueue(1, group="gs", max_steps=max_steps)
    set_budget(clock, "group:gs", 2, "day", is_strict=True)
    assert len(clock.claimed()) == 1

    assert clock.state(job) == "scheduled"
    assert health(clock).words != "Nothing to submit"
    assert words in health(clock).reason


def test_nothing_is_submitted_while_a_budget_is_spent(clock: Clockwork) -> None:
    (first,) = clock.running(1, group="gs")
    set_budget(clock, "group:gs", 1, "day")
    clock.enqueue(1, group="gs")
    assert clock.finish(first) == 1
    assert clock.claimed() == []

    assert health(clock).words == "Waiting"
    assert health(clock).level is HealthLevel.BUSY
    assert "the budget of group gs" in health(clock).reason
