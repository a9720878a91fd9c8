"""Listening to the ends of jobs, and going on from where a listener left off."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
import redis

from gateway.api import end_log, events
from gateway.tenants import in_flight
from runqueue import RunQueue
from runqueue.store.keys import Keys
from tests.gateway.gating import Desk, Door, bearer, gating, token, told
from tests.gateway.uploads import lines, send
from tests.simulator.simulating import eventually


class Listener:
    """Somebody who listens.

    Args:
        heard: the data of what was heard.
        last_id: what to go on from.
    """

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.last_id = ""
        self.comments = 0
        self.is_over = False

    @property
    def names(self) -> list[str]:
        return [str(data["custom_id"]) for data in self.heard]

    def take(self, block: bytes) -> None:
        for line in block.decode().splitlines():
            name, _, value = line.partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "data":
                self.heard.append(json.loads(value))
            elif name == "":
                self.comments += 1


@asynccontextmanager
async def listening(
    door: Door, query: str = "", last_id: str = "", secret: str = ""
) -> AsyncIterator[Listener]:
    """Listen until the end of the block."""
    listener = Listener()
    headers = {"last-event-id": last_id} if last_id else {}
    headers |= bearer(secret) if secret else {}
    async with door.session.get(f"{door.url}/v1/events{query}", headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")

        async def read() -> None:
            rest = b""
            async for part in answer.content.iter_any():
                *blocks, rest = (rest + part).split(b"\n\n")
                for block in blocks:
                    listener.take(block)
            listener.is_over = True

        reading = asyncio.create_task(read())
        try:
            yield listener
        finally:
            reading.cancel()


async def end(door: Door, queue: RunQueue, *names: str, **more: Any) -> None:
    """Have jobs end: canceled before they were submitted."""
    for name in names:
        line = {"custom_id": name, "kind": "task", "body": {"prompt": "x"}, **more}
        (job,) = queue.enqueue_many([line])
        await door.ask("POST", f"/v1/jobs/{job.job_id}/cancel")


async def test_a_job_that_ends_is_told(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running(custom_id="order-17")

    async with gating(redis_url) as door, listening(door) as listener:
        await door.webhook(job, told(job))
        await eventually(lambda: listener.heard)

    (data,) = listener.heard
    row = desk.job(job).as_row()
    assert data == {**{n: v for n, v in row.items() if n in data}, **data}
    assert (data["job_id"], data["state"], data["account"]) == (job.job_id, "completed", "default")
    assert "output" not in data
    assert "result" not in data


async def test_listeners_of_one_token_read_one_at_a_time_and_another_s_waits_for_none(
    queue: RunQueue, client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(end_log, "PAGE", 1)
    begun: list[str | None] = []
    reading = Counter[str]()
    go_on = asyncio.Semaphore(0)
    read = end_log.EndLogReader.read

    async def gated(reader: end_log.EndLogReader) -> list[tuple[str, str]]:
        begun.append(reader._account)
        reading["now"] += 1
        reading["most"] = max(reading["most"], reading["now"])
        await go_on.acquire()
        found = await read(reader)
        reading["now"] -= 1
        return found

    monkeypatch.setattr(end_log.EndLogReader, "read", gated)
    tokens = (token("acme", "sesame-a", "read", "operate"), token("beta", "sesame-b", "read"))
    async with gating(redis_url, api_tokens=tokens) as door, AsyncExitStack() as stack:
        for job in queue.enqueue_many(lines(50)):
            queue.cancel(job.job_id)
        (raw,) = cast("list[bytes]", client.keys(f"{Keys('default').prefix}ended:*"))
        begin = f"default:{raw.decode().rpartition(':')[2]}:0"
        for _ in range(8):
            await stack.enter_async_context(listening(door, "", begin, "sesame-a"))
        await eventually(lambda: begun == [None])
        await stack.enter_async_context(listening(door, "?account=default", begin, "sesame-b"))
        await eventually(lambda: begun[1:] == ["default"])
        for n in range(4, 7):
            go_on.release()
            go_on.release()
            await eventually(partial(is_longer, begun, n))
        assert reading["most"] == 2
        monkeypatch.setattr(end_log.EndLogReader, "read", read)
        for _ in range(100):
            go_on.release()


def is_longer(items: list[Any], n: int) -> bool:
    return len(items) >= n


async def test_who_catches_up_pauses_after_each_page(
    queue: RunQueue, client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(end_log, "PAGE", 1)
    paused: list[float] = []

    async def pausing(*_: asyncio.Event, seconds: float) -> None:
        paused.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(events, "first_of", pausing)
    async with gating(redis_url) as door:
        for job in queue.enqueue_many(lines(3)):
            queue.cancel(job.job_id)
        (raw,) = cast("list[bytes]", client.keys(f"{Keys('default').prefix}ended:*"))
        begin = f"default:{raw.decode().rpartition(':')[2]}:0"
        async with listening(door, "", begin) as listener:
            await eventually(lambda: len(listener.heard) == 3)

    assert paused[:3] == [events.PAUSE] * 3


async def test_what_ended_before_is_not_told(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        await end(door, queue, "a")
        async with listening(door) as listener:
            await end(door, queue, "b")
            await eventually(lambda: listener.heard)

    assert listener.names == ["b"]


async def test_who_comes_back_hears_what_he_missed(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door:
        async with listening(door) as first:
            await end(door, queue, "a")
            await eventually(lambda: first.last_id)
        await end(door, queue, "b", "c")
        async with listening(door, last_id=first.last_id) as second:
            await end(door, queue, "d")
            await eventually(lambda: len(second.heard) >= 3)

    assert second.names == ["b", "c", "d"]


async def test_who_comes_back_another_day_hears_what_he_missed(
    desk: Desk, queue: RunQueue, client: redis.Redis, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        await end(door, queue, "today")
        prefix = Keys("default").prefix
        found: Any = client.keys(f"{prefix}ended:*")
        (key,) = [raw.decode() for raw in found]
        today = int(key.rpartition(":")[2])
        (old,) = queue.enqueue_many(lines(1, "old"))
        queue.cancel(old.job_id)
        client.rpop(key)
        client.rpush(f"{prefix}ended:{today - 2}", "gone", old.job_id)
        async with listening(door, last_id=f"default:{today - 3}:17") as listener:
            await eventually(lambda: len(listener.heard) == 2)

    assert listener.names == ["old-0", "today"]


async def test_who_was_away_for_long_hears_of_the_last_days(
    queue: RunQueue, client: redis.Redis, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        await end(door, queue, "today")
        async with listening(door, last_id="default:1:0") as listener:
            await eventually(lambda: listener.heard)

    assert listener.names == ["today"]


async def test_orphans_are_no_jobs(queue: RunQueue, client: redis.Redis, redis_url: str) -> None:
    async with gating(redis_url) as door, listening(door) as listener:
        await end(door, queue, "a")
        await eventually(lambda: listener.heard)
        (key,) = client.keys(f"{Keys('default').prefix}ended:*")
        client.rpush(key, "orphan tsk_1")
        await end(door, queue, "b")
        await eventually(lambda: len(listener.heard) == 2)

    assert listener.names == ["a", "b"]


async def test_only_what_was_asked_for_is_told(queue: RunQueue, redis_url: str) -> None:
    accounts = {"acme": {"api_key": "acme-key"}}

    async with gating(redis_url, accounts=accounts) as door:
        batch = queue.open_batch()
        (job,) = queue.enqueue_many(lines(1, "of-a-batch"), batch=batch)
        async with (
            listening(door, "?group=shop-a") as by_group,
            listening(door, f"?batch={batch}") as by_batch,
            listening(door, "?account=acme") as by_account,
            listening(door) as everything,
        ):
            await end(door, queue, "plain")
            await end(door, queue, "in-shop-a", group="shop-a")
            await end(door, queue, "of-acme", account="acme")
            queue.cancel(job.job_id)
            await eventually(lambda: len(everything.heard) == 4)
            await eventually(lambda: by_group.heard and by_batch.heard and by_account.heard)

    assert (by_group.names, by_batch.names) == (["in-shop-a"], ["of-a-batch-0"])
    assert by_account.names == ["of-acme"]
    assert by_account.last_id.startswith("acme:")


async def test_an_account_that_came_later_is_heard_too(
    queue: RunQueue, client: redis.Redis, redis_url: str
) -> None:
    async with gating(redis_url) as door, listening(door) as listener:
        client.sadd("runqueue:{accounts}", "later")
        await end(door, queue, "of-later", account="later")
        await eventually(lambda: listener.heard)

    assert listener.heard[0]["account"] == "later"


async def test_an_account_with_damaged_keys_keeps_no_other_from_being_heard(
    queue: RunQueue, client: redis.Redis, redis_url: str
) -> None:
    client.sadd("runqueue:{accounts}", "aaa", "late")
    client.set(Keys("aaa").meta, "a typo")
    async with gating(redis_url) as door, listening(door) as listener:
        await end(door, queue, "a")
        await eventually(lambda: listener.heard)
        day = client.keys(f"{Keys('default').prefix}ended:*")[0]
        client.set(day, "a typo")
        await end(door, queue, "b", account="late")
        await eventually(lambda: len(listener.heard) >= 2)

    assert listener.names == ["a", "b"]


async def test_thousands_that_end_together_are_all_told(queue: RunQueue, redis_url: str) -> None:
    async with gating(redis_url) as door, listening(door) as listener:
        answer = await send(door, lines(1_500))
        jobs = queue.enqueue_many(lines(1_500))
        assert answer.status == 201
        for job in jobs:
            queue.cancel(job.job_id)
        await eventually(lambda: len(listener.heard) == 1_500)

    assert sorted(listener.names) == sorted(f"row-{n}" for n in range(1_500))


async def test_silence_is_broken_now_and_then(
    queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.1)
    monkeypatch.setattr(events, "POLL_SECONDS", 0.1)

    async with gating(redis_url) as door, listening(door) as listener:
        await eventually(lambda: listener.comments > 1)

    assert listener.last_id.startswith("default:")
    assert listener.heard == []


async def test_listeners_are_let_go_when_the_gateway_ends(redis_url: str) -> None:
    async with gating(redis_url) as door, listening(door) as listener:
        door.server.should_exit = True
        await eventually(lambda: listener.is_over, seconds=5)


async def test_there_is_room_for_so_many_listeners(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "REQUESTS", 1)

    async with gating(redis_url) as door:
        async with listening(door):
            answer = await door.ask("GET", "/v1/events")
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")

        async def is_free() -> bool:
            async with door.session.get(f"{door.url}/v1/events") as found:
                return bool(found.status == 200)

        await eventually(is_free)


async def test_what_is_no_id_is_refused(redis_url: str) -> None:
    async with gating(redis_url) as door:
        for text in ("x", "default:1", "default:1:2,", "A:1:2", "default:-1:0"):
            answer = await door.ask("GET", "/v1/events", headers={"last-event-id": text})
            assert answer.status == 422
            assert answer.body["errors"][0]["field"] == "Last-Event-ID"
