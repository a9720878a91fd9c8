"""The blocking transport over real sockets: threads, interrupts, forks, and the ends of things.

What it sends and reads is the async transport's, whose tests hold for both.
"""

import asyncio
import itertools
import os
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from api_client.errors import AnswerLostError, NotSentError, SkyvernError
from api_client.http.async_pool import AsyncPool
from api_client.http.blocking import BlockingTransport, _after_fork
from api_client.http.loop_thread import LOOP_THREAD
from api_client.http.messages import Request
from tests.api_client.misbehaving import echoes, listening
from tests.api_client.rawserver import (
    CERTIFICATE,
    Behaviour,
    Exchange,
    Server,
    answering,
    answering_in_turn,
    hangs,
    response,
    server_tls,
    serving,
)
from tests.simulator.simulating import eventually

#: Seconds within which what must come has come, however busy the machine is.
PATIENCE = 60.0
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def send(transport: BlockingTransport, method: str, url: str, **kwargs: Any) -> bytes:
    return transport.handle_request(httpx.Request(method, url, **kwargs)).read()


async def asend(transport: BlockingTransport, method: str, url: str, **kwargs: Any) -> bytes:
    """Block a thread, so that the server in this one goes on."""
    return await asyncio.to_thread(send, transport, method, url, **kwargs)


