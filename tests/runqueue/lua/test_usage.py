"""What the runs of a job, a batch, a group and the account took."""

from typing import Any, cast

import pytest

from runqueue.records.account import AccountStats
from runqueue.records.claim_items import Finished, RunAgain
from runqueue.records.run_figures import FigureRules, Usage, usage_of
from runqueue.store import groups, job_calls, operator_calls, worker_calls
from runqueue.store.groups import GroupCredits
from tests.runqueue.lua.clockwork import SECOND, Clockwork, took
from tests.runqueue.lua.webhooks import awaited, receive, told

RESULT = b'{"step_count": 9}'
BILLED: dict[str, Any] = {"steps": 4, "billed": 7, "cached": 2, "run": "wr_1"}


def finish(clock: Clockwork, job: str, figures: str, state: str = "completed", n: int = 1) -> None:
    run_id = f"r-{job}" if n == 1 else f"r{n}"
    item = Finished(job, n, run_id, state, state, "", RESULT, figures)
    assert clock.run(worker_calls.finish(clock.account, [item])) == [1]


def again(clock: Clockwork, job: str, figures: str, wait: float = 0) -> None:
    item = RunAgain(job, 1, f"r-{job}", "failed", "no luck", int(wait * SECOND), b"{}", figures)
    clock.run(worker_calls.retry_run(clock.account, [item]))


def next_run(clock: Clockwork, job: str, attempt: int) -> None:
    clock.sweep("promote_due", 100)
    clock.claim()
    assert clock.found(job, attempt, f"r{attempt}") == 1


def stats(clock: Clockwork) -> AccountStats:
    return clock.run(job_calls.stats(clock.account))


def by_group(clock: Clockwork) -> list[GroupCredits]:
    return clock.run(groups.group_credits(clock.account))


@pytest.mark.parametrize("way", ["poll", "webhook"])
def test_a_job_has_what_its_run_took_and_why_it_failed(clock: Clockwork, way: str) -> None:
    (job,) = awaited(clock)
    figures = took(**BILLED, category="LLM_ERROR")
    if way == "poll":
        finish(clock, job, figures, "failed")
    else:
        assert receive(clock, told(job, state="failed")._replace(figures=figures)) == ["ended"]

    found = clock.job(job)
    assert (found.usage, found.failure_category) == (Usage(4, 7, 2), "LLM_ERROR")
    assert usage_of(stats(clock).totals) == Usage(4, 7, 2)
    assert by_group(clock) == [GroupCredits("default", 1, 7, 2)]


def test_the_webhook_of_an_end_that_a_poll_saw_brings_the_category(clock: Clockwork) -> None:
    (job,) = awaited(clock)
    finish(clock, job, took(steps=4, run="tsk_1"), "failed")
    for category in (None, "LLM_ERROR", "UNKNOWN"):
        figures = took(steps=4, category=category, run="tsk_1")
        report = told(job, state="failed")._replace(figures=figures)
        assert receive(clock, report) == ["duplicate"]

    found = clock.job(job)
    assert (found.usage, found.failure_category) == (Usage(4), "LLM_ERROR")
    assert stats(clock).totals["steps"] == 4


def test_credits_of_0_are_0_and_none_are_not_known(clock: Clockwork) -> None:
    free, unknown = clock.running(2)
    finish(clock, free, took(steps=1, billed=0, cached=0, run="wr_1"))
    assert clock.finish(unknown) == 1

    assert clock.job(free).usage == Usage(1, 0, 0)
    assert clock.job(unknown).usage == Usage()


def test_the_steps_of_a_completed_job_alone_are_read_of_its_result(clock: Clockwork) -> None:
    (job,) = clock.running()
    finish(clock, job, took(steps=4))

    assert clock.field(job, "usage") is None
    assert clock.job(job).usage == Usage(9)
    assert stats(clock).totals["steps"] == 4
    assert by_group(clock) == []


