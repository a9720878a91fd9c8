"""The consumer of webhooks: woken at once, cut off at any time, not held up by one receiver."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from aiohttp import web
from pydantic import SecretStr

from config.settings import Settings
from runqueue import Job, RunQueue, TaskRunRequest
from runqueue.observe.collector import QueueCollector
from runqueue.records.delivery import DeliveryState, Reported
from runqueue.store.delivery_calls import deliver_again, record_webhook
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall
from runqueue.store.sending import run
from tests.simulator.simulating import answering, eventually, receiving, simulating
from tests.worker.delivering import (
    BODY,
    due,
    figure,
    relaying,
    signature,
    state_of,
    told,
    wait_of,
    webhook,
)
from tests.worker.working import ENDLESS, KEYS, Send, Work, ended, start, wrap_send
from worker.runtime import Runtime
from worker.stages.consumer import ConsumerEnd
from worker.stages.deliver import LEASE_SECONDS
from worker.ticker import TickerThread


@contextmanager
def running(url: str, base_url: str, **more: Any) -> Iterator[Runtime]:
    """Start a process's loop, without Celery."""
    chosen = {
        "SKYVERN_API_KEY": SecretStr("simulator-key"),
        "SKYVERN_BASE_URL": base_url,
        "public_url": "http://127.0.0.1:9",
        "allow_private_webhook_targets": True,
        "drain_seconds": 5,
    }
    runtime = Runtime(Settings(**{**chosen, **more}), url)
    runtime.start()
    try:
        yield runtime
    finally:
        runtime.stop()


async def test_a_webhook_that_came_goes_on_at_once_without_a_tick_or_a_message(
    client: redis.Redis, redis_url: str, queue: RunQueue
) -> None:
    async with receiving() as user, simulating() as api:
        with running(redis_url, api.url) as runtime:
            messages: list[tuple[str, str, int]] = []
            ticker = TickerThread("default", runtime, lambda *message: messages.append(message))
            ticker._next_tick = time.monotonic() + 3600
            ticker.start()
            job_id = queue.enqueue(
                TaskRunRequest(prompt="x", url=ENDLESS, webhook_url=user.url)
            ).job_id
            await asyncio.to_thread(runtime.consume, "submit", "default", 0)
            job = queue.get(job_id)
            run(client, record_webhook("default", [_reported(job)]))  # no consumer is there yet
            await eventually(lambda: len(user.bodies) == 1)
            run(client, deliver_again("default", [job_id]))  # now there is one
            await eventually(lambda: len(user.bodies) == 2)
            await eventually(lambda: queue.get(job_id).webhook.state == "delivered")
            assert "webhooks" not in [kind for kind, _, _ in messages]
            assert client.llen(Keys("default").wake("webhooks")) == 0
            runtime.stopping.set()
            await asyncio.to_thread(client.lpush, Keys("default").wake(), "1")
            await asyncio.to_thread(ticker.join, 5)


def _reported(job: Job) -> Reported:
    """The end of a job's run, as Skyvern reports it."""
    run_id = job.run_id or ""
    return Reported(
        job.id, job.attempts, run_id, "completed", "completed", signature(BODY), True, BODY
    )


