"""What goes wrong between connecting and asking; on both loops."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from api_client import AsyncTransport, NotSentError
from api_client.http.connect import Dialer, HostNames
from api_client.http.connection import Connection
from api_client.http.messages import Request
from tests.api_client.loops import Run, both_loops
from tests.api_client.rawserver import (
    answering,
    hangs,
    port_with_a_full_backlog,
    response,
    server_tls,
    serving,
)
from tests.simulator.simulating import eventually


def hand_over_after(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[[Connection], Awaitable[object]]
) -> None:
    """Let each connection be handed over when something was waited for."""
    dial = Dialer.dial

    async def dial_and_wait(dialer: Dialer, origin: str) -> Connection:
        made = await dial(dialer, origin)
        await wait(made)
        return made

    monkeypatch.setattr(Dialer, "dial", dial_and_wait)


async def until_it_ended(made: Connection) -> None:
    await eventually(lambda: not made.is_usable)


@both_loops
@pytest.mark.parametrize("first", [b"", response(408, connection="close"), b"220 ready\r\n"])
@pytest.mark.parametrize("tls", [None, server_tls()], ids=["plain", "tls"])
def test_a_server_that_closes_or_speaks_before_it_is_asked_was_not_sent_the_request(
    run: Run, first: bytes, tls: ssl.SSLContext | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over_after(monkeypatch, until_it_ended)

    async def speaks(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        writer.close()

    async def check() -> None:
        server = await asyncio.start_server(speaks, "127.0.0.1", 0, ssl=tls)
        url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, AsyncTransport(tls=False) as transport:
            async with asyncio.timeout(30):
                for _ in range(2):
                    with pytest.raises(NotSentError, match="closed before the request"):
                        await transport.exchange(Request("POST", url, {}, b"{}"))

    run(check())


@both_loops
def test_a_connection_that_is_closing_is_not_used_again(run: Run) -> None:
    async def check() -> None:
        async with serving(answering(200)) as server, AsyncTransport() as transport:
            get = Request("GET", server.url, {})
            await transport.exchange(get)
            assert transport._opened is not None
            [[kept]] = transport._opened.pool._idle.values()
            kept._transport.close()  # as the loop does where the server has closed
            assert (await transport.exchange(get)).status == 200
            assert server.connections == 2

    run(check())


@both_loops
def test_over_tls_no_request_waits_behind_a_body_that_was_answered_early(run: Run) -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(413, b"too large"))
        await reader.read(1)
        await ends.wait()
        writer.transport.abort()
        ended.append(writer)
        if len(ended) == 2:
            both_ended.set()

    async def check() -> None:
        server = await asyncio.start_server(refuses, "127.0.0.1", 0, ssl=server_tls())
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, AsyncTransport(tls=False, timeout=5) as transport:
            for _ in range(2):
                large = Request("POST", url, {}, b"x" * 16_000_000)
                assert (await transport.exchange(large)).status == 413
            ends.set()
            async with asyncio.timeout(30):
                await both_ended.wait()

    ended: list[asyncio.StreamWriter] = []
    ends, both_ended = asyncio.Event(), asyncio.Event()
    run(check())


@both_loops
def test_whoever_connects_when_the_transport_closes_sends_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        connected, closed = asyncio.Event(), asyncio.Event()

        async def until_closed(_: Connection) -> None:
            connected.set()
            await closed.wait()

        hand_over_after(monkeypatch, until_closed)
        async with serving(hangs) as server:
            transport = AsyncTransport()
            call = asyncio.create_task(transport.exchange(Request("POST", server.url, {})))
            await connected.wait()
            await transport.aclose()
            closed.set()
            with pytest.raises(NotSentError, match="the transport is closed"):
                await call
            assert (server.connections, server.exchanges) == (1, [])

    run(check())


@both_loops
def test_whoever_waits_for_a_name_when_the_transport_closes_is_told_and_not_canceled(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, tells = blocked_names(monkeypatch)

    async def check() -> None:
        async with serving(answering(200)) as server:
            transport = AsyncTransport()
            get = Request("GET", f"http://shop.test:{server.port}/", {})
            calls = [asyncio.create_task(transport.exchange(get)) for _ in range(2)]
            await eventually(lambda: len(asked) == 2)
            calls[1].cancel()
            await transport.aclose()
            tells.set()
            with pytest.raises(NotSentError, match="the transport is closed"):
                await calls[0]
            with pytest.raises(asyncio.CancelledError):
                await calls[1]
            assert not server.exchanges

    run(check())


def blocked_names(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], threading.Event]:
    """Let every look-up wait for an event; return the names that are asked for, and the event."""
    asked, tells = list[str](), threading.Event()

    def ask(host: str, _: int) -> Sequence[str]:
        asked.append(host)
        tells.wait(60)
        return ["127.0.0.1"]

    monkeypatch.setattr("api_client.http.connect.addresses_of", ask)
    return asked, tells


async def test_a_look_up_of_a_loop_that_has_ended_does_not_hinder_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, tells = blocked_names(monkeypatch)
    transport = AsyncTransport()

    async def left() -> None:
        with pytest.raises(NotSentError):
            await transport.exchange(Request("GET", "http://shop.test/", {}, timeout=0.1))

    try:
        await asyncio.to_thread(asyncio.run, left())
        async with serving(answering(200)) as server, transport:
            assert (await transport.exchange(Request("GET", server.url, {}))).status == 200
    finally:
        tells.set()


@both_loops
def test_an_address_that_says_nothing_costs_a_moment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(*_: object) -> Sequence[str]:
        return ["127.0.0.1", "127.0.0.2"]

    monkeypatch.setattr(HostNames, "look_up", look_up)

    async def check(port: int) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(response(200))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.2", port)
        async with server, AsyncTransport(timeout=60) as transport:
            get = Request("GET", f"http://shop.test:{port}/", {}, timeout=4)
            assert (await transport.exchange(get)).status == 200

    with port_with_a_full_backlog() as port:
        run(check(port))


@both_loops
@pytest.mark.parametrize("host", ["shop.test", "shop.test."])
def test_tls_is_asked_for_the_name_without_its_last_dot(
    run: Run, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(*_: object) -> Sequence[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr(HostNames, "look_up", look_up)
    asked = []
    tls = server_tls()
    tls.sni_callback = lambda _, name, __: asked.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(200))
        writer.close()

    async def check() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        async with server, AsyncTransport(tls=False) as transport:
            port = server.sockets[0].getsockname()[1]
            await transport.exchange(Request("GET", f"https://{host}:{port}/", {}))

    run(check())
    assert asked == ["shop.test"]


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:{}/", "htps://127.0.0.1:{}/", "//127.0.0.1:{}/"])
async def test_nothing_is_sent_but_by_http_and_https(url: str) -> None:
    async with serving(answering(200)) as server, AsyncTransport() as transport:
        with pytest.raises(NotSentError):
            await transport.exchange(Request("GET", url.format(server.port), {}))
        assert not server.connections


async def test_the_port_0_is_not_another() -> None:
    async with AsyncTransport(timeout=2) as transport:
        with pytest.raises(NotSentError, match=r"127\.0\.0\.1', 0\)"):
            await transport.exchange(Request("GET", "http://127.0.0.1:0/", {}))
