"""Thousands of groups: held lanes keep nobody waiting, and no script's work grows with them."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from runqueue.producer.chunks import packets
from runqueue.producer.queue import RunQueue
from runqueue.records.batch import NO_RULES, BatchRules
from runqueue.records.claim_items import Finished, Lost
from runqueue.store import groups, job_calls, operator_calls, worker_calls
from runqueue.store.groups import KEEP, Keep
from runqueue.store.scripts import ScriptCall
from tests.runqueue.lua.clockwork import RETENTION, SECOND, UPLOAD, Clockwork, spec

#: More lanes than a tick, or a claim, looks at.
MANY = 500


def jobs_in_groups(clock: Clockwork, n: int, batch: str | None = None) -> None:
    """Hand in one job of each of n groups."""
    for start in range(0, n, 1_000):
        ahead = range(start, min(start + 1_000, n))
        clock.enqueue_specs([spec(f"{batch}-{i}", group=f"g{i}") for i in ahead], batch)


def batch_in_groups(clock: Clockwork, n: int, rules: BatchRules = NO_RULES) -> str:
    """Open a batch with one job in each of n groups."""
    batch = clock.open_batch(rules)
    jobs_in_groups(clock, n, batch)
    return batch


def sealed_in_groups(clock: Clockwork, n: int) -> str:
    """Hand in a batch with one job in each of n groups; all its lanes are listed."""
    batch = batch_in_groups(clock, n)
    assert clock.seal(batch) == n
    while clock.sweep("step_lanes"):
        pass
    return batch


def set_groups(clock: Clockwork, n: int, cap: int | Keep | None = KEEP) -> None:
    """Cap each of n groups, or pause it."""
    for i in range(n):
        paused = True if cap is KEEP else None
        clock.run(groups.set_group(clock.account, f"g{i}", cap, paused))


def claimed_in(clock: Clockwork, claims: int, want: int = 10) -> list[str]:
    """The ids that so many claims took."""
    return [job for _ in range(claims) for job in clock.claimed(want)]


# Nobody waits for what is held.


@pytest.mark.parametrize("woken", [True, False])
@pytest.mark.parametrize("held", ["paused", "canceled", "groups paused"])
def test_a_job_behind_many_held_lanes_has_a_consumer_started(
    clock: Clockwork, *, woken: bool, held: str
) -> None:
    batch = sealed_in_groups(clock, MANY)
    if held == "paused":
        clock.hold(batch)
    elif held == "canceled":
        clock.cancel_batch(batch)
        clock.sweep("sweep_canceled")
    else:
        set_groups(clock, MANY)
    (job,) = clock.enqueue(1, group="other")
    clock.heartbeat(first=True)
    clock.wait(1)
    assert clock.tick(woken=woken).messages["submit"] == 1
    assert claimed_in(clock, 8) == [job]


def test_a_claim_that_took_out_held_lanes_alone_is_followed_by_the_next_at_once(
    clock: Clockwork,
) -> None:
    for _ in range(MANY):
        batch, _ = clock.batch_of(1)
        clock.hold(batch)
    (job,) = clock.enqueue(1)
    clock.heartbeat(first=True)
    taken = clock.claim()
    assert not taken.items
    assert not taken.consumer_left
    assert taken.next_us == clock.now
    assert claimed_in(clock, 8) == [job]


# Work in steps.

#: Commands that one script may run, whatever there is: some 5 ms of a slow machine.
MOST_COMMANDS = 5_000


def claim(clock: Clockwork) -> ScriptCall[Any]:
    clock.heartbeat(first=True)
    return worker_calls.claim(clock.account, "p1", clock.new_id(), 100, 0)


def to_seal(clock: Clockwork, n: int) -> ScriptCall[Any]:
    return job_calls.seal_batch(clock.account, batch_in_groups(clock, n))


def to_pause(clock: Clockwork, n: int) -> ScriptCall[Any]:
    return job_calls.hold_batch(clock.account, sealed_in_groups(clock, n), "pause")


def to_resume(clock: Clockwork, n: int) -> ScriptCall[Any]:
    clock.run(to_pause(clock, n))
    (batch,) = clock.members("batches")
    clock.heartbeat(first=True)
    while not clock.claim().consumer_left:
        pass
    return job_calls.hold_batch(clock.account, batch, "resume", "paused")


def to_claim_from_a_held_batch(clock: Clockwork, n: int) -> ScriptCall[Any]:
    clock.run(to_pause(clock, n))
    return claim(clock)


def to_claim_after_sealing(clock: Clockwork, n: int) -> ScriptCall[Any]:
    clock.run(to_seal(clock, n))
    return claim(clock)


def to_claim_from_paused_groups(clock: Clockwork, n: int) -> ScriptCall[Any]:
    jobs_in_groups(clock, n)
    set_groups(clock, n)
    return claim(clock)


def to_claim_from_full_groups(clock: Clockwork, n: int) -> ScriptCall[Any]:
    for i in range(n):
        clock.client.hset(clock.key(f"group:g{i}"), mapping={"max_concurrent": 1, "live": 1})
    jobs_in_groups(clock, n)
    return claim(clock)


def to_enqueue(clock: Clockwork, n: int) -> ScriptCall[Any]:
    return next(packets(spec(f"{i}", group=f"g{i}") for i in range(n))).call(None)


def to_list_groups(clock: Clockwork, n: int) -> ScriptCall[Any]:
    jobs_in_groups(clock, n)
    set_groups(clock, n, 2)
    names = clock.run(groups.group_names(clock.account))
    return groups.read_groups(clock.account, names[: groups.A_CALL])


def to_cancel(clock: Clockwork, n: int) -> ScriptCall[Any]:
    clock.run(to_seal(clock, n))
    (batch,) = clock.members("batches")
    return operator_calls.cancel_batch(clock.account, batch)


def to_sweep_its_last_job(clock: Clockwork, n: int) -> ScriptCall[Any]:
    clock.run(to_cancel(clock, n))
    for _ in range(n // 100):
        assert clock.run(worker_calls.sweep(clock.account, "sweep_canceled", 100)) == 100
    return worker_calls.sweep(clock.account, "sweep_canceled", 100)


def to_sweep_as_many_batches(clock: Clockwork, n: int) -> ScriptCall[Any]:
    for _ in range(n):
        clock.cancel_batch(clock.batch_of(1)[0])
    return worker_calls.sweep(clock.account, "sweep_canceled", 100)


def to_retire_its_last_job(clock: Clockwork, n: int) -> ScriptCall[Any]:
    batch = batch_in_groups(clock, n)
    clock.seal(batch)
    ids = clock.run(job_calls.list_batch(clock.account, batch, 0, n))
    for start in range(0, n, 100):
        clock.cancel(*ids[start : start + 100])
    clock.wait(RETENTION / SECOND + 86_400)
    clock.heartbeat(first=True)
    for _ in range(n // 100 - 1):
        assert clock.run(worker_calls.sweep(clock.account, "retire", 100)) == 100
    return worker_calls.sweep(clock.account, "retire", 100)


def to_expire_an_upload(clock: Clockwork, n: int) -> ScriptCall[Any]:
    batch_in_groups(clock, n)
    clock.wait(2 * 86_400)
    for _ in range(n // 100 - 1):
        clock.run(worker_calls.sweep(clock.account, "expire_batches", UPLOAD, 101))
    return worker_calls.sweep(clock.account, "expire_batches", UPLOAD, 101)


def to_end_the_canary(clock: Clockwork, n: int) -> ScriptCall[Any]:
    batch = batch_in_groups(clock, n, BatchRules(canary=1))
    clock.seal(batch)
    clock.heartbeat(first=True)
    job = claimed_in(clock, n // 50, 1)[0]  # a step of listing lanes may bring few
    clock.found(job, 1, "run1")
    end = Finished(job, 1, "run1", "completed", "completed", "", b"{}")
    return worker_calls.finish(clock.account, [end])


@pytest.mark.parametrize(
    "prepare",
    [
        to_seal,
        to_pause,
        to_resume,
        to_claim_from_a_held_batch,
        to_claim_after_sealing,
        to_claim_from_paused_groups,
        to_claim_from_full_groups,
        to_enqueue,
        to_list_groups,
        to_cancel,
        to_sweep_its_last_job,
        to_sweep_as_many_batches,
        to_retire_its_last_job,
        to_expire_an_upload,
        to_end_the_canary,
    ],
    ids=lambda prepare: prepare.__name__,
)
def test_a_script_runs_as_many_commands_whatever_the_number_of_groups(
    clock: Clockwork, prepare: Callable[[Clockwork, int], ScriptCall[Any]]
) -> None:
    few = clock.commands(prepare(clock, 1_200))
    clock.client.flushall()
    many = clock.commands(prepare(clock, 2_400))
    assert few <= MOST_COMMANDS
    assert many <= 1.1 * few + 20  # how much a scan gives depends on the server's hash seed


def most_commands(clock: Clockwork, act: Callable[[RunQueue], object]) -> int:
    """Act; returns the most commands that one script call of it took."""
    clock.client.sadd("runqueue:{accounts}", clock.account)
    counts: list[int] = []

    class Counted(RunQueue):
        def send(self, call: ScriptCall[Any]) -> Any:
            replies: list[Any] = []
            parsed = replace(call, parse=lambda reply: replies.append(call.parse(reply)))
            counts.append(clock.commands(parsed))
            return replies[0]

    port = clock.client.connection_pool.connection_kwargs["port"]
    with Counted(f"redis://127.0.0.1:{port}") as queue:
        act(queue)
    return max(counts)


def test_what_people_do_to_jobs_of_many_groups_goes_in_bounded_steps(clock: Clockwork) -> None:
    n = 600
    clock.client.hset(clock.key("limits"), "env:concurrent_runs", n)
    batch = sealed_in_groups(clock, n)
    jobs = clock.run(job_calls.list_batch(clock.account, batch, 0, n))
    clock.cancel(*jobs)
    seen = {"replay": most_commands(clock, lambda queue: queue.replay(jobs))}
    clock.cancel(*jobs)
    seen["retry"] = most_commands(clock, lambda queue: queue.retry_failed(batch, canceled=True))
    clock.heartbeat(first=True)
    while taken := clock.claim(100).items:
        lost = [Lost(item.job_id, item.attempt, "cut off") for item in taken]
        clock.run(worker_calls.mark_unconfirmed(clock.account, lost))
    seen["resubmit"] = most_commands(clock, lambda queue: queue.resubmit(jobs))
    seen["cancel"] = most_commands(clock, lambda queue: queue.cancel_jobs(jobs))
    assert {clock.state(job) for job in jobs} == {"canceled"}
    assert max(seen.values()) <= MOST_COMMANDS, seen


@pytest.fixture
def half_listed(clock: Clockwork) -> str:
    """A batch of many groups that was sealed, its lanes not all listed yet."""
    batch = batch_in_groups(clock, 1_000)
    assert clock.seal(batch) == 1_000
    assert clock.client.exists(clock.key("listing"))
    clock.heartbeat(first=True)
    return batch


def claim_all(clock: Clockwork, most: int = 50) -> list[str]:
    """Claim until nothing is left; returns the ids."""
    found = []
    for _ in range(most):
        taken = clock.claim(500)
        found += [item.job_id for item in taken.items]
        if taken.consumer_left:
            break
    return found


def test_a_batch_that_is_held_and_resumed_amid_its_listing_is_claimed_once(
    clock: Clockwork, half_listed: str
) -> None:
    jobs = [item.job_id for item in clock.claim(500).items]
    clock.hold(half_listed)
    assert claim_all(clock) == []
    assert not clock.client.exists(clock.key("listing"))
    clock.resume(half_listed)
    jobs += [item.job_id for item in clock.claim(500).items]
    clock.hold(half_listed)
    clock.resume(half_listed)
    jobs += claim_all(clock)
    assert len(jobs) == len(set(jobs)) == 1_000


@pytest.mark.usefixtures("half_listed")
def test_lanes_are_listed_by_the_sweep_while_no_claim_may_take_from_them(clock: Clockwork) -> None:
    clock.wait(2)
    assert clock.tick().messages["sweep"] == 1
    while clock.sweep("step_lanes"):
        pass
    assert clock.client.zcard(clock.key("ring:2")) == 1_000
    assert not clock.client.exists(clock.key("listing"))


def test_lanes_that_are_yet_to_be_listed_have_a_consumer_started(clock: Clockwork) -> None:
    batch = batch_in_groups(clock, 1_000)
    clock.seal(batch)
    clock.client.delete(clock.key("ring:2"))
    clock.heartbeat(first=True)
    clock.wait(1)
    assert clock.tick().messages["submit"] == 1
    assert not clock.claim(500).consumer_left


def kinds_left(clock: Clockwork) -> dict[str, list[str]]:
    """The account's keys by what they begin with."""
    kinds = defaultdict(list)
    for key in clock.dump():
        kinds[key.removeprefix(clock.key("")).split(":")[0]].append(key)
    return kinds


def test_lanes_of_a_batch_that_is_gone_are_removed_in_steps(clock: Clockwork) -> None:
    clock.run(to_retire_its_last_job(clock, 1_000))
    assert 0 < len(kinds_left(clock)["lane"]) < 1_000
    assert clock.tick().messages["sweep"] == 1
    while clock.sweep("step_lanes"):
        pass
    claim_all(clock)
    gone = {"lane", "lanes", "batch_lanes", "batch_jobs", "dropping", "ring"}
    assert not kinds_left(clock).keys() & gone
