"""The inbox's scripts: a line is taken under one number, and settled once."""

from collections.abc import Sequence
from typing import Any

import pytest
import redis

from runqueue.records import claim_items
from runqueue.records.claim_items import ClaimAnswer
from runqueue.store import inbox_calls, worker_calls
from runqueue.store.inbox_calls import TakenLine
from tests.runqueue.lua.clockwork import LEASE, SECOND, Clockwork

TAKE_LEASE = 30 * SECOND


def alive(clock: Clockwork, process: str = "p1") -> None:
    clock.run(worker_calls.heartbeat("default", process, LEASE, -1, 0, first=True))


def push(clock: Clockwork, *lines: str) -> None:
    clock.client.rpush(clock.key("inbox"), *lines)


def take(
    clock: Clockwork, want: int = 100, process: str = "p1", *, stay_idle: bool = False
) -> claim_items.Taken[Any]:
    alive(clock, process)
    call = inbox_calls.inbox_take(
        "default", process, want, 0, stay_idle=stay_idle, lease_us=TAKE_LEASE
    )
    return clock.run(call)


def taken(clock: Clockwork, want: int = 100) -> Sequence[TakenLine]:
    return take(clock, want).items


def done(clock: Clockwork, *lines: tuple[str, bytes]) -> int:
    return clock.run(inbox_calls.inbox_done("default", lines))


def look(clock: Clockwork) -> tuple[int, int, list[bytes]]:
    """Lines that wait, lines taken, lines refused."""
    seen = clock.run(inbox_calls.inbox_look("default", 0, 100))
    assert seen.invalid == len(seen.page)
    return seen.waiting, seen.taken, seen.page


def count(clock: Clockwork, total: str) -> int:
    return int(clock.client.hget(clock.key("counters"), total) or 0)


def test_lines_are_taken_in_the_order_they_came_each_with_a_number(clock: Clockwork) -> None:
    push(clock, "a", "b", "c")
    assert taken(clock, 2) == [("1", b"a"), ("2", b"b")]
    assert taken(clock, 2) == [("3", b"c")]
    assert look(clock) == (0, 3, [])


def test_nobody_without_a_lease_takes_lines(clock: Clockwork) -> None:
    push(clock, "a")
    call = inbox_calls.inbox_take("default", "ghost", 1, 0, stay_idle=False, lease_us=1)
    assert clock.run(call).answer is ClaimAnswer.FENCED
    assert look(clock) == (1, 0, [])


def test_a_line_that_nobody_settles_is_given_out_again_under_its_number(clock: Clockwork) -> None:
    push(clock, "a")
    taken(clock)
    clock.wait(29)
    assert taken(clock) == []
    clock.wait(1)
    push(clock, "b")
    assert taken(clock) == [("1", b"a"), ("2", b"b")]


def test_a_settled_line_is_gone(clock: Clockwork) -> None:
    push(clock, "a")
    taken(clock)
    assert done(clock, ("1", b"")) == 1
    clock.wait(60)
    assert taken(clock) == []
    assert clock.client.keys(clock.key("inbox*")) == []


def test_only_the_newest_refused_lines_are_kept_and_the_others_are_counted(
    clock: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_calls, "KEPT", 2)
    done(clock, *[("", f"{n}".encode()) for n in range(5)])
    assert look(clock)[2] == [b"3", b"4"]
    assert count(clock, "invalid_lines") == 5
    assert count(clock, "invalid_lines_dropped") == 3


def test_a_refused_line_goes_back_once_however_many_ask(clock: Clockwork) -> None:
    done(clock, ("", b"kept"))
    call = inbox_calls.inbox_again("default", [(b"kept", b"line")])
    assert clock.run(call) == 1
    assert clock.run(call) == 0
    assert look(clock) == (1, 0, [])


@pytest.mark.parametrize("key", ["inbox", "inbox:taken", "inbox:leases"])
def test_a_key_of_another_type_is_met_before_anything_is_taken(clock: Clockwork, key: str) -> None:
    push(clock, "a")
    clock.client.delete(clock.key(key))
    clock.client.set(clock.key(key), "x")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        take(clock)
    clock.client.delete(clock.key(key))
    assert look(clock)[1] == 0


def test_a_full_server_keeps_the_lines_where_they_are_and_still_settles_some(
    clock: Clockwork,
) -> None:
    push(clock, "a", "b")
    taken(clock, 1)
    alive(clock)
    clock.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            clock.run(
                inbox_calls.inbox_take("default", "p1", 9, 0, stay_idle=False, lease_us=TAKE_LEASE)
            )
        assert done(clock, ("1", b"wrong")) == 1
    finally:
        clock.client.config_set("maxmemory", 0)
    assert look(clock) == (1, 0, [b"wrong"])


def tick(clock: Clockwork) -> dict[str, int]:
    alive(clock)
    clock.wait(1)
    return dict(clock.run(worker_calls.tick("default", "p1", SECOND // 2, woken=False)).messages)


def test_the_tick_starts_a_consumer_for_lines_whose_taker_died(clock: Clockwork) -> None:
    push(clock, "a")
    taken(clock)
    clock.wait(10)
    assert "inbox" not in tick(clock)
    clock.wait(20)
    assert tick(clock)["inbox"] == 1


def test_an_inbox_that_is_no_list_keeps_no_other_consumer_from_its_message(
    clock: Clockwork,
) -> None:
    clock.client.set(clock.key("inbox"), "x")
    clock.enqueue(1)
    assert tick(clock) == {"submit": 1, "sweep": 1}
