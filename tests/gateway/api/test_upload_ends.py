"""How uploads end when others, the clock, a full Redis or a full disk come between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from runqueue import AsyncRunQueue, RunQueue
from runqueue.producer import dedup
from runqueue.producer.dedup import NoSpace, Repeats
from runqueue.store import job_calls
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall, T
from runqueue.store.sending import run
from tests.gateway.api.test_upload_cut import swept
from tests.gateway.gating import Desk, gating
from tests.gateway.uploads import begin, lines, send, text
from tests.simulator.simulating import eventually

#: Has something done once with a batch, right before it is accepted.
Late = Callable[[Callable[[str], None]], None]


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    """Return what has something done right before the next upload is accepted."""
    real = AsyncRunQueue.send

    def have_done(act: Callable[[str], None]) -> None:
        acts = [act]

        async def sending(self: AsyncRunQueue, call: ScriptCall[T]) -> T:
            if acts and call.script.name == "seal_batch":
                acts.pop()(str(call.arguments[0]))
            return await real(self, call)

        monkeypatch.setattr(AsyncRunQueue, "send", sending)

    return have_done


def temporary_files() -> list[str]:
    """The temporary files of SQLite's that this process has open."""
    found = []
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(file.readlink()))
    return [name for name in found if "etilqs_" in name]


async def test_what_an_upload_is_told_is_there_although_another_came_before_its_end(
    queue: RunQueue, desk: Desk, client: redis.Redis, redis_url: str, late: Late
) -> None:
    def overtake(_: str) -> None:
        batch = queue.open_batch("other")
        queue.enqueue_many(lines(3), batch=batch)
        run(client, job_calls.discard_batch("default", batch))

    late(overtake)
    async with gating(redis_url) as door:
        first, again = await send(door, lines(3)), await send(door, lines(3))

    swept(client)
    assert (first.status, "an upload of the same keys" in first.body["detail"]) == (409, True)
    assert (again.status, again.body["counts"]["new"]) == (201, 3)
    assert len(desk.claim()) == 3


async def test_an_upload_that_ran_out_of_time_says_so(
    desk: Desk, client: redis.Redis, redis_url: str, late: Late
) -> None:
    def expire(batch: str) -> None:
        client.zadd(f"{Keys('default').prefix}unsealed", {batch: 1})  # begun long ago
        swept(client)

    late(expire)
    async with gating(redis_url) as door:
        answer = await send(door, lines(3))

    assert (answer.status, "expired before it was sealed" in answer.body["detail"]) == (409, True)
    assert desk.claim() == []


async def test_what_an_upload_keeps_on_disk_goes_with_it(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup, "_CACHE_KB", 16)  # so that few lines go to disk
    async with gating(redis_url) as door:
        writer = await begin(door.url, text(lines(2_500)))
        await eventually(temporary_files)
        writer.close()
        await eventually(lambda: not temporary_files())

    assert desk.claim() == []


async def test_a_disk_without_room_is_told(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise NoSpace("disk I/O error")

    monkeypatch.setattr(Repeats, "remember", full)

    async with gating(redis_url) as door:
        answer = await send(door, lines(10))

    assert (answer.status, "has no room" in answer.body["detail"]) == (503, True)
    assert desk.claim() == []
