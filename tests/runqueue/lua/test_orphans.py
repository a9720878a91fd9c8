"""Orphans: a run that no job owns takes a slot until it is over, and is shown for a week."""

from collections.abc import Callable
from typing import Any

import pytest

from runqueue.records import claim_items
from runqueue.records.claim_items import DuePoll, EndedOrphan, RunAbandoned
from runqueue.request.retry_policy import Retry
from runqueue.store import job_calls, operator_calls, worker_calls
from tests.runqueue.lua.clockwork import DAY, LEASE, RETENTION, SECOND, WORKFLOW_RUN, Clockwork
from tests.runqueue.lua.webhooks import receive, told

#: The longest that a task's run may take.
MAX_RUN = 7_200 * SECOND


def orphan(clock: Clockwork, name: str = "k", run_id: str = "run1") -> str:
    """Have a run reported of a job that nobody knows; returns the job's id."""
    job = clock.new_id(name)
    assert clock.found(job, 1, run_id) == 2
    return job


def polled(clock: Clockwork, want: int = 10) -> list[str]:
    """The runs that a poll takes."""
    clock.heartbeat("p1", first=True)
    taken = clock.run(worker_calls.poll_claim(clock.account, "p1", want, 0, LEASE))
    return [item.run_id for item in taken.items]


def over(clock: Clockwork, *run_ids: str) -> int:
    over_now = [EndedOrphan(run_id) for run_id in run_ids]
    return clock.run(worker_calls.orphans_over(clock.account, over_now))


def orphans_live(clock: Clockwork) -> int:
    return clock.run(job_calls.stats(clock.account)).orphans_live


def test_an_orphan_takes_a_slot_until_a_look_says_that_it_is_over(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=1)
    orphan(clock)
    (job,) = clock.enqueue(1)
    assert clock.claimed() == []
    assert not clock.tick().messages.get("submit")
    assert over(clock, "run1") == 1
    assert over(clock, "run1") == 0, "said again"
    assert clock.client.exists(clock.key("wake")), "who waits for a slot is told"
    assert clock.claimed() == [job]
    stats = clock.run(job_calls.stats(clock.account))
    assert (stats.orphans, stats.orphans_live) == (1, 0), "it is still shown"


def test_a_job_submitted_again_needs_no_second_slot_for_its_orphan(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=2)
    job = orphan(clock)
    _, other, _ = clock.enqueue(names=["k", "other", "third"])
    assert clock.claimed() == [other]
    assert (clock.state(job), clock.field(job, "run_id")) == ("running", "run1")
    stats = clock.run(job_calls.stats(clock.account))
    assert (stats.live, stats.orphans, stats.orphans_live) == (2, 0, 0)


def test_a_job_submitted_again_whose_time_was_up_when_it_was_claimed_has_its_orphan_watched(
    clock: Clockwork,
) -> None:
    job = orphan(clock)
    clock.enqueue(names=["k"], deadline=clock.now + SECOND)
    clock.wait(1)

    assert clock.claimed() == []

    assert (clock.state(job), clock.field(job, "run_id")) == ("running", "run1")
    assert clock.members("poll") == [job], "it is canceled if it goes on"


def waits_with_an_orphan(clock: Clockwork, **options: Any) -> str:
    """A job of a batch that was submitted again, and whose run is known as an orphan."""
    batch = clock.open_batch()
    job = orphan(clock)
    assert clock.enqueue(names=["k"], batch=batch, **options) == [job]
    clock.seal(batch)
    return job


def cancel_it(clock: Clockwork, job: str) -> None:
    assert clock.cancel(job) == [2], "asked for, and not done"


def cancel_its_batch(clock: Clockwork, job: str) -> None:
    clock.cancel_batch(clock.field(job, "batch") or "")
    assert clock.run(job_calls.job_states(clock.account, [job])) == [(clock.state(job), 0)], (
        "not over"
    )
    clock.sweep("sweep_canceled")


def pass_its_deadline(clock: Clockwork, _: str) -> None:
    clock.wait(3_600)
    clock.heartbeat("p1", first=True)
    clock.sweep("expire_deadlines")


