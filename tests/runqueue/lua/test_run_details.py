"""Details of runs that ended without them: claimed a while later, recorded once."""

from datetime import UTC, datetime
from typing import Any

import pytest

from runqueue.records.claim_items import ClaimAnswer, Finished, RunAgain, RunDetails, Taken
from runqueue.records.run_figures import FigureRules, Usage
from runqueue.store import budgets, delivery_calls, groups, job_calls, worker_calls
from runqueue.store.budgets import Budget, BudgetUse
from runqueue.store.groups import GroupCredits
from tests.runqueue.lua.clockwork import SECOND, Clockwork, took
from tests.runqueue.lua.webhooks import receive, told

LEASE = 300 * SECOND
READ = FigureRules(details="all")


def claim(clock: Clockwork, want: int = 100) -> Taken[str]:
    return clock.run(worker_calls.details_claim(clock.account, "p1", want, 0, LEASE))


def record(clock: Clockwork, *runs: RunDetails) -> int:
    return clock.run(worker_calls.record_details(clock.account, runs))


def ended(clock: Clockwork, state: str = "failed", n: int = 1, **more: Any) -> list[str]:
    """Jobs whose runs `wr_<job>` ended; nothing but their steps is known."""
    clock.heartbeat(first=True)
    jobs = clock.enqueue(n, **more)
    for item in clock.claim(n).items:
        job, run_id = item.job_id, f"wr_{item.job_id}"
        assert clock.found(job, 1, run_id) == 1
        figures = took(steps=4, run=run_id, state=state, rules=READ)
        one = Finished(job, 1, run_id, state, state, "", b"{}", figures)
        assert clock.run(worker_calls.finish(clock.account, [one])) == [1]
    return jobs


def use(clock: Clockwork) -> BudgetUse:
    (found,) = clock.queue.list_budgets(clock.account)
    return found


def test_details_are_read_a_few_seconds_after_the_end(clock: Clockwork) -> None:
    (job,) = ended(clock)
    assert claim(clock).items == []
    clock.wait(5)
    clock.heartbeat()

    assert claim(clock).items == [f"wr_{job}"]
    assert claim(clock).items == []
    assert clock.tick().messages.get("details") is None


def test_a_tick_starts_the_stage_once_details_are_due(clock: Clockwork) -> None:
    ended(clock)
    clock.wait(5)
    clock.heartbeat()

    assert clock.tick().messages["details"] == 1


def test_what_was_read_is_the_jobs_and_in_all_sums(clock: Clockwork) -> None:
    (job,) = ended(clock, group="acme")
    assert record(clock, RunDetails(f"wr_{job}", 1, 7, 2, "LLM_ERROR")) == 1
    assert record(clock, RunDetails(f"wr_{job}", 1, 7, 2, "LLM_ERROR")) == 0

    found = clock.job(job)
    assert (found.usage, found.failure_category) == (Usage(4, 7, 2), "LLM_ERROR")
    (acme,) = clock.run(groups.group_credits(clock.account))
    assert acme == GroupCredits("acme", 1, 7, 2)
    totals = clock.run(job_calls.stats(clock.account)).totals
    assert (totals["credits"], totals["credits:runs"], totals["details:read"]) == (7, 1, 1)
    assert clock.members("run_details") == []
    assert not clock.client.exists(clock.key("run_details_of"))


def test_one_that_is_not_found_is_abandoned_after_three_tries(clock: Clockwork) -> None:
    ended(clock)
    clock.wait(5)
    for _ in range(3):
        clock.heartbeat(first=True)
        assert len(claim(clock).items) == 1
        clock.wait(LEASE / SECOND)
    clock.heartbeat(first=True)

    assert claim(clock).items == []
    assert clock.members("run_details") == []
    assert clock.run(job_calls.stats(clock.account)).totals["details:abandoned"] == 1


def test_without_a_worker_for_an_hour_it_is_abandoned(clock: Clockwork) -> None:
    ended(clock, n=3)
    clock.wait(3600)
    clock.heartbeat(first=True)

    assert claim(clock).items == []
    assert clock.run(job_calls.stats(clock.account)).totals["details:abandoned"] == 3


