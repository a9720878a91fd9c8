"""Receivers that do not answer: their webhooks wait, at next to no cost."""

import pytest

from runqueue.records.delivery import DueDelivery
from tests.runqueue.lua.clockwork import RETENTION, SECOND, Clockwork
from tests.runqueue.lua.webhooks import (
    SPAN,
    confirm,
    counts,
    due,
    ended,
    outcome,
    receive,
    record,
    take,
    told,
)


def breaker(clock: Clockwork) -> dict[str, int]:
    """The one receiver's breaker; {} = it answers."""
    keys = [key for key in clock.dump() if ":endpoint:" in key]
    found = clock.dump()[keys[0]] if keys else {}
    return {name.decode(): int(value) for name, value in found.items()}


def fail(clock: Clockwork, items: list[DueDelivery], *, wait: float = 3_600) -> None:
    """No answer came from the receiver."""
    outcomes = [outcome(item, "again", wait_us=round(wait * SECOND)) for item in items]
    assert record(clock, *outcomes) == [1] * len(items)


def test_a_receiver_that_does_not_answer_costs_one_try_a_step(clock: Clockwork) -> None:
    """Five failures open its breaker; what waits has no try of its own."""
    ended(clock, 40)
    fail(clock, due(clock, 5))
    tries = []
    for _ in range(600):
        clock.wait(1)
        items = due(clock, 40)
        fail(clock, items)
        tries.append(len(items))
    assert max(tries) == 1
    assert sum(tries) == 7, "after 10, 20, 40, 80, 120, 120, 120 s, and what a probe's 20 s add"


def test_the_first_answer_of_a_receiver_lets_all_go(clock: Clockwork) -> None:
    ended(clock, 20)
    fail(clock, due(clock, 5))
    clock.wait(10)
    (probe,) = due(clock, 20)
    assert record(clock, outcome(probe, "abandoned", status=400)) == [1]
    assert breaker(clock) == {}
    clock.wait(20)
    assert len(due(clock, 20)) == 14


def test_a_probe_whose_consumer_confirmed_before_it_answered_shows_that_it_answers(
    clock: Clockwork,
) -> None:
    ended(clock, 6)
    fail(clock, due(clock, 5))
    clock.wait(10)
    (probe,) = due(clock)
    assert confirm(clock, probe.job_id) == [1]
    assert record(clock, outcome(probe)) == [0], "it is delivered already"
    assert (breaker(clock), clock.field(probe.job_id, "tries")) == ({}, "1")


def test_a_probe_that_nobody_records_is_followed_by_another(clock: Clockwork) -> None:
    ended(clock, 10)
    fail(clock, due(clock, 5))
    clock.wait(10)
    assert [len(due(clock)) for _ in range(3)] == [1, 0, 0]
    clock.wait(20)
    assert [len(due(clock)) for _ in range(3)] == [1, 0, 0]


def test_one_receiver_that_does_not_answer_keeps_no_other_waiting(clock: Clockwork) -> None:
    ended(clock, 30)
    fail(clock, due(clock, 5))
    clock.wait(1)
    (other,) = clock.running(receives=True, url="https://other.test/")
    receive(clock, told(other))
    taken = take(clock, 2)
    assert [item.job_id for item in taken.items if isinstance(item, DueDelivery)] == [other]
    assert taken.next_us == clock.now, "there may be more"
    assert take(clock, 2).next_us > clock.now


@pytest.mark.parametrize(
    "url", ["https://me:secret@USER.test:443/x?y#z", "HTTPS://user.test?", "https://user.test"]
)
def test_a_receiver_is_known_by_its_scheme_host_and_port(clock: Clockwork, url: str) -> None:
    ended(clock, 6)
    items = due(clock, 5)
    record(clock, *[outcome(item, "again", endpoint=url) for item in items])
    assert due(clock) == []


def test_what_a_dead_receiver_kept_waiting_too_long_is_abandoned(clock: Clockwork) -> None:
    jobs = ended(clock, 6)
    fail(clock, due(clock, 5), wait=RETENTION / SECOND)
    clock.wait(SPAN / SECOND - 1)
    fail(clock, due(clock, 5), wait=RETENTION / SECOND)
    (late,) = ended(clock, 1)
    clock.wait(2)
    assert due(clock) == []
    assert clock.field(late, "delivery") == "pending"
    clock.wait(SPAN / SECOND)
    fail(clock, due(clock, 1), wait=1)
    clock.wait(2)
    assert due(clock) == []
    assert clock.members("abandoned") == [late]
    assert counts(clock) == {"pending": 6, "abandoned": 1}
    assert len(jobs) == 6