NOT_WANTED = pytest.mark.parametrize("end", [cancel_it, cancel_its_batch, pass_its_deadline])


@NOT_WANTED
@pytest.mark.parametrize("delay", [0, 7_200])
def test_the_orphan_of_a_job_that_is_not_wanted_any_more_is_canceled_as_its_run(
    clock: Clockwork, end: Callable[[Clockwork, str], None], delay: int
) -> None:
    run_at = clock.now + delay * SECOND if delay else None
    job = waits_with_an_orphan(clock, run_at=run_at, deadline=clock.now + 3_600 * SECOND)

    end(clock, job)

    assert (clock.state(job), clock.field(job, "run_id")) == ("running", "run1")
    assert clock.members("poll") == [job]
    assert clock.members("cancels") == ([] if end is pass_its_deadline else [job])
    assert clock.members("due") == []
    stats = clock.run(job_calls.stats(clock.account))
    assert (stats.live, stats.orphans, stats.orphans_live) == (1, 0, 0)
    assert clock.finish(job, run_id="run1", state="canceled") == 1
    assert clock.state(job) == "canceled"


@NOT_WANTED
@pytest.mark.parametrize(("receives", "route"), [(True, "relay"), (False, "watch")])
def test_who_waits_for_the_webhook_of_an_orphan_is_told_of_its_end(
    clock: Clockwork, end: Callable[[Clockwork, str], None], receives: bool, route: str
) -> None:
    clock.running(1, receives=receives)
    job = waits_with_an_orphan(clock, url="https://shop/hook", deadline=clock.now + 3_600 * SECOND)

    end(clock, job)
    assert clock.finish(job, run_id="run1", state="canceled") == 1

    assert (clock.field(job, "webhook_route"), clock.field(job, "delivery")) == (route, "pending")


@NOT_WANTED
def test_a_run_that_was_an_orphan_and_is_over_before_its_job_is_canceled_has_its_result_kept(
    clock: Clockwork, end: Callable[[Clockwork, str], None]
) -> None:
    job = waits_with_an_orphan(clock, deadline=clock.now + 3_600 * SECOND)
    over(clock, "run1")

    end(clock, job)

    assert clock.finish(job, run_id="run1") == 1
    assert clock.state(job) == "completed"


@pytest.mark.parametrize("end", [cancel_it, cancel_its_batch])
def test_an_orphan_of_another_request_is_left_alone_when_a_job_of_its_key_is_not_wanted(
    clock: Clockwork, end: Callable[[Clockwork, str], None]
) -> None:
    (job,) = clock.unconfirmed(1, names=["k"], body="a")
    clock.run(operator_calls.settle(clock.account, clock.seen(job), "fail"))
    assert clock.found(job, 1, "run1") == 2
    clock.run(operator_calls.discard(clock.account, [job]))
    batch = clock.open_batch()
    clock.enqueue(names=["k"], body="b", batch=batch, deadline=clock.now + 3_600 * SECOND)
    clock.seal(batch)

    if end is cancel_it:
        assert clock.cancel(job) == [1]
    else:
        clock.cancel_batch(batch)
        clock.sweep("sweep_canceled")

    assert clock.state(job) == "canceled"
    assert clock.run(job_calls.stats(clock.account)).orphans == 1
    assert clock.members("cancels") == []


def extra_orphan(clock: Clockwork, **options: Any) -> str:
    """A job that runs, and of whose extra run Redis lost all but a late word of that run."""
    (job,) = clock.running(1, retry=Retry(max_attempts=3), **options)
    assert clock.found(job, 2, "run2") == 2
    clock.client.hset(clock.key(f"job:{job}"), "maybe_claimed_at", f"{clock.now} 1 ")
    return job


def fail_first(clock: Clockwork, job: str) -> None:
    again = claim_items.RunAgain(job, 1, f"r-{job}", "failed", "no luck", 30 * SECOND, b"{}")
    assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]


def give_up_first(clock: Clockwork, job: str) -> None:
    assert clock.run(
        worker_calls.abandon_run(clock.account, [RunAbandoned(job, f"r-{job}", is_over=True)])
    ) == [1]