def test_a_server_without_the_list_costs_the_details(clock: Clockwork) -> None:
    (job,) = ended(clock)

    assert record(clock, RunDetails(f"wr_{job}", 0)) == 0
    assert clock.job(job).usage == Usage(4)
    assert clock.members("run_details") == []


def test_the_expected_credits_of_a_budget_are_corrected(clock: Clockwork) -> None:
    now = datetime.fromtimestamp(clock.now / SECOND, UTC)
    budget = Budget(per="day", credits=100, expected=9)
    clock.run(budgets.set_budget(clock.account, "key:login:*", budget, now))
    first, second = ended(clock, n=2, keys=["login:a"])
    assert (use(clock).spent, use(clock).estimated_runs, use(clock).mean) == (18, 2, None)

    record(clock, RunDetails(f"wr_{first}", 1, 4, 0))
    assert (use(clock).spent, use(clock).estimated_runs, use(clock).mean) == (13, 1, 4.0)
    clock.wait(86_400)  # its window is over, and has its due
    record(clock, RunDetails(f"wr_{second}", 1, 20, 0))
    assert (use(clock).spent, use(clock).estimated_runs, use(clock).mean) == (0, 0, 12.0)


def test_credits_of_a_late_webhook_count_once(clock: Clockwork) -> None:
    now = datetime.fromtimestamp(clock.now / SECOND, UTC)
    clock.run(budgets.set_budget(clock.account, "account", Budget(per="day", credits=99), now))
    (job,) = ended(clock, "completed")
    late = told(job, run_id=f"wr_{job}")._replace(figures=took(steps=4, billed=7, run=f"wr_{job}"))
    silent = late._replace(figures=took(steps=4, run=f"wr_{job}"))
    assert receive(clock, silent, late, late) == ["duplicate"] * 3

    assert clock.job(job).usage == Usage(4, 7)
    totals = clock.run(job_calls.stats(clock.account)).totals
    assert (totals["credits"], totals["steps"], totals["steps:runs"]) == (7, 4, 1)
    assert (use(clock).mean, use(clock).estimated_runs) == (7, 0)
    assert clock.members("run_details") == []
    calls = [delivery_calls.record_webhook(clock.account, [one]) for one in (silent, late)]
    assert clock.commands(calls[0]) == clock.commands(calls[1])


@pytest.mark.parametrize("then", ["waits", "is live", "has ended"])
def test_the_category_is_that_of_the_last_run_that_ended(clock: Clockwork, then: str) -> None:
    clock.heartbeat(first=True)
    (job,) = clock.enqueue()
    clock.claim()
    assert clock.found(job, 1, "wr_1") == 1
    figures = took(steps=1, run="wr_1", rules=READ)
    again = RunAgain(job, 1, "wr_1", "failed", "no", 0, b"{}", figures)
    assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]
    if then != "waits":
        clock.sweep("promote_due")
        clock.claim()
        assert clock.found(job, 2, "wr_2") == 1
    if then == "has ended":
        figures = took(steps=1, billed=3, category="UNKNOWN", run="wr_2")
        one = Finished(job, 2, "wr_2", "failed", "failed", "", b"{}", figures)
        assert clock.run(worker_calls.finish(clock.account, [one])) == [1]
    record(clock, RunDetails("wr_1", 1, 5, 0, "PROXY_ERROR"))

    expected = {"waits": "PROXY_ERROR", "is live": None, "has ended": "UNKNOWN"}
    assert clock.job(job).failure_category == expected[then]
    assert clock.job(job).credits == (8 if then == "has ended" else 5)


def test_a_job_that_is_gone_leaves_only_its_budgets(clock: Clockwork) -> None:
    (job,) = ended(clock)
    clock.client.delete(clock.key(f"job:{job}"))

    assert record(clock, RunDetails(f"wr_{job}", 1, 5, 0)) == 1
    assert clock.members("run_details") == []


def test_a_process_without_a_lease_takes_none(clock: Clockwork) -> None:
    ended(clock)
    call = worker_calls.details_claim(clock.account, "p2", 100, 0, LEASE)

    assert clock.run(call).answer is ClaimAnswer.FENCED
