"""Who asks and does not read the answers: he keeps nobody out, and takes little memory."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from gateway.http import connections, protocol
from gateway.tenants import shares
from runqueue import RunQueue
from tests.gateway.gating import Desk, Door, bearer, gating, token, told
from tests.gateway.http.test_heads import HEALTH, connections_of, line
from tests.simulator.simulating import eventually

#: A result, and the answer that shows it twice, which is more than the system holds unread.
SIZE = 7 * 1024 * 1024
ANSWER = 2 * SIZE


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
    monkeypatch.setattr(shares, "ANSWERS", 100 * ANSWER)

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
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 1.0)

    async with gating(redis_url) as door:
        raw = await large(desk, door)
        loop = asyncio.get_running_loop()
        size = 0
        async with unread(door, raw) as one:
            while size < ANSWER:
                part = await loop.sock_recv(one, 32 * 1024)
                assert part
                size += len(part)
                await asyncio.sleep(0.005)  # its pace


async def test_large_answers_that_one_token_does_not_read_leave_others_theirs(
    desk: Desk, queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "ANSWERS", 4 * ANSWER + 16_384)
    (job,) = desk.running()
    path = f"/v1/jobs/{job.job_id}"
    tokens = token("acme", "a", "read"), token("beta", "b", "read")

    async with gating(redis_url, api_tokens=tokens) as door, AsyncExitStack() as stack:
        await door.webhook(job, told(job, output="x" * SIZE))
        raw = f"GET {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer a\r\n\r\n".encode()
        for _ in range(2):
            await stack.enter_async_context(unread(door, raw))
        await eventually(lambda: stalled(door) == 2)

        refused = await door.ask("GET", path, headers=bearer("a"))
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert (await door.ask("GET", f"{path}?result=false", headers=bearer("a"))).status == 200
        assert (await door.ask("GET", path, headers=bearer("b"))).status == 200

        await stack.aclose()  # they have gone
        await eventually(lambda: door.server._gate.answers.held == 0)
        assert (await door.ask("GET", path, headers=bearer("a"))).status == 200
        await eventually(lambda: door.server._gate.answers.held == 0)
        assert door.server._gate.requests.held == 0


async def test_bulk_answers_that_one_token_does_not_read_have_its_bulks_refused_before_their_work(
    queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bulk = [
        {"custom_id": f"{n:04}" + "\u20ac" * 200, "kind": "task", "body": {"prompt": "x"}}
        for n in range(1_000)
    ]
    body = json.dumps(bulk, ensure_ascii=False).encode()
    monkeypatch.setattr(shares, "ANSWERS", 5 * len(body))
    tokens = (
        token("acme", "a", "enqueue", accounts=("default",)),
        token("beta", "b", "enqueue", accounts=("default",)),
    )
    head = "POST /v1/jobs:bulk HTTP/1.1\r\nhost: g\r\nauthorization: Bearer a\r\n"
    kind = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"

    async with gating(redis_url, api_tokens=tokens) as door, AsyncExitStack() as stack:
        held = door.server._gate.answers
        one = await stack.enter_async_context(unread(door, (head + kind).encode()))
        await eventually(lambda: len(connections_of(door)) == 1)
        (connection,) = connections_of(door)
        little = connection.transport.get_extra_info("socket")
        little.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await asyncio.get_running_loop().sock_sendall(one, body)
        await eventually(lambda: stalled(door) == 1)
        assert held.held >= len(body)

        more = [{**job, "namespace": "more"} for job in bulk]
        refused = await door.ask("POST", "/v1/jobs:bulk", more, bearer("a"))
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert queue.stats()["default"].totals["enqueued"] == len(bulk)
        assert (await door.ask("POST", "/v1/jobs:bulk", bulk[:9], bearer("a"))).status == 202
        assert (await door.ask("POST", "/v1/jobs:bulk", more, bearer("b"))).status == 202

        await stack.aclose()  # it has gone
        await eventually(lambda: held.held == 0)
        assert (await door.ask("POST", "/v1/jobs:bulk", more, bearer("a"))).status == 202
        await eventually(lambda: held.held == 0)
