"""Requests that offer another protocol: the offer is not taken, the request is read."""

from __future__ import annotations

import json

import pytest

from runqueue import RunQueue
from tests.gateway.gating import gating
from tests.gateway.http.test_heads import HEALTH, connections_of, line
from tests.simulator.simulating import eventually

JOB = json.dumps({"kind": "task", "body": {"prompt": "Read it."}}).encode()
#: What Java's HTTP client sends unless it is told otherwise.
H2C = b"connection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAEAAEAA\r\nupgrade: h2c\r\n"
WEBSOCKET = b"connection: upgrade\r\nupgrade: websocket\r\n"
LAST = HEALTH + b"connection: close\r\n\r\n"


def handed_in(
    secret: str, offer: bytes, body: bytes, *, is_chunked: bool = False
) -> tuple[bytes, bytes]:
    """A request that hands something in: its head, and its body."""
    length = b"transfer-encoding: chunked" if is_chunked else b"content-length: %d" % len(body)
    who = f"POST /v1/jobs HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {secret}\r\n".encode()
    head = who + b"content-type: application/json\r\n" + offer + length + b"\r\n\r\n"
    return head, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if is_chunked else body


def statuses(said: bytes) -> list[bytes]:
    """Those of the answers."""
    return [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("is_whole", [True, False], ids=["in one piece", "in several"])
@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "by its length"])
@pytest.mark.parametrize("offer", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
async def test_a_job_is_read_although_its_request_offers_another_protocol(
    queue: RunQueue, redis_url: str, offer: bytes, *, is_chunked: bool, is_whole: bool
) -> None:
    async with gating(redis_url) as door, line(door) as one:
        head, body = handed_in(door.secret, offer, JOB, is_chunked=is_chunked)
        if not is_whole:
            one.writer.write(head[:30])
            await eventually(lambda: any(hasattr(each, "url") for each in connections_of(door)))
            head = head[30:]
        one.writer.write(head + (body if is_whole else b""))
        # Its head was read.
        await eventually(lambda: any(each.cycle for each in connections_of(door)))
        one.writer.write((b"" if is_whole else body) + LAST)
        said = await one.rest()

    assert statuses(said) == [b"202", b"200"]
    assert sum(queue.stats()["default"].states.values()) == 1


async def test_the_body_of_a_request_that_offers_another_protocol_is_no_request(
    redis_url: str,
) -> None:
    async with gating(redis_url) as door, line(door) as one:
        head, body = handed_in(door.secret, H2C, HEALTH + b"\r\n")
        one.writer.write(head)
        await eventually(lambda: any(each.cycle for each in connections_of(door)))
        one.writer.write(body + LAST)
        said = await one.rest()

    assert statuses(said) == [b"422", b"200"]


async def test_a_tunnel_is_refused_and_nothing_behind_it_is_read(redis_url: str) -> None:
    async with gating(redis_url) as door, line(door) as one:
        one.writer.write(b"CONNECT g:80 HTTP/1.1\r\nhost: g\r\n\r\n" + HEALTH + b"\r\n")
        said = await one.rest()

    assert statuses(said) == [b"400"]
