"""Webhooks on their way: taken, tried, and recorded, at the pace that is allowed."""

import pytest

from runqueue.records.claim_items import ClaimAnswer
from runqueue.records.delivery import DueDelivery
from tests.runqueue.lua.clockwork import SECOND, Clockwork
from tests.runqueue.lua.webhooks import (
    BODY,
    DELIVERY_LEASE,
    SIGNED,
    URL,
    awaited,
    counts,
    due,
    ended,
    outcome,
    receive,
    record,
    stands,
    take,
    told,
    watched,
)


def test_a_delivery_carries_all_that_is_needed_to_send_it(clock: Clockwork) -> None:
    (job,) = ended(clock)
    (item,) = due(clock)
    stored = clock.client.get(clock.key(f"body:{job}"))
    assert isinstance(stored, bytes)
    envelope = stored.partition(b"\n")[0]
    told_of = ("", envelope, BODY, "completed")
    assert item == DueDelivery(
        job, 1, f"r-{job}", "completed", "relay", 0, 0, False, clock.now, SIGNED, *told_of
    )


def test_a_delivery_that_nobody_records_comes_again_after_its_lease(clock: Clockwork) -> None:
    ended(clock)
    assert len(due(clock)) == 1
    clock.wait(DELIVERY_LEASE / SECOND - 0.001)
    assert due(clock) == []
    clock.wait(0.001)
    assert len(due(clock)) == 1


@pytest.mark.parametrize("verdict", ["abandoned", "unknown"])
def test_what_was_not_delivered_stands_where_people_find_it(clock: Clockwork, verdict: str) -> None:
    (job,) = ended(clock)
    record(clock, *[outcome(item, verdict, status=410, error="gone") for item in due(clock)])
    assert (stands(clock, job), counts(clock)) == ([verdict], {verdict: 1})
    assert (clock.field(job, "delivery_status"), clock.field(job, "delivery_error")) == (
        "410",
        "gone",
    )


@pytest.mark.parametrize("verdict", ["again", "delivered", "abandoned", "unknown"])
@pytest.mark.parametrize("route", ["relay", "watch"])
def test_an_outcome_said_twice_is_counted_once(clock: Clockwork, route: str, verdict: str) -> None:
    jobs = ended(clock, 2) if route == "relay" else watched(clock, 2)
    clock.wait(10)
    first, second = due(clock)
    outcomes = [outcome(first), outcome(second, verdict)]
    assert record(clock, *outcomes) == [1, 1]
    before = clock.dump()
    assert record(clock, *outcomes) == [0, 0]
    assert clock.dump() == before
    assert {clock.field(job, "tries" if route == "relay" else "looks") for job in jobs} == {"1"}


def test_an_outcome_said_again_while_the_next_try_is_under_way_is_not_taken_for_its_own(
    clock: Clockwork,
) -> None:
    (job,) = ended(clock)
    (item,) = due(clock)
    assert record(clock, outcome(item, "again", wait_us=0)) == [1]
    (next_,) = due(clock)
    assert record(clock, outcome(item, "again", wait_us=0)) == [0]
    assert (due(clock), clock.field(job, "tries")) == ([], "1")
    assert record(clock, outcome(next_, "abandoned")) == [1]


def test_what_is_sent_after_a_poll_saw_the_end_is_what_skyvern_signed_once_that_is_known(
    clock: Clockwork,
) -> None:
    (job,) = awaited(clock)
    clock.finish(job)
    clock.wait(100)
    (item,) = due(clock)
    receive(clock, told(job))
    assert record(clock, outcome(item, "again", wait_us=300 * SECOND)) == [1]
    assert due(clock) == []
    clock.wait(300)
    assert [(i.signed, i.body, i.tries) for i in due(clock)] == [(SIGNED, BODY, 1)]


def test_a_consumer_is_told_when_the_next_permit_or_the_next_delivery_is_due(
    clock: Clockwork,
) -> None:
    clock.limit(webhooks_per_second=10)
    ended(clock, 12)
    taken = take(clock, 12)
    assert (len(taken.items), taken.next_us) == (10, clock.now + SECOND // 2)
    assert not taken.consumer_left
    clock.wait(0.5)
    taken = take(clock, 12)
    assert len(taken.items) == 2
    clock.wait(1)
    taken = take(clock, 12)
    assert (taken.items, taken.consumer_left) == ([], True), "nothing within a second: not active"
    clock.wait(17.9)
    assert not take(clock, 12).consumer_left


def test_looks_at_what_skyvern_sends_are_calls_within_the_account_s_limit(clock: Clockwork) -> None:
    jobs = watched(clock, 4)
    clock.limit(requests_per_second=1, burst_size=3)
    clock.wait(10)
    taken = take(clock)
    assert [item.webhook_route for item in taken.items if isinstance(item, DueDelivery)] == [
        "watch"
    ] * 3
    assert taken.next_us == clock.now + SECOND
    assert set(clock.members("watches")) == set(jobs)


def test_one_reply_holds_no_more_than_its_bytes_and_one_body(clock: Clockwork) -> None:
    jobs = awaited(clock, 4)
    large = b"x" * (9 * 1024 * 1024)
    for job in jobs:
        receive(clock, told(job, body=large))
    taken = take(clock)
    assert (len(taken.items), taken.next_us) == (2, clock.now)
    assert len(take(clock).items) == 2


@pytest.mark.parametrize("body", ["", "3\n", "null\n{}", '{"webhook_url":null}\n{}', "[\n"])
def test_a_webhook_whose_request_is_gone_keeps_no_other_waiting(
    clock: Clockwork, body: str
) -> None:
    broken, whole = ended(clock, 2)
    clock.client.set(clock.key(f"body:{broken}"), body)
    items = {item.job_id: item.envelope.decode() for item in due(clock)}
    assert items[broken] == body.partition("\n")[0]
    assert URL in items[whole]
    assert len(items) == 2


def test_a_consumer_without_a_lease_or_with_an_old_message_takes_nothing(clock: Clockwork) -> None:
    ended(clock)
    assert take(clock, tick_us=clock.now - 6 * SECOND).answer is ClaimAnswer.STALE
    assert len(due(clock)) == 1
