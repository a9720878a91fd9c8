"""The blocking transport over real sockets: what the server can have seen, time, connections."""

import asyncio
import gzip
import itertools
import os
import random
import select
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpcore
import httpx
import pytest

from api_client.errors import AnswerLostError, BodyTooLargeError, NotSentError, SkyvernError
from api_client.http.blocking import BlockingTransport
from api_client.http.blocking_network import Stream
from api_client.http.blocking_pool import forget_all
from api_client.http.messages import Request
from api_client.http.transport import IDLE_LIMIT
from tests.api_client.blockingserver import (
    drips_the_body,
    drips_the_head,
    drops_connections,
    echoes,
    listening,
    reads_slowly,
    sends_too_much,
)
from tests.api_client.rawserver import (
    Behaviour,
    Exchange,
    answering,
    answering_in_turn,
    cuts_the_answer,
    cuts_the_head,
    cuts_the_upload,
    hangs,
    hangs_within_the_answer,
    port_nobody_listens_on,
    port_with_a_full_backlog,
    reads_then_closes,
    reads_then_resets,
    resets_before_reading,
    response,
    sends_a_bad_status_line,
    sends_garbage,
    serving,
)

CERTIFICATE = Path(__file__).with_name("selfsigned.pem")
#: These answer by a limit of time alone.
SLOW = {hangs, hangs_within_the_answer, drips_the_head, drips_the_body, reads_slowly}
#: Larger than the sockets' buffers on loopback.
LARGE_BODY = b"x" * 16_000_000


def send(transport: BlockingTransport, method: str, url: str, **kwargs: Any) -> bytes:
    return transport.handle_request(httpx.Request(method, url, **kwargs)).read()


def post(url: str, content: bytes = b"{}", **options: Any) -> bytes:
    with BlockingTransport(**options) as transport:
        return send(transport, "POST", f"{url}/v1/run/tasks", content=content)


async def asend(transport: BlockingTransport, method: str, url: str, **kwargs: Any) -> bytes:
    """Block a thread, so that the server in this one goes on."""
    return await asyncio.to_thread(send, transport, method, url, **kwargs)


async def apost(url: str, content: bytes = b"{}", **options: Any) -> bytes:
    return await asyncio.to_thread(post, url, content, **options)


def wait_for_the_end(transport: BlockingTransport) -> None:
    """Wait until the server's closing of the one idle connection has arrived."""
    [connection] = transport._pool._idle
    assert isinstance(connection._connection, httpcore.HTTP11Connection)
    sock = connection._connection._network_stream.get_extra_info("socket")
    assert select.select([sock], [], [], 10)[0]


@pytest.fixture
def tls_server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


# What the server can have seen


@pytest.mark.parametrize(
    ("behaviour", "content"),
    [
        (resets_before_reading, b"{}"),
        (resets_before_reading, LARGE_BODY),
        (cuts_the_upload, LARGE_BODY),
        (reads_slowly, LARGE_BODY),
        (reads_then_closes, b"{}"),
        (reads_then_resets, b"{}"),
        (sends_garbage, b"{}"),
        (sends_a_bad_status_line, b"{}"),
        (cuts_the_head, b"{}"),
        (cuts_the_answer, b"{}"),
        (hangs, b"{}"),
        (hangs_within_the_answer, b"{}"),
        (drips_the_head, b"{}"),
        (drips_the_body, b"{}"),
    ],
)
async def test_a_server_that_can_have_seen_the_request_leaves_the_answer_lost(
    behaviour: Behaviour, content: bytes
) -> None:
    async with serving(behaviour) as server:
        with pytest.raises(AnswerLostError, match="POST /v1/run/tasks"):
            await apost(server.url, content, timeout=0.5 if behaviour in SLOW else 60)
        assert len(server.exchanges) == 1


def test_a_refused_connection_is_not_sent() -> None:
    with port_nobody_listens_on() as port, pytest.raises(NotSentError, match="refused"):
        post(f"http://127.0.0.1:{port}")


