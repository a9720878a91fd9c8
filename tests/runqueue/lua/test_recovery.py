"""Clocks that go back, servers that forgot claims, and how the account goes on by itself."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from runqueue.records import claim_items
from runqueue.records.batch import BatchRules
from runqueue.records.claim_items import ClaimAnswer
from runqueue.records.job import EnqueueStatus, JobState
from runqueue.request.job_spec import When
from runqueue.request.retry_policy import Retry
from runqueue.store import job_calls, operator_calls, scripts, sending, worker_calls
from tests.runqueue.lua.clockwork import CLAIM_AGE, DAY, LEASE, SECOND, UPLOAD, Clockwork, spec

MARGIN = 5.5
HOUR = 3_600 * SECOND
#: Seconds after which a job's deadline passes.
DEADLINE = 3_600


def meta(clock: Clockwork, field: str) -> int:
    raw = cast("bytes | None", clock.client.hget(clock.key("meta"), field))
    return int(raw or 0)


# A clock set back. Only the server's own clock can show it, so these run at 0.


def real_tick(clock: Clockwork, passed: int = 0) -> claim_items.Tick:
    call = worker_calls.tick(clock.account, "p1", 250_000, passed, woken=False)
    return sending.run(clock.client, call)


def server_time(clock: Clockwork) -> int:
    seconds, micro = clock.client.time()
    return int(seconds) * SECOND + int(micro)


def test_a_clock_set_back_is_seen_by_the_tick_and_made_up_for_by_every_script(
    clock: Clockwork,
) -> None:
    ahead = server_time(clock) + HOUR
    clock.client.hset(clock.key("meta"), "clock", ahead)
    told = real_tick(clock).now_us
    assert told == ahead
    lost = meta(clock, "clock_lost")
    assert HOUR - 60 * SECOND < lost <= HOUR
    beat = worker_calls.heartbeat(clock.account, "p1", LEASE, -1, 0, first=True)
    sending.run(clock.client, beat)
    deadline = clock.client.zscore(clock.key("processes"), "p1")
    assert deadline is not None
    assert deadline >= ahead + LEASE
    assert 0 <= real_tick(clock).now_us - ahead < 60 * SECOND
    assert meta(clock, "clock_lost") == lost, "it is counted once"


@pytest.mark.parametrize("lives", [False, True])
def test_a_clock_set_ahead_is_made_up_for_unless_another_lease_tells_that_the_time_has_passed(
    clock: Clockwork, lives: bool
) -> None:
    step = 10 * SECOND if lives else HOUR
    then = server_time(clock) - step
    clock.client.hset(clock.key("meta"), "clock", then)
    clock.client.hset(clock.key("clocks"), "p1", f"{then} 0")
    if lives:
        clock.client.zadd(clock.key("processes"), {"p2": then + LEASE})
    else:
        clock.client.zadd(clock.key("processes"), {"p1": then + LEASE})
    real_tick(clock, passed=SECOND)
    assert meta(clock, "clock_lost") == 0, "it may be a report from before the server stood still"
    a_second_later(clock)
    told = real_tick(clock, passed=2 * SECOND).now_us
    lost = meta(clock, "clock_lost")
    if lives:
        assert (lost, told >= then + step) == (SECOND, True), "the second is the test's own"
    else:
        assert told < then + 60 * SECOND
        assert -HOUR - 60 * SECOND < lost < -HOUR + 60 * SECOND


def a_second_later(clock: Clockwork) -> None:
    """Have the queue's own clock go on by a second, as the processes' clocks do."""
    clock.client.hincrby(clock.key("meta"), "clock_lost", SECOND)


def test_a_server_that_stood_still_is_no_clock_that_was_set(clock: Clockwork) -> None:
    then = server_time(clock) - HOUR
    clock.client.hset(clock.key("meta"), "clock", then)
    clock.client.hset(clock.key("clocks"), "p1", f"{then} 0")
    clock.client.zadd(clock.key("processes"), {"p1": then + LEASE})
    real_tick(clock, passed=SECOND)  # sent as it stopped, run as it went on
    real_tick(clock, passed=2 * SECOND + 1)  # likewise
    told = real_tick(clock, passed=HOUR).now_us
    assert (meta(clock, "clock_lost"), told >= then + HOUR) == (0, True)
    assert meta(clock, "clock") == told
    real_tick(clock, passed=HOUR)
    assert meta(clock, "clock_lost") == 0


def test_a_run_accepted_before_a_step_back_is_seen_has_its_whole_time(clock: Clockwork) -> None:
    clock.now = server_time(clock) + 24 * HOUR
    clock.client.hset(clock.key("meta"), "clock", clock.now)
    (job,) = clock.enqueue(1)
    clock.claimed()
    accepted = [claim_items.RunAccepted(job, 1, f"r-{job}", "created", SECOND)]
    assert sending.run(clock.client, worker_calls.mark_running(clock.account, accepted)) == [1]
    real_tick(clock)
    clock.heartbeat(first=True)
    clock.wait(2)
    call = worker_calls.poll_claim(clock.account, "p1", 1, 0, LEASE)
    (due,) = clock.run(call).items
    assert clock.now - 3 * SECOND <= due.since_us <= clock.now


# What is written before a step ahead is believed lies in a time that comes an hour later.


def stepped(clock: Clockwork) -> int:
    """Have the server's clock stand an hour ahead of what was last believed; return that."""
    then = server_time(clock) - HOUR
    clock.now = then
    clock.client.hset(clock.key("meta"), "clock", then)
    clock.client.hset(clock.key("clocks"), "p1", f"{then} 0")
    clock.heartbeat(first=True)
    return then


def near(then: int) -> int:
    """How far a step is known: the time that the reports of it were on their way."""
    return then - SECOND


def believed(clock: Clockwork) -> int:
    """Have the step believed, and what was written meanwhile set right; return the queue's time."""
    for passed in (1, 2):
        a_second_later(clock)
        told = real_tick(clock, passed=passed * SECOND).now_us
    assert meta(clock, "clock_lost") < -HOUR + 60 * SECOND
    return told


def test_a_run_accepted_or_polled_before_a_step_ahead_is_believed_is_polled_in_time(
    clock: Clockwork,
) -> None:
    then = stepped(clock)
    old = clock.running(1)[0]
    new, lost = clock.enqueue(2)
    clock.claimed(2)
    items_ = [claim_items.RunAccepted(new, 1, f"r-{new}", "created", SECOND)]
    assert sending.run(clock.client, worker_calls.mark_running(clock.account, items_)) == [1]
    polled = [claim_items.Polled(old, 1, "", 20 * SECOND)]
    assert sending.run(clock.client, worker_calls.mark_polled(clock.account, polled)) == 1
    late = [claim_items.Lost(lost, 1, "cut off")]
    assert sending.run(clock.client, worker_calls.mark_unconfirmed(clock.account, late)) == [1]
    assert sending.run(clock.client, job_calls.cancel(clock.account, [old])) == [2]

    now = believed(clock)

    assert now < then + 60 * SECOND
    for zset, entries in {"poll": 2, "reconcile": 1, "unconfirmed": 1, "cancels": 1}.items():
        in_time = clock.client.zcount(clock.key(zset), near(then), now + 20 * SECOND)
        assert (zset, in_time) == (zset, entries)
    assert near(then) <= int(clock.field(new, "started") or 0) <= now


