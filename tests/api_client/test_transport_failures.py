"""What of a request the server can have seen: each way to fail, over a socket, on both loops."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_client.errors import AnswerLostError, NotSentError
from api_client.http.transport import AsyncTransport
from tests.api_client.loops import Run, both_loops
from tests.api_client.misbehaving import (
    drips_the_body,
    drips_the_head,
    listening,
    reads_slowly,
)
from tests.api_client.rawserver import (
    Behaviour,
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
    sends_a_bad_status_line,
    sends_garbage,
    serving,
)

#: These answer by a limit of time alone.
SLOW = {hangs, hangs_within_the_answer, drips_the_head, drips_the_body, reads_slowly}
#: Larger than the sockets' buffers on loopback.
LARGE_BODY = b"x" * 16_000_000


async def post(url: str, content: bytes = b"{}", **options: Any) -> httpx.Response:
    async with AsyncTransport(**options) as transport:
        request = httpx.Request("POST", f"{url}/v1/run/tasks", content=content)
        return await transport.handle_async_request(request)


@both_loops
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
def test_a_server_that_can_have_seen_the_request_leaves_the_answer_lost(
    run: Run, behaviour: Behaviour, content: bytes
) -> None:
    async def check() -> None:
        async with serving(behaviour) as server:
            with pytest.raises(AnswerLostError, match="POST /v1/run/tasks"):
                await post(server.url, content, timeout=1 if behaviour in SLOW else 60)
            assert len(server.exchanges) == 1

    run(check())


@both_loops
def test_a_refused_connection_is_not_sent(run: Run) -> None:
    async def check(port: int) -> None:
        with pytest.raises(NotSentError, match=rf"\(http://127\.0\.0\.1:{port}\)$"):
            await post(f"http://127.0.0.1:{port}")

    with port_nobody_listens_on() as port:
        run(check(port))


@both_loops
def test_a_name_that_does_not_resolve_is_not_sent(run: Run) -> None:
    async def check() -> None:
        with pytest.raises(NotSentError, match=r"\(http://no-such-host\.invalid\)$"):
            await post("http://no-such-host.invalid")

    run(check())


@both_loops
def test_a_connection_that_takes_too_long_is_not_sent(run: Run) -> None:
    async def check(port: int) -> None:
        with pytest.raises(NotSentError):
            await post(f"http://127.0.0.1:{port}", connect_timeout=0.1)

    with port_with_a_full_backlog() as port:
        run(check(port))


@both_loops
def test_a_wait_for_a_free_connection_that_takes_too_long_is_not_sent(run: Run) -> None:
    async def check() -> None:
        one = AsyncTransport(max_connections=1, connect_timeout=0.5)
        async with serving(hangs) as server, one as transport:
            request = httpx.Request("POST", server.url, content=b"{}")
            first = asyncio.create_task(transport.handle_async_request(request))
            await server.asked.wait()
            with pytest.raises(NotSentError):
                await transport.handle_async_request(request)
            assert len(server.exchanges) == 1
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

    run(check())


@both_loops
def test_tls_to_a_server_that_speaks_none_is_not_sent(run: Run) -> None:
    async def check() -> None:
        async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(no_tls, "127.0.0.1", 0)
        async with server:
            with pytest.raises(NotSentError):
                await post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    run(check())


@both_loops
def test_a_certificate_nobody_vouches_for_is_not_sent(run: Run) -> None:
    async def check() -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(Path(__file__).with_name("selfsigned.pem"))
        seen = bytearray()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.extend(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        async with server:
            with pytest.raises(NotSentError, match="certificate verify failed"):
                await post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert not seen

    run(check())


@both_loops
def test_cancellation_is_passed_on(run: Run) -> None:
    async def check() -> None:
        async with serving(hangs) as server:
            call = asyncio.create_task(post(server.url))
            await server.asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    run(check())


async def test_a_tls_handshake_that_hangs_is_not_sent() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as host:
        with pytest.raises(NotSentError, match="no connection in time"):
            await post(f"https://{host}", connect_timeout=0.2)