def test_a_name_that_does_not_resolve_is_not_sent() -> None:
    with pytest.raises(NotSentError):
        post("http://no-such-host.invalid")


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({"connect_timeout": 0.1}, id="limit to connect"),
        pytest.param({"timeout": 0.2, "connect_timeout": 60}, id="half of the total"),
    ],
)
def test_a_connection_that_takes_too_long_is_not_sent(limits: dict[str, Any]) -> None:
    with port_with_a_full_backlog() as port, pytest.raises(NotSentError, match="Timeout"):
        post(f"http://127.0.0.1:{port}", **limits)


async def test_a_wait_for_a_free_connection_that_takes_too_long_is_not_sent() -> None:
    async with serving(hangs) as server:
        with BlockingTransport(max_connections=1, connect_timeout=0.3) as transport:
            first = asyncio.create_task(asend(transport, "POST", server.url))
            await server.asked.wait()
            with pytest.raises(NotSentError, match="no free connection in time"):
                await asend(transport, "POST", server.url)
            assert len(server.exchanges) == 1
        with pytest.raises(AnswerLostError):
            await first


async def test_tls_to_a_server_that_speaks_none_is_not_sent() -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(no_tls) as host:
        with pytest.raises(NotSentError, match="SSL"):
            await apost(f"https://{host}")


async def test_a_tls_handshake_that_hangs_is_not_sent() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as host:
        with pytest.raises(NotSentError, match="Timeout"):
            await apost(f"https://{host}", connect_timeout=0.2)


async def test_a_certificate_nobody_vouches_for_is_not_sent(tls_server: ssl.SSLContext) -> None:
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.read(100))

    async with listening(serve, tls_server) as host:
        with pytest.raises(NotSentError, match="CERTIFICATE"):
            await apost(f"https://{host}")
    assert not seen


async def test_a_certificate_the_context_trusts_is_spoken_to(tls_server: ssl.SSLContext) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(response(200, b"over TLS"))

    tls = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with listening(serve, tls_server) as host:
        assert await apost(f"https://{host}", tls=tls) == b"over TLS"


def test_a_request_that_cannot_be_written_is_not_sent_and_its_headers_are_not_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, BlockingTransport() as transport:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(NotSentError) as caught:
            send(transport, "GET", url, headers={"x-api-key": "secret\n"})
    assert str(caught.value) == "GET /: LocalProtocolError"


def test_a_url_of_another_scheme_is_not_sent() -> None:
    with pytest.raises(NotSentError):
        post("ftp://127.0.0.1")


def test_no_message_carries_the_key_or_the_query() -> None:
    with port_nobody_listens_on() as port, BlockingTransport() as transport:
        url = f"http://127.0.0.1:{port}/v1/runs?q=secret-2"
        with pytest.raises(NotSentError, match="GET /v1/runs: ConnectError: ") as caught:
            send(transport, "GET", url, headers={"x-api-key": "secret-1"})
    assert "secret" not in str(caught.value)