async def test_a_wake_up_that_comes_during_a_claim_is_not_lost(
    relay: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as user, relay() as bench:
        consumer = bench.account.consumers["webhooks"]
        made: list[str] = []

        async def late(send: Send, call: ScriptCall[Any]) -> Any:
            reply = await send(call)
            if call.script.name == "delivery_claim" and not made:
                made.append("")  # `told` sends scripts, too
                made[0] = await told(bench, user.url)
                assert await consumer.run(0) is ConsumerEnd.ALREADY
            return reply

        wrap_send(monkeypatch, bench.account, late)
        assert await ended(asyncio.create_task(consumer.run(0))) is ConsumerEnd.IDLE

        assert state_of(bench, made[0]) is DeliveryState.DELIVERED


async def test_a_webhook_whose_worker_was_killed_comes_again_with_the_same_id(
    relay: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    answers = asyncio.Event()

    async def hangs_at_first(request: web.Request) -> web.Response:
        taken.append(request.headers["webhook-id"])
        if len(taken) == 1:
            await answers.wait()
        return web.Response()

    async with answering(hangs_at_first) as url, relay() as bench:
        job_id = await told(bench, url)
        consumer = bench.account.consumers["webhooks"]
        start(consumer, *(await consumer.take(1, 0)).items)
        await eventually(lambda: taken)
        with monkeypatch.context() as killed:  # nothing that it would still say is recorded
            killed.setattr(bench.account.writers.deliveries, "put", lambda *_: consumer.release())
            for task in list(consumer._tasks):
                task.cancel()
            await eventually(lambda: not consumer._tasks)

        assert state_of(bench, job_id) is DeliveryState.PENDING
        assert LEASE_SECONDS - 10 < wait_of(bench, job_id) <= LEASE_SECONDS
        assert not (await consumer.take(1, 0)).items
        due(bench, job_id)
        await bench.one_pass("webhooks")

        assert taken == [f"msg_{job_id}_1"] * 2
        assert webhook(bench, job_id).state is DeliveryState.DELIVERED
        answers.set()


async def test_a_stop_gives_back_at_once_what_was_cut_off(relay: Work) -> None:
    asked = asyncio.Event()

    async def hangs(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.Event().wait()
        return web.Response()

    async with answering(hangs) as url, relay() as bench:
        job_id = await told(bench, url)
        consumer = bench.account.consumers["webhooks"]
        start(consumer, *(await consumer.take(1, 0)).items)
        await asked.wait()

        await bench.account.stop(0)

        found = webhook(bench, job_id)
        assert (found.state, found.attempts) == (DeliveryState.PENDING, 0)
        assert wait_of(bench, job_id) < 5


async def test_a_receiver_that_hangs_does_not_hold_up_the_others(relay: Work) -> None:
    held: list[str] = []

    async def hangs(request: web.Request) -> web.Response:
        held.append(request.headers["webhook-id"])
        await asyncio.Event().wait()
        return web.Response()

    settings = {"max_open_calls": 8}
    async with (
        answering(hangs) as dead,
        receiving() as user,
        relay(settings=settings, max_webhooks_per_second=0) as bench,
    ):
        waiting = [await told(bench, dead) for _ in range(30)]
        job_id = await told(bench, user.url)
        begun = time.monotonic()
        consumer = asyncio.create_task(bench.account.consumers["webhooks"].run(0))
        try:
            await eventually(lambda: state_of(bench, job_id) is DeliveryState.DELIVERED)
            assert time.monotonic() - begun < 10  # the dead one's have 15 s each
            assert 1 <= len(held) <= 2
            assert {state_of(bench, one) for one in waiting} == {DeliveryState.PENDING}
        finally:
            await bench.account.consumers["webhooks"].drain(0)
            await ended(consumer)


async def test_redis_away_while_a_permit_is_asked_for_brings_it_back_soon(
    relay: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as user, relay() as bench:
        job_id = await told(bench, user.url)
        bench.client.hdel(f"{KEYS.prefix}job:{job_id}", "signed")

        async def away(send: Send, call: ScriptCall[Any]) -> Any:
            if call.script.name == "permits":
                raise redis.ConnectionError("away")
            return await send(call)

        wrap_send(monkeypatch, bench.account, away)
        await bench.one_pass("webhooks")

        found = webhook(bench, job_id)
        assert (found.state, found.attempts) == (DeliveryState.PENDING, 0)
        assert (wait_of(bench, job_id) < 5, user.bodies) == (True, [])


async def test_what_became_of_webhooks_is_counted_and_timed(
    client: redis.Redis, redis_url: str
) -> None:
    name = "runqueue_webhook_relayed_total"
    async with receiving(500, 200) as user, relaying(client, redis_url) as bench:
        before = [figure(name, result=result) for result in ("again", "delivered")]
        job_id = await told(bench, user.url)
        await bench.one_pass("webhooks")
        due(bench, job_id)
        await bench.one_pass("webhooks")

        after = [figure(name, result=result) for result in ("again", "delivered")]
        assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1]
        assert sum(bench.stats().times["delivery"].counts) == 1
        (gauge,) = [
            m
            for m in QueueCollector(RunQueue(redis_url)).collect()
            if m.name == "runqueue_webhooks"
        ]
        states = {sample.labels["state"]: sample.value for sample in gauge.samples}
        assert states == {"pending": 0, "delivered": 1, "abandoned": 0, "unknown": 0}
