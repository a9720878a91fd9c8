"""What outsiders send as often as they like makes few lines of the log."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.tenants.sources import BURST
from tests.gateway.gating import Door, gating
from tests.gateway.http.test_heads import line
from webhooks import receiver_address

TIMES = 5 * BURST
NOWHERE = f"{receiver_address.PATH}/default/{'a' * 24}/1/{'0' * receiver_address.TOKEN_LENGTH}"


async def no_request(door: Door) -> None:
    async with line(door) as one:
        one.writer.write(b"no request\r\n\r\n")
        assert (await one.rest()).startswith(b"HTTP/1.1 400 ")


async def no_webhook(door: Door) -> None:
    assert (await door.ask("POST", NOWHERE, {})).status == 404


@pytest.mark.parametrize(
    ("send", "event"),
    [(no_request, "no_request"), (no_webhook, "webhook")],
    ids=["bytes", "address"],
)
async def test_what_is_sent_in_vain_is_logged_now_and_then_with_how_many_more_there_were(
    redis_url: str, logged: list[Any], caplog: pytest.LogCaptureFixture, send: Any, event: str
) -> None:
    async with gating(redis_url) as door:
        for _ in range(TIMES):
            await send(door)

    told = [one for one in logged if one["event"] == event]
    assert BURST <= len(told) + len(caplog.records) < 2 * BURST
    assert len(told) + sum(one["more"] for one in told) <= TIMES
    assert {one["address"] for one in told} == {"127.0.0.1"}
