"""A consumer's life: how it begins, what keeps it, and every way it ends."""

import asyncio
import time
from typing import Any

import pytest
import redis

from runqueue import JobState
from runqueue.store import codec
from tests.simulator.simulating import eventually
from tests.worker.working import ENDLESS, INSTANT, KEYS, Bench, Work, ended, wrap_send
from worker.stages import consumer as module
from worker.stages.consumer import ConsumerEnd


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STAY_IDLE_SECONDS", 0.0)


def run(bench: Bench, stage: str = "submit", tick_us: int = 0) -> "asyncio.Task[ConsumerEnd]":
    return asyncio.create_task(bench.account.consumers[stage].run(tick_us))


@pytest.mark.parametrize("stage", ["submit", "poll", "cancel"])
async def test_a_consumer_without_work_ends_idle_and_is_not_active(work: Work, stage: str) -> None:
    async with work() as bench:
        assert await ended(run(bench, stage)) is ConsumerEnd.IDLE
        assert bench.active_consumers(stage) == 0


async def test_a_consumer_never_has_more_calls_open_than_places(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    wants: list[int] = []

    async def around(send: Any, call: Any) -> Any:
        if call.script.name == "claim":
            wants.append(bench.account.consumers["submit"].busy + int(call.arguments[2]))
        return await send(call)

    async with work(settings={"max_open_calls": 3}) as bench:
        wrap_send(monkeypatch, bench.account, around)
        bench.enqueue(12)

        await ended(run(bench))

        assert max(wants) == 3


async def test_a_submit_consumer_that_worked_a_moment_ago_stays_active(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STAY_IDLE_SECONDS", 60.0)
    async with work() as bench:
        await bench.submitted()
        consumer = bench.account.consumers["submit"]
        consumer._worked = time.monotonic()
        task = run(bench)
        await eventually(lambda: bench.active_consumers("submit") == 1)
        (late,) = bench.enqueue()
        consumer.wake()
        await eventually(lambda: bench.job(late).state is JobState.RUNNING)
        assert bench.active_consumers("submit") == 1

        monkeypatch.setattr(module, "STAY_IDLE_SECONDS", 0.0)
        consumer.wake()
        assert await ended(task) is ConsumerEnd.IDLE


async def test_a_message_older_than_5_s_starts_no_consumer_and_is_no_alarm(
    work: Work, logged: list[Any]
) -> None:
    async with work() as bench:
        await bench.submitted()  # this process remembers a claim
        assert (await bench.account.consumers["submit"].take(1, 0)).consumer_left
        bench.enqueue()

        stale = run(bench, tick_us=bench.now_us() - 5_100_000)
        assert await ended(stale) is ConsumerEnd.REFUSED
        assert bench.active_consumers("submit") == 0
        assert "redis_lost_writes" not in [event["event"] for event in logged]

        fresh = run(bench, tick_us=bench.now_us() - 4_000_000)
        assert await ended(fresh) is ConsumerEnd.IDLE
        assert len(await bench.runs()) == 2


async def test_a_second_message_wakes_the_consumer_that_lives_and_is_done(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH", 60.0)
    async with work(max_concurrent_runs=1) as bench:
        consumer = bench.account.consumers["submit"]
        bench.enqueue(2)
        first = run(bench)  # the second job waits for a slot, and the consumer to be woken
        await eventually(lambda: bench.stats().states[JobState.RUNNING] == 1 and consumer.busy == 0)
        bench.client.hset(f"{KEYS.prefix}limits", "live:concurrent_runs", 0)

        assert await ended(run(bench)) is ConsumerEnd.ALREADY
        assert await ended(first) is ConsumerEnd.IDLE
        assert len(await bench.runs()) == 2


async def test_after_its_lifetime_a_consumer_becomes_inactive_for_a_successor(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIFETIME", 0.05)
    monkeypatch.setattr(module, "REFRESH", 0.01)
    async with work(settings={"max_open_calls": 2}) as bench:
        await bench.api.fault({"latency": 1}, match={"route": "run_task"}, times=2)
        job_ids = bench.enqueue(3)
        consumer = bench.account.consumers["submit"]

        assert await ended(run(bench)) is ConsumerEnd.SUCCESSOR

        assert bench.active_consumers("submit") == 0
        assert consumer.busy == 2  # its calls go on, and the successor has no place for the third
        assert abs(consumer.server_us - bench.now_us()) < 5_000_000
        monkeypatch.setattr(module, "LIFETIME", 20.0)
        assert await ended(run(bench)) is ConsumerEnd.IDLE
        await eventually(lambda: consumer.busy == 0)
        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.RUNNING}


async def test_a_consumer_hands_over_no_sooner_than_its_claim_is_answered(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIFETIME", 0.05)
    monkeypatch.setattr(module, "REFRESH", 0.1)
    claims: list[str] = []

    async def lose_the_first(send: Any, call: Any) -> Any:
        reply = await send(call)
        if call.script.name == "claim":
            claims.append(call.arguments[1])
            if len(claims) == 1:
                raise redis.exceptions.ConnectionError("cut off")
        return reply

    async with work() as bench:
        (job_id,) = bench.enqueue()
        wrap_send(monkeypatch, bench.account, lose_the_first)

        assert await ended(run(bench)) is ConsumerEnd.SUCCESSOR

        # A successor in another process would not know of the job.
        await eventually(lambda: bench.job(job_id).state is JobState.RUNNING)
        assert claims == [claims[0]] * 2


async def test_a_wake_up_during_the_last_empty_claim_makes_the_consumer_look_again(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[str] = []

    async def enqueue_behind_its_back(send: Any, call: Any) -> Any:
        reply = await send(call)
        if call.script.name == "claim" and not late:
            assert reply.consumer_left
            late.extend(bench.enqueue())
            bench.account.consumers["submit"].wake()
        return reply

    async with work() as bench:
        wrap_send(monkeypatch, bench.account, enqueue_behind_its_back)

        assert await ended(run(bench)) is ConsumerEnd.IDLE

        await eventually(lambda: bench.job(late[0]).state is JobState.RUNNING)
        assert bench.active_consumers("submit") == 0


async def test_a_bug_with_one_job_frees_its_place_and_is_logged_without_the_body(
    work: Work, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    submission = codec.submission

    def buggy(stored: bytes, job_id: str, *others: Any, **options: Any) -> Any:
        if job_id == broken:
            raise AttributeError(stored)
        return submission(stored, job_id, *others, **options)

    async with work() as bench:
        broken, fine = bench.enqueue(2)
        bench.client.set(f"{KEYS.prefix}body:{broken}", b'{"k":"t"}\n{"prompt":"secret"}')
        monkeypatch.setattr(codec, "submission", buggy)

        await ended(run(bench))
        await eventually(lambda: bench.account.consumers["submit"].busy == 0)

        assert bench.job(fine).state is JobState.RUNNING
        (told,) = [event for event in logged if event["event"] == "item_failed"]
        assert told["stage"] == "submit"
        assert "secret" not in str(logged)
        # Its lease brings it back.
        assert bench.client.hget(f"{KEYS.prefix}job:{broken}", "state") == b"submitting"


async def test_a_consumer_whose_redis_fails_asks_again(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([redis.exceptions.ConnectionError("away")])

    async def around(send: Any, call: Any) -> Any:
        for error in failures:
            raise error
        return await send(call)

    async with work() as bench:
        wrap_send(monkeypatch, bench.account, around)

        assert await ended(run(bench, "poll")) is ConsumerEnd.IDLE
        assert next(failures, None) is None


async def test_a_consumer_that_meets_damaged_keys_says_so_once_and_asks_ever_more_rarely(
    work: Work, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 100.0)
    async with work() as bench:
        bench.client.set(f"{KEYS.prefix}poll", "a typo")
        consumer = bench.account.consumers["poll"]

        for _ in range(3):
            assert await ended(run(bench, "poll")) is ConsumerEnd.REFUSED
        assert [event["event"] for event in logged].count("claim_refused") == 1

        bench.client.delete(f"{KEYS.prefix}poll")
        consumer._not_before = 0.0  # its pause is over
        assert await ended(run(bench, "poll")) is ConsumerEnd.IDLE


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_claim_is_made_again_without_the_job_that_cannot_be_read(
    work: Work, logged: list[Any], at: int
) -> None:
    async with work() as bench:
        jobs = bench.enqueue(3)
        bad = jobs.pop(at)
        bench.client.set(f"{KEYS.prefix}job:{bad}", "a typo")

        assert await ended(run(bench)) is ConsumerEnd.IDLE

        await eventually(lambda: {bench.job(job).state for job in jobs} == {JobState.RUNNING})
        assert bench.stats().quarantined_ids == (bad,)
    assert [event["event"] for event in logged].count("job_quarantined") == 1


async def test_a_drain_waits_for_the_calls_on_the_wire(work: Work) -> None:
    async with work() as bench:
        await bench.api.fault({"latency": 0.2}, match={"route": "run_task"})
        (job_id,) = bench.enqueue()
        task = run(bench)
        await bench.arrived()

        await bench.account.stop(20)

        assert await ended(task) in {ConsumerEnd.DRAINING, ConsumerEnd.IDLE}
        assert bench.job(job_id).state is JobState.RUNNING
        assert bench.stats().processes == 0


async def test_a_drain_cuts_the_calls_that_take_longer_than_they_may(work: Work) -> None:
    async with work() as bench:
        quick, slow = bench.enqueue(), bench.enqueue(url=f"{ENDLESS}&slow=1")
        rule = {"match": {"route": "run_task", "contains": "slow=1"}}
        await bench.api.fault({"latency": 60}, **rule)
        run(bench)
        await bench.arrived(2)
        await eventually(lambda: bench.job(quick[0]).state is JobState.RUNNING)
        begun = time.monotonic()

        await bench.account.stop(0.1)

        assert time.monotonic() - begun < 5
        assert bench.job(quick[0]).state is JobState.RUNNING
        assert bench.job(slow[0]).state is JobState.UNCONFIRMED
        assert bench.account.consumers["submit"].busy == 0


async def test_what_a_claim_brings_during_a_drain_is_given_back_before_the_goodbye(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, answered = asyncio.Event(), asyncio.Event()

    async def answer_late(send: Any, call: Any) -> Any:
        reply = await send(call)
        if call.script.name == "claim":
            claimed.set()
            await answered.wait()
        return reply

    async with work() as bench:
        wrap_send(monkeypatch, bench.account, answer_late)
        job_ids = bench.enqueue(3)
        task = run(bench)
        await claimed.wait()
        stopping = asyncio.create_task(bench.account.stop(0))
        await eventually(lambda: bench.account.consumers["submit"].draining)
        assert not stopping.done()

        answered.set()
        await stopping

        assert await ended(task) is ConsumerEnd.DRAINING
        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.READY}
        assert bench.stats().totals["given_back:void"] == 3
        assert await bench.submissions() == 0
        assert bench.active_consumers("submit") == 0


async def test_a_drain_does_not_wait_for_ever_for_a_script_without_an_answer(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(send: Any, call: Any) -> Any:
        return await (asyncio.Event().wait() if call.script.name == "claim" else send(call))

    monkeypatch.setattr(module, "CLAIM_GRACE", 0.05)
    async with work() as bench:
        wrap_send(monkeypatch, bench.account, never)
        task = run(bench)
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await bench.account.consumers["submit"].drain(0)
        task.cancel()


async def test_looks_that_come_due_one_by_one_are_claimed_together(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = 0

    async def around(send: Any, call: Any) -> Any:
        nonlocal claims
        claims += call.script.name == "poll_claim"
        return await send(call)

    async with work(simulator={"list_supported": False}) as bench:
        bench.account.remember_no_list()
        monkeypatch.setattr(bench.account.consumers["poll"], "min_claim_interval", 0.2)
        job_ids = await bench.submitted(40, url=INSTANT)
        start_us = bench.now_us()
        looks = {job_id: start_us + i * 10_000 for i, job_id in enumerate(job_ids)}
        bench.client.zadd(f"{KEYS.prefix}poll", looks, xx=True)
        wrap_send(monkeypatch, bench.account, around)

        await ended(run(bench, "poll"))

        await eventually(lambda: bench.job(job_ids[-1]).state is JobState.COMPLETED)
        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.COMPLETED}
        assert claims < 12


async def test_a_place_that_gets_free_where_all_were_busy_is_used_at_once(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(settings={"max_open_calls": 2}) as bench:
        monkeypatch.setattr(module, "REFRESH", 60.0)
        monkeypatch.setattr(bench.account.consumers["poll"], "min_claim_interval", 60.0)
        await bench.one_pass("submit")
        job_ids = [*await bench.submitted(2, url=INSTANT), *await bench.submitted(2, url=INSTANT)]
        bench.client.zadd(f"{KEYS.prefix}poll", dict.fromkeys(job_ids, 0), xx=True)

        task = run(bench, "poll")

        done = {JobState.COMPLETED}
        await eventually(lambda: {bench.job(job_id).state for job_id in job_ids} == done)
        bench.account.consumers["poll"].wake()
        await ended(task)