def test_a_step_ahead_that_is_believed_only_after_its_own_length_puts_no_poll_off(
    clock: Clockwork,
) -> None:
    then = stepped(clock)
    (job,) = clock.running(1)
    polled = [claim_items.Polled(job, 1, "", 1200 * SECOND)]
    assert sending.run(clock.client, worker_calls.mark_polled(clock.account, polled)) == 1
    a_second_later(clock)
    real_tick(clock, passed=SECOND)

    clock.client.hincrby(clock.key("meta"), "clock_lost", HOUR)  # nobody reached Redis meanwhile
    now = real_tick(clock, passed=SECOND + HOUR).now_us

    assert near(then) + HOUR <= now <= then + HOUR + 60 * SECOND
    real_tick(clock, passed=2 * SECOND + HOUR)
    due = clock.client.zscore(clock.key("poll"), job)
    assert due is not None
    assert near(then) + 1200 * SECOND <= due < now


def test_a_retry_waits_as_long_as_its_policy_says_also_across_a_step_ahead(
    clock: Clockwork,
) -> None:
    then = stepped(clock)
    (job,) = clock.running(1)
    again = claim_items.RunAgain(job, 1, f"r-{job}", "failed", "no luck", 30 * SECOND, b"{}")
    assert sending.run(clock.client, worker_calls.retry_run(clock.account, [again])) == [1]

    now = believed(clock)

    due = clock.client.zscore(clock.key("due"), job)
    assert due is not None
    assert near(then) + 30 * SECOND <= due <= now + 30 * SECOND
    assert clock.field(job, "run_at") == str(int(due))


def test_a_user_s_run_at_and_deadline_stay_as_they_are_across_a_step_ahead(
    clock: Clockwork,
) -> None:
    stepped(clock)
    run_at, deadline = server_time(clock) + HOUR, server_time(clock) + 2 * HOUR
    (job,) = clock.enqueue(1, run_at=run_at, deadline=deadline)

    believed(clock)

    assert clock.client.zscore(clock.key("due"), job) == run_at
    assert clock.client.zscore(clock.key("deadlines"), job) == deadline


def enqueue_now(clock: Clockwork, name: str, *, run_at: int, deadline: int) -> str:
    """Hand in a job by the server's clock, with times from now on (seconds)."""
    times = [When(seconds * SECOND, relative=True) for seconds in (run_at, deadline)]
    job = dataclasses.replace(spec(name), run_at=times[0], deadline=times[1])
    call = clock.enqueue_call([job])
    (answer,) = sending.run(clock.client, call)
    return answer.job_id


def test_a_delay_that_was_given_before_a_step_ahead_stays_as_it_is(clock: Clockwork) -> None:
    then = server_time(clock) - HOUR
    stands = meta(clock, "clock_lost")
    clock.client.hset(clock.key("meta"), mapping={"clock": then - HOUR, "clock_lost": -HOUR})
    job = enqueue_now(clock, "late", run_at=7_200, deadline=7_300)  # no process lives to tell
    clock.client.hset(clock.key("meta"), "clock_lost", stands)
    before = clock.field(job, "run_at"), clock.field(job, "deadline")
    stepped(clock)

    believed(clock)

    assert (clock.field(job, "run_at"), clock.field(job, "deadline")) == before
    assert clock.client.zscore(clock.key("due"), job) == int(before[0] or 0)