async def test_every_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def two_addresses(host: str, *args: Any, **options: Any) -> list[Any]:
        if host != "two.example":
            return look_up(host, *args, **options)
        return [(0, 0, 0, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]

    look_up = socket.getaddrinfo
    async with serving(answering(200, b"here")) as server:
        monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
        assert await apost(f"http://two.example:{server.port}") == b"here"


async def test_the_addresses_of_a_host_share_the_time_to_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def two_addresses(host: str, *args: Any, **options: Any) -> list[Any]:
        if host != "two.example":
            return look_up(host, *args, **options)
        return [(0, 0, 0, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]

    look_up = socket.getaddrinfo
    async with serving(answering(200, b"here")) as server:
        monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
        with drops_connections("127.0.0.2", server.port):
            url = f"http://two.example:{server.port}"
            assert await apost(url, connect_timeout=0.6) == b"here"


# Closing and interrupting


def test_a_closed_transport_sends_nothing() -> None:
    transport = BlockingTransport()
    transport.close()
    with pytest.raises(NotSentError, match="GET /: ConnectionError: the transport is closed"):
        send(transport, "GET", "http://127.0.0.1:1/")


async def test_closing_ends_the_requests_under_way_and_those_that_wait_send_nothing() -> None:
    waits = threading.Event()

    class Places(threading.Semaphore):
        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            waits.set()
            return super().acquire(blocking, timeout)

    async with serving(hangs) as server:
        transport = BlockingTransport(max_connections=1)
        first = asyncio.create_task(asend(transport, "POST", server.url))
        await server.asked.wait()
        transport._pool._places = Places(0)
        second = asyncio.create_task(asend(transport, "POST", server.url))
        await asyncio.to_thread(waits.wait)
        transport.close()
        with pytest.raises(AnswerLostError):
            await first
        with pytest.raises(NotSentError, match="closed"):
            await second
        assert len(server.exchanges) == 1


async def test_a_connection_that_was_being_made_while_the_transport_closed_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def closes_meanwhile(*args: Any) -> httpcore.NetworkStream:
        stream = connect(*args)
        transport.close()
        return stream

    connect = httpcore.SyncBackend.connect_tcp
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", closes_meanwhile)
    transport = BlockingTransport()
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(await reader.read())

    async with listening(reads) as host:
        with pytest.raises(NotSentError, match="closed"):
            await asend(transport, "GET", f"http://{host}")
        assert await seen.get() == b""


async def test_an_interrupt_is_passed_on_and_its_connection_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(stream: object, most: int, timeout: float | None = None) -> bytes:
        raise KeyboardInterrupt

    def call(url: str) -> str:
        try:
            return send(transport, "POST", url).decode()
        except KeyboardInterrupt:
            return "interrupted"

    monkeypatch.setattr(Stream, "read", interrupted)
    async with serving(hangs) as server:
        with BlockingTransport() as transport:
            assert await asyncio.to_thread(call, server.url) == "interrupted"
            await server.asked.wait()
            assert not transport._pool._idle


# Processes


async def test_a_forked_process_leaves_the_connections_to_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(answering(200, b"here")) as server:
        with BlockingTransport() as transport:
            await asend(transport, "GET", server.url)
            [connection] = transport._pool._idle
            assert isinstance(connection._connection, httpcore.HTTP11Connection)
            kept = connection._connection._network_stream.get_extra_info("socket").dup()
            transport._pool._lock.acquire()  # by a thread that is not there after the fork
            monkeypatch.setattr("os.getpid", lambda: -1)
            forget_all()
            monkeypatch.undo()
            assert await asend(transport, "GET", server.url) == b"here"
            with kept:  # the parent's
                kept.setblocking(False)
                with pytest.raises(BlockingIOError):
                    kept.recv(1)
        assert [e.connection for e in server.exchanges] == [1, 2]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_parent_and_child_do_not_share_a_connection() -> None:
    def fork() -> int:
        if (child := os.fork()) == 0:
            status = 1
            try:
                status = int(send(transport, "GET", server.url) != b"here")
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    async with serving(answering(200, b"here")) as server:
        with BlockingTransport() as transport:
            await asend(transport, "GET", server.url)
            assert await asyncio.to_thread(fork) == 0
            assert await asend(transport, "GET", server.url) == b"here"
        assert [e.connection for e in server.exchanges] == [1, 2, 1]


# Time


@pytest.mark.parametrize("behaviour", [drips_the_head, drips_the_body])
async def test_a_slow_server_does_not_outlast_the_total(behaviour: Behaviour) -> None:
    async with serving(behaviour) as server:
        start = time.monotonic()
        with pytest.raises(AnswerLostError, match="Timeout"):
            await apost(server.url, timeout=0.5)
        assert 0.4 < time.monotonic() - start < 20


async def test_a_request_s_own_time_limit_goes_before_the_transport_s() -> None:
    limit = {"timeout": {"read": 0.3}}
    async with serving(hangs) as server:
        with (
            BlockingTransport(timeout=60) as transport,
            pytest.raises(AnswerLostError, match="Timeout"),
        ):
            await asend(transport, "GET", server.url, extensions=limit)


@pytest.mark.parametrize("left", [0.0, -1.0])
def test_a_time_limit_that_is_used_up_sends_nothing(left: float) -> None:
    limit = {"timeout": {"read": left}}
    with BlockingTransport() as transport, pytest.raises(NotSentError, match="Timeout"):
        send(transport, "GET", "http://127.0.0.1:1", extensions=limit)


async def test_no_time_limit_at_all_is_none() -> None:
    async with serving(answering(200, b"here")) as server:
        with BlockingTransport() as transport:
            none = {"timeout": {"read": None, "connect": None}}
            assert await asend(transport, "GET", server.url, extensions=none) == b"here"


# Bodies


async def test_a_body_over_the_limit_is_not_read_to_its_end() -> None:
    async with serving(sends_too_much) as server:
        with pytest.raises(BodyTooLargeError, match="status 200 and a body of more than 100,000"):
            await apost(server.url, max_body_bytes=100_000)


async def test_a_body_of_just_the_limit_is_read() -> None:
    async with serving(answering(200, b"x" * 100)) as server:
        assert await apost(server.url, max_body_bytes=100) == b"x" * 100
        with pytest.raises(BodyTooLargeError):
            await apost(server.url, max_body_bytes=99)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_a_compressed_answer_is_decompressed_once_and_counted_after(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(b"x" * 10_000)
    async with serving(answering(200, packed, content_encoding=encoding)) as server:
        with BlockingTransport(max_body_bytes=10_000) as transport:
            request = httpx.Request("GET", server.url)
            answer = await asyncio.to_thread(transport.handle_request, request)
            assert answer.read() == b"x" * 10_000
            assert "content-encoding" not in answer.headers
        with pytest.raises(BodyTooLargeError):
            await apost(server.url, max_body_bytes=9_999)


async def test_an_answer_that_is_not_as_compressed_as_it_says_is_lost() -> None:
    async with serving(answering(200, b"plain", content_encoding="gzip")) as server:
        with pytest.raises(AnswerLostError, match="not compressed as it says"):
            await apost(server.url)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed", "plain"),
    [
        ("deflate", raw_deflate(b"plain"), b"plain"),
        ("gzip", gzip.compress(b"two ") + gzip.compress(b"members"), b"two members"),
        ("gzip", b"", b""),
        ("Identity, GZIP", gzip.compress(b"plain"), b"plain"),
    ],
    ids=["deflate without a header", "gzip in members", "nothing", "names in any case"],
)
async def test_what_servers_call_compressed_is_read(
    encoding: str, packed: bytes, plain: bytes
) -> None:
    async with serving(answering(200, packed, content_encoding=encoding)) as server:
        assert await apost(server.url) == plain


async def test_a_compressed_body_of_many_chunks_arrives_whole() -> None:
    plain = random.Random(1).randbytes(500_000)
    async with serving(answering(200, gzip.compress(plain), content_encoding="gzip")) as server:
        assert await apost(server.url) == plain


async def test_a_compressed_body_that_ends_too_early_is_lost() -> None:
    cut = gzip.compress(b"plain")[:-4]
    async with serving(answering(200, cut, content_encoding="gzip")) as server:
        with pytest.raises(AnswerLostError, match="ends too early"):
            await apost(server.url)


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "gzip, br"])
async def test_an_encoding_nobody_asked_for_is_lost(encoding: str) -> None:
    async with serving(answering(200, b"packed", content_encoding=encoding)) as server:
        with pytest.raises(AnswerLostError, match="status 200 and a body in an encoding"):
            await apost(server.url)


