"""Who asks and does not read the answers: he keeps nobody out, and takes little memory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from gateway import connections, protocol
from runqueue import RunQueue
from tests.gateway.gating import Desk, Door, gating, told
from tests.gateway.test_heads import HEALTH, connections_of, line
from tests.simulator.simulating import eventually

#: More than what the system and the gateway hold of answers that nobody reads.
SIZE = 7 * 1024 * 1024


@asynccontextmanager
async def unread(door: Door, raw: bytes) -> AsyncIterator[socket.socket]:
    """A connection on which something was sent, and of which nothing is read by itself."""
    host, port = door.url.removeprefix("http://").split(":")
    with socket.socket() as one:
        one.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(one, (host, int(port)))
        await loop.sock_sendall(one, raw)
        yield one


async def large(desk: Desk, door: Door, times: int = 1) -> bytes:
    """Requests for a large answer."""
    (job,) = desk.running()
    await door.webhook(job, told(job, output="x" * SIZE))
    head = f"GET /v1/jobs/{job.job_id} HTTP/1.1\r\nhost: g\r\nauthorization: "
    return f"{head}Bearer {door.secret}\r\n\r\n".encode() * times


def stalled(door: Door) -> int:
    """Connections whose answers are not read."""
    return sum(one.flow.write_paused for one in connections_of(door))


async def test_answers_that_nobody_reads_keep_nobody_else_out(
    desk: Desk, queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST", 4)

    async with gating(redis_url) as door, AsyncExitStack() as stack:
        raw = await large(desk, door, times=2)
        await door.session.close()
        for _ in range(4):
            await stack.enter_async_context(unread(door, raw))
        await eventually(lambda: stalled(door) == 4)
        async with line(door) as other:
            said = await other.ask(HEALTH + b"\r\n")

    assert said.startswith(b"HTTP/1.1 200 ")


async def test_a_connection_whose_answers_nobody_reads_is_closed_though_more_were_asked_for(
    desk: Desk, queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.2)

    async with gating(redis_url) as door:
        raw = await large(desk, door, times=3)
        await door.session.close()
        async with unread(door, raw):
            await eventually(lambda: stalled(door) == 1)
            await eventually(lambda: not connections_of(door))


async def test_a_slow_reader_gets_all_of_an_answer(
    desk: Desk, queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.1)

    async with gating(redis_url) as door:
        raw = await large(desk, door)
        loop = asyncio.get_running_loop()
        size = 0
        async with unread(door, raw) as one:
            while size < SIZE:
                part = await loop.sock_recv(one, 64 * 1024)
                assert part
                size += len(part)
                await asyncio.sleep(0.002)  # its pace
