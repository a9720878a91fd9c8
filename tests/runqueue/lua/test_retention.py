"""An account's own retention, by the state in which jobs end."""

import pytest

from runqueue.records.claim_items import RunAccepted
from runqueue.records.job import EnqueueStatus
from runqueue.store import job_calls, worker_calls
from runqueue.store.history import read_history
from tests.runqueue.lua.clockwork import DAY, SECOND, Clockwork, spec
from tests.runqueue.lua.test_ends import left_over
from tests.runqueue.lua.webhooks import awaited, due, outcome, receive, record, told


def wait(clock: Clockwork, days: float) -> None:
    """Let days pass, and the sweep remove what is due."""
    clock.wait(days * DAY / SECOND)
    clock.sweep("retire")


def test_each_state_has_its_own_retention_and_a_batch_goes_with_its_last_job(
    clock: Clockwork,
) -> None:
    clock.limit(keep_completed=1, keep_failed=30)
    batch, jobs = clock.batch_of(3)
    completed, failed = clock.end_all("completed", "failed")
    clock.cancel(*jobs)
    assert clock.claimed() == []
    history = clock.run(read_history(clock.account, completed))
    assert history is not None
    assert (history.steps[-1].at - history.steps[-2].at).days == 1, "its page says when it goes"
    seen = []
    for days in (0.99, 0.02, 5.98, 0.02, 22.98):
        wait(clock, days)
        seen.append("".join((clock.state(job) or "-")[0] for job in (completed, failed, *jobs[2:])))
    assert seen == ["cfc", "-fc", "-fc", "-f-", "-f-"]
    assert clock.read(batch).total == 3
    wait(clock, 0.02)
    wait(clock, 1)
    assert {name for name in left_over(clock) if "attempts" not in name} == set()


def test_the_run_of_a_job_that_went_early_is_given_to_nobody(clock: Clockwork) -> None:
    clock.limit(keep_completed=1)
    clock.enqueue(names=["key"])
    (job,) = clock.end_all("completed")
    run = f"r-{job}-1"
    wait(clock, 1)
    (equal,) = clock.unconfirmed()
    found = RunAccepted(equal, 1, run, "running", SECOND)
    by_request = worker_calls.mark_running(clock.account, [found], by_request=True)
    assert (clock.run(by_request), clock.state(equal)) == ([4], "unconfirmed")
    late = told(job, run_id=run, created_us=clock.now - DAY)
    assert receive(clock, late) == ["other"]
    (again,) = clock.enqueue_specs([spec("key")])
    assert (again.job_id, again.status) == (job, EnqueueStatus.NEW)
    (item,) = clock.claim().items
    assert item.attempt > 1, "its marker is no marker of the former job's runs"
    assert receive(clock, late) == ["other"]
    owners = worker_calls.owned_runs(clock.account, [run])
    wait(clock, 6)
    assert clock.run(owners) == [job]
    wait(clock, 1)
    assert clock.run(owners) == [""]


def test_a_job_stays_for_seven_days_while_its_webhook_is_not_delivered(clock: Clockwork) -> None:
    clock.limit(keep_completed=1, keep_dead=10)
    pending, delivered = awaited(clock, 2)
    receive(clock, told(pending), told(delivered))
    record(clock, *[outcome(item) for item in due(clock) if item.job_id == delivered])
    wait(clock, 1)
    assert (clock.state(pending), clock.state(delivered)) == ("completed", None)
    wait(clock, 6)
    assert clock.state(pending) is None
    assert not [key for key in clock.dump() if pending in key and "attempts" not in key]


@pytest.mark.parametrize("keep", [{}, {"keep_completed": 1, "keep_failed": 30, "keep_dead": 2}])
def test_after_any_pause_all_that_is_due_goes_in_bounded_steps(
    clock: Clockwork, keep: dict[str, int]
) -> None:
    clock.limit(**keep)
    for days in (0, 1, 30, 100):
        clock.wait(days * DAY / SECOND)
        clock.enqueue(4)
        clock.end_all("completed", "failed", "completed", "failed")
    clock.wait(40 * DAY / SECOND)
    clock.run(worker_calls.sweep(clock.account, "retire", 1))
    call = worker_calls.sweep(clock.account, "retire", 3)
    assert max(clock.commands(call) for _ in range(40)) < 300
    assert clock.run(call) == 0
    assert not any(clock.run(job_calls.stats(clock.account)).states.values())


def test_entries_that_the_longest_walk_takes_off_move_the_others_back(clock: Clockwork) -> None:
    clock.limit(keep_completed=6)
    clock.enqueue(1)
    clock.end_all("completed")
    clock.wait(0.4 * DAY / SECOND)
    (later,) = clock.enqueue(1)
    clock.end_all("completed")
    wait(clock, 5.7)
    assert clock.state(later) == "completed"
    wait(clock, 1)
    assert clock.state(later) is None


def test_a_changed_setting_removes_what_was_passed_over_before(clock: Clockwork) -> None:
    clock.limit(keep_completed=1)
    clock.enqueue(4)
    _, failed, *_ = clock.end_all("completed", "failed", "failed", "completed")
    wait(clock, 3)
    assert clock.state(failed) == "failed"
    clock.limit(keep_failed=1)
    wait(clock, 0)
    assert not any(clock.run(job_calls.stats(clock.account)).states.values())
    clock.limit(keep_completed=7, keep_failed=7)
    wait(clock, 7)
    assert not clock.client.hexists(clock.key("meta"), "retire_walks")
    wait(clock, 1)
    assert clock.client.keys(clock.key("ended:*")) == []
