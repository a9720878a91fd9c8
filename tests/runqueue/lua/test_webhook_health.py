"""How long runs are left to their webhooks."""

from runqueue.records.claim_items import Polled
from runqueue.store import worker_calls
from tests.runqueue.lua.clockwork import SECOND, Clockwork
from tests.runqueue.lua.webhooks import (
    RELAY_AFTER,
    awaited,
    meta,
    miss,
    polled_in,
    receive,
    told,
    webhook_health,
)


def durations(clock: Clockwork, *seconds: float) -> None:
    """Runs that take so long, one after the other."""
    for took in seconds:
        (job,) = awaited(clock)
        clock.wait(took)
        clock.heartbeat("p1", first=True)
        receive(clock, told(job))


def webhook_grace(clock: Clockwork) -> float:
    """How many seconds a new run is left to its webhook."""
    clock.heartbeat("p1", first=True)
    (job,) = awaited(clock)
    found = polled_in(clock, job)
    clock.client.zrem(clock.key("poll"), job)
    return found


def test_a_run_is_left_to_its_webhook_for_a_minute_until_it_is_known_what_runs_take(
    clock: Clockwork,
) -> None:
    assert webhook_grace(clock) == 60
    (job,) = clock.running()
    assert polled_in(clock, job) == 1, "its webhook does not come to us"


def test_the_webhook_grace_is_what_nearly_every_run_takes_within_its_bounds(
    clock: Clockwork,
) -> None:
    durations(clock, *[100] * 60)
    assert 100 <= webhook_grace(clock) <= 110
    durations(clock, *[1] * 100)
    assert webhook_grace(clock) == 30
    durations(clock, *[3_600] * 20)
    assert webhook_grace(clock) == 900


def test_a_run_that_was_adopted_by_the_webhook_of_its_end_says_nothing_of_what_runs_take(
    clock: Clockwork,
) -> None:
    (job,) = clock.enqueue(1)
    clock.claimed()
    assert receive(clock, told(job)) == ["ended"]
    assert meta(clock, "webhook_mean") == ""


def test_each_webhook_that_did_not_come_lowers_their_health_and_each_that_came_raises_it(
    clock: Clockwork,
) -> None:
    jobs = awaited(clock, 7)
    miss(clock, jobs[:1])
    assert (webhook_health(clock), webhook_grace(clock)) == (14, 60)
    miss(clock, jobs[1:2])
    assert (webhook_health(clock), webhook_grace(clock)) == (8, 1)
    receive(clock, *map(told, jobs[2:4]))
    assert (webhook_health(clock), webhook_grace(clock)) == (10, 60)
    clock.cancel(jobs[4])
    miss(clock, jobs[4:5])
    assert webhook_health(clock) == 10, "what we canceled tells nothing"


def test_a_webhook_that_a_poll_outran_takes_the_loss_back_once(clock: Clockwork) -> None:
    first, second = awaited(clock, 2)
    miss(clock, [first, second])
    assert webhook_health(clock) == 8
    clock.wait(RELAY_AFTER)
    receive(clock, told(first))
    receive(clock, told(first))
    assert webhook_health(clock) == 15
    clock.wait(0.001)
    receive(clock, told(second))
    assert webhook_health(clock) == 15, "it may be the copy that Skyvern was asked for"


def test_when_webhooks_stay_away_all_that_were_left_to_their_webhooks_are_looked_at_once(
    clock: Clockwork,
) -> None:
    jobs = awaited(clock, 12)
    (other,) = clock.running()
    miss(clock, jobs[:2])
    assert {polled_in(clock, job) for job in jobs[2:]} == {0}
    assert polled_in(clock, other) == 1
    goes_on = [Polled(job, 1, "", 5 * SECOND) for job in jobs[2:]]
    assert clock.run(worker_calls.mark_polled(clock.account, goes_on)) == 10
    miss(clock, jobs[2:3])
    assert {polled_in(clock, job) for job in jobs[3:]} == {5}, "they are spaced like others"


def test_of_many_runs_that_were_left_to_webhooks_some_are_looked_at_at_once(
    clock: Clockwork,
) -> None:
    """A script that pulls in all of a hundred thousand would hold Redis up for half a second."""
    jobs = [job for _ in range(5) for job in clock.running(500, receives=True)]
    clock.wait(1)
    for job in jobs[:2]:  # after two misses webhooks are not healthy
        assert clock.finish(job) == 1
    assert clock.client.zcount(clock.key("poll"), "-inf", clock.now) == 2_000
