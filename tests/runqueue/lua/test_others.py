"""Runs of others: how they are told from ours, and what they leave to claims."""

import pytest

from runqueue.records.account import AccountStats
from runqueue.records.claim_items import Polled
from runqueue.records.health import health_of
from runqueue.records.waits import in_words
from runqueue.store import job_calls, live_run_calls, worker_calls
from runqueue.store.live_run_calls import Shown
from runqueue.store.scripts import LUA
from tests.runqueue.lua.clockwork import ACCOUNT, SECOND, WORKFLOW_RUN, Clockwork
from worker.poll_times import LONG_QUEUED_SECONDS

PLAN, EARLY, EVERY = 10, 30 * SECOND, 5 * SECOND
#: Seconds that the claims wait for the first list, and some more.
FIRST = 6


@pytest.fixture
def shared(clock: Clockwork) -> Clockwork:
    """An account whose plan is shared."""
    clock.limit(concurrent_runs=PLAN, share_capacity=1)
    clock.heartbeat(first=True)
    return clock


def take(clock: Clockwork, want: int = 1) -> bool:
    """Say whether the list is to be read now."""
    clock.heartbeat(first=True)
    call = live_run_calls.others_claim(ACCOUNT, "p1", want, 0, 60 * SECOND)
    return bool(clock.run(call).items)


def show(
    clock: Clockwork, *runs: tuple[str, float], known: str = "", began: float = 0
) -> list[int]:
    """Record a list, begun so many seconds ago, with such runs, each so old; returns the reply."""
    dated = [(run, clock.now + EARLY - round(ago * SECOND)) for run, ago in runs]
    if known:
        dated.append((known, 0))
    call = live_run_calls.others_done(
        *(ACCOUNT, clock.now + EVERY, clock.now + 3 * EVERY),
        *(clock.now - round(began * SECOND), dated),
    )
    return clock.run(call)


def six(ago: float = 100) -> list[tuple[str, float]]:
    """Six runs of others."""
    return [(f"tsk_{number}", ago) for number in range(6)]


def stats(clock: Clockwork) -> AccountStats:
    return clock.run(job_calls.stats(ACCOUNT))


def test_others_take_slots_and_are_named_as_the_reason(shared: Clockwork) -> None:
    job_ids = shared.enqueue(20)
    assert show(shared, *six()) == [6, 1, 1, 1, 1, 1, 1]
    assert len(shared.claim(20).items) == 4
    assert shared.claim(20).items == []
    seen = stats(shared)
    assert (seen.others, seen.slots, seen.capacity.concurrent_runs) == (6, 4, 4)
    assert "6 run by others, which leaves 4 of 10 slots" in health_of(seen).reason
    words = in_words(shared.job(job_ids[-1]).waits_for)
    assert words == "all 4 slots of account default are taken, 6 run by others"
    show(shared)
    assert len(shared.claim(20).items) == 6, "the others have ended"


def test_one_slot_is_always_ours(shared: Clockwork) -> None:
    shared.enqueue(3)
    show(
        shared, *(one for ago in (50, 60) for one in six(ago)), *((f"wr_{n}", 9) for n in range(8))
    )
    assert len(shared.claim(3).items) == 1
    assert stats(shared).slots == 1


def test_claims_wait_for_the_first_list_a_few_seconds_at_most(shared: Clockwork) -> None:
    shared.enqueue(20)
    taken = shared.claim(20)
    assert taken.items == []
    assert 0 < taken.next_us - shared.now < SECOND
    assert "runs by others are not known" in health_of(stats(shared)).reason
    shared.wait(FIRST)
    shared.heartbeat(first=True)
    assert len(shared.claim(20).items) == PLAN, "nobody reads the list: the plan counts as ours"


def test_a_list_is_believed_for_a_while(shared: Clockwork) -> None:
    shared.enqueue(20)
    show(shared, *six())
    shared.wait(3 * EVERY / SECOND)
    assert stats(shared).others is None
    shared.heartbeat(first=True)
    assert shared.claim(20).items == [], "the first list is waited for again"
    shared.run(live_run_calls.others_done(ACCOUNT, shared.now + EVERY, 0, 0, []))
    shared.wait(FIRST)
    shared.heartbeat(first=True)
    assert len(shared.claim(20).items) == PLAN


def test_without_the_setting_nothing_is_read(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=PLAN, share_capacity=0)
    clock.heartbeat(first=True)
    clock.enqueue(20)
    assert "others" not in clock.tick().messages
    show(clock, *six())
    assert len(clock.claim(20).items) == PLAN
    assert (stats(clock).shares_capacity, stats(clock).others) == (False, None)