async def test_a_small_answer_that_unpacks_to_a_large_one_takes_no_more_than_the_limit() -> None:
    packer = zlib.compressobj(wbits=31)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    async with serving(answering(200, packed, content_encoding="gzip")) as server:
        tracemalloc.start()
        try:
            with pytest.raises(BodyTooLargeError, match="more than 1,000,000 bytes"):
                await apost(server.url, max_body_bytes=1_000_000)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 10_000_000


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
async def test_a_body_of_any_size_arrives_whole(size: int) -> None:
    async with serving(answering(200)) as server:
        await apost(server.url, b"x" * size)
        [exchange] = server.exchanges
        assert exchange.body == b"x" * size
        assert exchange.headers["content-length"] == str(size)


async def test_a_body_given_in_chunks_is_sent_in_chunks() -> None:
    async def reads_chunks(exchange: Exchange) -> bool:
        exchange.body = await exchange.reader.readuntil(b"0\r\n\r\n")
        await exchange.send(response(200))
        return True

    def chunks() -> Iterator[bytes]:
        yield b"a"
        yield b"b"

    async with serving(reads_chunks) as server:
        with BlockingTransport() as transport:
            await asend(transport, "POST", server.url, content=chunks())
        assert server.exchanges[0].body == b"2\r\nab\r\n0\r\n\r\n"


# What is sent and what comes back


