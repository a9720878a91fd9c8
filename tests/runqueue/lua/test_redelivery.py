"""What people do about webhooks, and what becomes of them when their job is replayed or retired."""

from collections.abc import Callable

import pytest

from runqueue.records.claim_items import Finished
from runqueue.store import operator_calls, worker_calls
from runqueue.store.delivery_calls import deliver_again
from tests.runqueue.lua.clockwork import RETENTION, SECOND, Clockwork
from tests.runqueue.lua.webhooks import (
    BODY,
    SIGNED,
    SPAN,
    ask,
    awaited,
    confirm,
    counts,
    due,
    ended,
    outcome,
    receive,
    record,
    stands,
    told,
    watched,
)

ELSEWHERE = "https://elsewhere.test/"


def settled(clock: Clockwork, verdict: str = "delivered") -> str:
    """A job whose webhook is settled."""
    (job,) = ended(clock)
    assert record(clock, *[outcome(item, verdict) for item in due(clock)]) == [1]
    return job


@pytest.mark.parametrize("verdict", ["delivered", "abandoned", "unknown"])
def test_a_webhook_is_sent_again_as_if_never_tried(clock: Clockwork, verdict: str) -> None:
    job = settled(clock, verdict)
    assert ask(clock, job) == [1]
    assert (stands(clock, job), counts(clock)) == (["relays"], {"pending": 1})
    (item,) = due(clock)
    assert (item.tries, item.forced, item.signed, item.body) == (0, True, SIGNED, BODY)


@pytest.mark.parametrize("verdict", ["delivered", "abandoned"])
def test_asking_said_twice_sends_once(clock: Clockwork, verdict: str) -> None:
    job = settled(clock, verdict)
    call = deliver_again(clock.account, [job, "nobody"])
    assert clock.run(call) == [1, -1]
    (item,) = due(clock)
    assert clock.run(call) == [1, -1]
    assert due(clock) == []
    assert record(clock, outcome(item)) == [1]
    before = clock.dump()
    assert clock.run(call) == [1, -1]
    assert clock.dump() == before, "what has been sent since is not sent again"
    assert ask(clock, job) == [1], "asked once more"
    assert len(due(clock)) == 1


def test_a_try_from_before_says_nothing_of_what_a_person_asked_for_since(clock: Clockwork) -> None:
    (job,) = ended(clock)
    (before,) = due(clock)
    assert ask(clock, job, url=ELSEWHERE) == [1]
    (item,) = due(clock)
    assert item.url == ELSEWHERE
    assert record(clock, outcome(before)) == [0], "that was to the old address"
    assert record(clock, outcome(item, "abandoned")) == [1]
    assert stands(clock, job) == ["abandoned"]


def test_a_webhook_that_skyvern_sends_is_asked_for_there(clock: Clockwork) -> None:
    (job,) = watched(clock)
    clock.wait(10)
    record(clock, *[outcome(item, "unknown") for item in due(clock)])
    assert (stands(clock, job), ask(clock, job)) == (["unknown"], [1])
    (item,) = due(clock)
    assert (item.webhook_route, item.forced, item.looks, item.body) == ("watch", True, 0, b"")


def test_no_webhook_is_sent_of_a_job_that_has_no_run(clock: Clockwork) -> None:
    (dead,) = clock.enqueue(1)
    clock.claimed()
    clock.refuse(dead)
    (running,) = awaited(clock)
    before = clock.dump()
    assert ask(clock, dead, running, url=ELSEWHERE) == [0, 0]
    assert clock.dump() == before


def test_what_a_person_asked_for_has_its_time_from_then_on(clock: Clockwork) -> None:
    (job,) = ended(clock)
    record(clock, *[outcome(item, "again", wait_us=0) for item in due(clock)])
    (breaker,) = [key for key in clock.dump() if ":endpoint:" in key]

    def later(seconds: float) -> list[str]:
        """The receiver does not answer all the while."""
        clock.wait(seconds)
        clock.client.hset(breaker, "open_until", clock.now + 60 * SECOND)
        assert due(clock) == []
        return stands(clock, job)

    assert later(SPAN / SECOND) == ["relays"]
    assert later(61) == ["abandoned"]
    ask(clock, job)
    assert later(1) == ["relays"]
    assert later(SPAN / SECOND - 1) == ["relays"]
    assert later(61) == ["abandoned"]


