"""A user's own httpx client as a transport: what its failures prove, and what of it takes part."""

import asyncio
import gzip
import traceback
from typing import Any

import httpcore
import httpx
import pytest

from api_client.errors import AnswerLostError, BodyTooLargeError, NotSentError
from api_client.http.httpx_adapter import AsyncOwnClient, OwnClient
from api_client.http.messages import HttpAnswer, Request
from tests.api_client.misbehaving import drips_the_body, listening, sends_too_much
from tests.api_client.rawserver import (
    Behaviour,
    answering,
    answering_in_turn,
    cuts_the_answer,
    hangs,
    port_nobody_listens_on,
    port_with_a_full_backlog,
    reads_then_closes,
    reads_then_resets,
    server_tls,
    serving,
)
from tests.api_client.twins import KEY
from tests.proxying import ForwardingProxy, proxying

#: Answers that echo the key where it makes them unreadable.
ECHOES = {
    "status line": b"HTTP/1.1 %s\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\nx-api-key %s\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%s\r\n\r\n",
    "encoding": b"HTTP/1.1 200 OK\r\ncontent-encoding: br, %s\r\ncontent-length: 1\r\n\r\nx",
}


class Kind:
    """One of the two adapters; either is driven from an event loop."""

    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async

    async def send(
        self, request: Request, *, total: float | None = 20, limit: int = 100_000, **client: Any
    ) -> HttpAnswer:
        """Send a request by a client that is made with the arguments left over."""
        if self.is_async:
            async with httpx.AsyncClient(trust_env=False, **client) as own_async:
                return await AsyncOwnClient(own_async, total, limit).exchange(request)
        with httpx.Client(trust_env=False, **client) as own:
            return await asyncio.to_thread(OwnClient(own, total, limit).exchange, request)


