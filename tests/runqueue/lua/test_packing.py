"""Jobs that are over are packed in bounded steps, whatever happens meanwhile."""

from __future__ import annotations

from typing import cast

import orjson
import pytest

from runqueue.store import codec, compression
from runqueue.store.history import read_history
from tests.runqueue.lua.clockwork import DAY, SECOND, Clockwork
from tests.runqueue.lua.packs import (
    PROMPT,
    RESULT,
    body,
    is_packed,
    look,
    over,
    pack,
    replay,
    store,
)
from tests.runqueue.lua.webhooks import URL


def test_a_packed_job_is_one_string_that_reads_as_before(clock: Clockwork) -> None:
    (job,) = over(clock, url=URL)
    plain, stored = clock.job(job), body(clock, job)
    request = codec.parts(stored)
    seen = clock.run(read_history(clock.account, job))

    assert pack(clock) == 1

    assert is_packed(clock, job)
    assert not clock.client.exists(clock.key(f"result:{job}"))
    assert len(body(clock, job)) < len(stored) + len(RESULT)
    assert clock.job(job) == plain
    assert plain.result == orjson.loads(RESULT)
    assert codec.parts(body(clock, job)) == request
    assert clock.run(read_history(clock.account, job)) == seen


def test_a_job_lies_as_it_came_for_a_while(clock: Clockwork) -> None:
    (first,) = over(clock)
    clock.wait(10)
    (second,) = over(clock)
    assert pack(clock, after=5 * SECOND) == 1
    assert (is_packed(clock, first), is_packed(clock, second)) == (True, False)
    assert pack(clock, after=5 * SECOND) == 0
    clock.wait(5)
    assert pack(clock, after=5 * SECOND) == 1
    assert is_packed(clock, second)


def test_a_step_is_bounded_by_bytes_and_takes_one_job_at_least(clock: Clockwork) -> None:
    over(clock, 5)
    one = look(clock, limit=1).jobs[0]
    size = len(one.body) + len(one.result)
    assert len(look(clock, allowed_bytes=1).jobs) == 1
    assert len(look(clock, allowed_bytes=3 * size).jobs) == 3
    assert [pack(clock, allowed_bytes=2 * size) for _ in range(4)] == [2, 2, 1, 0]


def test_the_tick_has_the_sweep_go_on_while_there_is_more(clock: Clockwork) -> None:
    over(clock, 3)
    clock.tick()
    clock.wait(2)
    assert "sweep" not in clock.tick().messages
    look(clock, limit=2)
    clock.wait(2)
    assert clock.tick().messages["sweep"] == 1
    pack(clock)
    clock.wait(2)
    assert "sweep" not in clock.tick().messages


def test_what_is_not_over_is_left_alone(clock: Clockwork) -> None:
    (again,) = over(clock, state="failed")
    assert replay(clock, again) == [1]
    clock.client.hset(clock.key("orphans"), "r9", f"{again} 1 {clock.now} late")
    clock.client.rpush(clock.key(f"ended:{clock.now // DAY}"), "orphan r9", clock.new_id("gone"))
    assert look(clock).jobs == []
    assert pack(clock) == 0


def test_a_long_result_keeps_a_string_of_its_own(clock: Clockwork) -> None:
    (job,) = clock.running(1, body=PROMPT)
    result = orjson.dumps({"output": [f"line {n} of many" for n in range(4_000)]})
    assert clock.finish(job, result=result) == 1
    assert pack(clock) == 1
    kept = cast("bytes", clock.client.get(clock.key(f"result:{job}")))
    assert compression.is_packed(kept)
    assert len(kept) < len(result) / 3
    assert clock.job(job).result == orjson.loads(result)
    assert pack(clock) == 0


def test_a_body_that_is_gone_keeps_nothing_up(clock: Clockwork) -> None:
    gone, there = over(clock, 2)
    clock.client.delete(clock.key(f"body:{gone}"))
    assert pack(clock) == 1
    assert is_packed(clock, there)


# What comes between.


def test_a_process_that_is_killed_in_between_leaves_all_as_it_was(clock: Clockwork) -> None:
    over(clock, 3)
    before = clock.dump("meta")
    look(clock)
    assert clock.dump("meta") == before
    assert pack(clock) == 3


def test_the_second_of_two_that_pack_the_same_changes_nothing(clock: Clockwork) -> None:
    over(clock, 4)
    one, other = look(clock, limit=2), look(clock, limit=4)
    assert store(clock, one) == 2
    assert store(clock, other) == 2
    assert pack(clock) == 0


@pytest.mark.parametrize("ends_again", [False, True])
def test_one_that_is_done_again_in_between_stays_as_it_is(
    clock: Clockwork, ends_again: bool
) -> None:
    (job,) = over(clock, state="failed")
    read = look(clock)
    assert replay(clock, job) == [1]
    if ends_again:
        clock.claimed()
        clock.found(job, 2, "r2")
        assert clock.finish(job, attempt=2, run_id="r2", result=RESULT) == 1
    before = clock.dump("meta")
    assert store(clock, read) == 0
    assert clock.dump("meta") == before


def test_one_that_was_done_again_and_stands_twice_is_read_once(clock: Clockwork) -> None:
    (job,) = over(clock, state="failed")
    assert replay(clock, job) == [1]
    clock.claimed()
    clock.found(job, 2, "r2")
    assert clock.finish(job, attempt=2, run_id="r2", result=RESULT) == 1
    clock.wait(0.001)
    assert [one.job_id for one in look(clock).jobs] == [job]


@pytest.mark.parametrize("name", ["body", "result"])
def test_what_is_not_as_it_was_read_stays_as_it_is(clock: Clockwork, name: str) -> None:
    (job,) = over(clock)
    read = look(clock)
    clock.client.append(clock.key(f"{name}:{job}"), " ")
    before = clock.dump("meta")
    assert store(clock, read) == 0
    assert clock.dump("meta") == before
