"""Runs that wait for a person: the index, what is approved or rejected, and the time they take."""

import pytest

from runqueue import Filter
from runqueue.records.claim_items import (
    ApprovalSent,
    DuePoll,
    Polled,
    RunAccepted,
    RunAgain,
    ToCancel,
)
from runqueue.records.job import Job, JobState
from runqueue.store import job_calls, live_run_calls, operator_calls, worker_calls
from runqueue.store.live_run_calls import Shown
from tests.runqueue.lua.clockwork import LEASE, SECOND, Clockwork

URL = "https://app.test/runs/wr_1/overview"


def polled(clock: Clockwork, job: str, status: str, url: str = "", begun: int = 0) -> None:
    item = Polled(job, 1, status, SECOND, begun, url)
    assert clock.run(worker_calls.mark_polled(clock.account, [item])) == 1


def paused(clock: Clockwork, max_run_seconds: float | None = None) -> str:
    (job,) = clock.running(1, kind="workflow", max_run_seconds=max_run_seconds)
    polled(clock, job, "paused", URL)
    return job


def listed(clock: Clockwork) -> list[Job]:
    return clock.queue.list_jobs(Filter(is_paused=True)).jobs


def read(clock: Clockwork, job: str) -> Job:
    return clock.queue.get(job)


def due(clock: Clockwork) -> dict[str, DuePoll]:
    clock.heartbeat(first=True)
    call = worker_calls.poll_claim(clock.account, "p1", 100, 0, LEASE)
    return {item.job_id: item for item in clock.run(call).items}


def to_cancel(clock: Clockwork) -> list[ToCancel]:
    clock.heartbeat(first=True)
    return list(clock.run(worker_calls.cancel_claim(clock.account, "p1", 10, 0, LEASE)).items)


def approve(clock: Clockwork, *jobs: str) -> list[int]:
    return clock.run(operator_calls.approve(clock.account, jobs))


def sent(clock: Clockwork, job: str, why: str = "") -> int:
    item = ApprovalSent(job, f"r-{job}", why)
    return clock.run(worker_calls.record_approval(clock.account, [item]))


def steps(clock: Clockwork, job: str) -> list[str]:
    return [f"{s['what']}: {s['cause']}" for s in clock.queue.timeline(job)["timeline"]]


def test_a_paused_run_is_listed_with_its_link_and_since_when_until_it_goes_on(
    clock: Clockwork,
) -> None:
    job, _ = paused(clock), clock.running(1)
    at = clock.now
    clock.wait(60)
    polled(clock, job, "", URL)

    (found,) = listed(clock)
    assert found.id == job
    assert found.paused_url == URL
    assert found.paused_since is not None
    assert found.paused_since.timestamp() == at / SECOND
    assert clock.run(job_calls.stats(clock.account)).paused_runs == 1

    polled(clock, job, "running")
    assert (listed(clock), read(clock, job).paused_since) == ([], None)
    assert clock.run(job_calls.stats(clock.account)).paused_runs == 0


def test_a_list_that_shows_the_pause_has_the_run_polled_for_its_link(clock: Clockwork) -> None:
    (job,) = clock.running(1, receives=True)
    shown = [Shown(job, f"r-{job}", "paused")]
    assert clock.run(live_run_calls.lists_seen(clock.account, shown, 0, 0, 0)) == 1
    assert [one.id for one in listed(clock)] == [job]
    assert clock.next_poll(job) == 0
    polled(clock, job, "", URL)
    (found,) = listed(clock)
    assert found.paused_url == URL
    assert clock.next_poll(job) == SECOND  # a webhook reports no end of a pause


def test_every_end_of_the_run_ends_the_pause(clock: Clockwork) -> None:
    done, again = paused(clock), paused(clock)
    clock.finish(done, state="failed")
    call = worker_calls.retry_run(
        clock.account, [RunAgain(again, 1, f"r-{again}", "failed", "x", SECOND, b"{}")]
    )
    assert clock.run(call) == [1]
    assert clock.members("paused") == []
    assert read(clock, done).paused_since is None


