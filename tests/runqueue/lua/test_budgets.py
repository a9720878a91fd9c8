"""Budgets of steps: of an account, a group, a batch, a key."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from runqueue.observe.collector import families
from runqueue.observe.family import AccountSample
from runqueue.observe.statistics import read_figures
from runqueue.records.claim_items import EndedOrphan, RunAgain
from runqueue.records.job import EnqueueStatus
from runqueue.store import budgets, job_calls, worker_calls
from runqueue.store.budgets import Budget, BudgetUse
from tests.runqueue.lua.clockwork import RETENTION, SECOND, UPLOAD, Clockwork, spec, took

DAY = 86_400


def set_budget(clock: Clockwork, scope: str, steps: int, per: str = "total", **more: Any) -> None:
    """Set a budget at the clock's time; a run is expected to take ten steps."""
    now = datetime.fromtimestamp(clock.now / SECOND, UTC)
    clock.run(budgets.set_budget(clock.account, scope, Budget(steps, per, **more), now))


def use(clock: Clockwork, scope: str) -> BudgetUse:
    """A budget as it is now."""
    (found,) = [one for one in clock.queue.list_budgets(clock.account) if one.scope == scope]
    return found


def end(clock: Clockwork, job_id: str, steps: int | None = 10) -> None:
    """Have a claimed job's run end after so many steps; None: the server does not say."""
    attempt = int(clock.field(job_id, "attempt") or 0)
    run_id = f"r-{job_id}-{attempt}"
    assert clock.found(job_id, attempt, run_id) == 1
    assert clock.finish(job_id, attempt=attempt, run_id=run_id, steps=steps) == 1


SCOPES: dict[str, dict[str, Any]] = {
    "account": {},
    "group:acme": {"group": "acme"},
    "key:login:a": {"keys": ["login:a"]},
    "key:login:*": {"keys": ["login:a"]},
}


@pytest.mark.parametrize("scope", SCOPES)
def test_no_more_begins_than_a_budget_has_steps_for(clock: Clockwork, scope: str) -> None:
    set_budget(clock, scope, 30)
    jobs = clock.enqueue(5, **SCOPES[scope])

    assert clock.claimed() == jobs[:3]  # ten steps each, until one has ended
    assert clock.claimed() == []
    end(clock, jobs[0], 4)
    end(clock, jobs[1], 4)
    clock.wait(6)
    assert clock.claimed() == jobs[3:]
    assert (use(clock, scope).spent, use(clock, scope).live) == (8, 3)


def test_a_batch_has_a_budget_of_its_own(clock: Clockwork) -> None:
    batch = clock.open_batch()
    jobs = clock.enqueue(4, batch=batch)
    clock.seal(batch)
    set_budget(clock, f"batch:{batch}", 20)
    others = clock.enqueue(2)

    assert set(clock.claimed()) == {*jobs[:2], *others}
    clock.wait(6)
    assert clock.claimed() == []
    for job_id in jobs[:2]:
        end(clock, job_id, 1)
    clock.wait(6)
    assert clock.claimed() == jobs[2:]


@pytest.mark.parametrize(
    ("per", "zone", "now", "ends"),
    [
        ("day", "UTC", "2026-03-01T23:30:00Z", "2026-03-02T00:00:00Z"),
        ("day", "Europe/Berlin", "2026-03-28T23:30:00Z", "2026-03-29T22:00:00Z"),  # 23 hours
        ("day", "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-25T23:00:00Z"),
        ("day", "Asia/Kolkata", "2026-07-01T18:29:59Z", "2026-07-01T18:30:00Z"),
        ("day", "America/New_York", "2030-07-01T03:59:59Z", "2030-07-01T04:00:00Z"),
        ("month", "UTC", "2028-02-29T23:59:59Z", "2028-03-01T00:00:00Z"),
        ("month", "UTC", "2026-12-31T12:00:00Z", "2027-01-01T00:00:00Z"),
        ("month", "Europe/Berlin", "2026-03-01T00:00:00Z", "2026-03-31T22:00:00Z"),
        ("month", "Pacific/Auckland", "2026-03-31T10:59:59Z", "2026-03-31T11:00:00Z"),
    ],
)
def test_a_window_ends_at_midnight_of_its_time_zone(
    clock: Clockwork, per: str, zone: str, now: str, ends: str
) -> None:
    clock.now = round(datetime.fromisoformat(now).timestamp()) * SECOND
    set_budget(clock, "account", 10, per, timezone=zone)
    assert use(clock, "account").resets_at == datetime.fromisoformat(ends)
    jobs = clock.enqueue(2)
    assert clock.claimed() == jobs[:1]
    end(clock, jobs[0])
    assert clock.claimed() == []
    clock.now = round(datetime.fromisoformat(ends).timestamp()) * SECOND
    assert use(clock, "account").spent == 0
    assert clock.claimed() == jobs[1:]