async def test_an_answer_carries_status_headers_body_and_its_request() -> None:
    async with serving(answering(418, b"short", x_request_id="r1")) as server:
        with BlockingTransport() as transport:
            request = httpx.Request("GET", server.url)
            answer = await asyncio.to_thread(transport.handle_request, request)
        assert (answer.status_code, answer.headers["x-request-id"]) == (418, "r1")
        assert answer.request is request
        assert isinstance(answer.stream, httpx.ByteStream)
        assert answer.read() == b"short"


async def test_it_serves_httpx_s_own_client() -> None:
    async with serving(answering(200, {"a": 1})) as server:
        with httpx.Client(transport=BlockingTransport()) as client:
            answer = await asyncio.to_thread(client.post, server.url, json={"b": 2})
        assert answer.json() == {"a": 1}
        assert server.exchanges[0].body == b'{"b":2}'


async def test_the_url_is_sent_as_it_was_encoded_and_no_header_but_the_request_s() -> None:
    async with serving(answering(200)) as server:
        url = f"{server.url}/v1/runs/a%2Fb%20c?search_key=%5Brq%3Ax%5D"
        request = httpx.Request("GET", url, headers={"x-api-key": "k"})
        with BlockingTransport() as transport:
            await asyncio.to_thread(transport.handle_request, request)
        [exchange] = server.exchanges
        assert exchange.target == "/v1/runs/a%2Fb%20c?search_key=%5Brq%3Ax%5D"
        assert exchange.headers == dict(request.headers)


async def test_a_request_of_ours_is_sent_as_it_is() -> None:
    async with serving(answering(200, b"here")) as server:
        with BlockingTransport() as transport:
            headers = {"host": "x", "content-length": "2"}
            request = Request("POST", f"{server.url}/a;b?c=1", headers, b"{}", 20)
            answer = await asyncio.to_thread(transport.exchange, request)
            assert (answer.status, answer.body) == (200, b"here")
            assert answer.headers["Content-Length"] == "4"
            no_limit = Request("GET", server.url, {"host": "x"})
            await asyncio.to_thread(transport.exchange, no_limit)
        assert [e.target for e in server.exchanges] == ["/a;b?c=1", "/"]
        assert server.exchanges[0].body == b"{}"


async def test_a_redirect_is_given_back_and_a_cookie_not_sent_back() -> None:
    behaviour = answering(307, location="/elsewhere", set_cookie="session=1")
    async with serving(behaviour) as server:
        with BlockingTransport() as transport:
            await asend(transport, "GET", server.url)
            await asend(transport, "GET", server.url)
        assert [e.target for e in server.exchanges] == ["/", "/"]
        assert not any("cookie" in e.headers for e in server.exchanges)


# Connections


async def test_threads_share_one_transport_and_each_gets_its_own_answer() -> None:
    async with serving(echoes) as server:
        with BlockingTransport(max_connections=3) as transport:

            def many(thread: int) -> bool:
                contents = [b"%d-%d" % (thread, n) for n in range(25)]
                return all(send(transport, "POST", server.url, content=c) == c for c in contents)

            threads = [asyncio.to_thread(many, thread) for thread in range(6)]
            assert all(await asyncio.gather(*threads))
        assert server.connections <= 3
        assert len({e.body for e in server.exchanges}) == len(server.exchanges) == 150


@pytest.mark.parametrize(("idle", "connections"), [(0.9, [1, 1]), (1.1, [1, 2])])
async def test_a_connection_idle_for_longer_than_the_limit_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch, idle: float, connections: list[int]
) -> None:
    async with serving(answering(200)) as server:
        with BlockingTransport() as transport:
            await asend(transport, "POST", server.url)
            later = SimpleNamespace(monotonic=lambda: time.monotonic() + idle * IDLE_LIMIT)
            monkeypatch.setattr("httpcore._sync.http11.time", later)
            await asend(transport, "POST", server.url)
        assert [e.connection for e in server.exchanges] == connections


@pytest.mark.parametrize("body", [b"", b"trouble", b"x" * 500_000])
async def test_a_connection_is_not_used_again_after_a_5xx(body: bytes) -> None:
    async with serving(answering_in_turn(response(500, body), response(200))) as server:
        with BlockingTransport() as transport:
            assert await asend(transport, "GET", server.url) == body
            await asend(transport, "POST", server.url)
        assert [e.connection for e in server.exchanges] == [1, 2]


