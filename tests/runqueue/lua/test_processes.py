"""Processes: leases, fences, repeated claims, active consumers, ticks, wake-ups, another server."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
import redis

from runqueue.records.claim_items import ClaimAnswer, Claimed, RunAccepted, Taken
from runqueue.store import job_calls, operator_calls, sending, worker_calls
from tests.runqueue.lua.clockwork import CLAIM_AGE, LEASE, SECOND, Clockwork


def poll_claim(
    clock: Clockwork, process: str = "p1", want: int = 10, tick_us: int = 0
) -> Taken[Any]:
    return clock.run(worker_calls.poll_claim(clock.account, process, want, tick_us, LEASE))


def cancel_claim(
    clock: Clockwork, process: str = "p1", want: int = 10, tick_us: int = 0
) -> Taken[Any]:
    return clock.run(worker_calls.cancel_claim(clock.account, process, want, tick_us, LEASE))


def active_consumers(clock: Clockwork, kind: str = "submit") -> set[str]:
    members = clock.client.zrangebyscore(
        clock.key(f"active_consumers:{kind}"), clock.now + 1, "+inf"
    )
    return {name.decode() for name in cast("list[bytes]", members)}


# Leases.


def test_a_process_whose_lease_was_lost_claims_nothing(clock: Clockwork) -> None:
    jobs = clock.enqueue(3)
    clock.heartbeat(first=True)
    clock.wait(15)
    for taken in (clock.claim(), poll_claim(clock), cancel_claim(clock)):
        assert taken.answer is ClaimAnswer.FENCED
    assert clock.states(jobs) == {"ready"}
    assert active_consumers(clock) == set()


def test_a_heartbeat_renews_the_lease_for_15_seconds(clock: Clockwork) -> None:
    clock.heartbeat(first=True)
    for _ in range(4):
        clock.wait(14.9)
        assert clock.heartbeat()
    clock.enqueue(1)
    assert clock.claim().answer is ClaimAnswer.OK


def test_a_frozen_process_cannot_renew_its_name_and_takes_a_new_one(clock: Clockwork) -> None:
    clock.heartbeat(first=True)
    clock.wait(15)
    assert not clock.heartbeat()
    assert clock.sweep("expire_leases", CLAIM_AGE) == 0
    assert not clock.heartbeat()
    assert clock.heartbeat("p1-2", first=True)


def test_the_claims_of_a_dead_process_become_unconfirmed_and_keep_their_slots(
    clock: Clockwork,
) -> None:
    clock.limit(concurrent_runs=2)
    jobs = clock.enqueue(2)
    assert clock.claimed(process="dies") == jobs
    clock.wait(14.9)
    assert clock.sweep("expire_leases", CLAIM_AGE) == 0
    clock.wait(0.1)
    assert clock.sweep("expire_leases", CLAIM_AGE) == 2
    assert clock.states(jobs) == {"unconfirmed"}
    clock.enqueue(1)
    assert clock.claimed(process="lives") == []


def test_the_claims_of_a_dead_process_are_taken_over_in_steps(clock: Clockwork) -> None:
    jobs = clock.enqueue(10)
    clock.claimed()
    clock.wait(15)
    call = worker_calls.sweep(clock.account, "expire_leases", CLAIM_AGE, 4)
    assert [clock.run(call) for _ in range(4)] == [4, 4, 2, 0]
    assert clock.states(jobs) == {"unconfirmed"}
    assert clock.client.exists(clock.key("processes")) == 0
    assert not clock.heartbeat()


def test_the_answer_of_a_process_taken_for_dead_is_adopted(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.wait(15)
    clock.sweep("expire_leases", CLAIM_AGE)
    assert clock.found(job, 1, "run1") == 1
    assert clock.state(job) == "running"
    assert clock.client.zcard(clock.key("unconfirmed")) == 0


def test_a_submission_without_end_is_taken_over_although_its_process_lives(
    clock: Clockwork,
) -> None:
    old, new = clock.enqueue(2)
    assert clock.claimed(1) == [old]
    for _ in range(7):
        clock.wait(10)
        clock.heartbeat()
    assert clock.claimed(1) == [new]
    clock.wait(5)
    assert clock.sweep("expire_leases", CLAIM_AGE) == 1
    assert (clock.state(old), clock.state(new)) == ("unconfirmed", "submitting")


@pytest.mark.parametrize("answer", ["refuse", "give_back", "lose"])
def test_a_stale_not_found_answer_is_refused_by_its_fence(clock: Clockwork, answer: str) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.give_back(job)
    clock.claimed()
    assert getattr(clock, answer)(job, attempt=1) == 0
    assert (clock.state(job), clock.field(job, "attempt")) == ("submitting", "2")


def test_a_process_that_says_goodbye_leaves_its_claims_to_the_next_sweep(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    assert clock.run(worker_calls.bye(clock.account, "p1")) == 1
    assert clock.claim().answer is ClaimAnswer.FENCED
    assert clock.sweep("expire_leases", CLAIM_AGE) == 1
    assert clock.state(job) == "unconfirmed"
    assert clock.field(job, "deaths") is None


# Runs that come late.


@pytest.mark.parametrize("state", ["scheduled", "ready", "submitting", "unconfirmed"])
def test_a_run_of_a_higher_attempt_is_adopted_and_the_attempt_rises(
    clock: Clockwork, state: str
) -> None:
    run_at = clock.now + SECOND if state == "scheduled" else None
    (job,) = clock.enqueue(1, run_at=run_at)
    if state in {"submitting", "unconfirmed"}:
        clock.claimed()
    if state == "unconfirmed":
        clock.lose(job)
    assert clock.state(job) == state
    assert clock.found(job, 3, "run3") == 1
    assert (clock.state(job), clock.field(job, "attempt")) == ("running", "3")
    clock.wait(10)
    assert clock.sweep("promote_due") == 0
    assert clock.claimed() == []


def test_a_second_run_of_one_attempt_is_an_orphan_and_counted_once(clock: Clockwork) -> None:
    (job,) = clock.running()
    for _ in range(3):
        assert clock.found(job, 1, "second") == 2
        clock.wait(1)
    assert clock.field(job, "run_id") == f"r-{job}"
    assert clock.client.hget(clock.key("counters"), "orphans") == b"1"


# A claim asked again.


def test_a_claim_asked_again_gives_the_same_jobs_and_takes_no_new_permits(clock: Clockwork) -> None:
    clock.limit(submissions_per_second=1, burst_size=5)
    clock.enqueue(10)
    clock.heartbeat(first=True)
    first = clock.claim(3, claim_id="lost")
    before = clock.dump()
    again = clock.claim(3, claim_id="lost")
    assert list(again.items) == list(first.items)
    assert clock.dump() == before
    assert len(clock.claim(10).items) == 2, "two permits of the burst are left"


def test_a_claim_asked_again_gives_only_what_is_still_its_own(clock: Clockwork) -> None:
    jobs = clock.enqueue(3)
    clock.heartbeat(first=True)
    clock.claim(3, claim_id="lost")
    clock.found(jobs[0], 1, "run1")
    clock.lose(jobs[1])
    assert [job.job_id for job in clock.claim(3, claim_id="lost").items] == [jobs[2]]


def test_processes_that_claim_at_the_same_time_never_share_a_job(
    clock: Clockwork, valkey: str
) -> None:
    clock.limit(concurrent_runs=700)
    jobs = clock.enqueue(1_000)

    def work(process: str) -> list[str]:
        with redis.Redis.from_url(valkey) as own:
            mine = Clockwork(own)
            mine.heartbeat(process, first=True)
            found: list[str] = []
            for n in range(100):
                taken = mine.claim(7, process, claim_id=f"{process}-{n}")
                found += [job.job_id for job in taken.items]
            return found

    with ThreadPoolExecutor(4) as threads:
        taken = [job for some in threads.map(work, ["p1", "p2", "p3", "p4"]) for job in some]
    assert len(taken) == len(set(taken)) == 700
    assert set(taken) <= set(jobs)


# The active consumers and the tick.


def test_a_message_older_than_5_seconds_is_refused(clock: Clockwork) -> None:
    clock.enqueue(1)
    clock.heartbeat(first=True)
    sent = clock.now
    clock.wait(5.001)
    for taken in (
        clock.claim(tick_us=sent),
        poll_claim(clock, tick_us=sent),
        cancel_claim(clock, tick_us=sent),
    ):
        assert taken.answer is ClaimAnswer.STALE
    assert clock.claim(tick_us=sent + 1_000).answer is ClaimAnswer.OK


def test_the_last_empty_claim_makes_the_consumer_inactive(clock: Clockwork) -> None:
    clock.enqueue(1)
    clock.heartbeat(first=True)
    assert not clock.claim(0).consumer_left
    assert active_consumers(clock) == {"p1"}
    taken = clock.claim()
    assert taken.items
    assert not taken.consumer_left, "more may come while it is at work"
    assert clock.claim().consumer_left
    assert active_consumers(clock) == set()


def test_a_consumer_with_jobs_it_may_not_take_yet_stays_active(clock: Clockwork) -> None:
    clock.limit(concurrent_runs=1)
    clock.running()
    clock.enqueue(1)
    assert not clock.claim().consumer_left
    assert active_consumers(clock) == {"p1"}


@pytest.mark.parametrize(
    ("processes", "jobs", "live", "messages"),
    [(3, 1, 0, 1), (3, 100, 0, 1), (3, 101, 0, 2), (3, 900, 0, 3), (3, 900, 2, 1), (1, 900, 1, 0)],
)
def test_the_tick_sends_a_consumer_per_100_claimable_jobs_and_live_process(
    clock: Clockwork, processes: int, jobs: int, live: int, messages: int
) -> None:
    for n in range(processes):
        clock.heartbeat(f"p{n}", first=True)
        if n < live:
            clock.claim(0, f"p{n}", stay_idle=True)
    clock.enqueue(jobs)
    assert clock.tick("p0").messages.get("submit", 0) == messages


def test_held_jobs_are_not_claimable(clock: Clockwork) -> None:
    clock.heartbeat(first=True)
    batch = clock.open_batch()
    clock.enqueue(500, batch=batch)
    assert "submit" not in clock.tick().messages
    clock.seal(batch)
    clock.wait(1)
    assert clock.tick().messages["submit"] == 1
    clock.run(operator_calls.cancel_batch(clock.account, batch))
    clock.wait(1)
    assert "submit" not in clock.tick().messages


def test_nothing_is_sent_for_submissions_while_the_account_is_held_or_full(
    clock: Clockwork,
) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    assert clock.claim().consumer_left
    clock.give_back(job, "busy")
    assert "submit" not in clock.tick().messages
    clock.wait(1)
    assert clock.tick().messages["submit"] == 1
    clock.limit(concurrent_runs=1)
    assert clock.claimed() == [job]
    clock.enqueue(1)
    clock.wait(1)
    assert "submit" not in clock.tick().messages


def test_one_process_gets_the_slot_of_an_interval(clock: Clockwork) -> None:
    for process in ("p1", "p2"):
        clock.heartbeat(process, first=True)
    clock.enqueue(1)
    assert clock.tick("p1").answer == "send"
    assert clock.tick("p2").answer == "wait"
    clock.wait(0.249)
    assert clock.tick("p2").answer == "wait"
    clock.wait(0.001)
    assert clock.tick("p2").answer == "send"


def test_a_wake_up_sends_no_second_message_while_one_is_on_its_way(clock: Clockwork) -> None:
    clock.heartbeat(first=True)
    clock.enqueue(1)
    assert clock.tick(woken=True).messages == {"submit": 1}
    clock.wait(0.01)
    assert clock.tick(woken=True).messages == {}
    clock.wait(0.05)
    assert clock.tick(woken=True).messages == {"submit": 1}, "it was lost"


def test_a_wake_up_passes_to_the_process_with_the_consumer(clock: Clockwork) -> None:
    for process in ("p1", "p2"):
        clock.heartbeat(process, first=True)
    clock.claim(0, "p2", stay_idle=True)
    clock.enqueue(1)
    for _ in range(3):
        assert clock.tick("p1", woken=True).answer == "passed"
    assert clock.client.llen(clock.key("wake:p2")) == 1
    assert clock.tick("p2", woken=True).answer == "wake"


def test_a_killed_consumer_is_missed_after_a_second_and_a_half(clock: Clockwork) -> None:
    for process in ("p1", "p2"):
        clock.heartbeat(process, first=True)
    clock.claim(0, "p1", stay_idle=True)
    clock.enqueue(1)
    clock.wait(1.4)
    assert "submit" not in clock.tick("p2").messages
    clock.wait(0.25)
    assert clock.tick("p2").messages["submit"] == 1


# Another server.


def moved(clock: Clockwork, claimed: int = 5) -> list[str]:
    """Have some jobs claimed, and another server answer from then on."""
    jobs = clock.enqueue(claimed + 1)
    assert clock.claimed(claimed) == jobs[:claimed]
    clock.another_server()
    return jobs


def hold_reason(clock: Clockwork) -> str:
    return str(clock.run(job_calls.stats(clock.account)).hold_reason)


def test_one_process_that_remembers_more_than_redis_holds_the_account(clock: Clockwork) -> None:
    moved(clock)
    assert clock.claim().answer is ClaimAnswer.MOVED
    clock.heartbeat("p1", 5)
    clock.heartbeat("p2", 6, first=True)
    clock.wait(365 * 86_400)
    clock.heartbeat(first=True)
    assert clock.claim().answer is ClaimAnswer.MOVED
    assert "lost claims (5 of 6 known)" in hold_reason(clock)


def test_a_loss_is_noticed_by_a_heartbeat_also_where_redis_begins_empty(clock: Clockwork) -> None:
    clock.heartbeat("p1", 6, first=True)
    (job,) = clock.enqueue(1)
    assert clock.claim().answer is ClaimAnswer.MOVED
    assert "lost claims (0 of 6 known)" in hold_reason(clock)
    assert clock.client.hexists(clock.key("meta"), "recover_from"), "nobody would go on looking"
    assert clock.state(job) == "ready"


def test_after_a_person_resumed_what_a_process_remembers_is_in_the_past(clock: Clockwork) -> None:
    jobs = moved(clock)
    clock.heartbeat("p1", 9)
    assert "lost claims" in clock.run(job_calls.resume(clock.account))
    clock.heartbeat("p1", 9)
    assert [job.job_id for job in clock.claim().items] == jobs[5:]


def test_a_name_that_was_swept_is_refused_whatever_the_clock_says(clock: Clockwork) -> None:
    clock.heartbeat("p1", first=True)
    clock.die()
    clock.client.hset(clock.key("meta"), "clock", clock.now - 60 * SECOND)
    assert not clock.heartbeat("p1")


def test_a_goodbye_to_a_server_that_may_have_lost_claims_vouches_for_nothing(
    clock: Clockwork,
) -> None:
    jobs = moved(clock)
    clock.accept([Claimed(job, 1, b"") for job in jobs[:5]])
    clock.run(worker_calls.bye(clock.account, "p1"))
    clock.heartbeat("p2", -1, first=True)
    assert clock.claim(process="p2").answer is ClaimAnswer.MOVED


def test_an_owner_who_vouches_does_not_end_a_recovery(clock: Clockwork) -> None:
    clock.enqueue(1)
    clock.claimed()
    clock.another_server()
    clock.heartbeat("p9", 99, first=True)
    assert clock.run(job_calls.accept_server(clock.account, is_latest=True))
    assert clock.client.hexists(clock.key("meta"), "recover_from")
    assert not clock.claim().items, "held until the lost runs were looked for"


def test_an_owner_who_vouches_ends_the_recovery_that_his_own_start_began(clock: Clockwork) -> None:
    jobs = moved(clock)
    assert clock.claim().answer is ClaimAnswer.MOVED
    assert "listed before" in hold_reason(clock)
    assert clock.run(job_calls.accept_server(clock.account, is_latest=True))
    assert clock.run(job_calls.stats(clock.account)).hold_reason is None
    assert [job.job_id for job in clock.claim().items] == jobs[5:]


def test_what_an_earlier_server_had_lost_stays_lost_though_the_next_one_vouches(
    clock: Clockwork,
) -> None:
    moved(clock)
    assert clock.claim().answer is ClaimAnswer.MOVED
    clock.another_server("1")
    assert clock.claim().answer is ClaimAnswer.MOVED
    assert clock.run(job_calls.accept_server(clock.account, is_latest=True))
    assert clock.claim().answer is ClaimAnswer.MOVED


def test_a_death_of_an_earlier_attempt_is_not_taken_back(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.die()
    assert clock.deny(job) == 2
    clock.wait(60)
    clock.sweep("promote_due")
    clock.claimed(process="p2")
    for _ in range(16):
        clock.wait(5)
        clock.heartbeat("p2")
    clock.sweep("expire_leases", CLAIM_AGE)
    assert clock.state(job) == "unconfirmed", "its claim is too old, though its process lives"
    assert clock.give_back(job, "not_sent", attempt=2) == 1
    assert clock.field(job, "deaths") == "1"


def test_a_process_that_was_cut_off_three_times_did_not_die_of_the_job(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    for attempt, process in enumerate(["a", "b", "c", "d"], start=1):
        assert clock.claimed(1, process) == [job]
        clock.die()
        assert clock.give_back(job, "void", attempt) == 1, "it lives, and never sent it"
    assert (clock.state(job), clock.field(job, "deaths")) == ("ready", "0")


def test_a_server_whose_owner_vouches_for_it_is_trusted_at_once(clock: Clockwork) -> None:
    jobs = moved(clock)
    assert clock.run(job_calls.accept_server(clock.account, is_latest=True))
    assert [job.job_id for job in clock.claim().items] == jobs[5:]


def test_runs_are_recorded_whatever_server_answers(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    clock.another_server()
    assert clock.found(job, 1, "run1") == 1
    assert clock.finish(job, run_id="run1") == 1


def test_without_a_clock_the_server_s_own_is_used(clock: Clockwork) -> None:
    item = RunAccepted("nobody", 1, "run1", "created", SECOND)
    assert sending.run(clock.client, worker_calls.mark_running(clock.account, [item])) == [2]
    seconds, _ = clock.client.time()
    told = clock.client.hget(clock.key("orphans"), "run1")
    assert told is not None
    assert abs(int(told.split()[2]) / SECOND - seconds) < 60


# Whether reads are answered.


def reading(clock: Clockwork, process: str, answered: float, failing: float = -1e-6) -> None:
    """Renew a lease, telling how many seconds ago a read was answered, and since when all fail."""
    reads = (round(answered * 1e6), round(failing * 1e6), "HTTP 503" if failing >= 0 else "")
    clock.run(worker_calls.heartbeat(clock.account, process, LEASE, 0, 0, first=True, reads=reads))


def failing_for(clock: Clockwork) -> float | None:
    since = clock.client.hget(clock.key("meta"), "reads_failing")
    return None if since is None else (clock.now - int(cast("bytes", since))) / 1e6


def test_reads_fail_until_any_process_has_an_answer(clock: Clockwork) -> None:
    reading(clock, "p1", answered=10, failing=5)
    assert failing_for(clock) == 5
    reading(clock, "idle", answered=-1e-6)
    assert failing_for(clock) == 5
    clock.wait(5)
    reading(clock, "p1", answered=15, failing=10)
    assert failing_for(clock) == 10
    reading(clock, "p2", answered=1)
    assert failing_for(clock) is None


def test_a_tick_says_that_an_account_is_idle_until_there_is_something_to_come_due(
    clock: Clockwork,
) -> None:
    clock.heartbeat(first=True)
    clock.tick("p1")  # has the first sweep begin
    clock.wait(1)
    assert clock.tick("p1").answer == "idle"
    clock.enqueue(1, run_at=clock.now + 3600 * SECOND)
    clock.wait(1)
    assert clock.tick("p1").answer == "send"
