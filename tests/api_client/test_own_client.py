"""A user's own httpx client as a transport: what its failures prove, and what of it takes part."""

import asyncio
import gzip
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api_client.blocking import BlockingTransport
from api_client.errors import AnswerLostError, BodyTooLargeError, NotSentError, SkyvernError
from api_client.own_client import OwnAsyncClient, OwnClient
from tests.api_client.blockingserver import (
    drips_the_body,
    drips_the_head,
    listening,
    sends_too_much,
)
from tests.api_client.rawserver import (
    Behaviour,
    answering,
    cuts_the_answer,
    hangs,
    port_nobody_listens_on,
    port_with_a_full_backlog,
    reads_then_closes,
    reads_then_resets,
    serving,
)


class Kind:
    """One of the two adapters; either is driven from an event loop."""

    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async

    async def send(
        self,
        request: httpx.Request,
        *,
        total: float | None = 20,
        limit: int = 100_000,
        **client: Any,
    ) -> httpx.Response:
        """Send a request by a client that is made with the arguments left over."""
        if self.is_async:
            async with httpx.AsyncClient(trust_env=False, **client) as own_async:
                adapter = OwnAsyncClient(own_async, total, limit)
                return await adapter.handle_async_request(request)
        with httpx.Client(trust_env=False, **client) as own:
            blocking = OwnClient(own, total, limit)
            return await asyncio.to_thread(blocking.handle_request, request)


