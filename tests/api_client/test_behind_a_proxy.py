"""Both transports behind a real forwarding proxy: what goes which way, and what was surely sent."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api_client import AsyncTransport
from api_client.errors import AnswerLostError, NotSentError
from api_client.http.messages import HttpAnswer, Request
from api_client.http.proxies import Proxies
from tests.api_client.loops import Run, both_loops
from tests.api_client.misbehaving import listening
from tests.api_client.rawserver import (
    CERTIFICATE,
    answering,
    port_nobody_listens_on,
    response,
    server_tls,
    serving,
)
from tests.proxying import ForwardingProxy, proxying

both_kinds = pytest.mark.parametrize("is_socks", [False, True], ids=["http", "socks"])

BODY = b'{"prompt": "Read it."}'

TRUSTING = ssl.create_default_context(cafile=str(CERTIFICATE))


async def post(url: str, proxies: Proxies, **options: Any) -> HttpAnswer:
    async with AsyncTransport(tls=TRUSTING, proxies=proxies) as transport:
        return await transport.exchange(_post(url, **options))


def _post(url: str, timeout: float = 30) -> Request:
    host = url.partition("://")[2]
    headers = {"host": host, "x-api-key": "key", "content-length": str(len(BODY))}
    return Request("POST", f"{url}/v1/run/tasks?a=b;c", headers, BODY, timeout)


def through(proxy: ForwardingProxy, no_proxy: str = "") -> Proxies:
    return Proxies.from_environment({"NO_PROXY": no_proxy}, proxy.url)


@asynccontextmanager
async def serving_tls(answer: bytes) -> AsyncIterator[str]:
    """Give the URL of a server that speaks TLS, and answers each request so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(BODY))
        writer.write(answer)
        await writer.drain()

    async with listening(serve, server_tls()) as host:
        yield f"https://{host}"


async def test_a_request_to_an_http_server_is_handed_to_the_proxy_whole() -> None:
    with proxying(ForwardingProxy(user="us er:p:ss")) as proxy:
        named = Proxies.from_environment({}, proxy.url.replace("us er:p:ss", "us%20er:p%3Ass"))
        async with serving(answering(200, b"done")) as server:
            answer = await post(server.url, named)
    assert (answer.status, answer.body) == (200, b"done")
    assert proxy.requests == [f"POST {server.url}/v1/run/tasks?a=b;c"]
    (seen,) = server.exchanges
    assert (seen.target, seen.body) == ("/v1/run/tasks?a=b;c", BODY)
    assert seen.headers["x-api-key"] == "key"
    assert "proxy-authorization" not in seen.headers


@both_kinds
async def test_a_request_to_an_https_server_goes_through_a_tunnel_that_reads_nothing_of_it(
    is_socks: bool,
) -> None:
    with proxying(ForwardingProxy(is_socks, user="user:pass")) as proxy:
        async with serving_tls(response(200, b"private")) as url:
            answer = await post(url, through(proxy))
    assert (answer.status, answer.body) == (200, b"private")
    assert (proxy.tunnels, proxy.requests) == ([url.removeprefix("https://")], [])
    assert b"x-api-key" not in b"".join(proxy.heads)


async def test_by_socks_a_request_to_an_http_server_goes_through_a_tunnel_by_its_name() -> None:
    with proxying(ForwardingProxy(is_socks=True)) as proxy:
        async with serving(answering(407, b"its own")) as server:
            proxy.resolves["no-such-name.test"] = ("127.0.0.1", server.port)
            answer = await post("http://no-such-name.test", through(proxy))
    assert (answer.status, answer.body) == (407, b"its own")
    assert proxy.tunnels == ["no-such-name.test:80"]
    assert server.exchanges[0].target == "/v1/run/tasks?a=b;c"


@pytest.mark.parametrize("status", [302, 403, 407, 500, 502, 503])
async def test_a_tunnel_that_is_refused_is_not_sent(status: int) -> None:
    refusal = rf"the proxy http://127\.0\.0\.1:\d+ answered {status}"
    with (
        proxying(ForwardingProxy(refuses=status)) as proxy,
        pytest.raises(NotSentError, match=refusal),
    ):
        await post("https://shop.test", through(proxy))
    assert proxy.tunnels == ["shop.test:443"]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_407_is_not_sent_and_its_password_shown_nowhere(scheme: str) -> None:
    with proxying(ForwardingProxy(user="user:pass")) as proxy:
        wrong = Proxies.from_environment({}, f"http://user:Secret1@127.0.0.1:{proxy.port}")
        with pytest.raises(NotSentError, match="407: it wants another user or password") as error:
            await post(f"{scheme}://shop.test", wrong)
    assert "Secret1" not in f"{error.value!r} {error.value.__cause__!r}"
    assert proxy.requests == proxy.tunnels == []


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("", "No acceptable authentication methods were offered"),
        ("user:Secret1@", "Username and password authentication failure"),
        ("us%C3%A9r:Secret1@", "cannot be sent the server's name, or this user"),
        (f"user:{'Secret1' * 40}@", "cannot be sent the server's name, or this user"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_socks_proxy_that_wants_another_user_is_not_sent_and_no_password_is_shown(
    scheme: str, user: str, words: str
) -> None:
    with proxying(ForwardingProxy(is_socks=True, user="user:pass")) as proxy:
        wrong = Proxies.from_environment({}, f"socks5://{user}127.0.0.1:{proxy.port}")
        with pytest.raises(NotSentError, match=words) as error:
            await post(f"{scheme}://shop.test", wrong)
    assert f"the proxy socks5://127.0.0.1:{proxy.port} " in str(error.value)
    assert "Secret1" not in f"{error.value!r} {error.value.__cause__!r}"
    assert not proxy.tunnels


async def test_what_breaks_off_behind_the_proxy_leaves_the_answer_lost() -> None:
    with proxying(ForwardingProxy(cuts=1)) as proxy:
        async with serving(answering(200, b"x" * 1000)) as server:
            with pytest.raises(AnswerLostError):
                await post(server.url, through(proxy))
            assert len(server.exchanges) == 1


async def answers_with_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def says_too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")


async def does_not_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000)
    await writer.drain()
    await reader.read()


