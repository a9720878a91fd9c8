"""Who reads the list of live runs, which runs are left to it, and what a list may bring about."""

from typing import Any

import pytest

from runqueue.records.claim_items import ClaimAnswer, Finished, Polled, RunAccepted, Taken
from runqueue.store import live_run_calls, worker_calls
from runqueue.store.live_run_calls import Joined, ListReading, Shown
from tests.runqueue.lua.clockwork import ACCOUNT, LEASE, SECOND, WORKFLOW_RUN, Clockwork

MANY, AHEAD, BACKSTOP = 12, 30 * SECOND, 600 * SECOND
LIST_LEASE, SETTLE = 30 * SECOND, SECOND
#: The account's limits of runs: of tasks, of workflows.
LIMITS = (7_200 * SECOND, WORKFLOW_RUN)


def poll(clock: Clockwork, want: int = 100, max_run: int = 7_200 * SECOND) -> list[str]:
    """Claim polls as a process that may list; returns the jobs."""
    clock.heartbeat(first=True)
    call = worker_calls.poll_claim(
        ACCOUNT, "p1", want, 0, LEASE, max_run_us=max_run, may_list=True, ahead_us=AHEAD
    )
    return [item.job_id or item.run_id for item in clock.run(call).items]


def listed(clock: Clockwork, n: int = MANY) -> list[str]:
    """Bring so many jobs to run, and leave their runs to lists."""
    job_ids = clock.running(n)
    clock.wait(1)
    assert poll(clock) == []
    assert set(clock.members("listed")) >= set(job_ids)
    return job_ids


def take(clock: Clockwork, process: str = "p1", least: int = 0, want: int = 1) -> Taken[Any]:
    """Take the reading of the list."""
    clock.heartbeat(process, first=True)
    call = live_run_calls.lists_claim(ACCOUNT, process, want, 0, LIST_LEASE, least_us=least)
    return clock.run(call)


def done(clock: Clockwork, process: str = "p1", after: float = 10, *, failed: bool = False) -> int:
    """Say when the next list is due."""
    next_us = clock.now + round(after * SECOND)
    return clock.run(live_run_calls.lists_done(ACCOUNT, process, next_us, failed=failed))


def missing(clock: Clockwork, *job_ids: str, began: int | None = None) -> list[int]:
    """Say that a list did not show the runs of these jobs."""
    runs = [(job_id, f"r-{job_id}") for job_id in job_ids]
    began = clock.now if began is None else began
    return clock.run(live_run_calls.lists_missing(ACCOUNT, runs, began, SETTLE, LEASE))


def joined(clock: Clockwork, start: str = "-inf", limit: int = 100) -> tuple[list[Joined], bool]:
    return clock.run(live_run_calls.lists_joined(ACCOUNT, start, limit))


def test_runs_left_to_lists_keep_a_late_look_of_their_own(clock: Clockwork) -> None:
    first, *_ = listed(clock)

    assert clock.next_poll(first) == BACKSTOP
    clock.wait(600)
    assert len(poll(clock)) == MANY  # nobody listed: they are looked at all the same


def test_the_late_look_of_a_run_is_no_later_than_its_time_is_up(clock: Clockwork) -> None:
    first, *_ = clock.running(MANY)
    clock.wait(1)
    assert poll(clock, max_run=60 * SECOND) == []

    assert clock.next_poll(first) == 59 * SECOND


def test_too_few_runs_and_those_due_much_later_are_not_left_to_lists(clock: Clockwork) -> None:
    clock.running(9)
    assert clock.accept([]) == []
    clock.wait(1)
    assert len(poll(clock)) == 9

    # What is left to its webhook is not due.
    clock.running(MANY, receives=True)
    assert clock.members("listed") == []
    assert poll(clock) == []
    assert clock.members("listed") == []


def due_in(clock: Clockwork, seconds: int, *job_ids: str) -> None:
    """Say when running jobs are polled next."""
    later = clock.now + seconds * SECOND
    clock.client.zadd(clock.key("poll"), dict.fromkeys(job_ids, later), xx=True)


def test_lists_begin_with_the_runs_that_decide_it_although_few_of_them_are_due(
    clock: Clockwork,
) -> None:
    first, second, *others = clock.running(10)
    due_in(clock, 20, *others)
    clock.wait(1)

    assert poll(clock) == []

    assert set(clock.members("listed")) == {first, second, *others}
    assert take(clock).items[0].is_useful


def test_lists_do_not_begin_for_runs_that_none_of_them_may_have(clock: Clockwork) -> None:
    canceled = clock.running(8)
    for job_id in canceled:
        clock.cancel(job_id)
    others = clock.running(2)
    due_in(clock, 20, *canceled)
    clock.wait(1)

    assert sorted(poll(clock)) == sorted(others)

    assert not clock.client.hexists(clock.key("meta"), "lists_on")
    assert clock.next_poll(canceled[0]) == 19 * SECOND


