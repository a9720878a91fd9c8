"""Recording where Redis says nothing, or takes no webhook just now."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from gateway.webhooks import webhook_writer
from gateway.webhooks.payload import WebhookReport
from runqueue.connection.client import async_client
from runqueue.records.delivery import Reported

TOLD = WebhookReport("r", "completed", "completed", {})


@pytest.fixture
def mute() -> Iterator[str]:
    """The URL of a Redis that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"redis://127.0.0.1:{silent.getsockname()[1]}/0"


async def test_a_webhook_that_nobody_waits_for_any_more_is_let_go(
    mute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_writer, "RECORD_SECONDS", 0.05)
    client = async_client(mute)
    recorder = webhook_writer.WebhookWriter("default", client)

    for n in range(3):
        item = Reported("j", 1, f"r{n}", "completed", "completed", "", False, b"{}")
        with pytest.raises(TimeoutError):
            await recorder.record(item, TOLD)

    assert not recorder._waiting
    assert recorder._task is not None
    recorder._task.cancel()
    await asyncio.wait([recorder._task])
    await client.aclose()


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        ("MISCONF Redis is configured to save RDB snapshots", [4]),
        ("NOREPLICAS Not enough good replicas to write.", [4]),
        ("BUSY Redis is busy running a script.", [4]),
        ("WRONGTYPE Operation against a key script: on @user_function:1.", [4, 2, 1, 1, 2, 1, 1]),
        ("FROZEN what no version says today", [4, 2, 1, 1, 2, 1, 1]),
    ],
)
async def test_webhooks_are_recorded_one_by_one_only_where_one_may_be_at_fault(
    mute: str, monkeypatch: pytest.MonkeyPatch, words: str, calls: list[int]
) -> None:
    asked: list[int] = []

    async def refuse(_: object, call: Any) -> None:
        asked.append(sum(str(argument).startswith("r-") for argument in call.arguments))
        raise redis.ResponseError(words)

    monkeypatch.setattr(webhook_writer, "run_async", refuse)
    client = async_client(mute)
    recorder = webhook_writer.WebhookWriter("default", client)
    items = [
        Reported("j", 1, f"r-{n}", "completed", "completed", "", False, b"{}") for n in range(4)
    ]

    ends = await asyncio.gather(
        *(recorder.record(item, TOLD) for item in items), return_exceptions=True
    )

    assert {str(end) for end in ends} == {words}
    assert asked == calls
    await client.aclose()