def test_a_confirmed_result_needs_no_webhook(clock: Clockwork) -> None:
    pending, abandoned = ended(clock, 2)
    first, second = due(clock)
    sent = first if first.job_id == pending else second
    record(clock, outcome(second if sent is first else first, "abandoned"))
    assert confirm(clock, pending, abandoned, "nobody") == [1, 1, -1]
    before = clock.dump()
    assert confirm(clock, pending, abandoned, "nobody") == [1, 1, -1]
    assert clock.dump() == before
    assert counts(clock) == {"delivered": 2}
    assert record(clock, outcome(sent, "abandoned")) == [0], "it was on its way"
    assert stands(clock, pending) == stands(clock, abandoned) == []


def test_nothing_is_confirmed_before_the_end_or_where_nobody_is_told(clock: Clockwork) -> None:
    (running,) = awaited(clock)
    (silent,) = clock.running()
    clock.finish(silent)
    assert confirm(clock, running, silent) == [0, 0]


def test_what_skyvern_signed_is_sent_again_with_its_own_body_only(clock: Clockwork) -> None:
    """The poll was first: what was signed is kept beside the result, until it is delivered."""
    (job,) = awaited(clock)
    clock.finish(job)
    receive(clock, told(job))
    record(clock, *map(outcome, due(clock)))
    assert not clock.client.exists(clock.key(f"webhook:{job}"))
    assert ask(clock, job) == [1]
    assert [(item.signed, item.body) for item in due(clock)] == [("", b"{}")]


@pytest.mark.parametrize("sending", [False, True])
@pytest.mark.parametrize("route", ["relay", "watch"])
def test_a_replayed_job_s_webhook_is_that_of_its_last_run(
    clock: Clockwork, route: str, sending: bool
) -> None:
    relayed = route == "relay"
    (job,) = awaited(clock) if relayed else clock.running(url="https://user.test/hook")
    done = Finished(job, 1, f"r-{job}", "failed", "failed", "", b"{}")
    clock.run(worker_calls.finish(clock.account, [done]))
    receive(clock, *([told(job)] if relayed else []))
    clock.wait(10)
    items = due(clock) if sending else []
    assert clock.run(operator_calls.replay(clock.account, clock.seen(job))) == [1]
    assert (stands(clock, job), counts(clock)) == ([], {})
    assert not clock.client.exists(clock.key(f"webhook:{job}"))
    clock.claim(receives=relayed)
    clock.found(job, 2, "second")
    assert record(clock, *map(outcome, items)) == [0] * len(items)
    clock.finish(job, attempt=2, run_id="second")
    assert record(clock, *map(outcome, items)) == [0] * len(items)
    clock.wait(100)
    (item,) = due(clock)
    assert (item.attempt, item.run_id, item.tries, item.signed) == (2, "second", 0, "")


@pytest.mark.parametrize("verdict", ["", "delivered", "abandoned", "unknown"])
def test_nothing_is_left_of_a_webhook_when_its_job_is_retired(
    clock: Clockwork, verdict: str
) -> None:
    (job,) = awaited(clock)
    (seen,) = watched(clock)
    clock.finish(job)
    receive(clock, told(job))
    clock.wait(10)
    items = due(clock)
    record(clock, *[outcome(item, verdict) for item in items if verdict])
    clock.wait(RETENTION / SECOND + 1)
    clock.heartbeat("p1", first=True)
    assert clock.sweep("retire") == 2
    assert (counts(clock), stands(clock, job), stands(clock, seen)) == ({}, [], [])
    assert [key for key in clock.dump() if job in key or seen in key] == []
    assert record(clock, *map(outcome, items)) == [0, 0]


Act = Callable[[Clockwork, str], object]


def test_people_read_how_a_webhook_stands(clock: Clockwork) -> None:
    job = settled(clock, "abandoned")
    ask(clock, job, url=ELSEWHERE)
    record(clock, *[outcome(i, "again", status=503, error="busy") for i in due(clock)])
    webhook = clock.job(job).webhook
    assert (webhook.state, webhook.attempts, webhook.status) == ("pending", 1, 503)
    assert (webhook.error, webhook.url, webhook.settled_at) == ("busy", ELSEWHERE, None)
