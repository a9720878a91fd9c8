"""Connections that bring no request, or the head of one without end."""

from __future__ import annotations

import asyncio
import http.cookies
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, cast

import pytest

from gateway.http import connections, protocol
from runqueue import RunQueue
from tests.gateway.gating import Desk, Door, address, gating, signed, told
from tests.simulator.simulating import eventually

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: g\r\n"


def connections_of(door: Door) -> list[protocol.Protocol]:
    """Those that are open."""
    return [*cast(set[protocol.Protocol], door.server.server_state.connections)]


class Line(NamedTuple):
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, raw: bytes) -> bytes:
        """Send bytes, and return the beginning of the answer."""
        self.writer.write(raw)
        return await self.reader.readuntil(b"}")

    async def rest(self) -> bytes:
        """What is said until the other side closes; b'' also if it does so without a word."""
        try:
            async with asyncio.timeout(10):
                return await self.reader.read()
        except ConnectionError:
            return b""

    async def flood(self, piece: bytes, most: int = 100 * 1024 * 1024) -> int:
        """Send until the other side closes; returns how many bytes it was."""
        sent = 0
        try:
            while sent < most:
                self.writer.write(piece)
                await self.writer.drain()
                sent += len(piece)
        except ConnectionError:
            pass
        return sent


@asynccontextmanager
async def line(door: Door) -> AsyncIterator[Line]:
    host, port = door.url.removeprefix("http://").split(":")
    one = Line(*await asyncio.open_connection(host, int(port)))
    try:
        yield one
    finally:
        one.writer.close()


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"POST /", b"a" * 10_000),
        (HEALTH + b"x: ", b"a" * 10_000),
        (HEALTH, b"".join(b"x-%04d: %s\r\n" % (n, b"v" * 50) for n in range(150))),
        (b"", b"\r\n" * 5_000),
        (
            HEALTH + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
            b"".join(b"x-%04d: %s\r\n" % (n, b"v" * 50) for n in range(150)),
        ),
    ],
    ids=["path", "one header", "many headers", "empty lines", "headers after a body"],
)
async def test_a_head_without_end_is_cut_off(redis_url: str, head: bytes, piece: bytes) -> None:
    async with gating(redis_url) as door, line(door) as one:
        one.writer.write(head)

        assert await one.flood(piece) < 20 * 1024 * 1024


async def test_a_head_beyond_64_kib_is_answered_with_what_was_expected(redis_url: str) -> None:
    async with gating(redis_url) as door, line(door) as one:
        one.writer.write(HEALTH + b"x: " + b"a" * protocol.MAX_HEAD)
        said = await one.rest()

    assert said.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"content-type: application/problem+json" in said
    assert b"expected a head of 64 KiB at most" in said


async def test_a_head_of_up_to_64_kib_is_read(redis_url: str) -> None:
    async with gating(redis_url) as door, line(door) as one:
        head = HEALTH + b"x: " + b"a" * 60_000 + b"\r\n"
        one.writer.write(head)
        await one.writer.drain()

        assert (await one.ask(b"\r\n")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("head", [b"", b"GET /healthz HTTP/1.1\r\nhost:", b"\r\n"])
async def test_a_connection_that_brings_no_request_is_closed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)

    async with gating(redis_url) as door, line(door) as one:
        one.writer.write(head)

        assert await one.rest() == b""


@pytest.mark.parametrize("more", [b"GET /hea", b"\r\n"])
async def test_a_kept_connection_on_which_half_a_request_comes_is_closed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, more: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)

    async with gating(redis_url) as door, line(door) as one:
        await one.ask(HEALTH + b"\r\n")
        one.writer.write(more)

        assert await one.rest() == b""


async def test_a_request_and_half_of_the_next_one_are_answered_and_closed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)

    async with gating(redis_url) as door, line(door) as one:
        said = await one.ask(HEALTH + b"\r\n" + HEALTH)

        assert said.startswith(b"HTTP/1.1 200 ")
        assert await one.rest() == b""


