"""Failed tokens: counted, and slowed down; right ones never."""

from __future__ import annotations

import asyncio

import pytest

from gateway.auth import refusals
from gateway.http.bursts import BURST, FORGIVEN, Burst
from tests.gateway.browsing import browsing
from tests.gateway.gating import Answer, Door, bearer, gating, token
from tests.simulator.simulating import eventually

pytestmark = pytest.mark.usefixtures("desk")

TOKENS = (token("ops", "operate-secret", "operate", "read"),)


@pytest.fixture
def _long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that no test sees the end of."""
    monkeypatch.setattr(refusals, "WAIT_SECONDS", 3600)


async def wrong(door: Door, n: int) -> Answer:
    return await door.ask("GET", "/v1/stats", headers=bearer(f"{n:06}-guess"))


async def right(door: Door) -> Answer:
    return await door.ask("GET", "/v1/stats", headers=bearer("operate-secret"))


async def use_up(door: Door) -> None:
    """Fail as often as nobody waits for."""
    for n in range(BURST):
        assert (await wrong(door, n)).status == 401


async def stopped(*tasks: asyncio.Task[Answer]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.usefixtures("_long")
async def test_wrong_tokens_wait_while_a_right_one_of_the_same_address_is_answered(
    redis_url: str,
) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        await use_up(door)
        waiting = asyncio.create_task(wrong(door, BURST))
        for _ in range(3):
            assert (await right(door)).status == 200
        assert not waiting.done()
        await stopped(waiting)


async def test_what_has_waited_is_answered_as_ever(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "WAIT_SECONDS", 0.01)
    async with gating(redis_url, api_tokens=TOKENS) as door:
        await use_up(door)
        answer = await wrong(door, BURST)

    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.usefixtures("_long")
async def test_wrong_tokens_beyond_those_that_wait_are_refused_and_their_connections_closed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MOST_WAITING", 2)
    async with gating(redis_url, api_tokens=TOKENS) as door:
        await use_up(door)
        tasks = [asyncio.create_task(wrong(door, BURST + n)) for n in range(3)]
        await eventually(lambda: any(task.done() for task in tasks))
        (task,) = [task for task in tasks if task.done()]
        answer = task.result()
        assert (await right(door)).status == 200
        await stopped(*tasks)

    assert (answer.status, answer.headers["connection"]) == (429, "close")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.usefixtures("_long")
async def test_tokens_that_are_entered_on_the_page_wait_too(redis_url: str) -> None:
    async with browsing(redis_url, api_tokens=TOKENS) as browser:
        for n in range(BURST):
            assert (await browser.log_in(f"guess-{n}")).status == 401
        waiting = asyncio.create_task(browser.log_in("guess-more"))
        assert (await browser.log_in("operate-secret")).status == 200
        assert not waiting.done()
        waiting.cancel()


@pytest.mark.usefixtures("_long")
async def test_calls_without_a_token_do_not_wait(redis_url: str) -> None:
    async with gating(redis_url, api_tokens=TOKENS) as door:
        for _ in range(3 * BURST):
            assert (await door.ask("GET", "/v1/stats")).status == 401


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_is_forgiven_with_time(clock: Clock) -> None:
    burst = Burst(clock)
    for _ in range(BURST + 1):
        burst.count()

    clock.now += 2 / FORGIVEN
    burst.count()
    assert not burst.is_over
    burst.count()
    assert burst.is_over


def test_what_never_rests_is_logged_now_and_then_with_how_many_more_there_were(
    clock: Clock,
) -> None:
    burst, logged = Burst(clock), []
    for _ in range(600):
        logged.append(burst.count())
        clock.now += 0.1

    lines = [one for one in logged if one is not None]
    assert len(lines) < BURST + 10
    assert sum(lines) + len(lines) <= 600
    assert max(lines) > 90
