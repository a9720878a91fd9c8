"""One timer for many limits of time; what `asyncio.timeout` does holds here, too."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from unittest.mock import Mock

import pytest
import uvloop

from api_client.deadlines import Deadlines
from api_client.errors import AnswerLostError
from api_client.messages import Request
from api_client.transport import AiohttpTransport
from tests.api_client.rawserver import Behaviour, hangs, hangs_within_the_answer, serving

Run = Callable[[Coroutine[Any, Any, None]], None]

both_loops = pytest.mark.parametrize(
    "run", [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")]
)


def cancels() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@both_loops
def test_what_takes_too_long_ends_at_the_next_whole_second(run: Run) -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(TimeoutError), Deadlines(loop).within(0.2):
            await asyncio.sleep(30)
        assert 0.2 <= loop.time() - start < 1.5
        assert cancels() == 0

    run(check())


@both_loops
def test_what_ends_in_time_is_let_be(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(loop)
        monkeypatch.setattr(deadlines, "_look_after", lambda _: None)  # it looks when it is told to
        with deadlines.within(0.1):
            await asyncio.sleep(0)
        monkeypatch.setattr(deadlines, "_loop", Mock(time=lambda: loop.time() + 3600))
        deadlines._look()
        await asyncio.sleep(0)
        assert cancels() == 0

    run(check())


@both_loops
def test_each_has_its_own_limit_and_all_of_them_one_timer(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(loop)
        look_after = Mock(wraps=deadlines._look_after)
        monkeypatch.setattr(deadlines, "_look_after", look_after)

        async def last(seconds: float) -> float:
            with pytest.raises(TimeoutError), deadlines.within(seconds):
                await asyncio.sleep(30)
            return loop.time()

        start = loop.time()
        *early, late = await asyncio.gather(*(last(0.1) for _ in range(50)), last(1.1))
        assert max(early) - start < 1.5
        assert 1.1 <= late - start < 2.5
        assert look_after.call_count <= 3

    run(check())


async def test_a_deadline_holds_for_a_task() -> None:
    loop = asyncio.get_running_loop()
    told = loop.create_future()

    def outside() -> None:
        with pytest.raises(RuntimeError, match="task"), Deadlines(loop).within(1):
            pass
        told.set_result(None)

    loop.call_soon(outside)
    await told


async def test_a_cancellation_from_elsewhere_is_passed_on() -> None:
    async def limited() -> None:
        with Deadlines(asyncio.get_running_loop()).within(60):
            await asyncio.sleep(30)

    task = asyncio.create_task(limited())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_elsewhere_goes_before_the_limit() -> None:
    async def limited() -> None:
        with deadline:
            await asyncio.sleep(30)

    loop = asyncio.get_running_loop()
    deadline = Deadlines(loop).within(60)
    task = asyncio.create_task(limited())
    await asyncio.sleep(0)
    deadline.end()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1


async def test_a_limit_holds_in_a_task_that_was_canceled_before() -> None:
    async def tidies_up() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            with pytest.raises(TimeoutError), deadline:
                await asyncio.sleep(30)
            raise

    deadline = Deadlines(asyncio.get_running_loop()).within(60)
    task = asyncio.create_task(tidies_up())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    deadline.end()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1


async def test_an_error_that_comes_of_the_end_is_passed_on() -> None:
    deadline = Deadlines(asyncio.get_running_loop()).within(60)
    asyncio.get_running_loop().call_later(0.01, deadline.end)

    async def fails_when_ended() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise ValueError("instead") from None

    with pytest.raises(ValueError, match="instead"), deadline:
        await fails_when_ended()
    assert cancels() == 0


@both_loops
@pytest.mark.parametrize("behaviour", [hangs, hangs_within_the_answer])
def test_a_request_that_a_deadline_ends_leaves_the_answer_lost_and_its_connection_closed(
    run: Run, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Limits below this are aiohttp's own, and no test waits for longer.
    monkeypatch.setattr("api_client.transport._COARSE", 0.1)

    async def check() -> None:
        async with serving(behaviour) as server, AiohttpTransport(timeout=2) as transport:
            for _ in range(2):
                with pytest.raises(AnswerLostError, match=r"^GET /x: TimeoutError$") as caught:
                    await transport.exchange(Request("GET", f"{server.url}/x", {}))
                assert isinstance(caught.value.__cause__, TimeoutError)
            assert [e.connection for e in server.exchanges] == [1, 2]
        assert cancels() == 0

    run(check())
