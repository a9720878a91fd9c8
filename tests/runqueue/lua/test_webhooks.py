"""What comes of a webhook of Skyvern's, whatever the job has come to meanwhile."""

import pytest

from runqueue.records import claim_items
from runqueue.request.retry_policy import Retry
from runqueue.store import job_calls, worker_calls
from tests.runqueue.lua.clockwork import DAY, SECOND, Clockwork
from tests.runqueue.lua.webhooks import (
    BODY,
    RELAY_AFTER,
    SIGNED,
    URL,
    awaited,
    counts,
    due,
    ended,
    miss,
    outcome,
    polled_in,
    receive,
    record,
    stands,
    told,
    watched,
)


def live(clock: Clockwork) -> int:
    return clock.run(job_calls.stats(clock.account)).live


def orphans(clock: Clockwork) -> tuple[int, int]:
    """Orphans, and those of them that take a slot."""
    stats = clock.run(job_calls.stats(clock.account))
    return stats.orphans, stats.orphans_live


def again(job: str, attempt: int = 1, *, wait: float = 0) -> claim_items.RunAgain:
    return claim_items.RunAgain(
        job, attempt, f"r-{job}", "failed", "no luck", round(wait * SECOND), b"{}"
    )


def test_a_webhook_ends_a_job_at_once_with_its_body_as_the_result(clock: Clockwork) -> None:
    (job,) = ended(clock)
    assert clock.state(job) == "completed"
    assert clock.client.get(clock.key(f"result:{job}")) == BODY
    assert (live(clock), clock.members("poll"), stands(clock, job)) == (0, [], ["relays"])
    (item,) = due(clock)
    assert (item.body, item.signed, item.webhook_route) == (BODY, SIGNED, "relay")


@pytest.mark.parametrize("state", ["completed", "failed", "canceled", ""])
def test_a_webhook_said_twice_changes_nothing_the_second_time(clock: Clockwork, state: str) -> None:
    (job,) = awaited(clock)
    receive(clock, told(job, state=state))
    before = clock.dump()
    assert receive(clock, told(job, state=state)) == ["duplicate" if state else "noted"]
    assert clock.dump() == before


def test_a_webhook_that_comes_before_the_answer_of_the_submission_ends_the_job(
    clock: Clockwork,
) -> None:
    (job,) = clock.enqueue(1, url=URL)
    clock.heartbeat(first=True)
    clock.claim(1, receives=True)
    assert receive(clock, told(job)) == ["ended"]
    assert clock.found(job, 1, f"r-{job}") == 0
    assert (clock.state(job), live(clock), clock.members("claims:p1")) == ("completed", 0, [])


@pytest.mark.parametrize("state", ["completed", ""])
def test_a_webhook_finds_the_run_of_an_unconfirmed_job(clock: Clockwork, state: str) -> None:
    (job,) = clock.unconfirmed(1, url=URL)
    receive(clock, told(job, state=state))
    assert clock.state(job) == (state or "running")
    assert (clock.members("unconfirmed"), clock.members("reconcile")) == ([], [])
    assert live(clock) == (0 if state else 1)


@pytest.mark.parametrize("state", ["completed", ""])
def test_a_held_job_whose_run_a_webhook_tells_takes_its_slot_as_long_as_it_runs(
    clock: Clockwork, state: str
) -> None:
    (job,) = clock.unconfirmed(1, on_unconfirmed="hold")
    assert clock.deny(job) == 1
    assert (clock.members("unconfirmed_no_slot"), live(clock)) == ([job], 0)
    receive(clock, told(job, state=state))
    assert (clock.members("unconfirmed_no_slot"), live(clock)) == ([], 0 if state else 1)
    assert clock.client.hget(clock.key("group:default"), "live") == (b"0" if state else b"1")


