"""What outsiders send as often as they like makes few lines of the log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.http.bursts import BURST
from tests.gateway.gating import Door, gating
from webhooks import receiver_address

TIMES = 5 * BURST
NOWHERE = f"{receiver_address.PATH}/default/{'a' * 24}/1/{'0' * receiver_address.TOKEN_LENGTH}"


async def test_webhooks_to_no_address_are_logged_now_and_then_with_how_many_more_there_were(
    redis_url: str, logged: list[Any]
) -> None:
    async with gating(redis_url) as door:
        for _ in range(TIMES):
            assert (await door.ask("POST", NOWHERE, {})).status == 404

    told = [one for one in logged if one["event"] == "webhook"]
    assert BURST <= len(told) < 2 * BURST
    assert len(told) + sum(one["more"] for one in told) <= TIMES
    assert {one["address"] for one in told} == {"127.0.0.1"}


async def refused(door: Door) -> bytes:
    host, port = door.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"no request\r\n\r\n")
    said = await reader.read()
    writer.close()
    return said


async def test_what_is_no_request_is_not_logged(
    redis_url: str, logged: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with gating(redis_url) as door:
        for _ in range(3):
            assert (await refused(door)).startswith(b"HTTP/1.1 400 ")

    assert caplog.records == []
    assert [one for one in logged if "request" in one["event"]] == []
