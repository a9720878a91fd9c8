"""What lies in the socket of a kept connection when it is to be used again.

The client's loop stands still meanwhile, so that it cannot have seen it: every time by a script,
and for hundreds of scripts that nobody wrote.
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api_client import AnswerLostError, AsyncTransport, NotSentError
from api_client.http.connect import Dialer
from api_client.http.connection import Connection
from api_client.http.messages import Request
from tests.api_client.rawserver import response
from tests.api_client.scripted import (
    POISON,
    After,
    Form,
    ScriptedServer,
    Turn,
    scripted,
    wait_readable,
)

#: Sends the requests of a script until one fails; returns what came of each.
Client = Callable[[ScriptedServer, ssl.SSLContext], list[str]]
LIMIT = 20.0


def _trusting() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def _request(server: ScriptedServer, number: int) -> Request:
    content = b"x" * server.turns[number].size
    headers = {"host": "127.0.0.1", "x-number": str(number), "content-length": str(len(content))}
    return Request("POST", f"{server.url}/x", headers, content, LIMIT)


def _settle(server: ScriptedServer, number: int, fileno: int | None) -> None:
    """Let the server go on, and wait until what it does has arrived."""
    server.after()
    if fileno is not None and server.turns[number].after is not After.NOTHING:
        wait_readable(fileno)


async def _asked(server: ScriptedServer, tls: ssl.SSLContext) -> list[str]:
    said: list[str] = []
    async with AsyncTransport(tls=tls) as transport:
        for number in range(len(server.turns)):
            try:
                answer = await transport.exchange(_request(server, number))
            except NotSentError:
                return [*said, "not sent"]
            except AnswerLostError:
                return [*said, "lost"]
            said.append(answer.body.decode())
            _settle(server, number, _idle(transport))
    return said


def _idle(transport: AsyncTransport) -> int | None:
    """Return the file descriptor of the connection that waits to be used again."""
    assert transport._opened is not None
    kept = [one for idle in transport._opened.pool._idle.values() for one in idle]
    if not kept:
        return None
    [connection] = kept
    fileno: int = connection._transport.get_extra_info("socket").fileno()
    return fileno


def _looping(run: Callable[[Coroutine[Any, Any, list[str]]], list[str]]) -> Client:
    return lambda server, tls: run(_asked(server, tls))


clients = pytest.mark.parametrize(
    "client",
    [
        pytest.param(_looping(asyncio.run), id="asyncio"),
        pytest.param(_looping(uvloop.run), id="uvloop"),
    ],
)
both_ways = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@clients
@both_ways
@pytest.mark.parametrize("after", [one for one in After if one is not After.NOTHING])
def test_what_came_while_nobody_looked_is_no_answer_and_costs_no_request(
    client: Client, tls: bool, after: After
) -> None:
    with scripted(Turn(after=after), Turn(), tls=tls) as server:
        assert client(server, _trusting()) == ["answer-0", "answer-1"]
        assert (server.read, server.connections) == ([0, 1], 2)


@pytest.fixture
def slow_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a server says to a new connection arrive before anything is written to it."""
    dial = Dialer.dial

    async def dialed(self: Dialer, origin: str) -> Connection:
        connection = await dial(self, origin)
        if connection.is_usable:
            wait_readable(connection._transport.get_extra_info("socket").fileno())
        return connection

    monkeypatch.setattr(Dialer, "dial", dialed)


@clients
@pytest.mark.parametrize("greeting", [POISON, b"x", b""], ids=["answer", "byte", "end"])
def test_nothing_is_sent_to_a_server_that_speaks_or_closes_before_it_is_asked(
    client: Client, greeting: bytes, slow_to_write: None
) -> None:
    with scripted(Turn(), greeting=greeting) as server:
        assert client(server, _trusting()) == ["not sent"]
    assert server.read == []


@pytest.mark.parametrize(("turns", "seconds"), [(8, LIMIT), (10**9, 1.0)])
async def test_a_connection_whose_bytes_the_loop_cannot_come_to_read_is_not_used(
    monkeypatch: pytest.MonkeyPatch, turns: int, seconds: float
) -> None:
    monkeypatch.setattr("api_client.http.transport._TURNS", turns)
    monkeypatch.setattr(Connection, "has_unread", True)
    with scripted(Turn()) as server:
        async with AsyncTransport(connect_timeout=seconds) as transport:
            with pytest.raises(NotSentError):
                await transport.exchange(_request(server, 0))
    assert server.read == []


TURNS = st.builds(
    Turn,
    form=st.sampled_from(Form),
    information=st.integers(0, 2),
    cuts=st.lists(st.integers(0, 400), max_size=4).map(tuple),
    is_early=st.booleans(),
    surplus=st.sampled_from([b"", b"", b"", POISON, POISON[:20], b"x", response(100)]),
    after=st.sampled_from(After),
    size=st.sampled_from([0, 10, 10, 100_000]),
)


@clients
@both_ways
@settings(deadline=None, max_examples=30)
@given(turns=st.lists(TURNS, min_size=2, max_size=6))
@example(turns=[Turn(surplus=POISON), Turn(after=After.ANSWER), Turn()])
@example(turns=[Turn(form=Form.TRAILER, after=After.INFORMATION), Turn(information=1)])
def test_whatever_a_server_adds_no_request_gets_another_answer_than_its_own(
    client: Client, tls: bool, turns: list[Turn]
) -> None:
    with scripted(*turns, tls=tls) as server:
        said = client(server, _trusting())
    # Whole answers came to all of them, and what was beside them harmed nobody.
    assert said == [f"answer-{number}" for number in range(len(turns))]
    assert server.read == list(range(len(turns)))
