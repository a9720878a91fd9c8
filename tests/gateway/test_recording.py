"""Recording where Redis takes connections and says nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from gateway import recording
from gateway.reading import Told
from runqueue.connect import async_client
from runqueue.delivery_items import Reported

TOLD = Told("r", "completed", "completed", {})


@pytest.fixture
def mute() -> Iterator[str]:
    """The URL of a Redis that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"redis://127.0.0.1:{silent.getsockname()[1]}/0"


async def test_a_webhook_that_nobody_waits_for_any_more_is_let_go(
    mute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "RECORD_SECONDS", 0.05)
    client = async_client(mute)
    recorder = recording.Recorder("default", client)

    for n in range(3):
        item = Reported("j", 1, f"r{n}", "completed", "completed", "", False, b"{}")
        with pytest.raises(TimeoutError):
            await recorder.tell(item, TOLD)

    assert not recorder._waiting
    assert recorder._task is not None
    recorder._task.cancel()
    await asyncio.wait([recorder._task])
    await client.aclose()
