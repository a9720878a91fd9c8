"""Jobs that a strict budget has some steps left for, but too few: they are deferred."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from runqueue.records.batch import BatchRules
from runqueue.store import budgets, groups, job_calls, key_limits, worker_calls
from runqueue.store.budgets import Budget
from runqueue.store.key_limits import KeyLimit
from tests.runqueue.lua.clockwork import DAY, SECOND, Clockwork
from tests.runqueue.lua.test_budgets import end, set_budget
from tests.runqueue.lua.test_recovery import loss, recovered, suspected

#: The options of a job by what has a strict budget of hundred steps.
SCOPES: dict[str, dict[str, Any]] = {
    "account": {},
    "group:acme": {"group": "acme"},
    "key:login:a": {"keys": ["login:a"]},
    "key:login:*": {"keys": ["login:a"]},
}


def deferred(clock: Clockwork) -> dict[str, list[str]]:
    """The jobs that are deferred, by what they wait for the budget of."""
    found = clock.members("deferred_for")
    held = {what: clock.members(f"deferred:{what}") for what in found}
    names = [raw.decode() for raw in clock.client.keys(clock.key("deferred:*"))]  # type: ignore[union-attr]
    assert {clock.key(f"deferred:{what}") for what, ids in held.items() if ids} == set(names)
    return {what: ids for what, ids in held.items() if ids}


def defer(clock: Clockwork, **options: Any) -> str:
    """Have an account with 20 of 100 strict steps committed put a job aside that needs 90."""
    set_budget(clock, "account", 100, "day", is_strict=True)
    (live,) = clock.enqueue(1, max_steps=20)
    assert clock.claimed() == [live]
    (job,) = clock.enqueue(1, max_steps=90, **options)
    assert clock.claimed() == []
    assert deferred(clock) == {"account": [job]}
    return job


@pytest.mark.parametrize("scope", SCOPES)
def test_a_job_that_needs_more_than_is_left_holds_up_no_other(clock: Clockwork, scope: str) -> None:
    set_budget(clock, scope, 100, is_strict=True)
    (first,) = clock.enqueue(1, max_steps=60, **SCOPES[scope])
    (large,) = clock.enqueue(1, max_steps=50, **SCOPES[scope])
    small = clock.enqueue(3, max_steps=10, **SCOPES[scope])

    assert clock.claimed() == [first, *small]
    job = clock.job(large)
    assert job.state == "scheduled"
    what = "key:login:a" if scope.startswith("key:") else scope
    assert deferred(clock) == {what: [large]}
    assert [(why.kind, why.name) for why in job.waits_for] == [("budget", what)]
    assert job.reason is None


@pytest.mark.parametrize("scope", SCOPES)
def test_it_is_the_next_of_its_lane_once_enough_is_left(clock: Clockwork, scope: str) -> None:
    set_budget(clock, scope, 100, is_strict=True)
    (first,) = clock.enqueue(1, max_steps=60, **SCOPES[scope])
    (large,) = clock.enqueue(1, max_steps=50, **SCOPES[scope])
    assert clock.claimed() == [first]
    others = clock.enqueue(2, max_steps=50, **SCOPES[scope])
    end(clock, first, 10)
    clock.wait(6)

    assert clock.claimed() == [large]
    assert deferred(clock) == {next(iter(clock.members("deferred_for"))): others}


@pytest.mark.parametrize("then", [None, Budget(50), Budget(110, is_strict=True)])
def test_a_change_of_its_budget_brings_it_back(clock: Clockwork, then: Budget | None) -> None:
    job = defer(clock)
    clock.run(budgets.set_budget(clock.account, "account", then))
    assert clock.claimed() == ([] if then == Budget(50) else [job])
    assert (deferred(clock), clock.state(job)) == (
        {},
        "ready" if then == Budget(50) else "submitting",
    )


def test_of_several_that_come_back_the_largest_is_first(clock: Clockwork) -> None:
    set_budget(clock, "account", 100, is_strict=True)
    (live,) = clock.enqueue(1, max_steps=90)
    assert clock.claimed() == [live]
    deferred_jobs = [clock.enqueue(1, max_steps=steps)[0] for steps in (20, 50, 30, 40)]
    assert clock.claimed() == []
    assert len(deferred(clock)["account"]) == 4
    end(clock, live, 0)
    clock.wait(6)
    assert clock.claimed(1) == [deferred_jobs[1]]
    assert clock.claimed() == [deferred_jobs[3]]
    assert deferred(clock) == {"account": [deferred_jobs[0], deferred_jobs[2]]}


@pytest.mark.parametrize("scope", ["account", "key:login:a", "key:login:*"])
def test_in_a_new_day_the_largest_of_a_key_is_before_others_that_wait_for_it(
    clock: Clockwork, scope: str
) -> None:
    set_budget(clock, scope, 100, "day", is_strict=True)
    clock.run(key_limits.set_limit(clock.account, "login:a", KeyLimit(3)))
    (first,) = clock.enqueue(1, keys=["login:a"], max_steps=30)
    assert clock.claimed() == [first]
    (large,) = clock.enqueue(1, keys=["login:a"], max_steps=80)
    small = clock.enqueue(20, keys=["login:a"], max_steps=10)
    claimed = clock.claimed()
    assert claimed == small[:2]
    for job in [first, *claimed]:
        end(clock, job, 30)
    assert clock.claimed() == small[2:3]
    clock.wait(DAY / SECOND)

    assert clock.claimed() == [large, small[3]]


@pytest.mark.parametrize("key", ["login:a", "session:a"])
def test_a_job_that_comes_back_is_the_next_at_a_key_that_is_full(
    clock: Clockwork, key: str
) -> None:
    set_budget(clock, "account", 100, is_strict=True)
    clock.run(key_limits.set_limit(clock.account, "login:a", KeyLimit(1)))
    (live,) = clock.enqueue(1, max_steps=60)
    assert clock.claimed() == [live]
    (large,) = clock.enqueue(1, keys=[key], max_steps=50)
    small = clock.enqueue(4, keys=[key], max_steps=10)
    assert clock.claimed() == small[:1]
    assert deferred(clock) == {"account": [large]}
    end(clock, live, 0)
    clock.wait(6)
    assert clock.claimed() == []
    assert clock.state(large) == "ready"

    order = [small[0]]
    while len(order) < 5:
        end(clock, order[-1], 0)
        order += clock.claimed()
    assert order == [small[0], large, *small[1:]]


@pytest.mark.parametrize("why", ["paused", "capped", "held", "a key"])
def test_a_job_that_may_not_begin_in_a_new_day_holds_up_no_other(
    clock: Clockwork, why: str
) -> None:
    set_budget(clock, "account", 100, "day", is_strict=True)
    batch = clock.open_batch()
    (job,) = clock.enqueue(1, batch=batch, group="a", keys=["login:a"], max_steps=90)
    clock.seal(batch)
    (live,) = clock.enqueue(1, group="a", keys=["login:a"], priority=0, max_steps=20)
    assert clock.claimed() == [live]
    assert deferred(clock) == {"account": [job]}
    clock.wait(DAY / SECOND)
    set_budget(clock, "account", 120, "day", is_strict=True)
    if why == "held":
        clock.hold(batch)
    elif why == "a key":
        clock.run(key_limits.set_limit(clock.account, "login:a", KeyLimit(1)))
    elif why == "paused":
        clock.run(groups.set_group(clock.account, "a", paused=True))
    else:
        clock.run(groups.set_group(clock.account, "a", max_concurrent=1))
    (other,) = clock.enqueue(1, group="b", max_steps=5)

    assert clock.claimed() == [other]
    assert (clock.state(job), deferred(clock)) == ("ready", {})
    end(clock, live, 0)
    clock.run(groups.set_group(clock.account, "a", paused=False))
    if why == "held":
        clock.resume(batch)
    clock.wait(6)
    assert clock.claimed() == [job]


def test_nothing_is_deferred_while_nothing_is_left(clock: Clockwork) -> None:
    set_budget(clock, "account", 20, is_strict=True)
    jobs = clock.enqueue(5, max_steps=20)
    never = clock.enqueue(1, max_steps=20, group="b")
    assert len(clock.claimed()) == 1
    assert clock.claimed() == []
    assert deferred(clock) == {}
    assert clock.states([*jobs, *never]) == {"submitting", "ready"}
    assert clock.run(job_calls.stats(clock.account)).hold_kind == "budget"


def _adopted(clock: Clockwork, job: str) -> None:
    assert clock.found(job, 1, "r-lost") == 1


def _lost(clock: Clockwork, job: str) -> None:
    """Redis lost its claim, whose run is searched."""
    clock.another_server()
    clock.heartbeat(first=True)
    clock.claim()
    clock.wait(7)
    clock.heartbeat(first=True)
    assert clock.run(suspected(loss(clock), clock.account, [job])) == [1]
    assert clock.run(recovered(clock))


def _canceled_batch(clock: Clockwork, job: str) -> None:
    batch = str(clock.field(job, "batch"))
    clock.cancel_batch(batch)
    clock.sweep("sweep_canceled")


def _past_deadline(clock: Clockwork, job: str) -> None:
    clock.wait(3601)
    clock.heartbeat(first=True)
    clock.sweep("expire_deadlines")


def _after_a_day(clock: Clockwork, job: str) -> None:
    clock.wait(DAY / SECOND)
    clock.heartbeat(first=True)
    assert clock.sweep("promote_due") == 1


def _canceled(clock: Clockwork, job: str) -> None:
    assert clock.cancel(job) == [1]


#: What a job that is deferred may meet, and the state that it is in then.
WAYS_OUT: dict[str, tuple[Callable[[Clockwork, str], None], str]] = {
    "canceled": (_canceled, "canceled"),
    "its batch is canceled": (_canceled_batch, "canceled"),
    "its deadline passes": (_past_deadline, "dead"),
    "its run is found": (_adopted, "running"),
    "its claim is lost": (_lost, "unconfirmed"),
    "its time comes": (_after_a_day, "ready"),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_job_that_does_not_wait_any_more_is_in_no_index(clock: Clockwork, way: str) -> None:
    batch = clock.open_batch()
    clock.seal(batch)
    options = {"batch": None, "deadline": clock.now + 3600 * SECOND}
    if way == "its batch is canceled":
        batch = clock.open_batch()
        set_budget(clock, "account", 100, "day", is_strict=True)
        (live,) = clock.enqueue(1, max_steps=20)
        assert clock.claimed() == [live]
        (job,) = clock.enqueue(1, max_steps=90, batch=batch)
        clock.seal(batch)
        assert clock.claimed() == []
        assert deferred(clock) == {"account": [job]}
    else:
        if way != "its deadline passes":
            del options["deadline"]
        job = defer(clock, **options)

    leave, state = WAYS_OUT[way]
    leave(clock, job)

    assert clock.state(job) == state
    assert deferred(clock) == {}
    assert job not in clock.members("due")
    assert (clock.field(job, "deferred"), clock.field(job, "run_at")) == (None, None)


def test_a_canary_that_is_deferred_decides_on_its_batch_later(clock: Clockwork) -> None:
    set_budget(clock, "account", 100, is_strict=True)
    (live,) = clock.enqueue(1, max_steps=60)
    assert clock.claimed() == [live]
    batch = clock.open_batch(BatchRules(canary=1))
    canary = clock.enqueue(1, batch=batch, max_steps=50)[0]
    others = clock.enqueue(2, batch=batch, max_steps=5)
    clock.seal(batch)
    assert clock.claimed() == []
    end(clock, live, 10)
    clock.wait(6)
    assert clock.claimed() == [canary]
    end(clock, canary, 1)
    clock.wait(6)
    assert clock.claimed() == others


@pytest.mark.parametrize("scope", SCOPES)
def test_what_one_claim_puts_aside_and_brings_back_is_bounded(clock: Clockwork, scope: str) -> None:
    set_budget(clock, scope, 100, is_strict=True)
    clock.run(budgets.set_budget(clock.account, scope, None))
    for _ in range(3):
        clock.enqueue(1_000, max_steps=None if scope == "account" else 200, **SCOPES[scope])
    set_budget(clock, scope, 100, is_strict=True)
    clock.heartbeat(first=True)

    def claim() -> int:
        clock.wait(0.1)
        clock.heartbeat()
        return clock.commands(worker_calls.claim(clock.account, "p1", str(clock.now), 500, 0))

    worst = 0
    while sum(map(len, deferred(clock).values())) < 3_000:
        worst = max(worst, claim())
    clock.run(budgets.set_budget(clock.account, scope, None))
    clock.wait(6)
    clock.heartbeat(first=True)
    while deferred(clock):
        worst = max(worst, claim())
    assert worst <= 2_500


def test_a_clock_that_was_ahead_has_a_job_wait_no_longer(clock: Clockwork) -> None:
    job = defer(clock)
    ahead, now = clock.now, clock.now - 7200 * SECOND
    clock.client.zadd(clock.key("deferred_for"), {"account": ahead + 5 * SECOND})
    told = f"{now} {now - SECOND} {7200 * SECOND}, 1 ({now}"
    clock.client.hset(clock.key("meta"), "set_back", told)
    clock.now = now
    while clock.client.hexists(clock.key("meta"), "set_back"):
        clock.tick()
        clock.wait(1)
    due = clock.client.zscore(clock.key("deferred_for"), "account")
    assert due is not None
    assert due <= now + 5 * SECOND
    assert clock.members("due") == [job]


def test_a_worker_is_woken_for_jobs_that_are_deferred(clock: Clockwork) -> None:
    job = defer(clock)
    taken = clock.claim()
    assert taken.next_us == clock.now + 5 * SECOND
    clock.wait(4)
    clock.heartbeat(first=True)
    assert "submit" not in clock.tick().messages
    clock.wait(1)
    assert clock.tick().messages["submit"] == 1
    assert clock.state(job) == "scheduled"


def test_a_day_later_it_is_the_next_of_its_lane_in_any_case(clock: Clockwork) -> None:
    job = defer(clock)
    (other,) = clock.enqueue(1, max_steps=90)
    clock.wait(DAY / SECOND)
    clock.heartbeat(first=True)
    assert clock.sweep("promote_due") == 1
    lane = clock.client.lrange(clock.key("lane:2:default:-"), 0, -1)
    assert [raw.decode() for raw in cast("list[bytes]", lane)] == [job, other]
    assert clock.field(job, "ready_at") is None
