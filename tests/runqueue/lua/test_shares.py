"""Receivers beside each other: a slow one takes neither the places nor the rate of the others."""

from runqueue.records.delivery import DueDelivery
from tests.runqueue.lua.clockwork import SECOND, Clockwork
from tests.runqueue.lua.webhooks import ENDPOINT, URL, due, ended, receive, take, told, watched

OTHER = "https://other.test/hook"


def other_ended(clock: Clockwork) -> str:
    """A job whose webhook goes to another receiver, ended just now."""
    (job_id,) = clock.running(1, receives=True, url=OTHER)
    assert receive(clock, told(job_id)) == ["ended"]
    return job_id


def ids(items: object) -> list[str]:
    """The jobs of deliveries."""
    assert isinstance(items, list)
    return [item.job_id for item in items if isinstance(item, DueDelivery)]


def test_one_receiver_gets_a_quarter_of_the_places(clock: Clockwork) -> None:
    ended(clock, 40)
    clock.wait(1)
    last = other_ended(clock)
    taken = ids(take(clock, 25).items)  # of 100 places
    assert len(taken) == 26
    assert last in taken


def test_what_waits_for_a_busy_receiver_takes_no_permit(clock: Clockwork) -> None:
    clock.limit(webhooks_per_second=1)
    ended(clock, 30)
    clock.wait(1)
    last = other_ended(clock)
    assert ids(take(clock, 2, busy={ENDPOINT: 25}).items) == [last]
    clock.wait(1)
    assert len(due(clock, 30)) == 10, "the burst less what the other took, and a second more"


def test_what_a_busy_receiver_is_to_get_waits_for_a_second(clock: Clockwork) -> None:
    jobs = ended(clock, 2)
    assert take(clock, 1, busy={ENDPOINT: 25}).items == []
    clock.wait(0.9)
    assert due(clock) == []
    clock.wait(0.2)
    assert set(ids(due(clock))) == set(jobs)


def test_nothing_is_asked_about_webhooks_whose_receiver_has_its_share(clock: Clockwork) -> None:
    clock.limit(requests_per_second=1, burst_size=5)
    watched(clock, 5)
    clock.wait(10)
    assert take(clock, 1, busy={ENDPOINT: 25}).items == []
    assert URL.startswith(ENDPOINT)
    clock.wait(1)
    assert len(due(clock)) == 5, "no permit was taken"


def test_a_consumer_asks_again_at_once_while_only_busy_receivers_were_seen(
    clock: Clockwork,
) -> None:
    ended(clock, 3)
    taken = take(clock, 1, busy={ENDPOINT: 25})
    assert (taken.items, taken.next_us, taken.consumer_left) == ([], clock.now, False)
    taken = take(clock, 1, busy={ENDPOINT: 25})
    assert taken.next_us == clock.now + SECOND