async def test_a_kept_connection_may_rest_for_longer_than_a_head_may_take(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)

    async with gating(redis_url) as door, line(door) as one, line(door) as other:
        await one.ask(HEALTH + b"\r\n")
        assert await other.rest() == b""  # as long has passed

        assert (await one.ask(HEALTH + b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_body_may_take_longer_than_a_head(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    (job,) = desk.running()
    headers = "".join(f"{name}: {value}\r\n" for name, value in signed(b"[]").items())
    head = f"POST {address(job)} HTTP/1.1\r\nhost: g\r\ncontent-length: 2\r\n{headers}\r\n["

    async with gating(redis_url) as door, line(door) as one, line(door) as other:
        one.writer.write(head.encode())
        assert await other.rest() == b""  # as long has passed
        said = await one.ask(b"]")

    assert said.startswith(b"HTTP/1.1 422 ")  # read, and no webhook


async def test_what_comes_after_an_answer_keeps_no_connection_open(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)

    async with gating(redis_url) as door, line(door) as one:
        await one.ask(HEALTH + b"content-length: 1000\r\n\r\n")
        one.writer.write(b"a")

        assert await one.rest() == b""


async def test_connections_beyond_what_one_process_takes_are_told_to_come_back(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST", 1)
    (job,) = desk.running()
    head = f"POST {address(job)} HTTP/1.1\r\nhost: g\r\ncontent-length: 2\r\n"

    async with gating(redis_url) as door, line(door) as one:
        one.writer.write(f"{head}expect: 100-continue\r\n\r\n".encode())
        await one.reader.readuntil(b"\r\n\r\n")  # its body is awaited
        async with line(door) as more:
            said = await more.rest()
        assert (await one.ask(b"[]")).startswith(b"HTTP/1.1 401 ")

    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 5" in said or b"retry-after: 5" in said


async def test_where_there_are_too_many_the_connection_that_rests_for_longest_goes(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST", 2)

    async with gating(redis_url) as door, line(door) as first, line(door) as second:
        await first.ask(HEALTH + b"\r\n")
        await second.ask(HEALTH + b"\r\n")
        await first.ask(HEALTH + b"\r\n")
        async with line(door) as third:
            assert (await third.ask(HEALTH + b"\r\n")).startswith(b"HTTP/1.1 200 ")

            assert await second.rest() == b""
            assert (await first.ask(HEALTH + b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_who_does_not_read_an_answer_keeps_no_connection_open(
    desk: Desk, queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.1)
    (job,) = desk.running()
    async with gating(redis_url) as door, line(door) as one:
        await door.webhook(job, told(job, output="x" * 7 * 1024 * 1024))
        await door.session.close()
        head = f"GET /v1/jobs/{job.job_id} HTTP/1.1\r\nhost: g\r\nauthorization: "
        one.writer.write(f"{head}Bearer {door.secret}\r\n\r\n".encode())
        one.reader._transport.pause_reading()  # type: ignore[attr-defined]

        await eventually(lambda: not door.server.server_state.connections)


@pytest.mark.parametrize("end", [b"\r\n", b"x: v\r\nx: v\r\n"], ids=["whole", "half"])
async def test_a_head_of_more_than_a_hundred_headers_is_answered_with_what_was_expected(
    redis_url: str, end: bytes
) -> None:
    headers = b"".join(b"x-%d: v\r\n" % n for n in range(protocol.MAX_HEADERS))  # and `host`

    async with gating(redis_url) as door, line(door) as one:
        one.writer.write(HEALTH + headers + end)
        said = await one.rest()

    assert said.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"expected 100 headers at most" in said


async def test_a_head_of_a_hundred_headers_is_read(redis_url: str) -> None:
    headers = b"".join(b"x-%d: v\r\n" % n for n in range(protocol.MAX_HEADERS - 1))

    async with gating(redis_url) as door, line(door) as one:
        assert (await one.ask(HEALTH + headers + b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_what_is_no_request_is_answered_with_what_was_expected(redis_url: str) -> None:
    async with gating(redis_url) as door, line(door) as one:
        one.writer.write(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
        said = await one.rest()

    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in said
    assert b"expected a request of HTTP/1.1" in said


async def test_what_is_no_request_falls_into_no_answer_before_it(redis_url: str) -> None:
    async with gating(redis_url) as door, line(door) as one:
        one.writer.write(HEALTH + b"\r\nno request\r\n\r\n")
        said = await one.rest()

    assert said.count(b"HTTP/1.1 ") == 1
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(b"}")


async def test_few_requests_that_are_sent_ahead_are_answered_and_the_connection_is_closed(
    redis_url: str,
) -> None:
    async with gating(redis_url) as door, line(door) as one:
        one.writer.write((HEALTH + b"\r\n") * 100)
        said = await one.rest()

    assert said.count(b"HTTP/1.1 200 ") == 1 + protocol.MAX_AHEAD
    assert said.endswith(b"}")


async def test_a_large_head_that_is_sent_ahead_is_not_kept(redis_url: str) -> None:
    async with gating(redis_url) as door, line(door) as one:
        one.writer.write(HEALTH + b"\r\n" + HEALTH + b"x: " + b"v" * 30_000 + b"\r\n\r\n")
        said = await one.rest()

    assert said.count(b"HTTP/1.1 200 ") == 1
    assert said.endswith(b"}")


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_connection_that_rests_keeps_nothing_of_its_last_request(
    redis_url: str, method: bytes
) -> None:
    head = b"%s /?marked HTTP/1.1\r\nhost: g\r\nx: marked\r\ncontent-length: 6\r\n\r\nmarked"

    async with gating(redis_url) as door, line(door) as one:
        await one.ask(HEALTH + b"\r\n")
        one.writer.write(head % method)
        await one.reader.readuntil(b"HTTP/1.1 ")
        (kept,) = connections_of(door)
        await eventually(lambda: kept.cycle.response_complete)

        assert "marked" not in repr([vars(kept), vars(kept.cycle)])


async def test_headers_behind_a_body_are_none_of_the_request(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()
    headers = "".join(f"{name}: {value}\r\n" for name, value in signed(b"[]").items())
    head = f"POST {address(job)} HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n"

    async with gating(redis_url) as door, line(door) as one:
        said = await one.ask(f"{head}2\r\n[]\r\n0\r\n{headers}\r\n".encode())

    assert said.startswith(b"HTTP/1.1 401 ")  # as one without a signature


async def test_the_body_of_a_request_that_has_none_is_not_kept(desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()
    path = f"/v1/jobs/{job.job_id}?wait=60"

    async with gating(redis_url) as door, line(door) as one:
        head = f"GET {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {door.secret}\r\n"
        one.writer.write(f"{head}content-length: 50000\r\n\r\n".encode() + b"x" * 50_000)
        await eventually(lambda: any(each.cycle for each in connections_of(door)))
        ((asked, kept),) = ((each.cycle, each) for each in connections_of(door) if each.cycle)
        one.writer.write(HEALTH + b"connection: close\r\n\r\n")
        await eventually(lambda: kept.pipeline)  # the body was read

        assert not asked.body
        await door.webhook(job, told(job))
        assert (await one.rest()).count(b"HTTP/1.1 200 ") == 2


_REFUSED = b"POST /v1/jobs HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n"


_LARGE = 240 * 1024
#: Bodies that nobody wants: what is sent first, and what is sent again and again behind it.
_FLOODS = {
    "refused": (_REFUSED + b"content-length: %d\r\n\r\n" % 2**30, b"a" * _LARGE),
    "of GET": (b"", HEALTH + b"content-length: %d\r\n\r\n" % _LARGE + b"a" * _LARGE),
}


def is_paused(one: protocol.Protocol) -> bool:
    """Tell whether a connection is open and not read."""
    return not (one.transport.is_closing() or one.transport.is_reading())


@asynccontextmanager
async def flooding(door: Door, flood: str) -> AsyncIterator[protocol.Protocol]:
    """Send bodies that nobody wants, as fast as they are read."""
    before = connections_of(door)
    head, piece = _FLOODS[flood]

    async def send(one: Line) -> None:
        if head:
            assert (await one.ask(head)).startswith(b"HTTP/1.1 401 ")
            await one.flood(piece)
        while True:
            await one.ask(piece)

    async with line(door) as one:
        sending = asyncio.create_task(send(one))
        await eventually(lambda: len(connections_of(door)) > len(before))
        (made,) = [each for each in connections_of(door) if each not in before]
        await eventually(lambda: made.cycle)
        try:
            yield made
        finally:
            sending.cancel()
            await asyncio.wait([sending])


@pytest.mark.parametrize("flood", _FLOODS)
async def test_a_large_body_that_nobody_wants_is_read_at_a_pace(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, flood: str
) -> None:
    monkeypatch.setattr(connections, "UNWANTED_RATE", 1024)
    monkeypatch.setattr(connections, "LONGEST_PAUSE", 60.0)

    async with gating(redis_url) as door, flooding(door, flood) as flooder:
        await eventually(lambda: flooder.cycle.response_complete and is_paused(flooder))
        async with line(door) as other:
            for _ in range(20):
                await other.ask(HEALTH + b"\r\n")

        assert is_paused(flooder)


async def test_an_answer_ends_no_pause(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "UNWANTED_RATE", 1024)
    monkeypatch.setattr(connections, "LONGEST_PAUSE", 60.0)
    (job,) = desk.running()

    async with gating(redis_url) as door, line(door) as one:
        head = f"GET /v1/jobs/{job.job_id}?wait=60 HTTP/1.1\r\nhost: g\r\n"
        head += f"authorization: Bearer {door.secret}\r\ncontent-length: {_LARGE}\r\n\r\n"
        one.writer.write(head.encode() + b"a" * _LARGE)
        await eventually(lambda: any(is_paused(each) for each in connections_of(door)))
        (kept,) = connections_of(door)
        assert not kept.cycle.response_complete
        await door.webhook(job, told(job))
        assert (await one.reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")

        assert is_paused(kept)


@pytest.mark.parametrize("flood", _FLOODS)
async def test_beside_bodies_that_nobody_wants_others_are_served_on(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, flood: str
) -> None:
    monkeypatch.setattr(connections, "UNWANTED_RATE", 1024)

    async with gating(redis_url) as door, flooding(door, flood) as flooder, line(door) as other:
        await eventually(lambda: is_paused(flooder))
        small = _REFUSED + b"content-length: 1\r\n\r\n"
        await other.ask(small)
        await other.ask(b"a" + small)
        answer = await other.ask(b"a" + HEALTH + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_connection_that_is_not_read_for_a_while_is_not_closed_for_that(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(connections, "UNWANTED_RATE", 1024)
    monkeypatch.setattr(connections, "LONGEST_PAUSE", 0.4)

    async with gating(redis_url) as door, line(door) as one:
        await one.ask(_REFUSED + b"content-length: %d\r\n\r\n" % (2 * _LARGE))
        answer = await one.ask(b"a" * 2 * _LARGE + HEALTH + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_connections_that_bring_what_nobody_wants_share_the_rate() -> None:
    several = connections.Connections(8)
    alone = several.begin_pause(1024 * 1024)

    assert several.begin_pause(1024 * 1024) == pytest.approx(2 * alone)
    several.end_pause()
    several.end_pause()
    assert several.begin_pause(1024 * 1024) == pytest.approx(alone)
    assert several.begin_pause(2**40) == connections.LONGEST_PAUSE


async def test_a_connection_serves_on_behind_the_rest_of_a_body_that_was_refused(
    redis_url: str,
) -> None:
    length = 4 * 1024 * 1024

    async with gating(redis_url) as door, line(door) as one:
        await one.ask(_REFUSED + b"content-length: %d\r\n\r\n" % length)
        answer = await one.ask(b"a" * length + HEALTH + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_cookies_are_not_unquoted(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python before 3.11.10 takes seconds for one of 64 KiB (CVE-2024-7592)."""
    seen: list[str] = []

    def unquote(value: str) -> str:
        seen.append(value)
        return value

    monkeypatch.setattr(http.cookies, "_unquote", unquote)

    async with gating(redis_url) as door, line(door) as one:
        for path in (b"/", b"/healthz", b"/v1/stats"):
            one.writer.write(b"GET %s HTTP/1.1\r\nhost: g\r\n" % path)
            one.writer.write(b'Cookie: a="' + b"\\a" * 1_000 + b'"; b=c\r\n\r\n')
            await one.reader.readuntil(b"HTTP/1.1 ")
        await eventually(lambda: len(seen) >= 6)

    assert {value[:1] for value in seen} == {"\\", "c"}
