"""A request's limit of time, whichever timer looks after it; on both loops."""

import asyncio
from unittest.mock import Mock

import pytest

from api_client import AnswerLostError, AsyncTransport
from api_client.http import transport as module
from api_client.http.messages import Request
from tests.api_client.loops import Run, both_loops
from tests.api_client.rawserver import (
    Behaviour,
    Exchange,
    Server,
    answering,
    hangs,
    hangs_within_the_answer,
    response,
    serving,
)


def cancels() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@both_loops
@pytest.mark.parametrize("behaviour", [hangs, hangs_within_the_answer])
@pytest.mark.parametrize("coarse", [0.1, 5.0], ids=["by the pool's timer", "by one of its own"])
def test_a_request_whose_time_is_up_leaves_the_answer_lost_and_its_connection_closed(
    run: Run, behaviour: Behaviour, coarse: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COARSE", coarse)

    async def check() -> None:
        async with serving(behaviour) as server, AsyncTransport(timeout=1) as transport:
            for _ in range(2):
                with pytest.raises(AnswerLostError, match=r"^GET /x: TimeoutError$") as caught:
                    await transport.exchange(Request("GET", f"{server.url}/x", {}))
                assert isinstance(caught.value.__cause__, TimeoutError)
            assert [e.connection for e in server.exchanges] == [1, 2]
        assert cancels() == 0

    run(check())


@both_loops
def test_each_request_has_its_own_limit_and_all_of_them_one_timer(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COARSE", 0.0)
    look_again = Mock()
    original = module.AsyncPool._check_again

    def watched(pool: module.AsyncPool) -> None:
        look_again()
        original(pool)

    monkeypatch.setattr(module.AsyncPool, "_check_again", watched)
    server: Server
    all_connected: asyncio.Event

    async def answers_once(exchange: Exchange) -> bool:
        if len(server.exchanges) > 21:
            return await hangs(exchange)
        if len(server.exchanges) == 21:
            all_connected.set()
        await all_connected.wait()
        await exchange.send(response(200))
        return True

    async def check() -> None:
        nonlocal server, all_connected
        loop = asyncio.get_running_loop()
        all_connected = asyncio.Event()
        async with serving(answers_once) as server, AsyncTransport() as transport:
            # To connect, too, takes of a limit, and more than 0.1 s on a busy machine.
            connected = [transport.exchange(Request("GET", server.url, {})) for _ in range(21)]
            await asyncio.gather(*connected)
            look_again.reset_mock()

            async def last(seconds: float) -> float:
                with pytest.raises(AnswerLostError, match="TimeoutError"):
                    await transport.exchange(Request("GET", server.url, {}, timeout=seconds))
                return loop.time()

            start = loop.time()
            *early, late = await asyncio.gather(*(last(0.1) for _ in range(20)), last(1.1))
        assert max(early) < late
        assert late - start >= 1.1
        assert look_again.call_count <= 4

    run(check())


async def test_a_limit_that_was_kept_ends_no_later_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COARSE", 0.0)
    async with serving(answering(200)) as server, AsyncTransport() as transport:
        await transport.exchange(Request("GET", server.url, {}, timeout=30))
        opened = transport._opened
        assert opened is not None
        [[idle]] = opened.pool._idle.values()
        assert idle.due == float("inf")
        opened.pool._check()
        answer = await transport.exchange(Request("GET", server.url, {}))
        assert (answer.status, server.connections) == (200, 1)


async def test_a_cancellation_goes_before_the_limit_and_closes_the_connection() -> None:
    async with serving(hangs) as server, AsyncTransport() as transport:
        call = asyncio.create_task(transport.exchange(Request("GET", server.url, {}, timeout=30)))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert call.cancelling() == 1
        assert await server.exchanges[0].reader.read() == b""