def test_a_run_that_is_adopted_while_it_is_paused_is_listed(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.lose(job)
    found = RunAccepted(job, 1, "wr_1", "paused", SECOND)
    clock.run(worker_calls.mark_running(clock.account, [found]))
    assert clock.members("paused") == [job]


def test_the_time_of_pauses_does_not_count_for_the_limit(clock: Clockwork) -> None:
    job = paused(clock, max_run_seconds=60)
    started = clock.now
    for _ in range(2):  # 10 s of work, then 100 s of a pause
        clock.wait(100)
        polled(clock, job, "running")
        clock.wait(10)
        polled(clock, job, "paused")
    clock.wait(100)
    polled(clock, job, "running")
    clock.wait(1)
    (item,) = due(clock).values()
    assert (item.limit_us, item.since_us - started) == (60 * SECOND, 300 * SECOND)
    # Of a pause that began before the run's current attempt, the rest counts.
    polled(clock, job, "paused")
    clock.wait(10)
    polled(clock, job, "", begun=clock.now)
    clock.wait(10)
    polled(clock, job, "running")
    clock.wait(1)
    (item,) = due(clock).values()
    assert clock.now - item.since_us == SECOND


def test_an_approval_is_sent_once_and_the_run_goes_on(clock: Clockwork) -> None:
    job = paused(clock)
    assert approve(clock, job) == [1]
    assert approve(clock, job, job) == [1, 1]

    (item,) = to_cancel(clock)
    assert (item.job_id, item.run_id, item.is_approval) == (job, f"r-{job}", True)
    approve(clock, job)
    assert to_cancel(clock) == []
    assert sent(clock, job) == 1

    assert (listed(clock), read(clock, job).run_status) == ([], "running")
    assert clock.members("cancels") == []
    assert clock.next_poll(job) == 0
    assert sum("its paused run goes on" in step for step in steps(clock, job)) == 1
    assert approve(clock, job) == [0]


@pytest.mark.parametrize("is_crash", [False, True])
def test_an_approval_that_failed_is_told_and_not_sent_again(
    clock: Clockwork, is_crash: bool
) -> None:
    job = paused(clock)
    approve(clock, job)
    assert len(to_cancel(clock)) == 1
    if not is_crash:
        sent(clock, job, "HTTP 404: not found")
    told = any("the approval of its paused run failed: HTTP 404" in s for s in steps(clock, job))
    assert told is not is_crash
    for _ in range(2):
        clock.wait(16)
        assert to_cancel(clock) == []
    approve(clock, job)  # a person may ask again
    assert len(to_cancel(clock)) == 1


def test_another_approval_waits_until_the_first_has_surely_come(clock: Clockwork) -> None:
    job = paused(clock)
    approve(clock, job)
    to_cancel(clock)
    approve(clock, job)  # a second person, who still sees the pause
    clock.wait(14)
    assert to_cancel(clock) == []
    sent(clock, job)
    polled(clock, job, "paused")
    clock.wait(16)
    assert to_cancel(clock) == [], "it would approve the next pause"


def test_an_answer_to_an_earlier_pause_leaves_the_next_one(clock: Clockwork) -> None:
    job = paused(clock)
    approve(clock, job)
    to_cancel(clock)
    polled(clock, job, "running")  # a poll was faster
    polled(clock, job, "paused")
    assert sent(clock, job) == 0
    assert clock.members("paused") == [job]
    assert to_cancel(clock) == []


def test_a_cancel_takes_an_approval_back(clock: Clockwork) -> None:
    job = paused(clock)
    approve(clock, job)
    clock.queue.cancel(job)
    assert approve(clock, job) == [2]
    (item,) = to_cancel(clock)
    assert (item.job_id, item.is_approval) == (job, False)
    assert clock.members("cancels") == [job]
    clock.finish(job, state="canceled")
    assert read(clock, job).state is JobState.CANCELED
    assert clock.members("cancels") == clock.members("paused") == []


def test_what_is_not_paused_is_not_approved(clock: Clockwork) -> None:
    (running,), (ready,) = clock.running(1), clock.enqueue(1)
    assert approve(clock, running, ready, clock.new_id("gone")) == [0, 0, -1]
    assert clock.members("cancels") == []


def test_a_job_that_never_pauses_takes_no_further_command(clock: Clockwork) -> None:
    (job,) = clock.running(1)
    same = worker_calls.mark_polled(clock.account, [Polled(job, 1, "", SECOND)])
    changed = worker_calls.mark_polled(clock.account, [Polled(job, 1, "running", SECOND)])
    # HGET of the clock's, HMGET, ZADD, and ZREM of `listed`; a new status is one HSET more.
    before = clock.commands(same)
    assert clock.commands(changed) == before + 1