def test_all_runs_of_a_job_count_and_the_category_is_that_of_the_last(clock: Clockwork) -> None:
    (job,) = clock.running()
    again(clock, job, took(**BILLED, category="PROXY_ERROR"))
    assert clock.job(job).failure_category == "PROXY_ERROR"
    next_run(clock, job, 2)
    finish(clock, job, took(steps=1, billed=3, run="wr_2"), n=2)

    found = clock.job(job)
    assert (found.usage, found.failure_category, found.runs) == (Usage(5, 10, 2), None, 2)
    assert by_group(clock) == [GroupCredits("default", 2, 10, 2)]


def test_a_run_whose_job_is_not_run_again_counts_too(clock: Clockwork) -> None:
    (job,) = clock.running()
    clock.cancel(job)
    again(clock, job, took(**BILLED))

    assert (clock.state(job), clock.job(job).usage) == ("failed", Usage(4, 7, 2))
    assert by_group(clock) == [GroupCredits("default", 1, 7, 2)]


def test_a_replayed_job_goes_on_adding(clock: Clockwork) -> None:
    (job,) = clock.running()
    finish(clock, job, took(steps=4), "failed")
    ended = clock.field(job, "ended")
    assert ended is not None
    clock.run(operator_calls.replay(clock.account, [(job, 1, int(ended))]))
    assert clock.job(job).failure_category is None
    next_run(clock, job, 2)
    finish(clock, job, took(**BILLED), n=2)

    assert clock.job(job).usage == Usage(8, 7, 2)


def test_estimated_credits_are_marked(clock: Clockwork) -> None:
    (job,) = clock.running()
    rules = FigureRules(credits_per_step=0.5)
    finish(clock, job, took(steps=5, run="tsk_1", rules=rules))

    assert clock.job(job).usage == Usage(5, 3, None, 3)


def test_a_batch_has_what_its_runs_took(clock: Clockwork) -> None:
    batch, jobs = clock.batch_of(2)
    clock.heartbeat(first=True)
    clock.accept(clock.claim(2).items)
    finish(clock, jobs[0], took(steps=4))
    finish(clock, jobs[1], took(**BILLED))

    found = clock.read(batch)
    assert (found.usage, found.credits_runs) == (Usage(8, 7, 2), 1)


def running(clock: Clockwork, *groups_of: str) -> list[str]:
    """A running job of each group."""
    clock.heartbeat(first=True)
    jobs = [clock.enqueue(group=group)[0] for group in groups_of]
    clock.accept(clock.claim(len(jobs)).items)
    return jobs


def test_each_group_has_the_credits_of_its_runs(clock: Clockwork) -> None:
    first, second, third = running(clock, "acme", "default", "acme")
    rules = FigureRules(credits_per_step=1)
    finish(clock, first, took(**BILLED))
    finish(clock, second, took(steps=5, billed=0, run="wr_1"), "failed")
    finish(clock, third, took(steps=2, run="tsk_1", rules=rules), "failed")

    assert by_group(clock) == [GroupCredits("acme", 2, 9, 2, 2)]


def test_beyond_1_000_groups_the_others_have_one_sum(clock: Clockwork) -> None:
    names = ("runs", "credits", "cached_credits", "credits_estimated")
    full = {f"{name} g{n}": 1 for n in range(1_000) for name in names}
    clock.client.hset(clock.key("group_credits"), mapping=cast(Any, full))
    for job in running(clock, "new-1", "new-2", "g7"):
        finish(clock, job, took(**BILLED))

    found = {one.group: one for one in by_group(clock)}
    assert len(found) == 1_001
    assert found["(others)"] == GroupCredits("(others)", 2, 14, 4)
    assert found["g7"] == GroupCredits("g7", 2, 8, 3, 1)


def test_what_a_run_took_costs_further_commands_only_where_it_cost_credits(
    clock: Clockwork,
) -> None:
    billed, silent, free, _ = running(clock, *["acme"] * 4)
    plain = clock.commands(_finished(clock, silent, ""))
    assert clock.commands(_finished(clock, free, took(steps=5, billed=0, run="wr_1"))) == plain
    assert clock.commands(_finished(clock, billed, took(**BILLED))) == plain + 3


def _finished(clock: Clockwork, job: str, figures: str) -> Any:
    item = Finished(job, 1, f"r-{job}", "completed", "completed", "", b"{}", figures)
    return worker_calls.finish(clock.account, [item])
