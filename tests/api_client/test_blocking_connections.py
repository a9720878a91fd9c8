"""The blocking client's connections over real sockets: used again, threads, forks, interrupts."""

import asyncio
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from api_client.errors import NotSentError
from api_client.http import blocking
from api_client.http.blocking import KeptConnections
from api_client.http.httpx_adapter import OwnClient, TransportClient
from api_client.http.messages import HttpAnswer, Request
from api_client.http.proxies import Proxies
from api_client.http.transport import IDLE_LIMIT
from tests.api_client.rawserver import (
    CERTIFICATE,
    Behaviour,
    Exchange,
    Server,
    answering,
    response,
    serving,
)
from tests.api_client.scripted import POISON, After, Form, Turn, scripted, wait_readable
from tests.proxying import ForwardingProxy, proxying

#: Seconds within which what must come has come, however busy the machine is.
PATIENCE = 60.0


def send(
    sender: KeptConnections, method: str, url: str, content: bytes = b"", **headers: str
) -> HttpAnswer:
    own = {"content-length": str(len(content))} | {k.replace("_", "-"): headers[k] for k in headers}
    return sender.exchange(Request(method, url, own, content))


async def asend(sender: KeptConnections, method: str, url: str, content: bytes = b"") -> bytes:
    """Block a thread, so that the server in this one goes on."""
    return (await asyncio.to_thread(send, sender, method, url, content)).body


@contextmanager
def connections(timeout: float = 60, proxies: Proxies = Proxies()) -> Iterator[KeptConnections]:  # noqa: B008
    one = KeptConnections(timeout, proxies)
    yield one
    one.close()


@contextmanager
def serving_apart(behaviour: Behaviour) -> Iterator[Server]:
    """Serve in a thread, so that this one may block."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(behaviour)) as server,
    ):
        yield server


# Used again, or not


async def test_a_connection_is_used_again_and_a_request_is_sent_as_it_is() -> None:
    async with serving(answering(200, b"here")) as server:
        with connections() as sender:
            for number in range(3):
                url = f"{server.url}/a;b?c={number}"
                assert await asend(sender, "POST", url, b"{}") == b"here"
        assert server.connections == 1
        assert [(e.target, e.body) for e in server.exchanges] == [
            (f"/a;b?c={number}", b"{}") for number in range(3)
        ]


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(
    "turn",
    [
        Turn(surplus=POISON),
        Turn(surplus=POISON[:-4]),
        Turn(surplus=b"\r\n"),
        Turn(form=Form.CHUNKED, surplus=POISON),
        *(Turn(after=after) for after in After if after is not After.NOTHING),
    ],
    ids=lambda turn: f"{turn.form}, {turn.surplus!r}, then {turn.after}",
)
def test_no_request_is_answered_with_what_the_server_sent_before_it(
    turn: Turn, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    monkeypatch.setattr(blocking, "_tls", lambda: trusting)
    with scripted(turn, Turn(), tls=tls) as server, connections() as sender:
        for number in range(2):
            answer = send(sender, "POST", server.url, b"x" * 10, x_number=str(number))
            assert answer.body == b"answer-%d" % number
            server.after()
            if turn.after is not After.NOTHING and number == 0:
                wait_readable(kept(sender).fileno())
        assert server.connections == 2


def kept(sender: KeptConnections) -> socket.socket:
    """The socket of the connection that waits to be used again."""
    [idle] = sender._idle.values()
    [connection] = cast("list[Any]", idle[-1]._transport._pool.connections)
    return cast(socket.socket, connection._connection._network_stream.get_extra_info("socket"))


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(blocking, "elapsed", lambda: now[0])
    async with serving(answering(200)) as server:
        with connections() as sender:
            for wait in (0, IDLE_LIMIT, IDLE_LIMIT + 0.1):
                now[0] += wait
                await asend(sender, "GET", server.url)
        assert [e.connection for e in server.exchanges] == [1, 1, 2]


async def test_the_connections_of_a_burst_are_closed_once_they_are_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, both_came = [1000.0], asyncio.Barrier(2)
    monkeypatch.setattr(blocking, "elapsed", lambda: now[0])
    ended: list[int] = []

    async def answers_both(exchange: Exchange) -> bool:
        if exchange.connection <= 2 and not ended:
            await both_came.wait()
        await exchange.send(response(200))
        return True

    async with serving(answers_both) as server:
        with connections() as sender:
            await asyncio.gather(*(asend(sender, "GET", server.url) for _ in range(2)))
            [idle] = sender._idle.values()
            assert len(idle) == 2
            ended.append(1)
            now[0] += IDLE_LIMIT + 1
            await asend(sender, "GET", server.url)
            assert len(idle) == 1


# Threads, and the ends of things


def test_the_time_to_connect_is_not_had_a_second_time_for_the_answer() -> None:
    limits: list[Any] = []

    class Slow(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            time.sleep(0.2)  # as connecting takes
            event = "http11.receive_response_headers.started"
            request.extensions["trace"](event, {"request": request})
            limits.append(request.extensions["timeout"]["read"])
            return httpx.Response(200)

    client = OwnClient(TransportClient(Slow()), 10, 100)
    client.exchange(Request("GET", "http://x.test/", {}))
    assert 9 < limits[0] <= 9.8


@pytest.fixture
def interrupt() -> Iterator[int]:
    """Give a signal that raises a KeyboardInterrupt in the main thread."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupted)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("reads", [True, False], ids=["read", "unread"])