@contextmanager
def serving_apart(behaviour: Behaviour) -> Iterator[Server]:
    """Serve in a thread, so that this one may block."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(behaviour)) as server,
    ):
        yield server


# What is sent and what comes back


async def test_an_answer_carries_status_headers_body_and_its_request() -> None:
    async with serving(answering(418, b"short", x_request_id="r1")) as server:
        with BlockingTransport() as transport:
            request = httpx.Request("GET", server.url)
            answer = await asyncio.to_thread(transport.handle_request, request)
        assert (answer.status_code, answer.headers["x-request-id"]) == (418, "r1")
        assert answer.request is request
        assert answer.read() == b"short"


async def test_it_serves_httpx_s_own_client() -> None:
    async with serving(answering(200, {"a": 1})) as server:
        with httpx.Client(transport=BlockingTransport()) as client:
            answer = await asyncio.to_thread(client.post, server.url, json={"b": 2})
        assert answer.json() == {"a": 1}
        assert server.exchanges[0].body == b'{"b":2}'


async def test_a_body_given_in_chunks_is_sent_whole() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a"
        yield b"b"

    async with serving(echoes) as server:
        with BlockingTransport() as transport:
            assert await asend(transport, "POST", server.url, content=chunks()) == b"ab"


async def test_a_request_of_ours_is_sent_as_it_is() -> None:
    async with serving(answering(200, b"here")) as server:
        with BlockingTransport() as transport:
            headers = {"host": "x", "content-length": "2"}
            request = Request("POST", f"{server.url}/a;b?c=1", headers, b"{}", 20)
            answer = await asyncio.to_thread(transport.exchange, request)
        assert (answer.status, answer.body) == (200, b"here")
        assert answer.headers["Content-Length"] == "4"
        [exchange] = server.exchanges
        assert (exchange.target, exchange.body) == ("/a;b?c=1", b"{}")


async def test_a_request_s_own_time_limit_goes_before_the_transport_s() -> None:
    limit = {"timeout": {"read": 0.3}}
    async with serving(hangs) as server:
        with (
            BlockingTransport(timeout=60) as transport,
            pytest.raises(AnswerLostError, match="Timeout"),
        ):
            await asend(transport, "GET", server.url, extensions=limit)


async def test_no_time_limit_at_all_is_none() -> None:
    async with serving(answering(200, b"here")) as server:
        with BlockingTransport() as transport:
            none = {"timeout": {"read": None, "connect": None}}
            assert await asend(transport, "GET", server.url, extensions=none) == b"here"


def test_a_call_within_a_running_loop_blocks_it_and_is_answered() -> None:
    async def call(url: str) -> bytes:
        with BlockingTransport() as transport:
            return send(transport, "GET", url)

    with serving_apart(answering(200, b"here")) as server:
        assert asyncio.run(call(server.url)) == b"here"


async def test_all_transports_of_a_process_share_one_thread() -> None:
    async with serving(answering(200)) as server:
        with BlockingTransport() as one, BlockingTransport() as other:
            for transport in (one, other):
                await asend(transport, "GET", server.url)
            names = [thread.name for thread in threading.enumerate()]
    assert names.count("api-client") == 1


# Closing and interrupting


def test_a_closed_transport_sends_nothing() -> None:
    transport = BlockingTransport()
    transport.close()
    with pytest.raises(NotSentError, match="GET /: the transport is closed"):
        send(transport, "GET", "http://127.0.0.1:1/")


async def test_closing_ends_the_requests_under_way_and_those_that_wait_send_nothing() -> None:
    async with serving(hangs) as server:
        transport = BlockingTransport(max_connections=1)
        calls = [asyncio.create_task(asend(transport, "POST", server.url)) for _ in range(3)]
        await server.asked.wait()
        await asyncio.to_thread(transport.close)
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(type(end).__name__ for end in ends) == [
            "AnswerLostError",
            "NotSentError",
            "NotSentError",
        ]
        assert len(server.exchanges) == 1


def test_in_the_thread_that_sends_no_request_is_waited_for_and_closing_does_no_harm() -> None:
    transport = BlockingTransport()

    async def finalizer() -> None:
        transport.close()
        send(transport, "GET", "http://127.0.0.1:1/")

    with pytest.raises(NotSentError, match="GET /: a blocking call within the thread that sends"):
        LOOP_THREAD.run(finalizer(), "a finalizer")


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

    with serving_apart(interrupts) as server, BlockingTransport() as transport:
        with pytest.raises(KeyboardInterrupt):
            send(transport, "POST", server.url, content=b"{}")
        assert ended.wait(PATIENCE)
        assert send(transport, "POST", server.url) == b"another's"
        assert [e.connection for e in server.exchanges] == [1, 2]


# Processes


@forks
async def test_parent_and_child_do_not_share_a_connection() -> None:
    def fork() -> int:
        with LOOP_THREAD._lock:  # by a thread that is not there after the fork
            child = os.fork()
            if child == 0:
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


@forks
async def test_a_connection_ends_when_its_process_closes_it_whatever_children_there_are() -> None:
    ended = asyncio.Event()

    async def answers_once(exchange: Exchange) -> bool:
        await exchange.send(response(200))
        await exchange.reader.read()
        ended.set()
        return False

    def fork(until: int) -> int:
        if (child := os.fork()) == 0:
            os.read(until, 1)
            os._exit(0)
        return child

    until, end = os.pipe()
    async with serving(answers_once) as server:
        transport = BlockingTransport()
        await asend(transport, "GET", server.url)
        child = await asyncio.to_thread(fork, until)
        try:
            await asyncio.to_thread(transport.close)
            async with asyncio.timeout(PATIENCE):
                await ended.wait()
        finally:
            os.write(end, b".")
            await asyncio.to_thread(os.waitpid, child, 0)
            os.close(until)
            os.close(end)


async def test_what_a_process_leaves_to_its_parent_it_does_not_use_again() -> None:
    async with serving(answering(200)) as server:
        with BlockingTransport() as transport:
            _after_fork()  # there is nothing yet
            await asend(transport, "GET", server.url)
            _after_fork()
            await asend(transport, "GET", server.url)
        assert [e.connection for e in server.exchanges] == [1, 2]


async def test_a_fork_minds_no_tls_connection_that_the_server_has_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closes = asyncio.Event()

    async def answers_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(200, b"here"))
        await closes.wait()

    monkeypatch.setattr(AsyncPool, "_check", lambda _: None)  # it would be dropped
    tls = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with listening(answers_once, server_tls()) as host:
        with BlockingTransport(tls=tls) as transport:
            assert await asend(transport, "GET", f"https://{host}") == b"here"
            opened = transport._transport._opened
            assert opened is not None
            [connection] = opened.pool._all()
            closes.set()
            await eventually(lambda: connection._transport.get_extra_info("socket") is None)
            assert opened.pool._all() == [connection]
            _after_fork()


# Threads


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


async def test_threads_never_lose_a_connection_to_each_other() -> None:
    async with serving(answering(200)) as server:
        with BlockingTransport(max_connections=4) as transport:

            def many() -> None:
                for _ in range(200):
                    send(transport, "POST", server.url)

            await asyncio.gather(*(asyncio.to_thread(many) for _ in range(6)))
        assert len(server.exchanges) == 1200
        assert server.connections <= 4


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