def test_a_run_counts_in_the_window_in_which_it_ended(clock: Clockwork) -> None:
    set_budget(clock, "account", 100, "day")
    (job,) = clock.enqueue(1)
    assert clock.claimed() == [job]
    clock.wait(DAY)
    end(clock, job, 7)
    assert use(clock, "account").spent == 7


def test_steps_that_are_not_known_count_as_expected_and_are_shown(clock: Clockwork) -> None:
    set_budget(clock, "account", 100)
    known, unknown = clock.enqueue(2)
    clock.claimed()
    end(clock, known, 6)
    end(clock, unknown, None)
    seen = use(clock, "account")
    assert (seen.spent, seen.estimated_runs, seen.mean) == (12, 1, 6.0)


@pytest.mark.parametrize("scope", [*SCOPES, "batch"])
def test_each_run_of_a_retried_job_counts_in_each_budget_of_it(
    clock: Clockwork, scope: str
) -> None:
    batch = clock.open_batch()
    scope = f"batch:{batch}" if scope == "batch" else scope
    set_budget(clock, scope, 100, "day")
    (job,) = clock.enqueue(1, batch=batch, group="acme", keys=["login:a"], max_steps=20)
    clock.seal(batch)
    for attempt, steps in ((1, 3), (2, 4)):
        assert clock.claimed() == [job]
        assert clock.found(job, attempt, f"r{attempt}") == 1
        times = took(steps=steps)
        again = RunAgain(job, attempt, f"r{attempt}", "failed", "no", 0, b"{}", times)
        assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]
        clock.sweep("promote_due")
    assert clock.claimed() == [job]
    end(clock, job, 1)
    seen = use(clock, scope)
    assert (seen.spent, seen.mean, seen.live, seen.committed) == (8, 2.667, 0, 0)


def test_an_orphan_run_counts_as_live_in_each_budget_of_its_job(clock: Clockwork) -> None:
    batch = clock.open_batch()
    scopes = ["account", "group:acme", f"batch:{batch}", "key:login:a", "key:login:*"]
    for scope in scopes:
        set_budget(clock, scope, 100, "day")
    (job,) = clock.enqueue(1, batch=batch, group="acme", keys=["login:a"])
    clock.seal(batch)
    assert clock.claimed() == [job]
    end(clock, job, 6)
    assert clock.found(job, 1, "r2") == 2
    shown = {one.scope: one for one in clock.queue.list_budgets(clock.account)}
    assert {
        scope: (shown[scope].live, shown[scope].committed) for scope in scopes
    } == dict.fromkeys(scopes, (1, 6))
    clock.run(worker_calls.orphans_over(clock.account, [EndedOrphan("r2", "::5")]))
    shown = {one.scope: one for one in clock.queue.list_budgets(clock.account)}
    assert {scope: (shown[scope].live, shown[scope].spent) for scope in scopes} == dict.fromkeys(
        scopes, (0, 11)
    )


