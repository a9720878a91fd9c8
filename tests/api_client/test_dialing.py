"""Connecting: by which address, in how long, over TLS."""

import asyncio
import ssl
from collections.abc import Sequence

import pytest

from api_client import AsyncTransport, NotSentError
from api_client.http.connect import HostNames
from api_client.http.messages import Request
from tests.api_client.rawserver import (
    CERTIFICATE,
    Exchange,
    answering,
    hangs,
    port_nobody_listens_on,
    response,
    server_tls,
    serving,
)


def told(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let every name have these addresses; return the list of names that are asked for."""
    asked = []

    async def look_up(_: object, host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return addresses

    monkeypatch.setattr(HostNames, "look_up", look_up)
    return asked


async def test_a_server_one_of_whose_addresses_refuses_is_reached_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = told(monkeypatch, "127.0.0.2", "127.0.0.1")  # nobody listens at the first
    async with serving(answering(200)) as server, AsyncTransport() as transport:
        answer = await transport.exchange(Request("GET", f"http://shop.test:{server.port}/", {}))
        await transport.exchange(Request("GET", f"http://shop.test:{server.port}/", {}))
    assert (answer.status, names, server.connections) == (200, ["shop.test"], 1)


async def test_a_name_nobody_tells_the_addresses_of_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(HostNames, "look_up", never)
    async with AsyncTransport(connect_timeout=0.05) as transport:
        with pytest.raises(NotSentError, match=r"no connection in time \(http://shop\.test\)$"):
            await transport.exchange(Request("GET", "http://shop.test/", {}))


async def test_over_tls_the_certificate_is_checked_against_the_name_and_the_answer_read() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(200, b"private"))

    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls())
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        for tls in (trusting, False):
            async with AsyncTransport(tls=tls) as transport:
                assert (await transport.exchange(Request("GET", url, {}))).body == b"private"


async def test_whoever_waits_for_a_place_takes_the_connection_that_is_given_back() -> None:
    async with serving(answering(200)) as server, AsyncTransport(max_connections=1) as transport:
        get = Request("GET", server.url, {})
        answers = await asyncio.gather(*(transport.exchange(get) for _ in range(5)))
        assert ([a.status for a in answers], server.connections) == ([200] * 5, 1)


async def test_a_failure_to_connect_gives_its_place_back() -> None:
    with port_nobody_listens_on() as port:
        async with AsyncTransport(max_connections=1) as transport:
            for _ in range(3):
                with pytest.raises(NotSentError, match="ConnectionRefusedError"):
                    await transport.exchange(Request("GET", f"http://127.0.0.1:{port}/", {}))


async def test_what_is_on_the_wire_when_the_transport_closes_is_in_doubt() -> None:
    async with serving(hangs) as server:
        transport = AsyncTransport()
        call = asyncio.create_task(transport.exchange(Request("GET", server.url, {})))
        await server.asked.wait()
        await transport.aclose()
        with pytest.raises(Exception, match="the transport was closed"):
            await call


@pytest.mark.parametrize("kept", [1, 2])
async def test_a_connection_that_waits_too_long_is_closed_by_the_pool(kept: int) -> None:
    closed: list[bytes] = []
    all_closed = asyncio.Event()

    async def answers(exchange: Exchange) -> bool:
        await exchange.send(response(200))
        closed.append(await exchange.reader.read())
        if closed == [b""] * kept:
            all_closed.set()
        return False

    async with serving(answers) as server, AsyncTransport(idle_limit=0.01) as transport:
        get = Request("GET", server.url, {})
        await asyncio.gather(*(transport.exchange(get) for _ in range(kept)))
        async with asyncio.timeout(30):
            await all_closed.wait()