@pytest.fixture(params=["async", "blocking"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param == "async")


def post(url: str, **options: Any) -> httpx.Request:
    return httpx.Request("POST", f"{url}/v1/run/tasks", content=b"{}", **options)


# What a failure proves


async def test_a_refused_connection_is_not_sent(kind: Kind) -> None:
    with port_nobody_listens_on() as port, pytest.raises(NotSentError, match="ConnectError"):
        await kind.send(post(f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize("limits", [{"connect": 0.2}, {"connect": None}])
async def test_a_connection_that_takes_too_long_is_not_sent(
    kind: Kind, limits: dict[str, float | None]
) -> None:
    timeout = httpx.Timeout(60, **limits)
    with port_with_a_full_backlog() as port, pytest.raises(NotSentError, match="Timeout"):
        await kind.send(post(f"http://127.0.0.1:{port}"), total=0.5, timeout=timeout)


async def test_tls_to_a_server_that_speaks_none_is_not_sent(kind: Kind) -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(no_tls) as host:
        with pytest.raises(NotSentError, match="SSL"):
            await kind.send(post(f"https://{host}"))


@pytest.mark.parametrize("behaviour", [reads_then_closes, reads_then_resets, cuts_the_answer])
async def test_a_connection_lost_after_the_request_leaves_the_answer_lost(
    kind: Kind, behaviour: Behaviour
) -> None:
    async with serving(behaviour) as server:
        with pytest.raises(AnswerLostError, match="POST /v1/run/tasks"):
            await kind.send(post(server.url))
        assert len(server.exchanges) == 1


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
async def test_the_name_of_an_error_proves_nothing(
    kind: Kind, error: type[httpx.TransportError]
) -> None:
    read: list[bytes] = []

    def lies(request: httpx.Request) -> httpx.Response:
        read.append(request.content)
        raise error("no connection was made")

    with pytest.raises(AnswerLostError, match=f"{error.__name__}: no connection was made"):
        await kind.send(post("http://x.example"), transport=httpx.MockTransport(lies))
    assert read == [b"{}"]


class _FallsBack(httpx.HTTPTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return super().handle_request(request)
        except httpx.ConnectError:
            raise httpx.ReadError("sent by another way, and lost") from None


class _AsyncFallsBack(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectError:
            raise httpx.ReadError("sent by another way, and lost") from None


async def test_a_failure_to_connect_proves_nothing_if_another_failure_came_out(kind: Kind) -> None:
    transport = _AsyncFallsBack() if kind.is_async else _FallsBack()
    with port_nobody_listens_on() as port, pytest.raises(AnswerLostError, match="another way"):
        await kind.send(post(f"http://127.0.0.1:{port}"), transport=transport)


@pytest.mark.parametrize("error", [NotSentError, AnswerLostError, BodyTooLargeError])
async def test_an_error_of_ours_passes_as_it_is(kind: Kind, error: type[SkyvernError]) -> None:
    ours = error("from a transport of ours")

    def fails(request: httpx.Request) -> httpx.Response:
        raise ours

    with pytest.raises(error) as caught:
        await kind.send(post("http://x.example"), transport=httpx.MockTransport(fails))
    assert caught.value is ours


async def test_a_hook_that_refuses_the_answer_leaves_it_lost_and_its_url_is_not_told(
    kind: Kind,
) -> None:
    def refuse(response: httpx.Response) -> None:
        response.raise_for_status()

    async def refuse_async(response: httpx.Response) -> None:
        refuse(response)

    hooks = {"response": [refuse_async if kind.is_async else refuse]}
    async with serving(answering(500)) as server:
        request = httpx.Request("GET", f"{server.url}/v1/runs?q=secret")
        with pytest.raises(AnswerLostError) as caught:
            await kind.send(request, event_hooks=hooks)
    assert str(caught.value) == "GET /v1/runs: HTTPStatusError"


async def test_a_closed_client_sends_nothing() -> None:
    async with httpx.AsyncClient() as own:
        pass
    with pytest.raises(NotSentError, match="POST /v1/run/tasks: RuntimeError: the client is clos"):
        await OwnAsyncClient(own, None, 1).handle_async_request(post("http://x.example"))


def test_a_closed_blocking_client_sends_nothing() -> None:
    with httpx.Client() as own:
        pass
    with pytest.raises(NotSentError, match="the client is closed"):
        OwnClient(own, None, 1).handle_request(post("http://x.example"))


async def test_a_trace_of_the_request_s_own_is_called_as_well(kind: Kind) -> None:
    events: list[str] = []

    def trace(event: str, info: dict[str, Any]) -> None:
        events.append(event)

    async def trace_async(event: str, info: dict[str, Any]) -> None:
        events.append(event)

    async with serving(answering(200)) as server:
        extensions = {"trace": trace_async if kind.is_async else trace}
        await kind.send(post(server.url, extensions=extensions))
    assert "connection.connect_tcp.started" in events
    assert "http11.send_request_headers.started" in events


# What takes part


async def test_the_client_s_headers_and_cookies_are_sent_and_ours_win(kind: Kind) -> None:
    async with serving(answering(200)) as server:
        await kind.send(
            post(server.url, headers={"user-agent": "ours", "x-api-key": "key"}),
            headers={"x-team": "theirs", "User-Agent": "theirs", "X-API-Key": "theirs"},
            cookies={"session": "1"},
        )
        [exchange] = server.exchanges
    assert exchange.headers["x-team"] == "theirs"
    assert exchange.headers["user-agent"] == "ours"
    assert exchange.headers["x-api-key"] == "key"
    assert exchange.headers["cookie"] == "session=1"
    assert (exchange.method, exchange.body) == ("POST", b"{}")


@pytest.mark.parametrize(
    ("query", "params", "sent"),
    [
        ("", {}, ""),
        ("?q=%5Brq%3Ax%5D&a=1", {}, "?q=%5Brq%3Ax%5D&a=1"),
        ("", {"tenant": "1"}, "?tenant=1"),
        ("?q=%5Bx%5D&q=2&a=1", {"tenant": "1", "a": "9"}, "?tenant=1&a=1&q=%5Bx%5D&q=2"),
    ],
)
async def test_the_client_s_params_are_added_to_ours_and_ours_win(
    kind: Kind, query: str, params: dict[str, str], sent: str
) -> None:
    async with serving(answering(200)) as server:
        await kind.send(httpx.Request("GET", f"{server.url}/{query}"), params=params)
        assert server.exchanges[0].target == f"/{sent}"


async def test_a_redirect_is_given_back_whatever_the_client_does_with_its_own(kind: Kind) -> None:
    async with serving(answering(307, location="/elsewhere")) as server:
        answer = await kind.send(post(server.url), follow_redirects=True)
        assert answer.status_code == 307
        assert len(server.exchanges) == 1


async def test_a_body_given_in_chunks_is_sent_whole(kind: Kind) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a"
        yield b"b"

    request = httpx.Request("POST", "http://x.example", content=chunks())
    request.read()
    async with serving(answering(200)) as server:
        request.url = httpx.URL(server.url)
        await kind.send(request)
        [exchange] = server.exchanges
    assert exchange.body == b"ab"
    assert "transfer-encoding" not in exchange.headers


async def test_the_client_is_left_open() -> None:
    async with httpx.AsyncClient() as own:
        await OwnAsyncClient(own, None, 1).aclose()
        assert not own.is_closed


def test_the_blocking_client_is_left_open() -> None:
    with httpx.Client() as own:
        OwnClient(own, None, 1).close()
        assert not own.is_closed


# Bodies


async def test_a_compressed_answer_is_decompressed_once_and_counted_after(kind: Kind) -> None:
    packed = gzip.compress(b"x" * 10_000)
    request = httpx.Request("GET", "http://x.example")
    async with serving(answering(200, packed, content_encoding="gzip")) as server:
        request.url = httpx.URL(server.url)
        answer = await kind.send(request, limit=10_000)
        assert answer.read() == b"x" * 10_000
        assert "content-encoding" not in answer.headers
        assert answer.request is request
        with pytest.raises(BodyTooLargeError, match="more than 9,999 bytes"):
            await kind.send(request, limit=9_999)


async def test_a_body_over_the_limit_is_not_read_to_its_end(kind: Kind) -> None:
    async with serving(sends_too_much) as server:
        with pytest.raises(BodyTooLargeError):
            await kind.send(post(server.url))


# Time


async def test_a_slow_body_does_not_outlast_the_total(kind: Kind) -> None:
    async with serving(drips_the_body) as server:
        with pytest.raises(AnswerLostError, match=r"no whole answer within 0\.5 s"):
            await kind.send(post(server.url), total=0.5)


async def test_a_slow_head_does_not_outlast_the_total() -> None:
    async with serving(drips_the_head) as server:
        with pytest.raises(AnswerLostError, match=r"no whole answer within 0\.5 s"):
            await Kind(is_async=True).send(post(server.url), total=0.5)


async def test_a_blocking_client_over_our_transport_is_not_outlasted_by_a_slow_head() -> None:
    transport = BlockingTransport()
    async with serving(drips_the_head) as server:
        with pytest.raises(AnswerLostError, match="Timeout"):
            await Kind(is_async=False).send(post(server.url), total=0.5, transport=transport)


async def test_a_request_s_own_time_limit_goes_before_all_others(kind: Kind) -> None:
    async with serving(hangs) as server:
        request = post(server.url, extensions={"timeout": {"read": 0.3}})
        with pytest.raises(AnswerLostError, match="Timeout"):
            await kind.send(request, timeout=60)


async def test_without_another_the_client_s_own_limit_holds(kind: Kind) -> None:
    async with serving(hangs) as server:
        with pytest.raises(AnswerLostError, match="Timeout"):
            await kind.send(post(server.url), total=None, timeout=0.3)


async def test_no_limit_anywhere_is_none(kind: Kind) -> None:
    async with serving(answering(200, b"here")) as server:
        answer = await kind.send(post(server.url), total=None, timeout=None)
    assert answer.read() == b"here"


@pytest.mark.parametrize("left", [0.0, -1.0])
async def test_a_time_limit_that_is_used_up_is_not_read_as_none(kind: Kind, left: float) -> None:
    with port_with_a_full_backlog() as port, pytest.raises((AnswerLostError, NotSentError)):
        await kind.send(post(f"http://127.0.0.1:{port}"), total=left)


async def test_cancellation_from_outside_is_passed_on() -> None:
    async with serving(hangs) as server:
        call = asyncio.create_task(Kind(is_async=True).send(post(server.url)))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
