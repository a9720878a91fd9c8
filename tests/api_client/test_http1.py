"""What bytes make an answer: however they are cut, and whatever else comes with them."""

import asyncio
import gc
import gzip
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_client import AnswerLostError, AsyncTransport, NotSentError
from api_client.http.body import body
from api_client.http.connection import MAX_HEAD_BYTES, Connection
from api_client.http.messages import HttpAnswer, Request
from tests.api_client.rawserver import (
    Behaviour,
    Exchange,
    answering,
    answering_in_turn,
    response,
    serving,
)
from tests.simulator.simulating import eventually

PACKED = gzip.compress(b"a packed body", mtime=0)
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"
#: Answers, and the bodies that are in them.
ANSWERS = {
    "with a length": (response(200, b"a body", x_name="value"), b"a body"),
    "empty": (response(204), b""),
    "in chunks": (CHUNKED + b"\r\n2\r\na \r\n4\r\nbody\r\n0\r\n\r\n", b"a body"),
    "with a trailer": (CHUNKED + b"\r\n1\r\nx\r\n0\r\nx-late: 1\r\n\r\n", b"x"),
    "as it is": (response(200, b"a body", content_encoding="identity"), b"a body"),
    "compressed": (response(200, PACKED, content_encoding="gzip"), b"a packed body"),
    "after a 100 and a 103": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        + response(200, b"at last"),
        b"at last",
    ),
}


class FakeTransport(asyncio.Transport):
    """Takes what is written, and does nothing."""

    def __init__(self) -> None:
        super().__init__({"socket": 0})  # nobody looks into it
        self.aborted = False

    def write(self, data: Any) -> None:
        """Take it."""

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def asked(loop: asyncio.AbstractEventLoop) -> tuple[Connection, "asyncio.Future[HttpAnswer]"]:
    connection = Connection(loop, 1000)
    connection.connection_made(FakeTransport())
    return connection, connection.ask(Request("GET", "http://shop.test/x", {}), b"GET")


async def fetched(behaviour: Behaviour, method: str = "GET", times: int = 1) -> list[HttpAnswer]:
    async with serving(behaviour) as server, AsyncTransport() as transport:
        return [
            await transport.exchange(Request(method, f"{server.url}/x", {})) for _ in range(times)
        ]


@given(name=st.sampled_from(sorted(ANSWERS)), cuts=st.lists(st.integers(0, 200), max_size=8))
def test_an_answer_is_the_same_however_it_is_cut(name: str, cuts: list[int]) -> None:
    wire, body = ANSWERS[name]
    loop = asyncio.new_event_loop()
    try:
        connection, told = asked(loop)
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(wire)], strict=True):
            if piece := wire[start:end]:
                assert not told.done()
                connection.data_received(piece)
        answer = told.result()
        assert (answer.body, answer.status // 100) == (body, 2)
        assert "x-late" not in answer.headers
        assert connection.is_usable
    finally:
        loop.close()


@given(wire=st.sampled_from([wire for wire, _ in ANSWERS.values()]), surplus=st.binary(min_size=1))
def test_what_comes_with_an_answer_is_told_nobody_and_ends_the_connection(
    wire: bytes, surplus: bytes
) -> None:
    loop = asyncio.new_event_loop()
    try:
        connection, told = asked(loop)
        connection.data_received(wire + surplus)
        assert told.result().status in {200, 204}
        # Empty lines in front of an answer are allowed, and are none.
        assert connection.is_usable == (not surplus.strip(b"\r\n"))
    finally:
        loop.close()


@given(garbage=st.binary(min_size=1))
def test_bytes_that_are_no_answer_end_in_an_error_or_are_waited_on(garbage: bytes) -> None:
    loop = asyncio.new_event_loop()
    try:
        connection, told = asked(loop)
        connection.data_received(garbage)
        connection.connection_lost(None)
        assert told.exception() is not None
        assert not connection.is_usable
    finally:
        loop.close()


async def test_an_answer_that_nobody_waits_for_any_more_leaves_the_connection_usable() -> None:
    connection, told = asked(asyncio.get_running_loop())
    told.cancel()
    connection.data_received(response(200, b"late"))
    assert connection.is_usable


async def test_an_answer_to_a_head_has_no_body_whatever_its_length_says() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    answers = await fetched(answering_in_turn(head), "HEAD", times=2)
    assert [(a.status, a.body) for a in answers] == [(200, b""), (200, b"")]


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    async def ends(exchange: Exchange) -> bool:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nall ")
        await exchange.send(b"of it")
        return False

    assert [a.body for a in await fetched(ends, times=2)] == [b"all of it"] * 2


async def test_a_compressed_answer_that_ends_too_early_is_lost() -> None:
    async def ends(exchange: Exchange) -> bool:
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + PACKED[:-4])
        return False

    with pytest.raises(AnswerLostError, match="ends too early"):
        await fetched(ends)


