"""A batch of which jobs wait in a paused group has no ETA, and says why."""

from typing import Any

import pytest

from runqueue.records.batch import BatchRules
from runqueue.store import groups, job_calls
from tests.runqueue.lua.clockwork import Clockwork
from tests.runqueue.lua.test_eta import TEN_RUNS, eta_note, rounds
from tests.runqueue.lua.test_many_groups import sealed_in_groups, set_groups


@pytest.fixture
def clock(clock: Clockwork) -> Clockwork:
    """An account that a worker serves all the time."""
    clock.client.zadd(clock.key("processes"), {"p0": 2**60})
    return clock


@pytest.fixture
def known(clock: Clockwork) -> Clockwork:
    """An account of which it is known how long runs take."""
    clock.limit(**TEN_RUNS)
    clock.batch_of(4)
    rounds(clock, 1, 4, 100)
    return clock


UNKNOWN = "fewer than 10 jobs of it have ended, or none for a while: how fast is not known"


def begun(clock: Clockwork, n: int, **options: Any) -> str:
    """Hand in a batch of so many jobs, and ten that have ended, one every ten seconds."""
    batch = clock.open_batch()
    clock.enqueue(10, batch=batch)
    clock.enqueue(n, batch=batch, **options)
    clock.seal(batch)
    rounds(clock, 1, 10, 100)
    return batch


def pause(clock: Clockwork, group: str, *, paused: bool = True) -> None:
    clock.run(groups.set_group(clock.account, group, groups.KEEP, paused))


@pytest.mark.parametrize("options", [{}, {"priority": 0}, {"run_at": 10**17}], ids=str)
def test_no_eta_while_jobs_wait_in_a_paused_group(known: Clockwork, options: Any) -> None:
    batch = begun(known, 50, group="shop-a", **options)
    assert (known.read(batch).seconds_left, known.read(batch).eta_note) == (500.0, None)

    pause(known, "shop-a")

    found = known.read(batch)
    assert found.paused_group == "shop-a"
    assert eta_note(found) == (
        "waits for: group shop-a is paused until `runqueue group set shop-a --resume`"
    )
    shown = found.as_dict()
    assert (shown["eta_note"], shown["paused_group"]) == (eta_note(found), "shop-a")


@pytest.mark.parametrize("how", ["canceled", "paused", "unsealed"])
def test_a_batch_that_is_held_itself_speaks_of_no_group(known: Clockwork, how: str) -> None:
    batch = known.open_batch()
    known.enqueue(5, batch=batch, group="shop-a")
    if how != "unsealed":
        known.seal(batch)
    pause(known, "shop-a")
    if how == "canceled":
        known.cancel_batch(batch)
    elif how == "paused":
        known.hold(batch)

    found = known.read(batch)
    assert (found.paused_group, found.seconds_left) == (None, None)
    words = f"waits for: batch {batch} is paused until `runqueue batch resume {batch}`"
    assert found.eta_note == (words if how == "paused" else None)


def test_a_list_of_batches_and_a_callback_know_of_paused_groups(known: Clockwork) -> None:
    rules = BatchRules(callback_url="https://shop.example/", callback_at=(0.5,))
    batch, _ = known.batch_of(8, rules, group="shop-a")
    rounds(known, 1, 4, 100)
    other, _ = known.batch_of(5, group="shop-b")
    pause(known, "shop-a")

    page = known.run(job_calls.list_batches(known.account, "", 10))
    told = {found.id: found.paused_group for found in page.batches}
    assert (told[batch], told[other]) == ("shop-a", None)
    (due,) = known.callbacks()
    assert due.batch.paused_group == "shop-a"


@pytest.mark.parametrize(("paused", "of_the_batch"), [(1, 500), (500, 1), (500, 500)])
def test_reading_a_batch_costs_no_more_with_many_groups(
    known: Clockwork, paused: int, of_the_batch: int
) -> None:
    set_groups(known, paused)
    batch = sealed_in_groups(known, of_the_batch)
    call = job_calls.get_batch(known.account, batch)

    assert known.commands(call) < 60
    assert known.read(batch).paused_group is not None


def test_more_groups_than_may_be_looked_at_give_no_eta_and_say_so(known: Clockwork) -> None:
    batch = begun(known, 5)
    known.client.sadd(known.key(f"batch_lanes:{batch}"), *(f"2:g{n}" for n in range(20_500)))
    assert known.read(batch).eta_note is None
    known.client.sadd(known.key("paused_lanes"), *(f"2:other-{n}" for n in range(20_500)))

    found = known.read(batch)

    assert found.paused_group is None
    assert (
        eta_note(found)
        == "waits for: more groups are paused than can be looked at, perhaps some of its own"
    )


def test_many_lanes_of_canceled_jobs_are_not_looked_through(known: Clockwork) -> None:
    batch = sealed_in_groups(known, 500)
    set_groups(known, 500)
    known.enqueue(1)
    for start in range(0, 500, 100):
        ids = known.run(job_calls.list_batch(known.account, batch, start, 100))
        known.run(job_calls.cancel(known.account, ids[:-1] if start == 400 else ids))

    assert known.commands(job_calls.get_batch(known.account, batch)) < 1_000
    assert known.read(batch).eta_note is not None