#: How the clock is set, µs; writes come before the last step.
STEPS = {
    "ahead once more": [HOUR, 2 * HOUR],
    "ahead by less": [2 * HOUR, HOUR // 4],
    "ahead twice more": [HOUR, 2 * HOUR, HOUR],
    "back by less": [2 * HOUR, -HOUR],
    "back again": [HOUR, -HOUR],
    "back by more": [HOUR, -2 * HOUR],
    "back and ahead again": [HOUR, -HOUR, HOUR],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_what_is_written_between_two_steps_of_the_clock_is_set_right(
    clock: Clockwork, steps: Sequence[int]
) -> None:
    then = known_time(clock)
    accepted, lost, busy = clock.enqueue(3)
    clock.claimed(3)
    batch = clock.open_batch(BatchRules(expires_after=3_600))
    clock.enqueue(1, batch=batch)
    jobs = []

    for passed, step in enumerate(steps[:-1], 1):
        set_clock(clock, step)
        a_second_later(clock)
        real_tick(clock, passed=passed * SECOND)
        jobs.append(enqueue_now(clock, f"soon{passed}", run_at=60, deadline=7 * 86_400))
    run = claim_items.RunAccepted(accepted, 1, f"r-{accepted}", "created", SECOND)
    assert sending.run(clock.client, worker_calls.mark_running(clock.account, [run])) == [1]
    cut = [claim_items.Lost(lost, 1, "cut off")]
    assert sending.run(clock.client, worker_calls.mark_unconfirmed(clock.account, cut)) == [1]
    sending.run(clock.client, job_calls.seal_batch(clock.account, batch))
    back = [claim_items.GivenBack(busy, 1, 20 * SECOND, "no slot is free")]
    assert sending.run(clock.client, worker_calls.give_back(clock.account, back, "busy")) == [1]
    set_clock(clock, steps[-1])
    now = ticked(clock, len(steps))

    near_now = near(then), now + 20 * SECOND
    for zset in ("poll", "reconcile", "unconfirmed"):
        assert clock.client.zcount(clock.key(zset), *near_now) == 1, zset
    assert near(then) <= int(clock.field(accepted, "started") or 0) <= now
    assert near(then) <= meta(clock, "hold_until") <= now + 20 * SECOND
    expires = clock.client.zscore(clock.key("expiring"), batch) or 0
    assert near(then) + HOUR <= expires <= now + HOUR
    assert_delays(clock, jobs, near(then), now)


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_a_delay_given_between_two_steps_that_no_report_told_apart_is_no_longer_than_it_says(
    clock: Clockwork, steps: Sequence[int]
) -> None:
    then = known_time(clock)
    (accepted,) = clock.enqueue(1)
    clock.claimed()
    jobs = []

    for n, step in enumerate(steps[:-1]):
        set_clock(clock, step)
        jobs.append(enqueue_now(clock, f"soon{n}", run_at=60, deadline=7 * 86_400))
    run = claim_items.RunAccepted(accepted, 1, f"r-{accepted}", "created", SECOND)
    assert sending.run(clock.client, worker_calls.mark_running(clock.account, [run])) == [1]
    set_clock(clock, steps[-1])
    now = ticked(clock, 1)

    assert_delays(clock, jobs, near(then), now)
    assert (clock.client.zscore(clock.key("poll"), accepted) or 0) <= now + SECOND


def test_the_start_of_a_job_is_not_over_because_the_clock_was_set_ahead_of_it(
    clock: Clockwork,
) -> None:
    then = known_time(clock)
    set_clock(clock, 2 * HOUR)
    later = dataclasses.replace(spec("later"), run_at=When(then + HOUR, relative=False))
    over = dataclasses.replace(spec("over"), run_at=When(then - HOUR, relative=False))
    answers = sending.run(clock.client, clock.enqueue_call([later, over]))
    ticked(clock, 1)
    sending.run(clock.client, worker_calls.sweep(clock.account, "promote_due", 10))

    assert [clock.field(one.job_id, "state") for one in answers] == ["scheduled", "ready"]
    assert clock.client.zscore(clock.key("due"), answers[0].job_id) == then + HOUR


def known_time(clock: Clockwork) -> int:
    """Have a process report the time, and return it."""
    clock.client.hset(clock.key("meta"), "clock_lost", -HOUR)
    clock.now = then = server_time(clock) - HOUR
    clock.heartbeat(first=True)
    clock.client.hset(clock.key("meta"), "clock", then)
    clock.client.hset(clock.key("clocks"), "p1", f"{then} 0")
    return then


def set_clock(clock: Clockwork, by: int) -> None:
    """Set the server's clock, as the scripts see it."""
    clock.client.hincrby(clock.key("meta"), "clock_lost", by)


def ticked(clock: Clockwork, passed: int) -> int:
    """Have a process report three times, a second apart; return the queue's time."""
    for n in range(3):
        a_second_later(clock)
        told = real_tick(clock, passed=(passed + n) * SECOND).now_us
    assert abs(told - clock.now) < 60 * SECOND
    return told


def assert_delays(clock: Clockwork, jobs: Sequence[str], since: int, now: int) -> None:
    """Assert that the times of jobs of `enqueue_now` count from a moment between two times."""
    for job in jobs:
        for zset, field, seconds in (("due", "run_at", 60), ("deadlines", "deadline", 7 * 86_400)):
            at = clock.client.zscore(clock.key(zset), job) or 0
            assert since <= at - seconds * SECOND <= now, (job, zset)
            assert clock.field(job, field) == str(int(at))


def test_a_thousand_delays_that_end_at_the_same_moment_are_all_set_right(clock: Clockwork) -> None:
    then = stepped(clock)
    jobs = [
        dataclasses.replace(spec(f"job{n}"), run_at=When(60 * SECOND, relative=True))
        for n in range(1_000)
    ]
    sending.run(clock.client, clock.enqueue_call(jobs))
    sending.run(clock.client, clock.enqueue_call([dataclasses.replace(jobs[0], custom_id="last")]))
    first, *_, last = clock.members("due")
    score = clock.client.zscore(clock.key("due"), first)
    assert score is not None
    clock.client.zadd(clock.key("due"), {last: score})  # of one moment, one more than in a step

    now = believed(clock)
    for passed in (3, 4):
        real_tick(clock, passed=passed * SECOND)

    assert clock.client.zcount(clock.key("due"), near(then), now + 60 * SECOND) == 1_001


def test_a_server_that_comes_back_on_a_host_an_hour_ahead_holds_no_account_for_that_hour(
    clock: Clockwork,
) -> None:
    clock.claimed()  # nothing is there to claim: the server is known
    then = stepped(clock)
    clock.another_server()

    now = believed(clock)

    assert near(then) <= meta(clock, "recover_since") <= now
    assert meta(clock, "hold_until") <= now + 80 * SECOND


def test_more_than_one_tick_may_set_right_what_a_step_ahead_put_off(clock: Clockwork) -> None:
    then = stepped(clock)
    ahead = server_time(clock)
    late = {f"job{n}": ahead + n for n in range(2_500)}
    clock.client.zadd(clock.key("poll"), dict.fromkeys(late, ahead + 30 * SECOND))
    clock.client.zadd(clock.key("cancels"), late)

    believed(clock)
    counted = commands(clock, lambda: real_tick(clock, passed=3 * SECOND))
    for passed in range(4, 8):
        real_tick(clock, passed=passed * SECOND)

    assert counted < 2_500
    for zset in ("poll", "cancels"):
        assert clock.client.zcount(clock.key(zset), near(then), then + 60 * SECOND) == 2_500
    assert not clock.client.hexists(clock.key("meta"), "pulling")


def commands(clock: Clockwork, act: Callable[[], object]) -> int:
    """How many commands the server ran meanwhile, those of scripts included."""
    before = clock.client.info("commandstats")
    act()
    after = clock.client.info("commandstats")
    return sum(
        stat["calls"] - before.get(name, {"calls": 0})["calls"] for name, stat in after.items()
    )


@pytest.mark.parametrize("begins", [False, True], ids=["", "one begins"])
@pytest.mark.parametrize("step", [12, 15.5, 17, 20, 3_600])
def test_a_step_ahead_takes_no_live_process_s_claims(
    clock: Clockwork, step: float, begins: bool
) -> None:
    started, processes = time.monotonic(), ["p1", "p2"]

    def report(seconds: int, *, first: bool = False) -> None:
        for process in processes:
            passed = round((time.monotonic() - started + seconds) * SECOND)
            beat = worker_calls.heartbeat(clock.account, process, LEASE, -1, passed, first=first)
            assert sending.run(clock.client, beat) != -1, (process, seconds)
            sending.run(
                clock.client,
                worker_calls.tick(clock.account, process, 250_000, passed, woken=False),
            )

    job = clock.enqueue(1)[0]
    report(0, first=True)
    report(0)
    assert (
        len(sending.run(clock.client, worker_calls.claim(clock.account, "p2", "c", 1, 0)).items)
        == 1
    )
    clock.client.hincrby(clock.key("meta"), "clock_lost", round(step * SECOND))
    if begins:
        both, processes = processes, ["p0"]
        report(0, first=True)
        processes = ["p0", *both]
    for seconds in range(1, 7):
        a_second_later(clock)
        report(seconds)
        sweep = worker_calls.sweep(clock.account, "expire_leases", CLAIM_AGE, 1_000)
        assert sending.run(clock.client, sweep) == 0
    assert clock.state(job) == "submitting"
    if step > LEASE / SECOND:
        assert abs(meta(clock, "clock_lost") - 6 * SECOND) < 2 * SECOND


def test_a_process_that_begins_in_another_time_believes_it_where_nobody_else_tells(
    clock: Clockwork,
) -> None:
    then = stepped(clock)  # its only process is not heard of any more
    sending.run(clock.client, worker_calls.heartbeat(clock.account, "p2", LEASE, -1, 0, first=True))
    for passed in (0, 2, 4):
        call = worker_calls.tick(clock.account, "p2", 250_000, passed * SECOND, woken=False)
        told = sending.run(clock.client, call).now_us
        assert (meta(clock, "clock") == then) is (passed < 4)
        clock.client.hincrby(clock.key("meta"), "clock_lost", 2 * SECOND)
    assert told >= then + HOUR


def reported(clock: Clockwork, *seconds: int) -> None:
    """Have a process report that so much time has passed; a second passes after each report."""
    sending.run(clock.client, worker_calls.heartbeat(clock.account, "p1", LEASE, -1, 0, first=True))
    for passed in seconds:
        real_tick(clock, passed=passed * SECOND)
        a_second_later(clock)


def test_what_passed_while_the_server_stood_still_with_its_clock_is_made_up_for_once(
    clock: Clockwork,
) -> None:
    reported(clock, 1, 2, 603, 604, 605)
    stood = meta(clock, "clock_lost") - 5 * SECOND
    assert 599 * SECOND < stood < 602 * SECOND
    clock.client.hincrby(clock.key("meta"), "clock_lost", stood)  # somebody sets its clock right
    sending.run(clock.client, worker_calls.heartbeat(clock.account, "p1", LEASE, -1, 0, first=True))
    for passed in (606, 607, 608):
        real_tick(clock, passed=passed * SECOND)
        a_second_later(clock)
    assert abs(meta(clock, "clock_lost") - stood - 8 * SECOND) < 2 * SECOND


def test_reports_that_waited_while_the_server_stood_still_with_its_clock_are_added_up(
    clock: Clockwork,
) -> None:
    reported(clock, 1, 2, 3)
    for half_seconds in range(8, 97):  # all of them come at the same time
        real_tick(clock, passed=half_seconds * SECOND // 2)
    made_up = meta(clock, "clock_lost") - 3 * SECOND
    assert 41 * SECOND < made_up < 45 * SECOND


@pytest.mark.parametrize(
    "reports",
    [
        pytest.param([(4.6, 7), (0.4, 9), (0, 9.5)], id="it would be the base of later reports"),
        pytest.param([(2.5, 4), (2, 8), (619.5, 608)], id="another one, much later"),
    ],
)
def test_a_report_that_came_late_moves_no_clock_afterwards(
    clock: Clockwork, reports: list[tuple[float, float]]
) -> None:
    """Each report: the seconds that pass on the server before it comes, and what it says."""
    reported(clock, 1, 2, 3)
    for seconds, passed in reports:
        clock.client.hincrby(clock.key("meta"), "clock_lost", int(seconds * SECOND))
        real_tick(clock, passed=int(passed * SECOND))
    put_there = 3 + sum(seconds for seconds, _ in reports)
    assert meta(clock, "clock_lost") == put_there * SECOND


@pytest.mark.parametrize("late", [(-10,), (-10, -9), (-10, -9, -8), (-3, -3)])
def test_what_a_process_counts_beyond_a_report_that_came_late_moves_no_clock(
    clock: Clockwork, late: tuple[int, ...]
) -> None:
    for passed in late:  # those that waited come at the same time
        beat = worker_calls.heartbeat(
            clock.account, "p1", LEASE, -1, (20 + passed) * SECOND, first=passed == late[0]
        )
        sending.run(clock.client, beat)
    for passed in (20, 21, 22):
        real_tick(clock, passed=passed * SECOND)
        a_second_later(clock)
    assert meta(clock, "clock_lost") == 3 * SECOND, "what the test itself put there"


def test_a_clock_that_is_slewed_by_less_than_two_seconds_is_left_alone(clock: Clockwork) -> None:
    clock.client.hset(clock.key("meta"), "clock", server_time(clock) + SECOND)
    real_tick(clock)
    assert meta(clock, "clock_lost") == 0


# Claims that a server forgot.


def restored(clock: Clockwork, lost: int = 2) -> tuple[list[str], int]:
    """Have claims made that the server that answers from then on knows nothing of.

    Returns:
        The jobs, those of the lost claims first, and the time of the last tick that it knows.
    """
    jobs = clock.enqueue(lost + 1)
    clock.heartbeat(first=True)
    clock.claim(0)
    clock.tick()
    known = meta(clock, "tick_at")
    clock.another_server()
    clock.wait(60)
    clock.heartbeat(first=True)
    return jobs, known


def ask(clock: Clockwork, sequence: int = 2) -> None:
    """Let the workers say what they remember."""
    assert clock.claim().answer is ClaimAnswer.MOVED
    clock.heartbeat("p1", sequence)
    clock.wait(7)
    clock.heartbeat("p1", sequence, first=True)
    assert clock.claim().answer is ClaimAnswer.MOVED


def loss(clock: Clockwork) -> claim_items.Taken[Any]:
    return clock.run(worker_calls.reconcile_claim(clock.account, "p1", 10, 0, LEASE))


def recover_from(clock: Clockwork) -> int:
    return loss(clock).recover_from_us


def recovered(clock: Clockwork) -> scripts.ScriptCall[bool]:
    """The call that ends the recovery that is under way."""
    taken = loss(clock)
    return worker_calls.recovered(clock.account, taken.recover_from_us, taken.recover_since_us)


def come_back_behind(clock: Clockwork, *, date_ahead: int | None = None) -> None:
    """Have another server answer, an hour behind what the last one ticked, and no process live."""
    clock.now = server_time(clock) + HOUR
    date = None if date_ahead is None else clock.now + date_ahead
    beat = worker_calls.heartbeat(clock.account, "p1", LEASE, -1, 0, first=True, date_us=date)
    clock.run(beat)
    clock.claim()
    clock.tick()
    clock.client.hset(clock.key("meta"), "clock", clock.now)
    clock.another_server()


NOTICED: dict[str, Callable[[Clockwork], object]] = {
    "heartbeat": lambda _: None,
    "claim": lambda clock: sending.run(
        clock.client, worker_calls.claim(clock.account, "p2", "c", 1, 0)
    ),
    "wake-up": lambda clock: sending.run(
        clock.client, worker_calls.tick(clock.account, "p2", 250_000, 0, woken=True)
    ),
}


@pytest.mark.parametrize("noticed", NOTICED)
def test_after_a_time_that_nobody_counted_runs_are_listed_back_over_the_longest_one(
    clock: Clockwork, noticed: str
) -> None:
    come_back_behind(clock)
    NOTICED[noticed](clock)
    beat = worker_calls.heartbeat(clock.account, "p2", LEASE, -1, 0, first=True)
    sending.run(clock.client, beat)

    taken = sending.run(
        clock.client, worker_calls.reconcile_claim(clock.account, "p2", 10, 0, LEASE)
    )

    assert taken.recover_from_us <= clock.now - 2 * HOUR + SECOND
    assert taken.recover_date_us is None


@pytest.mark.parametrize("noticed", NOTICED)
def test_after_a_time_that_nobody_counted_runs_are_listed_since_the_date_of_the_last_tick(
    clock: Clockwork, noticed: str
) -> None:
    ahead = -7 * SECOND
    come_back_behind(clock, date_ahead=ahead)
    NOTICED[noticed](clock)
    for passed, date in ((0, None), (SECOND, server_time(clock) + 2 * HOUR)):
        beat = worker_calls.heartbeat(
            clock.account, "p2", LEASE, -1, passed, first=not passed, date_us=date
        )
        sending.run(clock.client, beat)

    taken = sending.run(
        clock.client, worker_calls.reconcile_claim(clock.account, "p2", 10, 0, LEASE)
    )

    assert clock.now - 10 * SECOND < taken.recover_from_us < clock.now
    assert taken.recover_date_us == taken.recover_from_us + ahead


@pytest.mark.parametrize("ticks", [0, 3])
def test_claims_that_a_restored_server_does_not_know_hold_the_account_and_say_since_when(
    clock: Clockwork, ticks: int
) -> None:
    _, known = restored(clock)
    for _ in range(ticks):
        clock.tick()
        clock.wait(0.5)
    ask(clock)
    stats = clock.run(job_calls.stats(clock.account))
    assert "lost claims (0 of 2 known)" in str(stats.hold_reason)
    assert recover_from(clock) == known - MARGIN * SECOND
    clock.wait(2)
    assert clock.tick().messages["reconcile"] == 1


def test_runs_of_forgotten_claims_are_adopted_under_their_higher_attempt(clock: Clockwork) -> None:
    jobs, _ = restored(clock)
    ask(clock)
    assert [clock.found(job, 1, f"r-{job}") for job in jobs[:2]] == [1, 1]
    assert clock.states(jobs[:2]) == {"running"}
    assert clock.claim().answer is ClaimAnswer.MOVED, "an acceptance does not end the hold"
    assert clock.run(recovered(clock))
    assert [job.job_id for job in clock.claim().items] == jobs[2:]
    assert [clock.found(job, 1, f"r-{job}") for job in jobs[:2]] == [0, 0]


def test_a_recovery_ends_once_and_leaves_no_hold(clock: Clockwork) -> None:
    restored(clock)
    ask(clock)
    taken = loss(clock)
    since, noticed = taken.recover_from_us, taken.recover_since_us
    done = worker_calls.recovered(clock.account, since, noticed)
    for other in ((since + 1, noticed), (since, noticed - 1)):
        assert not clock.run(worker_calls.recovered(clock.account, *other)), "another one's"
    assert clock.run(done)
    before = clock.dump()
    assert not clock.run(done)
    assert clock.dump() == before
    assert recover_from(clock) == 0
    assert clock.run(job_calls.stats(clock.account)).hold_reason is None
    assert "reconcile" not in clock.tick().messages


def test_after_a_recovery_what_the_workers_remember_holds_nothing_again(clock: Clockwork) -> None:
    restored(clock)
    ask(clock)
    clock.run(recovered(clock))
    clock.heartbeat("p1", 2)
    assert clock.claim(1).answer is ClaimAnswer.OK
    clock.heartbeat("p1", 50)
    assert recover_from(clock) > 0, "a process that remembers still more begins another"


def test_a_person_may_end_a_recovery(clock: Clockwork) -> None:
    jobs, _ = restored(clock)
    ask(clock)
    done = recovered(clock)
    assert "lost claims" in clock.run(job_calls.resume(clock.account))
    assert recover_from(clock) == 0
    assert not clock.run(done)
    assert [job.job_id for job in clock.claim().items] == jobs


def test_also_where_every_worker_remembers_no_more_than_redis_the_runs_are_listed_first(
    clock: Clockwork,
) -> None:
    jobs, known = restored(clock)
    for _ in range(4):
        assert clock.claim().answer is ClaimAnswer.MOVED
        clock.heartbeat("p1", 0, first=True)
        clock.wait(7)
    assert recover_from(clock) == known - MARGIN * SECOND
    clock.heartbeat("p1", 0, first=True)
    assert clock.run(recovered(clock))
    assert [job.job_id for job in clock.claim().items] == jobs


def suspected(
    taken: claim_items.Taken[Any], account: str, jobs: list[str]
) -> scripts.ScriptCall[list[int]]:
    """The call that has jobs looked for."""
    since, noticed = taken.recover_from_us, taken.recover_since_us
    return worker_calls.mark_maybe_claimed(account, jobs, since, noticed, marked=True)


def test_a_recovery_that_is_over_makes_no_waiting_job_unconfirmed(clock: Clockwork) -> None:
    jobs, _ = restored(clock)
    ask(clock)
    call = suspected(loss(clock), clock.account, jobs)
    clock.run(recovered(clock))
    assert clock.run(call) == []
    assert clock.states(jobs) == {"ready"}


def test_a_job_whose_claim_may_be_lost_holds_no_slot_until_its_run_is_found(
    clock: Clockwork,
) -> None:
    jobs, _ = restored(clock)
    ask(clock)
    assert clock.run(suspected(loss(clock), clock.account, jobs)) == [1, 1, 1]
    assert clock.states(jobs) == {"unconfirmed"}
    assert clock.run(job_calls.stats(clock.account)).live == 0
    assert clock.found(jobs[0], 1, "r-1") == 1
    assert clock.run(job_calls.stats(clock.account)).live == 1


@pytest.mark.parametrize("delay", [0, 30])
@pytest.mark.parametrize("is_over", [False, True])
def test_a_worker_that_knows_of_a_lost_claim_has_its_job_looked_for_under_that_attempt(
    clock: Clockwork, delay: int, is_over: bool
) -> None:
    (job,) = clock.enqueue(1, run_at=clock.now + delay * SECOND if delay else None)
    restored(clock)
    ask(clock)
    if is_over:
        clock.run(recovered(clock))

    assert (clock.lose(job, 3), clock.state(job)) == (2, "unconfirmed")
    assert clock.lose(job, 3) == 0, "said again, it changes nothing"

    assert clock.client.zscore(clock.key("due"), job) is None
    assert job not in clock.claimed()
    assert clock.found(job, 3, "r-1") == 1
    assert clock.state(job) == "running"


def test_a_lost_claim_of_an_extra_run_is_looked_for_once_the_run_before_it_has_failed(
    clock: Clockwork,
) -> None:
    (job,) = clock.running(1, retry=Retry(max_attempts=3))
    assert clock.lose(job, 2) == 2
    assert clock.state(job) == "running"
    assert clock.field(job, "maybe_claimed_at")


def test_a_job_whose_time_was_still_to_come_can_have_been_in_no_lost_claim(
    clock: Clockwork,
) -> None:
    tomorrow = clock.now + DAY
    (job,) = clock.enqueue(1, run_at=tomorrow)
    restored(clock)
    ask(clock)

    assert clock.run(suspected(loss(clock), clock.account, [job])) == [0]

    assert clock.states([job]) == {"scheduled"}
    assert clock.client.zscore(clock.key("due"), job) == tomorrow


def test_a_job_that_is_submitted_anew_may_have_been_due_and_keeps_its_time_all_the_same(
    clock: Clockwork,
) -> None:
    """It asks for a delay: its first handing in, which is lost, was due as much sooner."""
    restored(clock)
    ask(clock)
    due = clock.now + 100 * SECOND
    (job,) = clock.enqueue(1, run_at=due)
    (later,) = clock.enqueue(1, run_at=clock.now + DAY)
    assert clock.run(suspected(loss(clock), clock.account, [job, later])) == [1, 0]
    clock.run(recovered(clock))

    assert clock.deny(job) == 2

    assert clock.states([job]) == {"scheduled"}
    assert clock.client.zscore(clock.key("due"), job) == due
    assert clock.field(job, "run_at") == str(due)
    clock.wait(100)
    clock.sweep("promote_due")
    assert job in clock.claimed()
    assert clock.field(job, "run_at") is None


def test_a_job_that_was_to_run_again_may_have_and_keeps_its_pause(clock: Clockwork) -> None:
    (job,) = clock.running(1)
    restored(clock)
    again = claim_items.RunAgain(job, 1, f"r-{job}", "failed", "no luck", 3_600 * SECOND, b"{}")
    assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]
    due = clock.now + 3_600 * SECOND
    ask(clock)

    assert clock.run(suspected(loss(clock), clock.account, [job])) == [1]
    assert clock.states([job]) == {"unconfirmed"}
    assert clock.deny(job, attempt=2) == 2

    assert clock.states([job]) == {"scheduled"}
    assert clock.client.zscore(clock.key("due"), job) == due


def test_a_job_whose_extra_run_may_be_lost_is_looked_for_before_it_runs_again(
    clock: Clockwork,
) -> None:
    (job,) = clock.running(1)
    restored(clock)
    ask(clock)
    assert clock.run(suspected(loss(clock), clock.account, [job])) == [2]
    assert clock.states([job]) == {"running"}
    clock.run(recovered(clock))
    run_id = clock.field(job, "run_id") or ""
    again = claim_items.RunAgain(job, 1, run_id, "failed", "no luck", 30 * SECOND, b"{}")

    assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]

    assert clock.states([job]) == {"unconfirmed"}
    assert clock.client.zscore(clock.key("due"), job) is None
    assert clock.run(job_calls.stats(clock.account)).live == 0
    assert clock.found(job, 2, "r-2") == 1
    second = claim_items.RunAgain(job, 2, "r-2", "failed", "no luck", 30 * SECOND, b"{}")
    assert clock.run(worker_calls.retry_run(clock.account, [second])) == [1]
    assert clock.states([job]) == {"scheduled"}, "it was looked for"


def running_on(clock: Clockwork, **options: Any) -> str:
    """A job whose run the server remembers, and whose extra run may be lost."""
    (job,) = clock.running(1, retry=Retry(max_attempts=3), **options)
    restored(clock)
    ask(clock)
    assert clock.run(suspected(loss(clock), clock.account, [job])) == [2]
    clock.run(recovered(clock))
    return job


def fail(clock: Clockwork, job: str) -> int:
    """Record that the first run of a job failed, after which it is to run again."""
    again = claim_items.RunAgain(job, 1, f"r-{job}", "failed", "no luck", 30 * SECOND, b"{}")
    return clock.run(worker_calls.retry_run(clock.account, [again]))[0]


def cancel_and_fail(clock: Clockwork, job: str) -> None:
    assert clock.cancel(job) == [2]
    assert fail(clock, job) == 1


def cancel_and_never_read(clock: Clockwork, job: str) -> None:
    clock.cancel(job)
    clock.run(
        worker_calls.abandon_run(
            clock.account, [claim_items.RunAbandoned(job, f"r-{job}", is_over=True)]
        )
    )


def cancel_and_never_confirm(clock: Clockwork, job: str) -> None:
    clock.cancel(job)
    clock.run(worker_calls.abandon_run(clock.account, [claim_items.RunAbandoned(job, f"r-{job}")]))


def fail_after_the_deadline(clock: Clockwork, job: str) -> None:
    clock.wait(DEADLINE)
    clock.sweep("expire_deadlines")
    assert fail(clock, job) == 1


def fail_before_the_deadline(clock: Clockwork, job: str) -> None:
    clock.now = int(clock.field(job, "deadline") or 0) - 10 * SECOND
    assert fail(clock, job) == 1
    clock.wait(10)
    clock.sweep("expire_deadlines")


END_WITH_AN_EXTRA_RUN = pytest.mark.parametrize(
    ("end", "why", "state"),
    [
        (cancel_and_fail, "asked", "canceled"),
        (cancel_and_never_read, "asked", "canceled"),
        (cancel_and_never_confirm, "asked", "canceled"),
        (fail_after_the_deadline, "deadline", "dead"),
        (fail_before_the_deadline, "deadline", "dead"),
    ],
)


@END_WITH_AN_EXTRA_RUN
def test_an_extra_run_that_may_be_lost_is_looked_for_and_canceled_although_it_is_not_wanted(
    clock: Clockwork, end: Callable[[Clockwork, str], None], why: str, state: str
) -> None:
    job = running_on(clock, deadline=clock.now + DEADLINE * SECOND)

    end(clock, job)

    assert (clock.state(job), clock.field(job, "cancel")) == ("unconfirmed", why)
    assert job in clock.members("reconcile")
    assert (clock.members("due"), clock.members("cancels"), clock.members("poll")) == ([], [], [])
    assert clock.found(job, 2, "r-2") == 1
    assert clock.members("cancels") == [job]
    assert clock.finish(job, attempt=2, run_id="r-2", state="canceled") == 1
    assert clock.state(job) == ("canceled" if why == "asked" else "failed")


@END_WITH_AN_EXTRA_RUN
def test_a_job_that_is_not_wanted_and_has_no_extra_run_ends_and_says_that_it_had_one(
    clock: Clockwork, end: Callable[[Clockwork, str], None], why: str, state: str
) -> None:
    job = running_on(clock, deadline=clock.now + DEADLINE * SECOND)
    end(clock, job)

    clock.deny(job, attempt=2)

    reason = "canceled before it was submitted again" if why == "asked" else "deadline"
    assert (clock.state(job), clock.field(job, "reason")) == (state, reason)
    assert clock.field(job, "runs") == "1"
    assert clock.run(worker_calls.owned_runs(clock.account, [f"r-{job}"])) == [job]
    assert clock.run(job_calls.stats(clock.account)).live == 0
    assert (
        clock.members("unconfirmed_no_slot")
        == clock.members("reconcile")
        == clock.members("due")
        == []
    )


def test_a_job_whose_time_ends_before_it_runs_again_has_an_extra_run_canceled_no_sooner(
    clock: Clockwork,
) -> None:
    job = running_on(clock, deadline=clock.now + DEADLINE * SECOND)
    clock.now = int(clock.field(job, "deadline") or 0) - 10 * SECOND

    fail(clock, job)

    assert clock.found(job, 2, "r-2") == 1
    assert (clock.field(job, "cancel"), clock.members("cancels")) == (None, [])


def uploading(clock: Clockwork, **options: Any) -> tuple[str, str]:
    """A job of an upload that goes on, and that a lost claim may have been of.

    Returns:
        The upload, and the job.
    """
    batch = clock.open_batch()
    (job,) = clock.enqueue(1, batch=batch, **options)
    restored(clock)
    ask(clock)
    assert clock.run(suspected(loss(clock), clock.account, [job])) == [2]
    clock.run(recovered(clock))
    return batch, job


def abandoned(clock: Clockwork, **options: Any) -> str:
    """A job that a lost claim may have been of, and whose upload was abandoned since."""
    batch, job = uploading(clock, **options)
    assert clock.run(job_calls.discard_batch(clock.account, batch))
    clock.sweep("expire_batches", UPLOAD)
    assert [key for key in clock.dump() if batch in key] == []
    return job


@pytest.mark.parametrize("seconds", [None, 5])
def test_a_job_of_an_upload_that_is_abandoned_is_never_submitted_and_goes_once_it_has_no_run(
    clock: Clockwork, seconds: int | None
) -> None:
    due = None if seconds is None else clock.now + seconds * SECOND
    job = abandoned(clock, run_at=due)
    assert clock.state(job) == "unconfirmed"
    assert job not in clock.claimed()

    assert clock.deny(job) == 2

    assert [key for key in clock.dump() if job in key] == [clock.key(f"attempts:{job}")]
    for index in ("reconcile", "unconfirmed_no_slot", "due"):
        assert clock.members(index) == []
    stats = clock.run(job_calls.stats(clock.account))
    assert stats.states[JobState.UNCONFIRMED] == 0
    assert stats.live == stats.states[JobState.SUBMITTING] == 3, "others"


def test_a_job_that_is_submitted_again_is_wanted_although_its_upload_was_given_up(
    clock: Clockwork,
) -> None:
    job = abandoned(clock, names=["k"])
    (answer,) = clock.enqueue_specs([spec("k")])
    assert answer.status is EnqueueStatus.KNOWN

    assert clock.deny(job) == 2

    assert job in clock.claimed()


@pytest.mark.parametrize("why", ["void", "later"])
def test_a_job_whose_upload_was_given_up_goes_as_well_when_its_process_says_that_no_run_came_of_it(
    clock: Clockwork, why: str
) -> None:
    job = abandoned(clock)

    assert clock.give_back(job, why) == 1

    assert clock.state(job) is None


def cancel_one(clock: Clockwork, _: str, job: str) -> None:
    assert clock.cancel(job) == [2]


def cancel_its_batch(clock: Clockwork, batch: str, job: str) -> None:
    clock.cancel_batch(batch)
    assert clock.run(job_calls.job_states(clock.account, [job])) == [(clock.state(job), 0)], (
        "not over"
    )
    clock.sweep("sweep_canceled")


def pass_its_deadline(clock: Clockwork, _: str, __: str) -> None:
    clock.wait(DEADLINE)
    clock.sweep("expire_deadlines")


def claim_after_its_deadline(clock: Clockwork, batch: str, job: str) -> None:
    clock.seal(batch)
    clock.wait(DEADLINE)
    assert job not in clock.claimed()


END_EARLY = pytest.mark.parametrize(
    ("end", "why"),
    [
        (cancel_one, "asked"),
        (cancel_its_batch, "asked"),
        (pass_its_deadline, "deadline"),
        (claim_after_its_deadline, "deadline"),
    ],
)


@END_EARLY
@pytest.mark.parametrize("seconds", [None, 5])
def test_the_run_of_a_lost_claim_is_looked_for_and_canceled_although_its_job_is_no_longer_wanted(
    clock: Clockwork, end: Callable[[Clockwork, str, str], None], why: str, seconds: int | None
) -> None:
    due = None if seconds is None else clock.now + seconds * SECOND
    batch, job = uploading(clock, run_at=due, deadline=clock.now + DEADLINE * SECOND)
    if seconds and end is claim_after_its_deadline:
        clock.wait(seconds)
        clock.sweep("promote_due")

    end(clock, batch, job)

    assert (clock.state(job), clock.field(job, "cancel")) == ("unconfirmed", why)
    assert job in clock.members("reconcile")
    assert (job in clock.members("due"), clock.field(job, "slot")) == (False, "0")
    assert clock.found(job, 1, "r-1") == 1
    assert clock.members("cancels") == [job]


@END_EARLY
def test_a_job_of_a_lost_claim_that_is_no_longer_wanted_ends_once_it_has_no_run(
    clock: Clockwork, end: Callable[[Clockwork, str, str], None], why: str
) -> None:
    batch, job = uploading(clock, deadline=clock.now + DEADLINE * SECOND)
    end(clock, batch, job)

    clock.deny(job)

    assert clock.state(job) == ("canceled" if why == "asked" else "dead")
    assert job not in clock.claimed()
    assert clock.members("unconfirmed_no_slot") == clock.members("reconcile") == []


# Jobs that are no longer wanted while a recovery looks for what was lost.


def waiting(clock: Clockwork, batch: str, **options: Any) -> str:
    """A job whose claim the Redis that answers now may have lost; the recovery goes on."""
    (job,) = clock.enqueue(1, batch=batch, **options)
    clock.seal(batch)
    restored(clock)
    ask(clock)
    return job


def let_deadline_pass(clock: Clockwork, _: str, __: str) -> None:
    clock.sweep("expire_deadlines")


def lane_of(clock: Clockwork, batch: str) -> str:
    return clock.key(f"lane:2:default:{batch}")


def look_again(clock: Clockwork) -> None:
    clock.wait(7)
    clock.heartbeat("p1", 2, first=True)
    clock.sweep("expire_deadlines")
    clock.sweep("sweep_canceled")


def cancel_all(clock: Clockwork, batch: str, job: str) -> None:
    clock.cancel_batch(batch)
    assert clock.run(job_calls.job_states(clock.account, [job])) == [("ready", 0)], "not over"
    for _ in range(2):
        clock.sweep("sweep_canceled")
    assert clock.run(job_calls.job_states(clock.account, [job])) == [("ready", 0)], "nor now"


UNWANTED = pytest.mark.parametrize(
    ("end", "why"), [(cancel_one, "asked"), (cancel_all, "asked"), (let_deadline_pass, "deadline")]
)
Unwant = Callable[[Clockwork, str, str], None]


@UNWANTED
def test_a_job_that_is_no_longer_wanted_during_a_recovery_has_its_run_found_and_canceled(
    clock: Clockwork, end: Unwant, why: str
) -> None:
    batch = clock.open_batch()
    job = waiting(clock, batch, deadline=clock.now + SECOND if why == "deadline" else None)

    end(clock, batch, job)

    assert clock.state(job) == "ready"
    assert job.encode() in cast("list[bytes]", clock.client.lrange(lane_of(clock, batch), 0, -1))
    assert clock.run(suspected(loss(clock), clock.account, [job])) == [1]
    clock.run(recovered(clock))
    look_again(clock)
    assert (clock.state(job), clock.field(job, "cancel")) == ("unconfirmed", why)
    assert clock.found(job, 1, "r-1") == 1
    assert clock.members("cancels") == [job]


@UNWANTED
@pytest.mark.parametrize("called", [False, True])
def test_a_job_that_is_no_longer_wanted_ends_once_its_run_is_looked_for_no_more(
    clock: Clockwork, end: Unwant, why: str, *, called: bool
) -> None:
    batch = clock.open_batch()
    job = waiting(clock, batch, deadline=clock.now + SECOND if why == "deadline" else None)
    end(clock, batch, job)
    taken = loss(clock)
    times = taken.recover_from_us, taken.recover_since_us

    if called:
        clock.run(worker_calls.recovery_stuck(clock.account, *times, "no list", person=True))
    else:
        clock.run(worker_calls.recovered(clock.account, *times))
        assert job not in clock.claimed()
    look_again(clock)

    assert clock.client.exists(clock.key("canceling"), clock.key("ends_after_recovery")) == 0
    assert clock.state(job) == ("canceled" if why == "asked" else "dead")
    assert clock.members("ends_after_recovery") == clock.members("deadlines") == []


def test_a_job_that_was_canceled_during_a_recovery_and_again_after_it_is_canceled_at_once(
    clock: Clockwork,
) -> None:
    batch = clock.open_batch()
    job = waiting(clock, batch)

    assert clock.cancel(job) == [2]
    assert clock.cancel(job) == [2]
    clock.run(recovered(clock))

    assert clock.cancel(job) == [1]
    assert clock.run(operator_calls.replay(clock.account, clock.seen(job))) == [1]
    look_again(clock)
    assert clock.state(job) == "ready", "its time does not end for what was asked before"


def test_a_batch_that_is_canceled_during_a_recovery_is_walked_once_then_and_once_afterwards(
    clock: Clockwork,
) -> None:
    batch, jobs = clock.batch_of(5)
    restored(clock)
    ask(clock)
    clock.cancel_batch(batch)
    walk = worker_calls.sweep(clock.account, "sweep_canceled", 3)

    assert [clock.run(walk) for _ in range(4)] == [3, 2, 0, 0]
    assert (clock.states(jobs), clock.members("ends_after_recovery")) == ({"ready"}, [])
    clock.run(recovered(clock))

    assert [clock.run(walk) for _ in range(3)] == [3, 2, 0]
    assert clock.states(jobs) == {"canceled"}


def test_a_job_whose_time_is_still_to_come_is_canceled_at_once_during_a_recovery(
    clock: Clockwork,
) -> None:
    batch = clock.open_batch()
    job = waiting(clock, batch, run_at=clock.now + HOUR)

    assert (clock.cancel(job), clock.state(job)) == ([1], "canceled")


def test_a_job_of_an_upload_is_looked_for_before_it_is_submitted_once_it_is_accepted(
    clock: Clockwork,
) -> None:
    batch, job = uploading(clock)
    since = clock.field(job, "maybe_claimed_at")
    assert clock.state(job) == "ready"

    clock.seal(batch)

    assert job not in clock.claimed()
    assert clock.state(job) == "unconfirmed"
    assert f"{clock.field(job, 'claimed')} 1 " == since  # Skyvern's date was not known
    assert (clock.field(job, "attempt"), clock.field(job, "slot")) == ("1", "0")
    assert clock.read(batch).states == {"unconfirmed": 1}
    assert clock.deny(job) == 2
    assert job in clock.claimed(), "it was looked for"


def test_a_job_that_another_upload_takes_over_is_looked_for_all_the_same(clock: Clockwork) -> None:
    _, job = uploading(clock, names=["k"])
    other = clock.open_batch()
    (answer,) = clock.enqueue_specs([spec("k")], other)
    assert answer.status is EnqueueStatus.NEW
    clock.seal(other)

    assert job not in clock.claimed()

    assert clock.state(job) == "unconfirmed"


def test_a_job_that_a_person_has_done_again_is_not_looked_for_as_of_its_earlier_run(
    clock: Clockwork,
) -> None:
    (job,) = clock.running(1, retry=Retry(max_attempts=2))
    restored(clock)
    ask(clock)
    clock.run(suspected(loss(clock), clock.account, [job]))
    clock.run(recovered(clock))
    clock.finish(job, state="failed")
    clock.run(operator_calls.replay(clock.account, clock.seen(job)))

    assert job in clock.claimed()


@pytest.mark.parametrize("told", ["", "the list of runs came without the server's time"])
def test_a_recovery_that_lasts_calls_a_person_and_says_what_the_last_attempt_failed_for(
    clock: Clockwork, told: str
) -> None:
    restored(clock)
    ask(clock)
    taken = loss(clock)
    noticed = taken.recover_from_us, taken.recover_since_us
    for why in ("an earlier one", told) if told else ():
        call = worker_calls.recovery_stuck(clock.account, *noticed, why, person=False)
        assert not clock.run(call)
    assert clock.run(job_calls.stats(clock.account)).hold_kind == "redis"
    clock.wait(601)
    clock.heartbeat("p1", 2, first=True)
    assert clock.claim().answer is ClaimAnswer.MOVED
    stats = clock.run(job_calls.stats(clock.account))
    assert stats.hold_kind == "person"
    assert (told or "no worker has listed the runs") in str(stats.hold_reason)


def test_an_empty_server_knows_nothing_so_the_runs_of_two_hours_are_searched(
    clock: Clockwork,
) -> None:
    clock.heartbeat(first=True)
    clock.tick()
    clock.claim()
    clock.heartbeat("p1", 5_000)
    assert "lost claims" in str(clock.run(job_calls.stats(clock.account)).hold_reason)
    assert recover_from(clock) == clock.now - 7_200 * SECOND


def test_a_process_that_saw_fewer_claims_makes_none_on_a_server_that_lost_everything(
    clock: Clockwork,
) -> None:
    """Who made the last claims beats last: nothing but the lease that never began here tells."""
    client, account = clock.client, clock.account
    sending.run(client, worker_calls.heartbeat(account, "p2", LEASE, -1, -1, first=True))
    client.flushdb()
    clock.enqueue(1)

    assert (
        sending.run(client, worker_calls.heartbeat(account, "p2", LEASE, 0, 0, first=False)) == -1
    )
    sending.run(client, worker_calls.heartbeat(account, "p3", LEASE, 0, 0, first=True))

    assert (
        sending.run(client, worker_calls.claim(account, "p3", "c1", 1, 0)).answer
        is claim_items.ClaimAnswer.MOVED
    )
    assert meta(clock, "recover_from") > 0
