"""The lease: until when a process may send, and what its loss means."""

import asyncio
from typing import Any

import pytest
import redis

from runqueue import JobState
from runqueue.store.scripts import ScriptCall
from tests.simulator.simulating import FakeClock, eventually
from tests.worker.working import KEYS, Work, start
from worker.process.lease import Lease

#: What the script answers: the claim sequence, or that the lease was lost.
HELD, LOST = 7, -1


class Redis:
    """Answers heartbeats from a list, the last one for ever."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.beats: list[tuple[str, bool]] = []

    async def send(self, call: ScriptCall[int]) -> int:
        process, _, first, *_ = call.arguments
        self.beats.append((str(process), bool(first)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def nothing() -> None:
    """Announce nothing."""


async def test_before_the_first_heartbeat_nothing_may_be_sent() -> None:
    lease = Lease("default", Redis(HELD).send, nothing, FakeClock())

    assert not lease.may_send(lease.name)


async def test_a_heartbeat_is_good_for_14_s_from_its_start() -> None:
    clock = FakeClock()

    async def slow(call: ScriptCall[int]) -> int:
        clock.advance(3)
        return 0

    lease = Lease("default", slow, nothing, clock)
    await lease.beat()
    clock.advance(10.9)
    assert lease.may_send(lease.name)
    clock.advance(0.2)
    assert not lease.may_send(lease.name)

    await lease.beat()
    assert lease.may_send(lease.name)


async def test_only_the_first_heartbeat_of_a_name_may_begin_a_lease() -> None:
    server = Redis(HELD)
    lease = Lease("default", server.send, nothing)
    await lease.beat()
    await lease.beat()

    assert server.beats == [(lease.name, True), (lease.name, False)]


async def test_a_lost_lease_is_begun_again_under_a_new_name_and_the_old_one_may_not_send(
    logged: list[Any],
) -> None:
    server = Redis(HELD, LOST, HELD)
    lease = Lease("default", server.send, nothing, FakeClock())
    await lease.beat()
    old = lease.name

    await lease.beat()

    assert lease.name != old
    assert lease.may_send(lease.name)
    assert not lease.may_send(old)
    assert server.beats[-1] == (lease.name, True)
    (told,) = logged
    assert (told["event"], told["process"], told["new_name"]) == ("lease_lost", old, lease.name)


async def test_a_process_remembers_the_highest_claim_sequence_it_was_told(
    logged: list[Any],
) -> None:
    lease = Lease("default", Redis(7, 9, 3).send, nothing)
    for remembered in (7, 9, 9):
        await lease.beat()
        assert lease.sequence == remembered

    (told,) = logged
    assert (told["event"], told["known"], told["of"]) == ("redis_lost_claims", 3, 9)


async def test_a_claim_answered_while_a_heartbeat_is_on_its_way_is_no_lost_claim(
    logged: list[Any],
) -> None:
    server = Redis(7, 7)

    async def send(call: ScriptCall[int]) -> int:
        seen = await server.send(call)
        lease.sequence = 8
        return seen

    lease = Lease("default", send, nothing)
    await lease.beat()
    lease.sequence = 7
    await lease.beat()

    assert (lease.sequence, logged) == (8, [])


async def test_the_heartbeat_goes_on_through_trouble_with_redis(
    monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    pauses: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    away = redis.exceptions.ConnectionError("away")
    server = Redis(HELD, away, OSError("reset"), HELD)
    lease = Lease("default", server.send, nothing)
    await lease.beat()
    keeping = asyncio.create_task(lease.keep())

    while len(server.beats) <= 5:
        await real_sleep(0)
    keeping.cancel()

    assert pauses[:5] == [5.0, 0.5, 0.5, 5.0, 5.0], "who waits for us waits no longer than it must"
    assert {name for name, _ in server.beats} == {lease.name}
    assert [event["event"] for event in logged] == ["heartbeat_failed"] * 2
    assert lease.may_send(lease.name)


async def test_claims_of_a_lost_lease_are_given_back_unsent(work: Work) -> None:
    async with work() as bench:
        (job_id,) = bench.enqueue()
        consumer = bench.account.consumers["submit"]
        items = (await consumer.take(1, 0)).items
        bench.client.zrem(f"{KEYS.prefix}processes", bench.account.lease.name)
        await bench.account.lease.beat()

        start(consumer, *items)
        await eventually(lambda: consumer.busy == 0)

        assert bench.job(job_id).state is JobState.READY
        assert await bench.submissions() == 0
        await bench.one_pass("submit")  # under the new name it goes on
        assert bench.job(job_id).state is JobState.RUNNING


async def test_a_process_that_ends_in_good_order_is_gone_from_the_queue(work: Work) -> None:
    async with work() as bench:
        assert bench.stats().processes == 1
        assert bench.queue.accounts() == ["default"]
        await bench.account.consumers["submit"].take(1, 0)

        await bench.account.stop(0)

        assert bench.stats().processes == 0
        assert bench.active_consumers("submit") == 0


async def test_a_heartbeat_that_fails_as_it_is_canceled_is_the_last_one() -> None:
    keeping: asyncio.Task[None]

    class Canceled(Lease):
        async def beat(self) -> None:
            keeping.cancel()
            raise redis.ConnectionError("closed")  # as a connection given back meanwhile

    keeping = asyncio.create_task(Canceled("default", Redis(HELD).send, nothing).keep())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("worker.process.lease.BEAT_SECONDS", 0.0)
        patched.setattr("worker.process.lease.AGAIN_SECONDS", 0.0)
        await asyncio.wait([keeping], timeout=20)

    with pytest.raises(redis.ConnectionError):
        await keeping