def test_missing_webhooks_ask_for_no_run_that_lists_tell_of(clock: Clockwork) -> None:
    job_ids = clock.running(MANY, receives=True)
    clock.wait(61)
    assert poll(clock) == []
    received = clock.running(2, receives=True)

    for job_id in job_ids[:2]:  # after two misses webhooks are not healthy
        assert clock.finish(job_id) == 1

    assert {clock.next_poll(job_id) for job_id in received} == {0}
    assert clock.next_poll(job_ids[5]) == BACKSTOP


def test_one_process_reads_the_list_until_its_lease_ends(clock: Clockwork) -> None:
    listed(clock)
    [reading] = take(clock).items
    assert (reading.began_us, reading.is_useful) == (clock.now, True)

    assert take(clock, "p2").items == []
    assert clock.tick("p2").messages.get("list") is None
    clock.wait(20)
    clock.heartbeat("p1")
    assert clock.run(live_run_calls.lists_permit(ACCOUNT, "p1", LIST_LEASE)) == (1, 0.0)  # renewed
    clock.wait(20)
    assert take(clock, "p2").items == []
    clock.wait(11)
    assert clock.tick("p2").messages.get("list") == 1
    assert len(take(clock, "p2").items) == 1
    # Who lost its lease says nothing any more.
    assert clock.run(live_run_calls.lists_permit(ACCOUNT, "p1", LIST_LEASE))[0] == -1
    assert done(clock, "p1") == -1


def test_failures_are_counted_until_one_succeeds(clock: Clockwork) -> None:
    listed(clock)
    counts = []
    for failed in (True, True, False, True):
        take(clock)
        counts.append(done(clock, after=0, failed=failed))

    assert counts == [1, 2, 0, 1]


def test_a_frozen_or_outdated_process_takes_no_list(clock: Clockwork) -> None:
    listed(clock)
    call = live_run_calls.lists_claim(ACCOUNT, "nobody", 1, 0, LIST_LEASE, least_us=0)
    assert clock.run(call).answer is ClaimAnswer.FENCED
    old = live_run_calls.lists_claim(
        ACCOUNT, "p1", 1, clock.now - 6 * SECOND, LIST_LEASE, least_us=0
    )
    assert clock.run(old).answer is ClaimAnswer.STALE


def test_a_run_that_goes_on_although_a_list_did_not_show_it_joins_again_after_its_spacing(
    clock: Clockwork,
) -> None:
    first, *_ = listed(clock)
    clock.wait(10)
    assert missing(clock, first) == [1]
    assert poll(clock) == [first]

    clock.run(worker_calls.mark_polled(ACCOUNT, [Polled(first, 1, "running", 5 * SECOND)]))

    assert first not in clock.members("listed")
    assert missing(clock, first) == [0]
    clock.wait(5)
    assert poll(clock) == []
    assert first in clock.members("listed")
    # Another process, which knows it from before, does not hold an older list against it.
    assert missing(clock, first, began=clock.now - SECOND) == [2]


def test_a_run_that_joined_while_a_list_was_read_is_not_missing(clock: Clockwork) -> None:
    listed(clock)
    began = clock.now
    clock.wait(1)
    late = clock.running(1)

    assert missing(clock, *late, began=began) == [2]
    assert poll(clock) == []
    clock.wait(1)
    assert missing(clock, *late) == [1]


def test_runs_are_read_in_the_order_in_which_they_joined(clock: Clockwork) -> None:
    first = listed(clock)
    clock.wait(1)
    second = clock.running(5)

    # As many as joined at one time come together, whatever the limit.
    page, more = joined(clock, limit=4)
    assert ({run.job_id for run in page}, more) == (set(first), True)
    page, more = joined(clock, f"({page[-1].joined_us}")
    assert ({run.job_id for run in page}, more) == (set(second), False)
    assert {run.run_id for run in page} == {f"r-{job_id}" for job_id in second}
    assert {run.run_status for run in page} == {"created"}


def test_a_list_writes_a_new_status_of_a_run_that_is_still_the_job_s(clock: Clockwork) -> None:
    first, second, *_ = listed(clock)
    shown = [
        Shown(first, f"r-{first}", "paused"),
        Shown(second, "another", "paused"),
        Shown("nobody", "r-nobody", "paused"),
    ]

    assert clock.run(live_run_calls.lists_seen(ACCOUNT, shown, 300 * SECOND, *LIMITS)) == 1

    assert clock.field(first, "run_status") == "paused"
    assert clock.field(second, "run_status") == "created"
    assert clock.client.exists(clock.key("job:nobody")) == 0


def test_orphans_are_told_to_who_reads_and_looked_at_when_they_are_missing(
    clock: Clockwork,
) -> None:
    listed(clock)
    item = RunAccepted("nobody", 1, "r-orphan", "created", 3_600 * SECOND)
    assert clock.run(worker_calls.mark_running(ACCOUNT, [item])) == [2]
    clock.wait(10)
    [reading] = take(clock).items
    assert reading.orphans == ["r-orphan"]

    shown = [Shown("", "r-orphan", "running")]
    assert clock.run(live_run_calls.lists_seen(ACCOUNT, shown, 300 * SECOND, *LIMITS)) == 1
    assert clock.client.zscore(clock.key("orphan_polls"), "r-orphan") == clock.now + 300 * SECOND

    asked = [("", "r-orphan"), ("", "unknown")]
    assert clock.run(live_run_calls.lists_missing(ACCOUNT, asked, clock.now, SETTLE, LEASE)) == [
        1,
        0,
    ]
    assert poll(clock) == ["r-orphan"]