async def test_a_server_that_wants_another_protocol_is_not_followed() -> None:
    switching = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nbytes"
    with pytest.raises(AnswerLostError):
        await fetched(answering_in_turn(switching))


@pytest.mark.parametrize("line", [b"x-many: 1\r\n" * 30_000, b"x-long: " + b"1" * 300_000])
async def test_a_head_without_an_end_is_not_listened_to(line: bytes) -> None:
    async def goes_on(exchange: Exchange) -> bool:
        await exchange.send(b"HTTP/1.1 200 OK\r\n" + line)
        assert len(line) > MAX_HEAD_BYTES
        await asyncio.Event().wait()
        return False

    with pytest.raises(AnswerLostError, match="ValueError"):
        await fetched(goes_on)


async def test_an_answer_before_the_request_is_written_whole_leaves_no_connection_to_use() -> None:
    async def refuses(exchange: Exchange) -> bool:
        await exchange.send(response(413, b"too large"))
        await asyncio.Event().wait()
        return False

    async with serving(refuses) as server, AsyncTransport() as transport:
        for _ in range(2):
            large = Request("POST", server.url, {}, b"x" * 16_000_000)
            assert (await transport.exchange(large)).status == 413
        assert server.connections == 2


async def test_what_has_no_end_behind_a_body_is_not_listened_to() -> None:
    async def goes_on(exchange: Exchange) -> bool:
        await exchange.send(CHUNKED + b"\r\n1\r\nx\r\n0\r\nx-late: ")
        while True:
            await exchange.send(b"1" * 10_000)

    with pytest.raises(AnswerLostError, match="ValueError"):
        await fetched(goes_on)


@pytest.mark.parametrize("size", [1, 2])
def test_a_body_in_the_smallest_pieces_takes_hardly_more_than_its_bytes(size: int) -> None:
    whole = body(Request("GET", "http://shop.test/", {}), 200, "", 1_000_000)
    piece = b"xy"[:size]
    tracemalloc.start()
    try:
        for _ in range(100_000):
            whole.add(piece[:1] + piece[1:])
        assert len(whole.whole()) == 100_000 * size
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def connections() -> list[object]:
    return [one for one in gc.get_objects() if type(one) is Connection]


async def test_a_connection_that_ended_does_not_wait_for_the_collector() -> None:
    gc.collect()
    gc.disable()
    of_other_tests = connections()
    try:
        async with serving(answering(200, b"x")) as server, AsyncTransport() as transport:
            await transport.exchange(Request("GET", server.url, {}))
            assert len(connections()) == len(of_other_tests) + 1
            await transport.aclose()
            await eventually(lambda: len(connections()) == len(of_other_tests))
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "http://127.0.0.1:1/", {"x-name": "1\r\nx-other: 2"}),
        Request("GET", "http://127.0.0.1:1/", {"x-name": "1\n"}),
        Request("GET", "http://127.0.0.1:1/", {"x-name\r": "1"}),
        Request("GET", "http://127.0.0.1:1/a HTTP/1.1\r\nx: y\r\n\r\n", {}),
        Request("GET", "http://127.0.0.1:1/a b", {}),
        Request("GET", "http://127.0.0.1:1/", {"x-name": "\0"}),
    ],
)
async def test_a_header_or_url_that_would_be_read_as_another_is_not_sent(request_: Request) -> None:
    async with AsyncTransport() as transport:
        with pytest.raises(NotSentError, match="holds what it cannot"):
            await transport.exchange(request_)


async def test_an_error_holds_no_key_where_a_header_is_no_text() -> None:
    headers = {"x-api-key": "secret", "x-name": "\udc80"}
    async with AsyncTransport() as transport:
        with pytest.raises(NotSentError, match="is no text") as caught:
            await transport.exchange(Request("GET", "http://127.0.0.1:1/", headers))
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None


async def test_a_request_without_the_headers_it_needs_is_given_them() -> None:
    async with serving(answering(200)) as server, AsyncTransport() as transport:
        await transport.exchange(Request("POST", f"{server.url}?q=1", {}, b"{}"))
        [exchange] = server.exchanges
        assert (exchange.target, exchange.body) == ("/?q=1", b"{}")
        assert exchange.headers == {"host": server.url[7:], "content-length": "2"}