def test_a_webhook_of_a_job_given_back_too_early_ends_it_where_it_waits(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    assert clock.give_back(job) == 1
    assert receive(clock, told(job)) == ["ended"]
    assert clock.claimed() == []
    assert clock.state(job) == "completed"


def test_a_webhook_of_an_attempt_that_redis_lost_is_that_attempt_s(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1, url=URL)
    clock.client.hset(clock.key("meta"), "recover_from", clock.now - SECOND)
    assert receive(clock, told(job, attempt=2)) == ["ended"]
    assert (clock.field(job, "attempt"), stands(clock, job)) == ("2", ["relays"])


@pytest.mark.parametrize("state", ["completed", ""])
def test_a_webhook_ends_no_job_by_an_attempt_that_nobody_is_known_to_have_claimed(
    clock: Clockwork, state: str
) -> None:
    (job,) = clock.enqueue(1)
    assert receive(clock, told(job, state=state)) == ["orphan"]
    assert (clock.state(job), orphans(clock)) == ("ready", (1, 0 if state else 1))
    assert clock.claimed() == [], "Redis may have lost that claim"
    assert (clock.state(job), clock.field(job, "run_id")) == ("running", f"r-{job}")
    assert clock.members("poll") == [job], "Skyvern says how it ended"


def test_the_user_is_told_although_redis_lost_who_is_to_tell_him(clock: Clockwork) -> None:
    """The claim is lost, the run is found by its marker: only the webhook says where it came."""
    first, second = clock.enqueue(2, url=URL)
    assert [clock.found(job, 1, f"r-{job}") for job in (first, second)] == [1, 1]
    clock.finish(second)
    assert receive(clock, told(first), told(second)) == ["ended", "duplicate"]
    assert {item.job_id: item.body for item in due(clock)} == {first: BODY, second: BODY}


def test_a_webhook_that_comes_to_us_is_passed_on_although_skyvern_was_to_be_watched(
    clock: Clockwork,
) -> None:
    (job,) = watched(clock)
    clock.wait(10)
    (look,) = due(clock)
    assert receive(clock, told(job)) == ["duplicate"]
    assert stands(clock, job) == ["relays"]
    assert record(clock, outcome(look)) == [0], "to us it was delivered, not to the user"
    assert [item.webhook_route for item in due(clock)] == ["relay"]


def test_a_late_webhook_of_an_earlier_attempt_ends_no_later_one(clock: Clockwork) -> None:
    (job,) = awaited(clock)
    assert clock.run(worker_calls.retry_run(clock.account, [again(job)])) == [1]
    assert receive(clock, told(job)) == ["duplicate"]
    assert clock.state(job) == "scheduled"
    clock.sweep("promote_due")
    clock.claim(receives=True)
    assert clock.found(job, 2, "second") == 1
    assert receive(clock, told(job), told(job, run_id="third")) == ["duplicate", "orphan"]
    assert (clock.state(job), clock.field(job, "run_id")) == ("running", "second")


@pytest.mark.parametrize("end", ["dead", "canceled"])
def test_a_run_of_a_job_that_ended_without_it_is_an_orphan(clock: Clockwork, end: str) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    if end == "dead":
        clock.refuse(job)
    else:
        clock.give_back(job)
        clock.cancel(job)
    assert receive(clock, told(job, state="")) == ["orphan"]
    assert orphans(clock) == (1, 1), "it takes a slot"
    assert receive(clock, told(job)) == ["orphan"]
    assert (clock.state(job), orphans(clock)) == (end, (1, 0)), "it is over, and shown"


def test_nothing_is_kept_of_a_run_that_is_over_and_whose_job_nobody_knows(clock: Clockwork) -> None:
    before = clock.dump()
    assert receive(clock, told("nobody")) == ["unknown"]
    assert clock.dump() == before


@pytest.mark.parametrize("state", ["completed", ""])
def test_a_run_from_before_a_key_was_used_again_is_none_of_the_job_s(
    clock: Clockwork, state: str
) -> None:
    """Skyvern sends an old webhook again; its address names an attempt that both lives have."""
    (job,) = clock.enqueue(names=["k"])
    old = told(job, state=state, created_us=clock.now - DAY - SECOND)
    assert receive(clock, old) == ["other"]
    clock.claimed()
    before = clock.dump()
    assert receive(clock, old) == ["other"]
    assert clock.dump() == before
    assert receive(clock, told(job, state=state, created_us=clock.now - DAY)) != ["other"]


def test_a_run_of_another_job_is_left_alone(clock: Clockwork) -> None:
    (first,) = awaited(clock)
    (second,) = clock.unconfirmed(1)
    before = clock.dump()
    wrong = [told(second, run_id=f"r-{first}"), told("nobody", run_id=f"r-{first}")]
    assert receive(clock, *wrong) == ["other", "other"]
    assert clock.dump() == before


def test_a_run_that_our_cancel_ended_counts_as_what_the_cancel_was_for(clock: Clockwork) -> None:
    asked, late = awaited(clock, 2)
    clock.cancel(asked)
    assert clock.overdue(late) == 1
    receive(clock, told(asked, state="canceled"), told(late, state="canceled"))
    assert (clock.state(asked), clock.state(late)) == ("canceled", "failed")
    assert (clock.field(late, "reason"), clock.members("cancels")) == ("deadline", [])


def test_a_bad_end_of_a_job_with_a_policy_is_asked_about_and_polled_if_nobody_decides(
    clock: Clockwork,
) -> None:
    (job,) = awaited(clock, retry=Retry(max_attempts=2))
    assert polled_in(clock, job) == 60
    assert receive(clock, told(job, state="failed")) == ["policy"]
    assert (clock.state(job), polled_in(clock, job)) == ("running", 15)
    clock.wait(1)
    receive(clock, told(job, state="failed"))
    assert polled_in(clock, job) == 14, "asking again does not put it off"
    assert receive(clock, told(job, state="failed", final=True)) == ["ended"]
    assert clock.state(job) == "failed"


def test_a_policy_that_has_no_time_left_keeps_what_skyvern_signed(clock: Clockwork) -> None:
    deadline = clock.now + 60 * SECOND
    (job,) = awaited(clock, retry=Retry(max_attempts=2), deadline=deadline)
    receive(clock, told(job, state="failed"))
    assert clock.run(worker_calls.retry_run(clock.account, [again(job, wait=300)])) == [2]
    assert receive(clock, told(job, state="failed", final=True)) == ["duplicate"]
    assert [(item.signed, item.body) for item in due(clock)] == [(SIGNED, BODY)]


def test_a_webhook_that_comes_after_the_poll_gives_the_body_that_the_user_gets(
    clock: Clockwork,
) -> None:
    (job,) = awaited(clock)
    miss(clock, [job])
    assert due(clock) == []
    assert receive(clock, told(job)) == ["duplicate"]
    assert clock.client.get(clock.key(f"result:{job}")) == b"{}", "a result is recorded once"
    assert receive(clock, told(job, signed="other 1", body=b"[]")) == ["duplicate"]
    assert [(item.signed, item.body) for item in due(clock)] == [(SIGNED, BODY)]


def test_a_webhook_that_a_poll_was_ahead_of_is_due_after_three_seconds_unsigned(
    clock: Clockwork,
) -> None:
    (job,) = awaited(clock)
    miss(clock, [job])
    clock.wait(RELAY_AFTER - 0.001)
    assert due(clock) == []
    clock.wait(0.001)
    assert [(item.signed, item.body) for item in due(clock)] == [("", b"{}")]
    assert receive(clock, told(job)) == ["duplicate"]
    assert due(clock) == [], "one that is being sent is not sent twice"


def test_a_webhook_of_a_run_that_was_given_up_is_passed_on(clock: Clockwork) -> None:
    (job,) = awaited(clock)
    clock.cancel(job)
    assert clock.run(
        worker_calls.abandon_run(clock.account, [claim_items.RunAbandoned(job, f"r-{job}")])
    ) == [1]
    assert receive(clock, told(job)) == ["duplicate"]
    assert (clock.state(job), clock.client.exists(clock.key(f"result:{job}"))) == ("failed", 0)
    assert [item.body for item in due(clock)] == [BODY]
    assert counts(clock) == {"pending": 1}


def test_a_webhook_without_a_signature_is_not_kept_for_the_user(clock: Clockwork) -> None:
    (job,) = awaited(clock)
    miss(clock, [job])
    before = clock.dump()
    receive(clock, told(job, signed=""))
    assert {key: v for key, v in clock.dump().items() if ":webhook:" in key} == {}
    receive(clock, told(job, signed=""))
    assert clock.dump().keys() == before.keys()


def test_a_run_that_ended_while_redis_had_lost_its_job_is_not_made_again(clock: Clockwork) -> None:
    (job_id,) = awaited(clock, names=["k"])
    clock.client.flushall()
    newer = told(job_id)._replace(created_us=clock.now)
    assert receive(clock, newer) == ["unknown"]
    clock.heartbeat(first=True)
    assert clock.enqueue(names=["k"], url=URL) == [job_id]
    assert clock.claim(1, receives=True).items == []
    assert clock.state(job_id) == "running"