def test_an_interrupt_is_passed_on_and_its_connection_closed(interrupt: int, reads: bool) -> None:
    ended = threading.Event()

    async def interrupts(exchange: Exchange) -> bool:
        if exchange.connection == 1:
            if reads:
                await exchange.read_body()
            signal.pthread_kill(threading.main_thread().ident or 0, interrupt)
            await exchange.reader.read()
            ended.set()
        await exchange.send(response(200, b"another's"))
        return True

    with serving_apart(interrupts) as server, connections() as sender:
        with pytest.raises(KeyboardInterrupt):
            send(sender, "POST", server.url, b"{}")
        assert ended.wait(PATIENCE)
        assert send(sender, "POST", server.url).body == b"another's"
        assert [e.connection for e in server.exchanges] == [1, 2]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_parent_and_child_do_not_share_a_connection() -> None:
    def fork() -> int:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = int(send(sender, "GET", server.url).body != b"here")
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    async with serving(answering(200, b"here")) as server:
        with connections() as sender:
            await asend(sender, "GET", server.url)
            assert await asyncio.to_thread(fork) == 0
            assert await asend(sender, "GET", server.url) == b"here"
        assert [e.connection for e in server.exchanges] == [1, 2, 1]


async def test_a_child_s_copies_of_its_parent_s_connections_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(answering(200)) as server:
        with connections() as sender:
            await asend(sender, "GET", server.url)
            of_parent = kept(sender)
            monkeypatch.setattr(blocking, "os", SimpleNamespace(getpid=lambda: 1))
            await asend(sender, "GET", server.url)
            assert of_parent.fileno() == -1
        assert server.connections == 2


# Proxies


async def test_a_proxy_that_wants_credentials_has_passed_nothing_on() -> None:
    with proxying(ForwardingProxy(user="a:b")) as proxy:
        without = Proxies.from_environment({}, f"http://127.0.0.1:{proxy.port}")
        async with serving(answering(200)) as server:
            with connections(proxies=without) as sender, pytest.raises(NotSentError, match="407"):
                await asend(sender, "POST", server.url)
            own = Proxies.from_environment({}, proxy.url)
            with connections(proxies=own) as sender:
                for _ in range(2):
                    await asend(sender, "POST", server.url)
        assert proxy.connections == 2, "the second request goes over the connection of the first"
