"""Bodies that are too large, too slow or too many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.webhooks import payload
from runqueue import JobState
from tests.gateway.gating import Desk, address, gating, signed, speak, told, unended

MEBIBYTE = 1024 * 1024


def unpolled(desk: Desk) -> dict[bytes, bytes]:
    """All that Redis holds, but for when runs are polled: the end of this one needs no body."""
    return {key: raw for key, raw in desk.everything().items() if not key.endswith(b":poll")}


async def test_a_length_beyond_8_mib_is_refused_before_the_body_comes(
    desk: Desk, redis_url: str
) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        before = unpolled(desk)
        head = (
            f"POST {address(job)} HTTP/1.1\r\nhost: g\r\ncontent-length: {8 * MEBIBYTE + 1}\r\n\r\n"
        )
        said = await speak(door, head.encode())

        assert said.startswith(b"HTTP/1.1 413 ")
        assert unpolled(desk) == before


async def test_a_body_in_chunks_is_cut_off_at_8_mib(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        before = unpolled(desk)
        said = await speak(door, unended(address(job), 8 * MEBIBYTE + 1))

        assert said.startswith(b"HTTP/1.1 413 ")
        assert unpolled(desk) == before


async def test_a_body_of_8_mib_is_taken_in_chunks_too(desk: Desk, redis_url: str) -> None:
    whole, pieces = desk.running(2)

    def large(job: Any) -> bytes:
        body = json.dumps(told(job)).encode()
        return body + b" " * (8 * MEBIBYTE - len(body))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, 8 * MEBIBYTE, MEBIBYTE):
            yield large(pieces)[start : start + MEBIBYTE]

    async with gating(redis_url) as door:
        assert (await door.webhook(whole, large(whole))).verdict == "ended"
        async with door.session.post(
            door.url + address(pieces), data=chunks(), headers=signed(large(pieces))
        ) as answer:
            assert answer.status == 200

    assert desk.job(pieces).state is JobState.COMPLETED


async def test_a_body_that_does_not_arrive_is_not_waited_for(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload, "BODY_SECONDS", 0.1)
    (job,) = desk.running()

    async with gating(redis_url) as door:
        head = f"POST {address(job)} HTTP/1.1\r\nhost: g\r\ncontent-length: 10\r\n\r\n12345"

        assert (await speak(door, head.encode())).startswith(b"HTTP/1.1 422 ")


async def test_a_sender_that_goes_away_leaves_nothing(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()

    async with gating(redis_url) as door:
        before = desk.everything()
        host, port = door.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST {address(job)} HTTP/1.1\r\ncontent-length: 9\r\n\r\n{{".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

        assert (await door.webhook(job, b"{}")).status == 422  # it serves on
        assert desk.everything() == before
