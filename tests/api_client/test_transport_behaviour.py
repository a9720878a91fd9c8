"""What the transport does not do behind the caller's back, and what it does with connections."""

import asyncio
import gc
import gzip
import math
from typing import Any

import httpx
import pytest

from api_client.elapsed import elapsed
from api_client.errors import AnswerLostError, NotSentError
from api_client.http.connect import Dialer
from api_client.http.messages import Request
from api_client.http.transport import IDLE_LIMIT, AsyncTransport
from tests.api_client.rawserver import Exchange, answering, hangs, response, serving


async def send(transport: AsyncTransport, method: str, url: str, **kwargs: object) -> bytes:
    request = httpx.Request(method, url, **kwargs)  # type: ignore[arg-type]
    answer = await transport.handle_async_request(request)
    return await answer.aread()


async def test_an_answer_carries_status_headers_and_body() -> None:
    behaviour = answering(418, b"short", x_request_id="r1")
    async with serving(behaviour) as server, AsyncTransport() as transport:
        answer = await transport.handle_async_request(httpx.Request("GET", server.url))
        assert answer.status_code == 418
        assert answer.headers["x-request-id"] == "r1"
        assert await answer.aread() == b"short"


async def test_it_serves_httpx_s_own_client() -> None:
    async with serving(answering(200, {"a": 1})) as server:
        async with httpx.AsyncClient(transport=AsyncTransport()) as client:
            answer = await client.post(f"{server.url}/x", params={"q": "ä b"}, json={"b": 2})
        assert answer.json() == {"a": 1}
        [exchange] = server.exchanges
        assert exchange.target == "/x?q=%C3%A4+b"
        assert exchange.body == b'{"b":2}'


async def test_a_url_is_sent_as_it_was_encoded() -> None:
    async with serving(answering(200)) as server, AsyncTransport() as transport:
        await send(transport, "GET", f"{server.url}/v1/runs/a%2Fb%20c?search_key=%5Brq%3Ax%5D")
        assert server.exchanges[0].target == "/v1/runs/a%2Fb%20c?search_key=%5Brq%3Ax%5D"


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
async def test_a_body_of_any_size_arrives_whole(size: int) -> None:
    async with serving(answering(200)) as server, AsyncTransport() as transport:
        content = b"x" * size
        await send(transport, "POST", server.url, content=content)
        [exchange] = server.exchanges
        assert exchange.body == content
        assert exchange.headers["content-length"] == str(size)
        assert "transfer-encoding" not in exchange.headers


async def test_a_compressed_answer_is_not_called_compressed_once_it_is_read() -> None:
    packed = gzip.compress(b"x" * 10_000)
    behaviour = answering(200, packed, content_encoding="gzip")
    async with serving(behaviour) as server, AsyncTransport() as transport:
        answer = await transport.handle_async_request(httpx.Request("GET", server.url))
    assert await answer.aread() == b"x" * 10_000
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("left", [0.0, -1.0])
async def test_a_time_limit_that_is_used_up_is_not_read_as_none(left: float) -> None:
    async with serving(hangs) as server, AsyncTransport() as transport:
        async with asyncio.timeout(30):
            with pytest.raises((AnswerLostError, NotSentError)):
                await send(transport, "GET", server.url, extensions={"timeout": {"read": left}})


async def test_a_get_that_fails_on_a_kept_connection_is_not_sent_again() -> None:
    async def answers_once(exchange: Exchange) -> bool:
        if len(server.exchanges) > 1:
            return False
        await exchange.send(response(200))
        return True

    async with serving(answers_once) as server, AsyncTransport() as transport:
        await send(transport, "GET", server.url)
        with pytest.raises(AnswerLostError):
            await send(transport, "GET", server.url)
        assert [e.connection for e in server.exchanges] == [1, 1]


@pytest.mark.parametrize(("idle", "connections"), [(0.9, [1, 1]), (1.1, [1, 2])])
async def test_a_connection_idle_for_longer_than_the_limit_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch, idle: float, connections: list[int]
) -> None:
    async with serving(answering(200)) as server, AsyncTransport() as transport:
        await send(transport, "POST", server.url)
        # The loop's own clock stands still here, so that no timer tidies up: this is what is
        # asked when a connection is handed out.
        later = idle * IDLE_LIMIT
        monkeypatch.setattr("api_client.http.transport.elapsed", lambda: elapsed() + later)
        await send(transport, "POST", server.url)
        assert [e.connection for e in server.exchanges] == connections


async def test_a_machine_that_is_suspended_while_it_connects_sends_nothing_on_waking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialed = Dialer.dial

    async def suspended(dialer: Dialer, origin: str) -> Any:
        connection = await dialed(dialer, origin)
        # The loop's own clock counted nothing of it.
        monkeypatch.setattr("api_client.http.transport.elapsed", lambda: elapsed() + 60)
        return connection

    monkeypatch.setattr(Dialer, "dial", suspended)
    async with serving(answering(200)) as server, AsyncTransport() as transport:
        with pytest.raises(NotSentError):
            await send(transport, "POST", server.url)
        assert server.exchanges == []
        monkeypatch.setattr("api_client.http.transport.elapsed", elapsed)
        monkeypatch.setattr(Dialer, "dial", dialed)
        await send(transport, "POST", server.url)


#: A socket of a loop that has ended can be closed by nobody but the collector.
of_an_ended_loop = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


async def test_a_transport_is_not_used_in_another_loop_while_its_own_goes_on() -> None:
    async with serving(answering(200)) as server, AsyncTransport() as transport:
        await send(transport, "GET", server.url)

        def elsewhere() -> None:
            with pytest.raises(NotSentError, match="this client belongs to another event loop"):
                asyncio.run(send(transport, "GET", server.url))

        await asyncio.to_thread(elsewhere)
        await send(transport, "GET", server.url)
        assert [e.connection for e in server.exchanges] == [1, 1]


@of_an_ended_loop
async def test_a_transport_whose_loop_has_ended_begins_anew_in_the_next() -> None:
    async with serving(answering(200)) as server:
        transport = AsyncTransport()

        async def first() -> None:
            await send(transport, "GET", server.url)

        async def second() -> None:
            await send(transport, "GET", server.url)
            await transport.aclose()

        await asyncio.to_thread(asyncio.run, first())
        await asyncio.to_thread(asyncio.run, second())
        gc.collect()
        assert [e.connection for e in server.exchanges] == [1, 2]


@of_an_ended_loop
async def test_a_transport_whose_loop_has_ended_can_be_closed() -> None:
    async with serving(answering(200)) as server:
        transport = AsyncTransport()
        await asyncio.to_thread(asyncio.run, send(transport, "GET", server.url))
        await asyncio.to_thread(asyncio.run, transport.aclose())
        gc.collect()
        with pytest.raises(NotSentError, match="closed"):
            await send(transport, "GET", server.url)


async def test_a_time_of_infinity_is_no_limit() -> None:
    async with serving(answering(200, {})) as server, AsyncTransport(timeout=math.inf) as sender:
        answer = await sender.exchange(Request("GET", server.url + "/x?q=1", {}))
    assert (answer.status, answer.body, answer.is_success) == (200, b"{}", True)
