"""Callbacks of batches over real sockets: what is sent, and what each answer means."""

import asyncio
from datetime import datetime
from typing import Any

import orjson
import pytest
from aiohttp import web

from runqueue import Batch, BatchRules
from runqueue.records.batch import BatchCallback
from tests.simulator.simulating import answering, eventually, receiving
from tests.worker.working import KEYS, Bench, Work, ended, start
from worker.stages.callbacks import LEASE_SECONDS


def over(bench: Bench, url: str, n: int = 1, **rules: Any) -> str:
    """Bring a batch to its end; return its id."""
    batch = bench.queue.open_batch("prices", rules=BatchRules(callback_url=url, **rules))
    line = {"kind": "task", "body": {"prompt": "Read it.", "url": "https://shop.test/"}}
    for answer in bench.queue.enqueue_many([line] * n, batch=batch):
        bench.queue.cancel(answer.job_id)
    bench.queue.seal_batch(batch)
    return batch


def callback(bench: Bench, batch: str) -> BatchCallback:
    """Read how a batch's callbacks stand."""
    found = bench.queue.get_batch(batch).callback
    assert found is not None
    return found


def stands(bench: Bench, batch: str) -> tuple[int, int, int]:
    """Read how many are pending, delivered and given up."""
    found = callback(bench, batch)
    return found.pending, found.delivered, found.abandoned


def members(bench: Bench) -> list[tuple[str, float]]:
    """Each callback on its way, and the seconds until its next try."""
    found: Any = bench.client.zrange(f"{KEYS.prefix}callbacks", 0, -1, withscores=True)
    return [(member.decode(), (score - bench.now_us()) / 1e6) for member, score in found]


def due(bench: Bench) -> None:
    """Make every callback due by hand."""
    for member, _ in members(bench):
        bench.client.zadd(f"{KEYS.prefix}callbacks", {member: bench.now_us()})


async def passed(bench: Bench) -> None:
    """Try every callback now."""
    due(bench)
    await bench.one_pass("callbacks")


async def test_the_end_of_a_batch_reaches_its_url_with_how_it_stands(deliver: Work) -> None:
    async with receiving() as user, deliver() as bench:
        batch = over(bench, user.url, 2)
        await bench.one_pass("callbacks")

        (body,), (headers,) = user.bodies, user.headers
        told = orjson.loads(body)
        assert list(told) == ["type", "timestamp", "data"]
        assert told["type"] == "batch.completed"
        assert datetime.fromisoformat(told["timestamp"]).utcoffset() is not None
        shown = bench.queue.get_batch(batch).as_dict()
        on_its_way = {**shown["callback"], "pending": 1, "delivered": 0}
        assert told["data"] == {**shown, "callback": on_its_way}
        assert headers["content-type"] == "application/json"
        assert headers["webhook-id"] == f"msg_{batch}_1_completed"
        assert "webhook-signature" not in headers
        assert stands(bench, batch) == (0, 1, 0)


@pytest.mark.parametrize("status", [302, 404, 429, 500, 503])
async def test_a_receiver_that_fails_is_tried_again_by_the_schedule_and_then_abandoned(
    deliver: Work, status: int, logged: list[Any]
) -> None:
    async with receiving(status) as user, deliver() as bench:
        batch = over(bench, f"{user.url}?token=secret-of-the-user")
        await bench.one_pass("callbacks")
        assert stands(bench, batch) == (1, 0, 0)
        assert callback(bench, batch).error == f"the receiver answered {status}"
        ((_, wait),) = members(bench)
        assert 0.5 < wait <= 1.1

        await passed(bench)

        assert stands(bench, batch) == (0, 0, 1)
        first, second = user.headers
        assert first["webhook-id"] == second["webhook-id"]
        told = [event for event in logged if event["event"] == "callback_not_delivered"]
        assert [event["verdict"] for event in told] == ["again", "abandoned"]
        assert {event["batch"] for event in told} == {batch}
        assert "secret-of-the-user" not in str(logged)


async def test_one_whose_worker_was_killed_after_sending_comes_again_under_the_same_id(
    deliver: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as user, deliver() as bench:
        batch = over(bench, user.url)
        consumer = bench.account.consumers["callbacks"]
        with monkeypatch.context() as killed:  # it was sent, and nothing was recorded
            killed.setattr(bench.account.writers.callbacks, "put", lambda *_: consumer.release())
            await bench.one_pass("callbacks")
        assert (len(user.bodies), stands(bench, batch)) == (1, (1, 0, 0))
        ((_, wait),) = members(bench)
        assert LEASE_SECONDS - 10 < wait <= LEASE_SECONDS
        await bench.one_pass("callbacks")
        assert len(user.bodies) == 1, "its lease holds"

        await passed(bench)

        assert [headers["webhook-id"] for headers in user.headers] == [
            f"msg_{batch}_1_completed"
        ] * 2
        assert stands(bench, batch) == (0, 1, 0)


async def test_a_stop_gives_back_at_once_what_was_cut_off(deliver: Work) -> None:
    asked = asyncio.Event()

    async def hangs(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.Event().wait()
        return web.Response()

    async with answering(hangs) as url, deliver() as bench:
        batch = over(bench, url)
        consumer = bench.account.consumers["callbacks"]
        start(consumer, *(await consumer.take(1, 0)).items)
        await asked.wait()

        await bench.account.stop(0)

        assert stands(bench, batch) == (1, 0, 0)
        ((member, wait),) = members(bench)
        assert wait < 5
        tries: Any = bench.client.hget(
            f"{KEYS.prefix}batch:{batch}", f"callback:{member.split()[1]}"
        )
        assert tries.split()[0] == b"0", "none of the schedule's tries was used up"


async def test_a_receiver_that_hangs_holds_up_neither_other_receivers_nor_webhooks(
    deliver: Work,
) -> None:
    async def hangs(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with answering(hangs) as dead, receiving() as user, deliver() as bench:
        for _ in range(5):
            over(bench, dead)
        batch = over(bench, user.url)
        consumer = asyncio.create_task(bench.account.consumers["callbacks"].run(0))
        try:
            await eventually(lambda: stands(bench, batch) == (0, 1, 0))
            assert bench.account.consumers["webhooks"].busy == 0
        finally:
            await bench.account.consumers["callbacks"].drain(0)
            await ended(consumer)


async def test_the_url_is_shown_nowhere_beyond_its_endpoint(
    deliver: Work, logged: list[Any]
) -> None:
    async with receiving(500) as user, deliver() as bench:
        batch = over(bench, user.url.replace("//", "//me:pass@") + "?token=secret")
        consumer = bench.account.consumers["callbacks"]
        taken = await consumer.take(1, 0)
        assert "secret" not in repr(taken)
        start(consumer, *taken.items)
        await eventually(lambda: consumer.busy == 0)

        found: Batch = bench.queue.get_batch(batch)
        for shown in (found, found.as_dict(), logged, user.bodies):
            assert "secret" not in repr(shown)
            assert "pass@" not in repr(shown)
        assert user.url.startswith(callback(bench, batch).endpoint)