def test_when_lists_end_all_runs_are_looked_at_and_none_joins_until_it_is_time(
    clock: Clockwork,
) -> None:
    job_ids = listed(clock)

    assert clock.run(live_run_calls.lists_end(ACCOUNT, 60 * SECOND)) == MANY

    assert clock.members("listed") == []
    assert sorted(poll(clock)) == sorted(job_ids)
    assert "list" not in clock.tick().messages
    assert take(clock).consumer_left
    clock.wait(60)
    assert poll(clock) == []
    assert set(clock.members("listed")) == set(job_ids)


def test_more_runs_than_one_script_lets_go_are_let_go_by_those_that_claim(clock: Clockwork) -> None:
    for _ in range(12):
        listed(clock, 50)
    clock.run(live_run_calls.lists_end(ACCOUNT, 3_600 * SECOND))
    assert len(clock.members("listed")) == 100

    found = set()
    while page := poll(clock):
        found.update(page)

    assert len(found) == 600
    assert clock.members("listed") == []


@pytest.mark.parametrize(("left", "least"), [(4, 0), (MANY, 60 * SECOND)])
def test_lists_are_no_help_where_few_runs_are_left_or_they_take_a_short_time(
    clock: Clockwork, left: int, least: int
) -> None:
    job_ids = listed(clock)
    clock.wait(30)
    for job_id in job_ids[left:]:
        clock.finish(job_id)
    if left == MANY:
        clock.client.hset(clock.key("meta"), "run_mean", 30 * SECOND)

    [reading] = take(clock, least=least).items

    assert not reading.is_useful


def ended_after(clock: Clockwork, *seconds: float) -> ListReading:
    """Have a run take each of these times; returns what is known of durations then."""
    for duration in seconds:
        [job_id] = clock.running(1)
        clock.wait(duration)
        item = Finished(job_id, 1, f"r-{job_id}", "completed", "completed", "", b"{}")
        assert clock.run(worker_calls.finish(ACCOUNT, [item])) == [1]
    clock.client.hset(clock.key("meta"), "lists_on", 1)
    [reading] = take(clock).items
    assert isinstance(reading, ListReading)
    return reading


def test_a_run_that_was_canceled_says_nothing_of_how_long_runs_take(clock: Clockwork) -> None:
    [job_id] = clock.running(1)
    clock.wait(3)
    clock.cancel(job_id)
    clock.finish(job_id, state="canceled")

    assert ended_after(clock, 100).mean_us == 100 * SECOND


# More live than the pages of a list show.


def full_of_others(clock: Clockwork, index: str, n: int) -> None:
    """Have so many runs that are not due stand in an index."""
    others = {f"other{i}": clock.now + 3_600 * SECOND for i in range(n)}
    clock.client.zadd(clock.key(index), others)


def test_what_no_list_reaches_is_looked_at_and_what_is_begun_since_is_left_to_lists(
    clock: Clockwork,
) -> None:
    first, *_ = listed(clock)
    clock.wait(60)
    take(clock)
    next_us = clock.now + 10 * SECOND
    clock.run(live_run_calls.lists_done(ACCOUNT, "p1", next_us, reach_us=clock.now - 30 * SECOND))

    assert missing(clock, first) == [1]
    assert poll(clock) == [first]
    clock.run(worker_calls.mark_polled(ACCOUNT, [Polled(first, 1, "", SECOND)]))
    clock.wait(1)
    assert poll(clock) == [first]
    (new,) = clock.running(1)
    assert new in clock.members("listed")

    clock.wait(10)
    take(clock)
    assert done(clock) == 0  # this one reached all of them
    clock.run(worker_calls.mark_polled(ACCOUNT, [Polled(first, 1, "", SECOND)]))
    clock.wait(1)
    assert poll(clock) == []
    assert first in clock.members("listed")


@pytest.mark.parametrize("others", [1, 10_000 - MANY], ids=["room", "full"])
def test_a_claim_of_a_few_looks_reads_a_few_of_those_that_are_due(
    clock: Clockwork, others: int
) -> None:
    listed(clock)
    take(clock)
    clock.run(
        live_run_calls.lists_done(ACCOUNT, "p1", clock.now, reach_us=clock.now + 3_600 * SECOND)
    )
    clock.running(400)
    full_of_others(clock, "listed", others)
    clock.wait(1)

    def reads() -> int:
        return int(clock.client.info("commandstats")["cmdstat_hmget"]["calls"])

    before = reads()
    assert len(poll(clock, want=3)) == 3
    assert reads() - before < 40
