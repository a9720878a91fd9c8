"""Uploads that break off, that are no uploads, or that want more than there is."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import pytest
import redis

from gateway.http import request_body
from runqueue import AsyncRunQueue, JobState, QueueUnavailable, RunQueue
from runqueue.producer import async_batch_upload
from runqueue.store import worker_calls
from runqueue.store.scripts import ScriptCall
from runqueue.store.sending import run
from tests.gateway.gating import Desk, gating
from tests.gateway.uploads import accepted, begin, lines, pieces, send, text
from tests.simulator.simulating import eventually

MEBIBYTE = 1024 * 1024


def swept(client: redis.Redis) -> None:
    """Have what was abandoned removed, as a worker does."""
    while run(client, worker_calls.sweep("default", "expire_batches", 1_000, 1_000)):
        pass


async def test_an_upload_that_breaks_off_leaves_nothing(
    queue: RunQueue, desk: Desk, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        writer = await begin(door.url, text(lines(2_500)))
        await eventually(lambda: len(desk.batches()) == 1)
        (batch,) = desk.batches()
        await eventually(lambda: queue.get_batch(batch).total >= 1_000)
        writer.close()
        await eventually(lambda: desk.batches() == [])

    assert desk.claim() == []
    assert queue.stats()["default"].states[JobState.READY] == 0


async def test_an_upload_that_stands_still_is_abandoned(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.2)

    async with gating(redis_url) as door:
        writer = await begin(door.url, text(lines(2_500)))
        await eventually(lambda: desk.abandoned() == 1)
        writer.close()


async def test_an_upload_is_abandoned_when_redis_is_full(
    queue: RunQueue, desk: Desk, client: redis.Redis, redis_url: str
) -> None:
    async with gating(redis_url) as door:
        writer = await begin(door.url, text(lines(2_500)))
        await eventually(lambda: desk.batches() and queue.get_batch(desk.batches()[0]).total)
        client.config_set("maxmemory", 1)
        try:
            full = await send(door, lines(10, "more"))
        finally:
            client.config_set("maxmemory", 0)
        writer.close()

    assert (full.status, full.headers["retry-after"]) == (503, "30")


async def test_what_is_not_packed_as_it_says_is_refused(desk: Desk, redis_url: str) -> None:
    cut = gzip.compress(text(lines(100)))[:-9]

    async with gating(redis_url) as door:
        for body in (b"no gzip at all", cut, b"\x1f\x8b", b""):
            answer = await send(door, body, content_encoding="gzip")
            assert (answer.status, answer.body["errors"][0]["field"]) == (422, "body")

    assert desk.claim() == []


async def test_what_unpacks_to_a_line_without_end_is_cut_off(redis_url: str) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([*(packer.compress(b"x" * MEBIBYTE) for _ in range(512)), packer.flush()])

    async with gating(redis_url) as door:
        answer = await send(door, bomb, "?skip_invalid=true", content_encoding="gzip")

    assert len(bomb) < MEBIBYTE
    assert (answer.status, "line 1" in answer.body["detail"]) == (413, True)


async def test_a_line_that_is_too_long_refuses_the_upload(desk: Desk, redis_url: str) -> None:
    raw = text(lines(3)) + b" " * (8 * MEBIBYTE + 1)

    async with gating(redis_url) as door:
        answer = await send(door, raw, "?skip_invalid=true")

    assert (answer.status, "line 4" in answer.body["detail"]) == (413, True)
    assert desk.claim() == []


async def test_what_unpacks_to_blank_lines_keeps_nobody_waiting(redis_url: str) -> None:
    packer = zlib.compressobj(9, wbits=31)
    blank = b"".join([*(packer.compress(b"\n" * MEBIBYTE) for _ in range(64)), packer.flush()])

    async with gating(redis_url) as door:
        uploading_it = asyncio.create_task(send(door, blank, content_encoding="gzip"))
        answered = 0
        while not uploading_it.done():
            assert (await door.ask("GET", "/healthz")).status == 200
            answered += 1

        assert (await uploading_it).status == 422
    assert answered > 100  # some 9,000 where the machine is free


async def test_an_upload_of_bytes_one_by_one_is_read_too(queue: RunQueue, redis_url: str) -> None:
    packed = gzip.compress(text(lines(5)))

    async with gating(redis_url) as door:
        headers = {"content-type": "application/jsonl", "content-encoding": "gzip"}
        async with door.session.post(
            f"{door.url}/v1/batches", data=pieces(packed, 1), headers=headers
        ) as answer:
            told = await answer.json()

    assert accepted(queue, told["batch_id"]) == 5


async def test_an_upload_is_abandoned_when_redis_stays_away(
    queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_it = AsyncRunQueue.send

    async def away(self: AsyncRunQueue, call: ScriptCall[Any]) -> Any:
        if call.script.name in {"enqueue", "discard_batch"}:
            raise QueueUnavailable(redis_url)
        return await send_it(self, call)

    monkeypatch.setattr(AsyncRunQueue, "send", away)
    monkeypatch.setattr(async_batch_upload, "PAUSE", 0.01)
    monkeypatch.setattr(async_batch_upload, "PATIENCE", 0.1)

    async with gating(redis_url) as door:
        answer = await send(door, lines(10))

    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"gateway_max_upload_lines": 1_999}, "expected at most 1,999 lines"),
        ({"gateway_max_upload_bytes": 20_000}, "expected at most 20,000 bytes, decompressed"),
    ],
    ids=["lines", "bytes"],
)
async def test_an_upload_beyond_its_limits_leaves_nothing(
    desk: Desk, client: redis.Redis, redis_url: str, limit: dict[str, Any], words: str
) -> None:
    packed = gzip.compress(text(lines(2_000)))

    async with gating(redis_url, **limit) as door:
        answer = await send(door, packed, "?skip_invalid=true", content_encoding="gzip")

    swept(client)
    assert (answer.status, words in answer.body["detail"]) == (413, True)
    assert desk.batches() == []


async def test_an_upload_of_as_many_lines_as_it_may_have_is_accepted(
    queue: RunQueue, redis_url: str
) -> None:
    raw = b"\n\n" + text(lines(2_000)) + b"\n \n"  # blank lines count for nothing

    async with gating(redis_url, gateway_max_upload_lines=2_000) as door:
        answer = await send(door, raw)

    assert accepted(queue, answer.body["batch_id"]) == 2_000