@pytest.mark.parametrize("end", [fail_first, give_up_first])
def test_an_extra_run_that_is_known_as_an_orphan_is_canceled_with_its_job(
    clock: Clockwork, end: Callable[[Clockwork, str], None]
) -> None:
    job = extra_orphan(clock)
    clock.cancel(job)
    clock.client.hset(clock.key(f"job:{job}"), "cancel_since", clock.now)

    end(clock, job)

    assert (clock.state(job), clock.field(job, "run_id")) == ("running", "run2")
    assert (clock.field(job, "attempt"), clock.field(job, "runs")) == ("2", "1")
    assert clock.members("poll") == clock.members("cancels") == [job]
    assert clock.field(job, "cancel_since") is None, "it has as long as any run to end"
    stats = clock.run(job_calls.stats(clock.account))
    assert (stats.live, stats.orphans, stats.orphans_live) == (1, 0, 0)
    assert owners(clock, f"r-{job}", "run2") == [job, job]


def test_an_extra_run_that_is_known_as_an_orphan_is_the_job_s_once_its_run_has_failed(
    clock: Clockwork,
) -> None:
    job = extra_orphan(clock)

    fail_first(clock, job)

    assert (clock.state(job), clock.field(job, "run_id")) == ("running", "run2")
    assert (clock.members("poll"), clock.members("cancels")) == ([job], [])
    assert clock.field(job, "maybe_claimed_at") is None, "that claim is known now"


def test_a_job_whose_orphan_is_known_is_not_looked_for_when_claims_were_lost(
    clock: Clockwork,
) -> None:
    job = orphan(clock)
    clock.enqueue(names=["k"])
    since = ("recover_from", "recover_since")
    for field in since:
        clock.client.hset(clock.key("meta"), field, clock.now)
    call = worker_calls.mark_maybe_claimed(clock.account, [job], clock.now, clock.now, marked=True)

    assert clock.run(call) == [0]
    assert clock.lose(job, 1) == 0

    clock.client.hdel(clock.key("meta"), *since)
    assert clock.claimed() == []
    assert clock.field(job, "run_id") == "run1"


def test_an_orphan_that_is_over_and_adopted_takes_a_slot_until_the_job_has_ended(
    clock: Clockwork,
) -> None:
    clock.limit(concurrent_runs=1)
    job = orphan(clock)
    over(clock, "run1")
    clock.enqueue(names=["k", "other"])
    assert clock.claimed(2) == []
    assert clock.state(job) == "running"
    assert clock.run(job_calls.stats(clock.account)).live == 1


def test_a_later_life_of_a_key_takes_no_orphan_of_one_that_had_its_run(clock: Clockwork) -> None:
    (job,) = clock.enqueue(names=["k"])
    clock.claimed()
    assert [clock.found(job, 1, run_id) for run_id in ("run1", "run2")] == [1, 2]
    clock.finish(job, run_id="run1")
    clock.client.hset(clock.key("orphans"), "run2", f"{job} 1 {clock.now + 6 * DAY} - late")
    clock.wait((RETENTION + DAY) / SECOND)
    clock.heartbeat("p1", first=True)
    clock.sweep("retire")
    assert clock.state(job) is None
    clock.enqueue(names=["k"], body="b")
    assert clock.claimed() == [job]


