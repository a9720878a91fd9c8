"""Connecting: by which address, in how long, over TLS."""

import asyncio
from collections.abc import Sequence

import pytest

from api_client import AsyncTransport
from api_client.http.connect import HostNames
from api_client.http.connection import Connection
from api_client.http.messages import Request
from tests.api_client.rawserver import Exchange, answering, hangs, response, serving


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


async def test_what_is_on_the_wire_when_the_transport_closes_is_a_lost_answer() -> None:
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


async def test_a_connection_with_something_to_read_that_is_no_answer_is_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(answering(200)) as server, AsyncTransport() as transport:
        get = Request("GET", server.url, {})
        await transport.exchange(get)
        unread = iter([True, True, False])  # TLS reads a session ticket meanwhile
        monkeypatch.setattr(Connection, "has_unread", property(lambda _: next(unread)))
        await transport.exchange(get)
        assert server.connections == 1