@pytest.mark.parametrize("before", [None, Budget(500), Budget(400, is_strict=True)])
@pytest.mark.parametrize("scope", [*SCOPES, "batch"])
def test_a_strict_budget_commits_the_max_steps_of_runs_that_were_live_when_it_was_set(
    clock: Clockwork, scope: str, before: Budget | None
) -> None:
    batch = clock.open_batch()
    scope = f"batch:{batch}" if scope == "batch" else scope
    if before:
        clock.run(budgets.set_budget(clock.account, scope, before))
    options: dict[str, Any] = {"batch": batch, "group": "acme", "keys": ["login:a"]}
    running, lost, over = clock.enqueue(3, max_steps=100, **options)
    clock.seal(batch)
    (held,) = clock.enqueue(1, max_steps=100, group="acme", keys=["login:a"])
    others = clock.enqueue(1, max_steps=70, group="other") if scope != "account" else []
    assert set(clock.claimed()) == {running, lost, held, over, *others}
    clock.found(running, 1, "r1")
    assert clock.lose(lost) == 1
    assert clock.lose(held) == 1
    for _ in range(2):
        clock.wait(30)
        clock.search(held, "not_seen")
    assert clock.members("unconfirmed_no_slot") == [held]
    end(clock, over, 5)
    assert clock.found(over, 1, "orphan") == 2
    (submitting,) = clock.enqueue(1, max_steps=60, group="acme", keys=["login:a"])
    clock.heartbeat(first=True)
    if before is None or not before.is_strict:
        assert clock.claimed() == [submitting]

    set_budget(clock, scope, 1000, is_strict=True)
    what = "key:login:a" if scope == "key:login:*" else scope
    committed = int(cast("bytes", clock.client.hget(clock.key(f"max_steps:{what}"), "sum")))
    is_submitting = clock.state(submitting) == "submitting" and not scope.startswith("batch:")
    assert committed == 300 + 60 * is_submitting
    assert scope == "key:login:*" or use(clock, scope).committed == committed

    for job in [running, lost, submitting]:
        if clock.state(job) in {"submitting", "unconfirmed"}:
            clock.found(job, 1, f"r-{job}")
        clock.finish(job, run_id="r1" if job == running else f"r-{job}", steps=1)
    clock.run(worker_calls.orphans_over(clock.account, [EndedOrphan("orphan", "::5")]))
    if others:
        end(clock, others[0], 1)
    assert use(clock, scope).committed == 0
    assert clock.client.exists(clock.key(f"max_steps:{what}"), clock.key("commits")) == 0


def test_a_strict_budget_is_never_committed_beyond_its_steps(clock: Clockwork) -> None:
    set_budget(clock, "account", 50, is_strict=True)
    small = clock.enqueue(2, max_steps=20)
    large = clock.enqueue(2, max_steps=15)
    assert clock.claimed() == small
    assert use(clock, "account").committed == 40
    assert clock.claimed() == []
    end(clock, small[0], 2)
    clock.wait(6)
    assert clock.claimed() == large[:1]
    assert use(clock, "account").committed == 35


def test_a_job_without_max_steps_is_refused_under_a_strict_budget(clock: Clockwork) -> None:
    set_budget(clock, "group:acme", 50, is_strict=True)
    jobs = [
        spec("none", group="acme"),
        spec("many", group="acme", max_steps=51),
        spec("few", group="acme", max_steps=50),
        spec("other"),
    ]
    answers = clock.enqueue_specs(jobs)
    assert [answer.status for answer in answers] == [
        *[EnqueueStatus.REFUSED] * 2,
        *[EnqueueStatus.NEW] * 2,
    ]
    assert "got none: the budget of group:acme is strict" in str(answers[0].fault)
    assert "got 51: the budget of group:acme is strict" in str(answers[1].fault)
    assert [answer.state for answer in clock.enqueue_specs(jobs)] == ["ready"] * 4