def test_a_key_used_for_another_request_takes_no_orphan(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed(1, names=["k"], body="a")
    assert clock.run(operator_calls.settle(clock.account, clock.seen(job), "fail")) == [1]
    assert clock.found(job, 1, "run1") == 2
    assert clock.run(operator_calls.discard(clock.account, [job])) == [1]
    clock.client.delete(clock.key(f"attempts:{job}"))  # it is kept for a week
    clock.enqueue(names=["k"], body="b")
    assert clock.claimed() == [job]


def test_a_run_that_was_only_matched_is_nobody_s_orphan(clock: Clockwork) -> None:
    job, _ = clock.unconfirmed(2)
    assert clock.found(job, 1, "run1") == 1
    matched = [claim_items.RunAccepted(job, 1, "run2", "created", 0)]
    assert clock.run(worker_calls.mark_running(clock.account, matched, by_request=True)) == [4]
    assert clock.run(worker_calls.owned_runs(clock.account, ["run2"])) == [""]
    assert clock.run(job_calls.stats(clock.account)).orphans == 0


def test_orphans_are_looked_at_like_runs_and_again_when_the_lease_of_a_look_ends(
    clock: Clockwork,
) -> None:
    job = orphan(clock)
    assert polled(clock) == []
    clock.wait(1)
    (taken,) = clock.run(worker_calls.poll_claim(clock.account, "p1", 10, 0, LEASE)).items
    assert taken == DuePoll("", 1, "run1", "", clock.now - SECOND, None, "", 0)
    assert polled(clock) == []
    clock.wait(LEASE / SECOND)
    clock.heartbeat("p1", first=True)
    assert clock.tick().messages.get("poll") == 1
    assert polled(clock) == ["run1"]
    assert clock.state(job) is None


def test_many_orphans_do_not_keep_jobs_from_being_looked_at(clock: Clockwork) -> None:
    clock.limit(requests_per_second=1, burst_size=1)
    (job,) = clock.running(1)
    for n in range(20):
        orphan(clock, f"k{n}", f"run{n}")
    seen = []
    for _ in range(60):
        clock.wait(1)
        seen += polled(clock)
    assert seen.count(f"r-{job}") == 4, "each lease of 15 s"
    assert len(set(seen)) == 21


def test_many_jobs_do_not_keep_an_orphan_from_being_looked_at(clock: Clockwork) -> None:
    clock.running(20)
    clock.limit(requests_per_second=1, burst_size=1)
    orphan(clock)
    seen = []
    for _ in range(60):
        clock.wait(1)
        seen += polled(clock)
    assert 2 <= seen.count("run1") <= 4
    clock.wait(MAX_RUN / SECOND)
    polled(clock)
    assert orphans_live(clock) == 0


@pytest.mark.parametrize(
    ("options", "longest"),
    [
        ({}, MAX_RUN),
        ({"max_run_seconds": 60}, MAX_RUN),
        ({"max_run_seconds": 9_000}, 9_000 * SECOND),
    ],
    ids=["account", "shorter", "longer"],
)
def test_a_run_whose_cancel_was_given_up_takes_a_slot_no_longer_than_it_may_run(
    clock: Clockwork, options: dict[str, Any], longest: int
) -> None:
    (job,) = clock.running(1, **options)
    clock.cancel(job)
    clock.wait(700)
    assert clock.run(worker_calls.abandon_run(clock.account, [RunAbandoned(job, f"r-{job}")])) == [
        1
    ]
    assert polled(clock) == [f"r-{job}"]
    clock.wait(longest / SECOND - 701)
    assert polled(clock) == [f"r-{job}"]
    clock.wait(1)
    assert polled(clock) == []
    stats = clock.run(job_calls.stats(clock.account))
    assert (stats.orphans, stats.orphans_live) == (1, 0), "it is still shown"


def test_an_orphan_of_a_workflow_takes_a_slot_as_long_as_workflows_may_run(
    clock: Clockwork,
) -> None:
    orphan(clock, run_id="wr_1")
    clock.wait(WORKFLOW_RUN / SECOND - 1)
    assert polled(clock) == ["wr_1"]
    clock.wait(1)
    assert polled(clock) == []
    assert orphans_live(clock) == 0


@pytest.mark.parametrize("is_over", [True, False])
def test_orphans_are_forgotten_a_week_later(clock: Clockwork, is_over: bool) -> None:
    orphan(clock)
    if is_over:
        over(clock, "run1")
    clock.wait(RETENTION / SECOND - 1)
    clock.heartbeat("p1", first=True)
    clock.sweep("retire")
    assert clock.run(job_calls.stats(clock.account)).orphans == 1
    clock.wait(DAY / SECOND)
    clock.heartbeat("p1", first=True)
    clock.sweep("retire")
    stats = clock.run(job_calls.stats(clock.account))
    assert (stats.orphans, stats.orphans_live) == (0, 0)
    assert not clock.client.exists(clock.key("orphan_jobs"))


def owners(clock: Clockwork, *run_ids: str) -> list[str]:
    """Whose runs are, or were."""
    return clock.run(worker_calls.owned_runs(clock.account, run_ids))


def bound(clock: Clockwork) -> int:
    """Of how many runs it is known whose they are."""
    return sum(clock.client.hlen(key) for key in clock.client.keys(clock.key("runs:*")))


def retire(clock: Clockwork) -> None:
    """Let a week and a day pass, and have the sweep forget what is that old."""
    clock.wait((RETENTION + DAY) / SECOND)
    clock.heartbeat("p1", first=True)
    clock.sweep("retire")


def test_an_orphan_that_was_canceled_stays_its_job_s_until_the_week_is_over(
    clock: Clockwork,
) -> None:
    job = orphan(clock)
    clock.run(operator_calls.cancel_orphans(clock.account, ["run1"]))
    clock.wait(6 * DAY / SECOND)

    assert clock.run(worker_calls.drop_orphans(clock.account, ["run1"])) == 1

    assert clock.run(job_calls.stats(clock.account)).orphans == 0, (
        "it needs nobody's attention any more"
    )
    assert owners(clock, "run1") == [job]
    clock.wait(DAY / SECOND / 2)
    clock.heartbeat("p1", first=True)
    clock.sweep("retire")
    assert owners(clock, "run1") == [job]
    retire(clock)
    assert bound(clock) == 0


@pytest.mark.parametrize("by", ["answer", "marker", "request", "webhook"])
def test_an_orphan_that_was_canceled_is_given_to_no_other_job_and_not_shown_again(
    clock: Clockwork, by: str
) -> None:
    owner = orphan(clock)
    clock.run(worker_calls.drop_orphans(clock.account, ["run1"]))
    (job,) = clock.unconfirmed()

    if by == "webhook":
        assert receive(clock, told(owner, run_id="run1", state="canceled")) == ["other"]
        assert receive(clock, told(job, run_id="run1")) == ["other"]
    else:
        options = {"request": {"by_request": True}, "marker": {"marked": True}}.get(by, {})
        found = [claim_items.RunAccepted(job, 1, "run1", "running", 0)]
        call = worker_calls.mark_running(clock.account, found, **options)
        assert clock.run(call) == [4 if by == "request" else 3]

    assert (clock.state(job), owners(clock, "run1")) == ("unconfirmed", [owner])
    assert clock.run(job_calls.stats(clock.account)).orphans == 0


def test_the_runs_of_a_job_that_was_discarded_stay_known_until_the_week_is_over(
    clock: Clockwork,
) -> None:
    (job,) = clock.running()
    clock.finish(job, state="failed")
    clock.run(operator_calls.replay(clock.account, clock.seen(job)))
    clock.claimed()
    clock.refuse(job, attempt=2)

    assert clock.run(operator_calls.discard(clock.account, [job])) == [1]

    assert owners(clock, f"r-{job}") == [job]
    retire(clock)
    assert bound(clock) == 0


def test_an_orphan_stays_its_job_s_where_that_was_in_an_upload_that_expired(
    clock: Clockwork,
) -> None:
    job = orphan(clock)
    assert clock.enqueue(names=["k"], batch=clock.open_batch()) == [job]
    clock.wait(2 * DAY / SECOND)
    clock.heartbeat("p1", first=True)
    clock.sweep("expire_batches", DAY)
    assert clock.state(job) is None

    clock.enqueue(names=["k"])

    assert clock.claimed() == []
    assert (clock.state(job), clock.field(job, "run_id")) == ("running", "run1")


def test_an_orphan_that_was_adopted_is_not_forgotten_with_the_week(clock: Clockwork) -> None:
    job = orphan(clock)
    clock.enqueue(names=["k"])
    clock.claimed()
    clock.wait((RETENTION + DAY) / SECOND)
    clock.heartbeat("p1", first=True)
    clock.sweep("retire")
    assert clock.field(job, "run_id") == "run1"
    assert clock.run(worker_calls.owned_runs(clock.account, ["run1"])) == [job]