async def closes(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(3)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def closes_at_once(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.readexactly(3)


async def says_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()  # until the caller gives up


@pytest.mark.parametrize(
    ("scheme", "behaviour", "words"),
    [
        ("http", answers_with_garbage, "does not answer as an HTTP proxy does"),
        ("http", says_too_much, "SSLError"),
        ("http", does_not_end, "does not end its answer"),
        ("http", closes, "closed before it answered"),
        ("http", says_nothing, "no connection in time"),
        ("socks5", speaks_http, "Unexpected SOCKS version number"),
        ("socks5", closes_at_once, "Connection closed unexpectedly"),
        ("socks5", says_nothing, "no connection in time"),
    ],
)
async def test_a_proxy_that_gives_no_way_is_not_sent(
    scheme: str, behaviour: Callable[..., Any], words: str
) -> None:
    seconds = 0.4 if behaviour is says_nothing else 30.0
    async with listening(behaviour) as host:
        named = Proxies.from_environment({}, f"{scheme}://{host}")
        with pytest.raises(NotSentError, match=words):
            await post("https://shop.test", named, timeout=seconds)


@both_kinds
async def test_the_certificate_behind_a_tunnel_is_checked(is_socks: bool) -> None:
    async def nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(nothing, "127.0.0.1", 0, ssl=server_tls())
    with proxying(ForwardingProxy(is_socks)) as proxy:
        async with server:
            port = server.sockets[0].getsockname()[1]
            proxy.resolves["shop.test"] = ("127.0.0.1", port)
            with pytest.raises(NotSentError, match="CERTIFICATE_VERIFY_FAILED"):
                await post(f"https://shop.test:{port}", through(proxy))


async def test_a_name_is_looked_up_by_the_proxy_alone() -> None:
    with proxying() as proxy:
        async with serving(answering(200)) as server:
            proxy.resolves["no-such-name.test"] = ("127.0.0.1", server.port)
            assert (await post("http://no-such-name.test", through(proxy))).status == 200


async def test_a_name_that_cannot_be_sent_to_a_proxy_is_not_sent() -> None:
    with proxying() as proxy, pytest.raises(NotSentError):
        await post("https://shöp.test", through(proxy))
    assert proxy.heads == []


@both_loops
@both_kinds
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connections_through_a_proxy_are_kept(run: Run, scheme: str, is_socks: bool) -> None:
    async def check() -> None:
        asked = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            while await reader.readuntil(b"\r\n\r\n"):
                asked += 1
                writer.write(response(200, b"whole"))

        tls = server_tls() if scheme == "https" else None
        with proxying(ForwardingProxy(is_socks, user="user:pass")) as proxy:
            transport = AsyncTransport(tls=TRUSTING, proxies=through(proxy))
            async with listening(serve, tls) as host, transport:
                for _ in range(3):
                    get = Request("GET", f"{scheme}://{host}/", {})
                    assert (await transport.exchange(get)).body == b"whole"
        assert (asked, proxy.connections) == (3, 1)
        assert len(proxy.tunnels) == (is_socks or scheme == "https")

    run(check())


@both_kinds
async def test_a_call_that_is_abandoned_while_the_proxy_is_asked_leaves_no_connection(
    is_socks: bool,
) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def waits(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        asked.set()
        await reader.read()
        ended.set()

    async with listening(waits) as host:
        named = f"{'socks5' if is_socks else 'http'}://{host}"
        transport = AsyncTransport(proxies=Proxies.from_environment({}, named))
        call = asyncio.create_task(transport.exchange(Request("GET", "https://shop.test/", {})))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(ended.wait(), 10)
        await transport.aclose()


@pytest.mark.parametrize("kind", ["http", "socks5"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_nobody_reaches_is_named_beside_the_server(
    scheme: str, kind: str
) -> None:
    with port_nobody_listens_on() as port:
        named = Proxies.from_environment({}, f"{kind}://user:password@127.0.0.1:{port}")
        with pytest.raises(NotSentError) as caught:
            await post(f"{scheme}://shop.test", named)
    assert f"({scheme}://shop.test by the proxy {kind}://127.0.0.1:{port})" in str(caught.value)
    assert "password" not in str(caught.value)