def test_an_unconfirmed_job_keeps_what_it_may_take(clock: Clockwork) -> None:
    set_budget(clock, "account", 20, is_strict=True)
    lost, other = clock.enqueue(2, max_steps=15)
    assert clock.claimed() == [lost]
    clock.lose(lost)
    assert clock.claimed() == []
    assert use(clock, "account").committed == 15
    clock.deny(lost)
    assert use(clock, "account").committed == 0
    assert clock.claimed() in ([lost], [other])


def test_a_job_whose_claim_may_be_lost_commits_nothing_while_it_holds_no_slot(
    clock: Clockwork,
) -> None:
    set_budget(clock, "account", 20, is_strict=True)
    (job,) = clock.enqueue(1, max_steps=15)
    for field in ("recover_from", "recover_since"):
        clock.client.hset(clock.key("meta"), field, clock.now)
    call = worker_calls.mark_maybe_claimed(clock.account, [job], clock.now, clock.now, marked=True)
    assert clock.run(call) == [1]
    assert (clock.state(job), clock.field(job, "slot")) == ("unconfirmed", "0")
    assert use(clock, "account").committed == 0


def test_a_budget_that_is_raised_or_cleared_lets_what_waits_go(clock: Clockwork) -> None:
    set_budget(clock, "group:acme", 10)
    jobs = clock.enqueue(4, group="acme")
    assert clock.claimed() == jobs[:1]
    set_budget(clock, "group:acme", 20)
    assert clock.claimed() == jobs[1:2]
    clock.run(budgets.set_budget(clock.account, "group:acme", None))
    assert clock.claimed() == jobs[2:]
    assert clock.queue.list_budgets(clock.account) == []


@pytest.mark.parametrize("max_steps", [None, 1000])
def test_a_job_that_a_strict_budget_can_never_fit_holds_up_no_other(
    clock: Clockwork, max_steps: int | None
) -> None:
    (never,) = clock.enqueue(1, max_steps=max_steps, priority=0)
    set_budget(clock, "account", 100, is_strict=True)
    others = clock.enqueue(3, max_steps=5)

    assert clock.claimed() == others
    assert clock.state(never) == "scheduled"
    clock.run(budgets.set_budget(clock.account, "account", None))
    clock.wait(3601)
    clock.heartbeat(first=True)
    clock.sweep("promote_due")
    assert clock.claimed() == [never]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_strict_budget_that_is_set_anew_reads_no_live_run(clock: Clockwork, scope: str) -> None:
    set_budget(clock, scope, 10_000, is_strict=True)
    clock.enqueue(100, max_steps=10, **SCOPES[scope])
    assert len(clock.claimed(100)) == 100
    committed = use(clock, scope).committed

    raised = Budget(20_000, is_strict=True)
    assert clock.commands(budgets.set_budget(clock.account, scope, raised)) < 30
    assert use(clock, scope).committed == committed


@pytest.mark.parametrize("between", [None, Budget(50)])
def test_a_budget_that_is_strict_again_has_nothing_committed_to_runs_that_are_over(
    clock: Clockwork, between: Budget | None
) -> None:
    set_budget(clock, "account", 50, is_strict=True)
    (first,) = clock.enqueue(1, max_steps=40)
    assert clock.claimed() == [first]
    clock.run(budgets.set_budget(clock.account, "account", between))
    end(clock, first, 2)
    set_budget(clock, "account", 50, is_strict=True)
    assert use(clock, "account").committed == 0


def test_a_claim_looks_once_at_a_key_whose_budget_has_some_steps_left(clock: Clockwork) -> None:
    set_budget(clock, "key:customer:acme", 50, is_strict=True)
    jobs = clock.enqueue(5, keys=["customer:acme"], max_steps=20)
    assert clock.claimed() == jobs[:2]
    for _ in range(3):
        clock.wait(1.5)
        taken = clock.claim()
        assert taken.items == []
        assert taken.next_us > taken.now_us


