"""Budgets of credits, which are known of a run once it has ended, or later."""

from datetime import UTC, datetime
from typing import Any

import pytest

from runqueue.records.claim_items import EndedOrphan, Finished, RunAgain
from runqueue.records.run_figures import FigureRules
from runqueue.store import budgets, worker_calls
from runqueue.store.budgets import Budget, BudgetUse
from tests.runqueue.lua.clockwork import SECOND, Clockwork, took

SCOPES: dict[str, dict[str, Any]] = {
    "account": {},
    "group:acme": {"group": "acme"},
    "key:login:*": {"keys": ["login:a"]},
}


def set_budget(clock: Clockwork, amount: int, scope: str = "account", expected: int = 10) -> None:
    now = datetime.fromtimestamp(clock.now / SECOND, UTC)
    budget = Budget(per="day", credits=amount, expected=expected)
    clock.run(budgets.set_budget(clock.account, scope, budget, now))


def use(clock: Clockwork) -> BudgetUse:
    (found,) = clock.queue.list_budgets(clock.account)
    return found


def end(clock: Clockwork, job: str, billed: int | None, steps: int = 4) -> None:
    attempt = int(clock.field(job, "attempt") or 0)
    run_id = f"wr_{job}-{attempt}"
    assert clock.found(job, attempt, run_id) == 1
    figures = took(steps=steps, billed=billed)
    item = Finished(job, attempt, run_id, "completed", "completed", "", b"{}", figures)
    assert clock.run(worker_calls.finish(clock.account, [item])) == [1]


@pytest.mark.parametrize("scope", SCOPES)
def test_no_more_begins_than_a_budget_has_credits_for(clock: Clockwork, scope: str) -> None:
    set_budget(clock, 30, scope)
    jobs = clock.enqueue(5, max_steps=25, **SCOPES[scope])

    assert clock.claimed() == jobs[:3]  # ten credits each, whatever steps they may take
    end(clock, jobs[0], 3)
    end(clock, jobs[1], 5)
    clock.wait(6)
    assert clock.claimed() == jobs[3:]  # four each, from now on
    seen = use(clock)
    assert (seen.spent, seen.mean, seen.live, seen.committed) == (8, 4.0, 3, 12.0)
    assert seen.budget.words() == "30 credits a day (UTC)"


def test_what_waits_says_what_of(clock: Clockwork) -> None:
    set_budget(clock, 10)
    first, second = clock.enqueue(2)
    clock.claimed()
    end(clock, first, 12)
    clock.claimed()

    (wait,) = clock.job(second).waits_for
    assert "is spent until" in wait.words
    assert wait.words.endswith("12 of 10 credits a day")


def test_credits_that_nobody_reports_count_as_expected(clock: Clockwork) -> None:
    set_budget(clock, 100, expected=7)
    (job,) = clock.enqueue()
    clock.claimed()
    end(clock, job, None)

    seen = use(clock)
    assert (seen.spent, seen.estimated_runs, seen.mean) == (7, 1, None)


def test_every_run_of_a_retried_job_counts(clock: Clockwork) -> None:
    set_budget(clock, 100)
    (job,) = clock.enqueue()
    clock.claimed()
    assert clock.found(job, 1, "wr_1") == 1
    again = RunAgain(job, 1, "wr_1", "failed", "no", 0, b"{}", took(billed=6))
    assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]
    clock.sweep("promote_due")
    clock.claimed()
    end(clock, job, 5)

    assert use(clock).spent == 11


def test_steps_that_were_spent_are_no_credits(clock: Clockwork) -> None:
    now = datetime.fromtimestamp(clock.now / SECOND, UTC)
    clock.run(budgets.set_budget(clock.account, "account", Budget(100, "day"), now))
    (job,) = clock.enqueue()
    clock.claimed()
    end(clock, job, 3, steps=9)
    assert (use(clock).spent, use(clock).mean) == (9, 9.0)

    set_budget(clock, 50)
    assert (use(clock).spent, use(clock).mean) == (0, None)


def test_nothing_is_noted_of_an_orphan_run(clock: Clockwork) -> None:
    set_budget(clock, 99)
    (job,) = clock.running()
    assert clock.found(job, 1, "wr_orphan") == 2
    end = EndedOrphan("wr_orphan", took(steps=4, rules=FigureRules()))
    assert clock.run(worker_calls.orphans_over(clock.account, [end])) == 1

    assert use(clock).estimated_runs == 1
    assert not clock.client.exists(clock.key("run_details_of"))