async def test_a_connection_is_used_again_after_a_4xx() -> None:
    async with serving(answering(404)) as server:
        with BlockingTransport() as transport:
            await asend(transport, "GET", server.url)
            await asend(transport, "GET", server.url)
        assert [e.connection for e in server.exchanges] == [1, 1]


async def test_threads_never_use_a_connection_again_after_a_5xx() -> None:
    async with serving(answering_in_turn(*[response(500), response(200)] * 200)) as server:
        with BlockingTransport(max_connections=4) as transport:

            def many() -> list[int]:
                request = httpx.Request("POST", server.url)
                return [transport.handle_request(request).status_code for _ in range(50)]

            statuses = itertools.chain(
                *await asyncio.gather(*(asyncio.to_thread(many) for _ in range(6)))
            )
        # Answers are given in the order of arrival: every second one was a 500.
        last_of = {e.connection: n for n, e in enumerate(server.exchanges)}
        failed = [n for n in range(300) if n % 2 == 0]
        assert all(last_of[server.exchanges[n].connection] == n for n in failed)
        assert sorted(statuses) == [200] * 150 + [500] * 150


async def test_a_connection_the_server_has_closed_is_not_used_again() -> None:
    async def answers_once(exchange: Exchange) -> bool:
        await exchange.send(response(200))
        return False

    async with serving(answers_once) as server:
        with BlockingTransport() as transport:
            await asend(transport, "GET", server.url)
            await asyncio.to_thread(wait_for_the_end, transport)
            await asend(transport, "GET", server.url)
        assert [e.connection for e in server.exchanges] == [1, 2]


async def test_an_idle_connection_to_another_server_makes_room() -> None:
    async with serving(echoes) as one, serving(echoes) as other:
        with BlockingTransport(max_connections=1) as transport:
            for server in (one, one, other, one):
                await asend(transport, "GET", server.url)
                assert len(transport._pool._idle) == 1
        assert [e.connection for e in one.exchanges] == [1, 1, 2]


async def test_threads_never_lose_a_connection_to_each_other() -> None:
    async with serving(answering(200)) as server:
        with BlockingTransport(max_connections=4) as transport:

            def many() -> None:
                for _ in range(200):
                    send(transport, "POST", server.url)

            await asyncio.gather(*(asyncio.to_thread(many) for _ in range(6)))
        assert len(server.exchanges) == 1200
        assert server.connections <= 4


async def test_a_request_that_meets_the_closing_of_its_connection_is_not_sent_again() -> None:
    async def answers_once(exchange: Exchange) -> bool:
        if len(server.exchanges) > 1:
            return False
        await exchange.send(response(200))
        return True

    async with serving(answers_once) as server:
        with BlockingTransport() as transport:
            await asend(transport, "GET", server.url)
            with pytest.raises(AnswerLostError):
                await asend(transport, "GET", server.url)
        assert [e.connection for e in server.exchanges] == [1, 1]


async def test_no_request_the_server_has_read_is_ever_called_not_sent() -> None:
    turns = itertools.cycle(["keep", "answer and close", "close", "answer and reset", "reset"])

    async def at_the_edge(exchange: Exchange) -> bool:
        turn = next(turns)
        await exchange.read_body()
        if "answer" in turn or turn == "keep":
            await exchange.send(response(200))
        if "reset" in turn:
            exchange.reset()
        return turn == "keep"

    outcomes: dict[str, type[SkyvernError] | None] = {}

    def many(thread: int) -> None:
        for n in range(100):
            name = f"{thread}-{n}"
            try:
                send(transport, "POST", server.url, headers={"x-name": name})
                outcomes[name] = None
            except SkyvernError as exc:
                outcomes[name] = type(exc)

    async with serving(at_the_edge) as server:
        with BlockingTransport() as transport:
            await asyncio.gather(*(asyncio.to_thread(many, thread) for thread in range(3)))
        seen = [exchange.headers["x-name"] for exchange in server.exchanges]
    assert len(outcomes) == 300
    assert len(seen) == len(set(seen))
    assert not [name for name in seen if outcomes[name] is NotSentError]
    assert set(outcomes.values()) >= {None, AnswerLostError}
