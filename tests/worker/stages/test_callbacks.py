"""Callbacks of batches over real sockets: what is sent, and what each answer means."""

import asyncio
from datetime import datetime
from typing import Any

import orjson
import pytest
import redis
from aiohttp import web
from standardwebhooks import Webhook

from runqueue import Batch, BatchRules
from runqueue.producer.listing import Filter
from runqueue.records.batch import BatchCallback
from tests.simulator.simulating import eventually, receiving
from tests.worker.delivering import answering, delivering
from tests.worker.working import KEYS, Bench, closed_port, ended, start, wrap_send
from webhooks.sender import PER_HOST
from worker.stages.callbacks import LEASE_SECONDS, MOST_AT_ONCE
from worker.stages.consumer import ConsumerEnd

SECRETS = ("whsec_" + "a" * 32, "whsec_" + "b" * 32)


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
    return found.pending, found.delivered, found.gave_up


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


async def test_the_end_of_a_batch_reaches_its_url_with_how_it_stands(
    client: redis.Redis, redis_url: str
) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
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


async def test_shares_are_told_with_the_share(client: redis.Redis, redis_url: str) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
        batch = over(bench, user.url, 4, callback_at=[0.5, 0.25])
        await bench.one_pass("callbacks")

        told = [orjson.loads(body) for body in user.bodies]
        assert sorted((one["type"], one.get("share", 0)) for one in told) == [
            ("batch.completed", 0),
            ("batch.progress", 0.25),
            ("batch.progress", 0.5),
        ]
        assert len({headers["webhook-id"] for headers in user.headers}) == 3
        assert stands(bench, batch) == (0, 3, 0)


async def test_each_secret_of_the_account_signs_it(client: redis.Redis, redis_url: str) -> None:
    async with (
        receiving() as user,
        delivering(client, redis_url, webhook_secrets=SECRETS) as bench,
    ):
        over(bench, user.url)
        await bench.one_pass("callbacks")

        (body,), (headers,) = user.bodies, user.headers
        for secret in SECRETS:
            assert Webhook(secret).verify(body, headers) == orjson.loads(body)


@pytest.mark.parametrize("status", [302, 404, 429, 500, 503])
async def test_a_receiver_that_fails_is_tried_again_by_the_schedule_and_then_given_up(
    client: redis.Redis, redis_url: str, status: int, logged: list[Any]
) -> None:
    async with receiving(status) as user, delivering(client, redis_url) as bench:
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
        assert [event["verdict"] for event in told] == ["again", "gave_up"]
        assert {event["batch"] for event in told} == {batch}
        assert "secret-of-the-user" not in str(logged)


async def test_a_receiver_that_recovers_gets_it_and_no_error_is_left(
    client: redis.Redis, redis_url: str
) -> None:
    async with receiving(500, 200) as user, delivering(client, redis_url) as bench:
        batch = over(bench, user.url)
        await bench.one_pass("callbacks")
        await passed(bench)

        assert stands(bench, batch) == (0, 1, 0)
        assert callback(bench, batch).error is None


async def test_a_receiver_that_is_gone_is_believed_at_once(
    client: redis.Redis, redis_url: str
) -> None:
    async with receiving(410) as user, delivering(client, redis_url) as bench:
        batch = over(bench, user.url)
        await bench.one_pass("callbacks")

        assert stands(bench, batch) == (0, 0, 1)
        assert callback(bench, batch).error == "the receiver answered 410"


async def test_a_receiver_that_is_not_there_is_tried_again(
    client: redis.Redis, redis_url: str
) -> None:
    async with delivering(client, redis_url) as bench:
        batch = over(bench, f"http://127.0.0.1:{closed_port()}/hook")
        await bench.one_pass("callbacks")

        assert stands(bench, batch) == (1, 0, 0)
        assert callback(bench, batch).error == "could not be reached: connection refused"


async def test_a_receiver_that_cuts_the_connection_is_tried_again(
    client: redis.Redis, redis_url: str
) -> None:
    async def cuts(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with answering(cuts) as url, delivering(client, redis_url) as bench:
        batch = over(bench, url)
        await bench.one_pass("callbacks")

        assert stands(bench, batch) == (1, 0, 0)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (
            "http://127.0.0.1:9/hook",
            "127.0.0.1 is no public address; RUNQUEUE_ALLOW_PRIVATE_WEBHOOK_TARGETS would allow it",
        ),
        ("http://2130706433/hook", "its address is written in no usual form"),
    ],
)
async def test_a_target_that_is_not_allowed_is_given_up_with_the_reason(
    client: redis.Redis, redis_url: str, target: str, reason: str
) -> None:
    strict = {"allow_private_webhook_targets": False}
    async with delivering(client, redis_url, settings=strict) as bench:
        batch = over(bench, target)
        await bench.one_pass("callbacks")

        assert stands(bench, batch) == (0, 0, 1)
        assert callback(bench, batch).error == f"webhooks may not go there: {reason}"


async def test_one_whose_worker_was_killed_after_sending_comes_again_under_the_same_id(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
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


async def test_a_stop_gives_back_at_once_what_was_cut_off(
    client: redis.Redis, redis_url: str
) -> None:
    asked = asyncio.Event()

    async def hangs(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.Event().wait()
        return web.Response()

    async with answering(hangs) as url, delivering(client, redis_url) as bench:
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
    client: redis.Redis, redis_url: str
) -> None:
    async def hangs(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with (
        answering(hangs) as dead,
        receiving() as user,
        delivering(client, redis_url) as bench,
    ):
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


async def test_a_consumer_takes_all_that_is_due_and_leaves(
    client: redis.Redis, redis_url: str
) -> None:
    assert MOST_AT_ONCE < PER_HOST, "none waits for a connection"
    async with receiving() as user, delivering(client, redis_url) as bench:
        batches = [over(bench, user.url) for _ in range(2 * MOST_AT_ONCE + 5)]
        consumer = bench.account.consumers["callbacks"]
        assert await ended(asyncio.create_task(consumer.run(0))) is ConsumerEnd.IDLE
        assert {stands(bench, batch) for batch in batches} == {(0, 1, 0)}
        assert len(user.bodies) == len(batches)
        assert bench.board("callbacks") == 0


async def test_what_redis_could_not_be_told_is_told_later_and_sent_once(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
        batch = over(bench, user.url)
        away = 2

        async def fails(send: Any, call: Any) -> Any:
            nonlocal away
            if call.script.name == "record_callback" and away:
                away -= 1
                raise redis.ConnectionError("away")
            return await send(call)

        wrap_send(monkeypatch, bench.account, fails)
        await bench.one_pass("callbacks")
        assert (stands(bench, batch), len(user.bodies)) == ((0, 1, 0), 1)


async def test_a_batch_that_ends_again_is_told_again_under_another_id(
    client: redis.Redis, redis_url: str
) -> None:
    async with receiving() as user, delivering(client, redis_url) as bench:
        batch = over(bench, user.url)
        await bench.one_pass("callbacks")
        assert bench.queue.retry_failed(batch, canceled=True).jobs == 1
        (job,) = bench.queue.list_jobs(Filter(batch=batch)).jobs
        bench.queue.cancel(job.id)
        await bench.one_pass("callbacks")

        names = [headers["webhook-id"] for headers in user.headers]
        assert names == [f"msg_{batch}_1_completed", f"msg_{batch}_2_completed"]


async def test_the_url_is_shown_nowhere_beyond_its_endpoint(
    client: redis.Redis, redis_url: str, logged: list[Any]
) -> None:
    async with receiving(500) as user, delivering(client, redis_url) as bench:
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