def test_the_list_is_read_while_work_waits_and_is_due(shared: Clockwork) -> None:
    assert "others" not in shared.tick().messages
    shared.enqueue(20)
    shared.wait(1)
    assert shared.tick().messages["others"] == 1
    assert take(shared)
    assert not take(shared), "it is under way"
    shared.wait(1)
    assert "others" not in shared.tick().messages
    show(shared)
    shared.wait(EVERY / SECOND)
    shared.heartbeat(first=True)
    assert shared.tick().messages["others"] == 1
    shared.client.hset(shared.key("meta"), "recover_from", 1)
    assert not take(shared), "runs may be ours whose claims Redis lost"


@pytest.mark.parametrize("how", ["submitting", "unconfirmed"])
def test_runs_that_may_be_ours_are_not_of_others(shared: Clockwork, how: str) -> None:
    show(shared)
    shared.enqueue(3)
    taken = shared.claim(3).items
    if how == "unconfirmed":
        assert [shared.lose(job.job_id) for job in taken] == [1, 1, 1]
    shared.wait(10)
    ours = [(f"tsk_o{number}", 9.0) for number in range(3)]
    assert show(shared, *ours)[0] == 0
    # More than can be ours, and older ones, are of others; which of the young are, nobody knows.
    assert show(shared, *six(), *ours) == [6, 1, 1, 1, 1, 1, 1, 0, 0, 0]
    assert show(shared, *ours, ("tsk_a", 9)) == [1, 0, 0, 0, 0]
    assert show(shared, *ours, known="tsk_a") == [1, 0, 0, 0, 1]
    # A submission makes its run within an hour.
    shared.wait(3700)
    assert show(shared, ("tsk_late", 1))[0] == 1


def test_claims_since_the_list_was_begun_hide_no_runs_of_others(shared: Clockwork) -> None:
    show(shared)
    shared.enqueue(20)
    shared.wait(1)
    assert len(shared.claim(4).items) == 4
    shared.wait(1)
    assert show(shared, *six(3), began=1.5) == [6, 0, 0, 0, 0, 0, 0], "none is surely of others"
    assert shared.claim(20).items == []
    shared.wait(5)
    assert show(shared, *six(8))[0] == 2, "the next list may show their runs"


def test_jobs_without_a_slot_hide_no_runs_of_others(shared: Clockwork) -> None:
    show(shared)
    job_ids = shared.unconfirmed(4, on_unconfirmed="hold")
    shared.wait(60)
    for job_id in job_ids:
        shared.deny(job_id)
    assert shared.client.zcard(shared.key("unconfirmed_no_slot")) == 4
    shared.heartbeat(first=True)
    assert show(shared, *six(60))[0] == 6
    shared.enqueue(20)
    assert len(shared.claim(20).items) == 4


def test_runs_of_jobs_and_orphans_are_ours(shared: Clockwork) -> None:
    show(shared)
    (job_id,) = shared.running()
    assert shared.found(shared.new_id("gone"), 1, "r-orphan") == 2
    assert show(shared, (f"r-{job_id}", 500), ("r-orphan", 500), ("tsk_a", 500)) == [1, 0, 0, 1]


def polled(clock: Clockwork, job_id: str, status: str) -> None:
    item = Polled(job_id, 1, status, SECOND, 0)
    assert clock.run(worker_calls.mark_polled(ACCOUNT, [item])) == 1


def listed(clock: Clockwork, job_id: str, status: str) -> None:
    shown = [Shown(job_id, f"r-{job_id}", status)]
    limits = (7_200 * SECOND, WORKFLOW_RUN)
    clock.run(live_run_calls.lists_seen(ACCOUNT, shown, SECOND, *limits))


@pytest.mark.parametrize("see", [polled, listed])
def test_a_run_that_stays_queued_is_reported(clock: Clockwork, see: type) -> None:
    job_id, other = clock.running(2)
    clock.wait(100)
    see(clock, job_id, "queued")
    clock.wait(100)
    assert (stats(clock).long_queued, clock.job(job_id).waits_for) == (0, ()), "it may run by now"
    see(clock, job_id, "queued")
    see(clock, other, "running")
    clock.wait(1)
    words = in_words(clock.job(job_id).waits_for)
    assert "was still `queued` at Skyvern" in words
    assert "the plan is shared with runs from" in words
    assert clock.job(other).waits_for == ()
    assert stats(clock).long_queued == 1
    assert "1 run has been `queued` at Skyvern" in health_of(stats(clock)).reason
    see(clock, job_id, "running")
    assert (stats(clock).long_queued, clock.job(job_id).waits_for) == (0, ())


def test_a_run_that_ended_is_not_queued(clock: Clockwork) -> None:
    (job_id,) = clock.running()
    clock.wait(200)
    polled(clock, job_id, "queued")
    assert clock.finish(job_id) == 1
    assert stats(clock).long_queued == 0


def test_lua_and_workers_report_it_after_the_same_time() -> None:
    source = (LUA / "lib/runs/long_queued.lua").read_text()
    assert f"LONG = {round(LONG_QUEUED_SECONDS * SECOND)} " in source