@pytest.mark.parametrize("scope", ["account", "group:acme"])
def test_a_claim_wakes_nobody_while_what_waits_for_its_budget_is_not_due(
    clock: Clockwork, scope: str
) -> None:
    set_budget(clock, scope, 10)
    jobs = clock.enqueue(2, group="acme")
    assert clock.claimed() == jobs[:1]
    assert clock.claimed() == []
    clock.client.delete(clock.key("wake"))
    assert clock.claimed() == []
    assert clock.client.exists(clock.key("wake")) == 0
    end(clock, jobs[0], 1)
    clock.wait(6)
    assert clock.claimed() == jobs[1:]


def test_metrics_show_the_budgets_and_how_long_jobs_have_waited_for_keys(clock: Clockwork) -> None:
    set_budget(clock, "key:customer:*", 30)
    jobs = clock.enqueue(4, keys=["customer:acme"])
    assert clock.claimed() == jobs[:3]
    end(clock, jobs[0], 20)
    clock.wait(7)
    clock.claimed()

    stats = clock.run(job_calls.stats(clock.account))
    uses = clock.queue.list_budgets(clock.account)
    figures = clock.run(read_figures(clock.account))
    sample = AccountSample(clock.account, stats, figures, uses)
    shown = {
        (one.name, *one.labels.values()): one.value
        for family in families([sample])
        for one in family.samples
    }
    of_acme = ("runqueue_budget", clock.account, "key:customer:*", "key:customer:acme", "steps")
    assert shown[*of_acme, "limit"] == 30
    assert shown[*of_acme, "spent"] == 20
    assert shown[*of_acme, "committed"] == 40
    assert shown["runqueue_keys_waited_for", clock.account] == 1
    assert shown["runqueue_key_wait_seconds", clock.account] == pytest.approx(7, abs=0.1)


def test_of_a_budget_for_each_key_those_that_took_most_are_listed(
    clock: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_budget(clock, "key:customer:*", 30)
    for n in range(5):
        (job,) = clock.enqueue(1, keys=[f"customer:c{n}"])
        clock.claimed()
        end(clock, job, n)
    monkeypatch.setattr(budgets, "MOST_KEYS", 3)
    listed = clock.queue.list_budgets(clock.account)
    assert [(one.target, one.spent) for one in listed] == [
        ("key:customer:c4", 4),
        ("key:customer:c3", 3),
        ("key:customer:c2", 2),
    ]


def test_all_budgets_are_listed_a_bounded_number_a_call(clock: Clockwork) -> None:
    clock.heartbeat(first=True)
    scopes = sorted(f"key:customer:c{n}" for n in range(120))
    for scope in scopes:
        set_budget(clock, scope, 30, is_strict=True)
    for n in (0, 119):
        (job,) = clock.enqueue(1, keys=[f"customer:c{n}"], max_steps=4)
        assert clock.claimed() == [job]
        end(clock, job, n + 1)
    listed = clock.queue.list_budgets(clock.account)
    assert [one.scope for one in listed] == scopes
    assert {one.scope: one.spent for one in listed if one.spent} == {
        "key:customer:c0": 1,
        "key:customer:c119": 120,
    }
    for start in range(0, len(scopes), budgets.A_CALL):
        call = budgets.read_budgets(clock.account, scopes[start : start + budgets.A_CALL])
        assert clock.commands(call) <= 400
    gone = budgets.read_budgets(clock.account, [scopes[0], "key:customer:none"])
    clock.run(budgets.set_budget(clock.account, scopes[1], None))
    assert [one.scope for one in clock.run(gone)] == [scopes[0]]


def test_a_batch_takes_its_budget_with_it(clock: Clockwork) -> None:
    batch = clock.open_batch()
    set_budget(clock, f"batch:{batch}", 30, is_strict=True)
    (job,) = clock.enqueue(1, batch=batch, max_steps=5)
    clock.seal(batch)
    clock.claimed()
    end(clock, job, 3)
    clock.wait(RETENTION / SECOND + DAY)
    clock.heartbeat(first=True)
    clock.sweep("retire")
    clock.sweep("expire_batches", UPLOAD)
    assert [key for key in clock.dump() if batch in key] == []
    assert clock.queue.list_budgets(clock.account) == []