@pytest.fixture(params=["async", "blocking"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param == "async")


def post(url: str, timeout: float | None = None, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", f"{url}/v1/run/tasks", named, b"{}", timeout)


def get(url: str) -> Request:
    return Request("GET", url, {})


# What a failure proves


async def test_a_request_that_gets_no_connection_of_the_client_s_pool_is_not_sent() -> None:
    limits: dict[str, Any] = {
        "limits": httpx.Limits(max_connections=1),
        "timeout": httpx.Timeout(20, pool=0.1),
    }
    async with serving(hangs) as server, httpx.AsyncClient(**limits) as own_async:
        first = asyncio.create_task(AsyncOwnClient(own_async, 20, 1).exchange(get(server.url)))
        await server.asked.wait()
        with pytest.raises(NotSentError, match="PoolTimeout"):
            await AsyncOwnClient(own_async, 20, 1).exchange(post(server.url))
        first.cancel()
    async with serving(hangs) as server:
        with httpx.Client(**limits) as own:
            exchange = OwnClient(own, 1, 1).exchange
            blocked = asyncio.create_task(asyncio.to_thread(exchange, get(server.url)))
            await server.asked.wait()
            with pytest.raises(NotSentError, match="PoolTimeout"):
                await asyncio.to_thread(exchange, post(server.url))
            with pytest.raises(AnswerLostError):
                await blocked


@pytest.mark.parametrize("proxy", [ForwardingProxy(refuses=503), ForwardingProxy(user="a:b")])
async def test_a_tunnel_that_a_proxy_refuses_is_not_sent(
    kind: Kind, proxy: ForwardingProxy
) -> None:
    with proxying(proxy):
        without_user = f"http://127.0.0.1:{proxy.port}"
        with pytest.raises(NotSentError, match="ProxyError"):
            await kind.send(post("https://shop.test"), proxy=without_user)


async def test_an_answer_that_is_lost_within_a_tunnel_is_lost(kind: Kind) -> None:
    async def reads_and_closes(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    with proxying() as proxy:
        async with listening(reads_and_closes, server_tls()) as host:
            with pytest.raises(AnswerLostError):
                await kind.send(post(f"https://{host}"), proxy=proxy.url, verify=False)


async def test_a_proxy_s_refusal_of_a_request_that_it_was_handed_proves_nothing(kind: Kind) -> None:
    def refuses(*_: object) -> None:
        raise httpcore.ProxyError("407")

    async def refuses_async(*_: object) -> None:
        refuses()

    hook = refuses_async if kind.is_async else refuses
    async with serving(answering(200)) as server:
        with pytest.raises(AnswerLostError):
            await kind.send(post(server.url), event_hooks={"response": [hook]})


@pytest.mark.parametrize("behaviour", [reads_then_closes, reads_then_resets, cuts_the_answer])
async def test_a_connection_lost_after_the_request_leaves_the_answer_lost(
    kind: Kind, behaviour: Behaviour
) -> None:
    async with serving(behaviour) as server:
        with pytest.raises(AnswerLostError, match="POST /v1/run/tasks"):
            await kind.send(post(server.url))
        assert len(server.exchanges) == 1


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


async def test_a_hook_that_refuses_the_answer_leaves_it_lost_and_its_url_is_not_told(
    kind: Kind,
) -> None:
    def refuse(response: httpx.Response) -> None:
        response.raise_for_status()

    async def refuse_async(response: httpx.Response) -> None:
        refuse(response)

    hooks = {"response": [refuse_async if kind.is_async else refuse]}
    async with serving(answering(500)) as server:
        request = get(f"{server.url}/v1/runs?q=secret")
        with pytest.raises(AnswerLostError) as caught:
            await kind.send(request, event_hooks=hooks)
    assert str(caught.value) == "GET /v1/runs: HTTPStatusError"


@pytest.mark.parametrize("answer", [*ECHOES.values()], ids=[*ECHOES])
async def test_an_echo_that_cannot_be_read_is_in_no_error(kind: Kind, answer: bytes) -> None:
    await assert_no_echo(kind, answer)


async def assert_no_echo(kind: Kind, answer: bytes, **client: Any) -> None:
    async with serving(answering_in_turn(answer % KEY.encode())) as server:
        with pytest.raises(AnswerLostError) as caught:
            await kind.send(post(server.url, x_api_key=KEY), total=1, **client)
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_what_a_client_of_unknown_make_says_is_not_told(kind: Kind) -> None:
    def fails(request: httpx.Request) -> httpx.Response:
        error = httpx.ReadError(f"it quotes {KEY}")
        error.__context__ = ValueError(f"bad header {KEY}")
        raise error

    with pytest.raises(AnswerLostError) as caught:
        await kind.send(post("http://x.example"), transport=httpx.MockTransport(fails))
    assert str(caught.value) == "POST /v1/run/tasks: ReadError"
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_a_request_that_the_client_cannot_make_is_not_sent(kind: Kind) -> None:
    request = Request("GET", "http://x.example:port", {})
    with pytest.raises(NotSentError, match="GET /: InvalidURL"):
        await kind.send(request)


async def test_a_closed_client_sends_nothing() -> None:
    async with httpx.AsyncClient() as own:
        pass
    with pytest.raises(NotSentError, match="POST /v1/run/tasks: the httpx client is closed"):
        await AsyncOwnClient(own, None, 1).exchange(post("http://x.example"))


def test_a_closed_blocking_client_sends_nothing() -> None:
    with httpx.Client() as own:
        pass
    with pytest.raises(NotSentError, match="the httpx client is closed"):
        OwnClient(own, None, 1).exchange(post("http://x.example"))


# What takes part


async def test_the_client_s_headers_and_cookies_are_sent_and_ours_win(kind: Kind) -> None:
    async with serving(answering(200)) as server:
        await kind.send(
            post(server.url, user_agent="ours", x_api_key="key"),
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
        await kind.send(get(f"{server.url}/{query}"), params=params)
        assert server.exchanges[0].target == f"/{sent}"


# Bodies


async def test_an_answer_that_a_hook_has_read_is_read_as_it_is(kind: Kind) -> None:
    def read(response: httpx.Response) -> None:
        response.read()

    async def read_async(response: httpx.Response) -> None:
        await response.aread()

    hooks = {"response": [read_async if kind.is_async else read]}
    packed = gzip.compress(b"x" * 1000)
    async with serving(answering(200, packed, content_encoding="gzip")) as server:
        assert (await kind.send(get(server.url), event_hooks=hooks)).body == b"x" * 1000
        with pytest.raises(BodyTooLargeError):
            await kind.send(get(server.url), event_hooks=hooks, limit=999)


async def test_a_body_over_the_limit_is_not_read_to_its_end(kind: Kind) -> None:
    async with serving(sends_too_much) as server:
        with pytest.raises(BodyTooLargeError):
            await kind.send(post(server.url))


# Time


async def test_the_client_s_own_limits_to_connect_are_kept(kind: Kind) -> None:
    asked: list[dict[str, float | None]] = []

    def note(request: httpx.Request) -> httpx.Response:
        asked.append(request.extensions["timeout"])
        return httpx.Response(200)

    for connect, pool in ((3, 4), (None, 40)):
        timeout = httpx.Timeout(60, connect=connect, pool=pool)
        transport = httpx.MockTransport(note)
        await kind.send(post("http://x.example"), transport=transport, timeout=timeout)
    assert asked == [
        {"connect": 3, "pool": 4, "read": 20, "write": 20},
        {"connect": 20, "pool": 20, "read": 20, "write": 20},
    ]


async def test_a_slow_body_does_not_outlast_the_total(kind: Kind) -> None:
    async with serving(drips_the_body) as server:
        with pytest.raises(AnswerLostError, match=r"no whole answer within 0\.5 s"):
            await kind.send(post(server.url), total=0.5)


async def test_without_another_the_client_s_own_limit_holds(kind: Kind) -> None:
    async with serving(hangs) as server:
        with pytest.raises(AnswerLostError, match="Timeout"):
            await kind.send(post(server.url), total=None, timeout=0.3)


async def test_no_limit_anywhere_is_none(kind: Kind) -> None:
    async with serving(answering(200, b"here")) as server:
        answer = await kind.send(post(server.url), total=None, timeout=None)
    assert answer.body == b"here"


@pytest.mark.parametrize("left", [0.0, -1.0])
async def test_a_time_limit_that_is_used_up_is_not_read_as_none(kind: Kind, left: float) -> None:
    with port_with_a_full_backlog() as port, pytest.raises((AnswerLostError, NotSentError)):
        await kind.send(post(f"http://127.0.0.1:{port}"), total=left)
