"""Notifications in whole processes: a worker whose receiver hangs, and a gateway."""

import asyncio
from functools import partial
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from config.settings import Settings
from gateway.state.state import GatewayState
from runqueue import JobState
from runqueue.store.budgets import Budget
from tests.runqueue.lua.clockwork import Clockwork
from tests.simulator.simulating import eventually
from tests.webhooks.notices.telling import Receiver, Teller
from tests.worker.working import INSTANT, KEYS, working
from webhooks.notices import notifier


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "EVERY", 0.05)
    monkeypatch.setattr(notifier, "SETTLE_SECONDS", 0.0)


async def test_a_receiver_that_hangs_delays_no_job(
    client: redis.Redis, redis_url: str, receiver: Receiver
) -> None:
    receiver.answers.clear()
    async with working(client, redis_url, notify_urls=receiver.url) as bench:
        bench.queue.set_budget("account", Budget(1_000))
        client.hset(f"{KEYS.prefix}spent:account:0", "account", 900)
        bench.account.notifier.start()
        await eventually(lambda: receiver.came)

        job_ids = await bench.submitted(5, url=INSTANT)
        await bench.one_pass("poll")
        assert {bench.job(job_id).state for job_id in job_ids} == {JobState.COMPLETED}
        assert (receiver.came, receiver.titles) == (1, []), "it hangs all the while"

        receiver.answers.set()
        await eventually(lambda: receiver.taken() == ["budget at 80 %"])


async def test_what_is_being_sent_is_recorded_before_a_worker_ends(
    client: redis.Redis, redis_url: str, receiver: Receiver
) -> None:
    receiver.answers.clear()
    async with working(client, redis_url, notify_urls=receiver.url) as bench:
        bench.queue.set_budget("account", Budget(10))
        client.hset(f"{KEYS.prefix}spent:account:0", "account", 10)
        bench.account.notifier.start()
        await eventually(lambda: receiver.came)
        stopping = asyncio.create_task(bench.account.notifier.stop())
        await asyncio.sleep(0)
        receiver.answers.set()
        await stopping
        sent: Any = client.hkeys(f"{KEYS.prefix}notices")
        assert b"budget_spent:account" in sent


async def test_rounds_go_on_after_one_that_failed(
    clock: Clockwork, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    teller, real, failures = Teller(clock, receiver.url), notifier.Notifier.round, [1]

    async def failing_once(self: notifier.Notifier) -> None:
        if failures:
            failures.clear()
            raise RuntimeError(receiver.url)
        await real(self)

    monkeypatch.setattr(notifier.Notifier, "round", failing_once)
    teller.notifier.start()
    await eventually(lambda: teller.calls)
    await teller.notifier.stop()
    (line,) = [line for line in logged if line["event"] == "notices_failed"]
    assert line["error"] == "RuntimeError"
    assert receiver.url not in str(logged)


async def test_a_gateway_tells_that_no_worker_lives(redis_url: str, receiver: Receiver) -> None:
    settings = Settings(SKYVERN_API_KEY=SecretStr("key"), notify_urls=receiver.url)
    gate = GatewayState(settings, redis_url)
    await gate.announce()
    try:
        await eventually(lambda: receiver.titles == ["no worker"])
        sample = partial(gate.metrics.registry.get_sample_value, "runqueue_notifications_total")
        labels = {"account": "default", "event": "no_worker", "notify_url": "1", "result": "sent"}
        await eventually(lambda: sample(labels) == 1)
    finally:
        await gate.close()
