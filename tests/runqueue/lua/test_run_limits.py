"""How long a run may take, as the scripts know it."""

from typing import Any

import pytest

from runqueue.records.claim_items import DuePoll, Lost, Polled
from runqueue.request.job_spec import Kind
from runqueue.store import worker_calls
from tests.runqueue.lua.clockwork import LEASE, SECOND, WORKFLOW_RUN, Clockwork

ACCOUNT_LIMIT = 7_200 * SECOND


def polled(
    clock: Clockwork, max_run: int = ACCOUNT_LIMIT, max_workflow: int = WORKFLOW_RUN, **lists: Any
) -> dict[str, DuePoll]:
    """Claim the polls that are due; each with its limit."""
    clock.heartbeat(first=True)
    limits: Any = {"max_run_us": max_run, "max_workflow_us": max_workflow}
    call = worker_calls.poll_claim(clock.account, "p1", 100, 0, LEASE, **limits, **lists)
    return {item.job_id: item for item in clock.run(call).items}


def test_a_job_has_its_own_limit_or_the_account_s_which_is_longer_for_workflows(
    clock: Clockwork,
) -> None:
    (task,) = clock.running(1)
    (workflow,) = clock.running(1, kind="workflow")
    (own,) = clock.running(1, kind="workflow", max_run_seconds=60)
    clock.wait(7_200)
    found = polled(clock)
    assert found[task].limit_us == ACCOUNT_LIMIT
    assert found[workflow].limit_us == WORKFLOW_RUN
    assert found[own].limit_us == 60 * SECOND
    assert {item.since_us for item in found.values()} == {clock.now - 7_200 * SECOND}


KINDS: tuple[Kind, ...] = ("task", "workflow", "login", "download_files")


@pytest.mark.parametrize(("max_run", "max_workflow"), [(45, 29_700), (7_200, 45), (45, 45)])
def test_each_limit_of_an_account_is_that_of_its_kinds(
    clock: Clockwork, max_run: int, max_workflow: int
) -> None:
    task, *workflow_runs = [clock.running(1, kind=kind)[0] for kind in KINDS]
    clock.wait(max(max_run, max_workflow))

    found = polled(clock, max_run * SECOND, max_workflow * SECOND)

    assert found[task].limit_us == max_run * SECOND
    assert {found[job].limit_us for job in workflow_runs} == {max_workflow * SECOND}


def test_a_run_in_lists_is_polled_when_the_shorter_limit_is_over(clock: Clockwork) -> None:
    limits = (ACCOUNT_LIMIT, 45 * SECOND)
    clock.running(12)
    clock.wait(1)
    assert not polled(clock, *limits, may_list=True, ahead_us=30 * SECOND)
    (task,) = clock.running(1)
    (workflow,) = clock.running(1, kind="workflow")
    assert clock.client.zscore(clock.key("listed"), workflow) is not None
    clock.wait(45)

    found = polled(clock, *limits)

    assert (found[task].limit_us, found[workflow].limit_us) == limits


def test_a_later_attempt_counts_from_its_own_start(clock: Clockwork) -> None:
    (job,) = clock.running(1, max_run_seconds=60)
    clock.wait(100)
    begun = clock.now - 20 * SECOND
    assert (
        clock.run(worker_calls.mark_polled(clock.account, [Polled(job, 1, "", SECOND, begun)])) == 1
    )
    clock.wait(1)
    assert polled(clock)[job].since_us == begun
    # What a poll does not know again stays.
    assert clock.run(worker_calls.mark_polled(clock.account, [Polled(job, 1, "", SECOND)])) == 1
    clock.wait(1)
    assert polled(clock)[job].since_us == begun


def test_a_run_left_to_its_webhook_is_polled_when_its_own_time_is_up(clock: Clockwork) -> None:
    (job,) = clock.running(1, receives=True, max_run_seconds=40)
    assert clock.next_poll(job) == 40 * SECOND  # not after the minute that webhooks have
    clock.wait(30)
    clock.run(worker_calls.mark_polled(clock.account, [Polled(job, 1, "", SECOND)]))
    assert clock.next_poll(job) == 30 * SECOND // 4
    clock.wait(8)
    clock.run(worker_calls.mark_polled(clock.account, [Polled(job, 1, "", SECOND)]))
    assert clock.next_poll(job) == 2 * SECOND
    clock.wait(2)
    clock.run(worker_calls.mark_polled(clock.account, [Polled(job, 1, "", SECOND)]))
    assert clock.next_poll(job) == SECOND


def test_an_unconfirmed_workflow_keeps_its_slot_as_long_as_it_may_run(clock: Clockwork) -> None:
    (task,) = clock.enqueue(1)
    (workflow,) = clock.enqueue(1, kind="workflow")
    (longest,) = clock.enqueue(1, max_run_seconds=2 * WORKFLOW_RUN // SECOND)
    assert set(clock.claimed()) == {task, workflow, longest}
    lost = [Lost(job, 1, "who knows") for job in (task, workflow, longest)]
    clock.run(worker_calls.mark_unconfirmed(clock.account, lost))
    clock.wait(7_200)
    assert clock.sweep("free_slots", ACCOUNT_LIMIT, WORKFLOW_RUN) == 1
    assert clock.members("unconfirmed_no_slot") == [task]
    clock.wait((WORKFLOW_RUN - ACCOUNT_LIMIT) // SECOND)
    assert clock.sweep("free_slots", ACCOUNT_LIMIT, WORKFLOW_RUN) == 1
    assert sorted(clock.members("unconfirmed_no_slot")) == sorted([task, workflow])
    clock.wait(WORKFLOW_RUN // SECOND)
    assert clock.sweep("free_slots", ACCOUNT_LIMIT, WORKFLOW_RUN) == 1
