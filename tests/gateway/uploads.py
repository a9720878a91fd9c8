"""Uploads: lines, the ways to send them, and what of them is in the queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from runqueue import RunQueue
from tests.gateway.gating import Answer, Door, own_bearer

KIND = {"content-type": "application/x-ndjson"}
PATH = "/v1/batches"
#: Long enough for a few thousand lines to be more than what is read before any is checked.
PROMPT = "Read the price. " * 25


def lines(count: int, prefix: str = "row", **more: Any) -> list[dict[str, Any]]:
    """Good lines."""
    return [
        {"custom_id": f"{prefix}-{n}", "kind": "task", "body": {"prompt": PROMPT}, **more}
        for n in range(count)
    ]


def text(jobs: Iterable[Any]) -> bytes:
    """As a file holds them."""
    return b"".join(json.dumps(job).encode() + b"\n" for job in jobs)


async def send(door: Door, body: bytes | Iterable[Any], query: str = "", **more: str) -> Answer:
    """Upload a body in one piece."""
    raw = body if isinstance(body, bytes) else text(body)
    headers = {**KIND, **{name.replace("_", "-"): value for name, value in more.items()}}
    return await door.ask("POST", PATH + query, raw, headers)


async def begin(url: str, raw: bytes) -> asyncio.StreamWriter:
    """Begin an upload, in chunks, that does not end; the gateway's token is the one made here."""
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = "POST /v1/batches HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in own_bearer().items())
    writer.write(f"{head}content-type: application/x-ndjson\r\n\r\n".encode())
    writer.write(b"%x\r\n%s\r\n" % (len(raw), raw))
    await writer.drain()
    return writer


async def pieces(raw: bytes, size: int) -> AsyncIterator[bytes]:
    """A body in pieces."""
    for start in range(0, len(raw), size):
        yield raw[start : start + size]


def accepted(queue: RunQueue, batch: str) -> int:
    """How many jobs of an accepted batch are ready."""
    found = queue.get_batch(batch)
    assert found.sealed
    return sum(found.states.values())
