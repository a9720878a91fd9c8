"""Who waits for a turn, and whose comes first."""

from __future__ import annotations

import asyncio

import pytest

from gateway.tenants.turns import Turns
from tests.simulator.simulating import eventually


class Line:
    """Takes turns, and writes down whose came."""

    def __init__(self, most: int = 1) -> None:
        self.turns = Turns(most)
        self.came: list[str] = []
        self.gate = asyncio.Event()

    async def take(self, name: str) -> None:
        async with self.turns.of(name):
            self.came.append(name)
            await self.gate.wait()

    def begin(self, *names: str) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.take(name)) for name in names]


async def test_so_many_go_at_a_time() -> None:
    line = Line(2)
    tasks = line.begin("a", "b", "c")
    await eventually(lambda: line.came == ["a", "b"])

    line.gate.set()
    await asyncio.gather(*tasks)
    assert line.came == ["a", "b", "c"]


async def test_a_name_has_as_many_as_it_leaves_free_and_the_rest_of_it_wait() -> None:
    line = Line(4)
    tasks = line.begin("a", "a", "a", "a", "b", "c")
    await eventually(lambda: len(line.came) == 4)

    assert line.came == ["a", "a", "b", "c"]
    line.gate.set()
    await asyncio.gather(*tasks)
    assert line.came == ["a", "a", "b", "c", "a", "a"]


async def test_each_name_that_waits_has_its_turn() -> None:
    line = Line()
    tasks = line.begin("a", "a", "a", "a", "b", "b", "c")
    await eventually(lambda: line.came == ["a"])

    line.gate.set()
    await asyncio.gather(*tasks)
    assert line.came == ["a", "a", "b", "c", "a", "b", "a"]


async def test_a_place_that_nobody_waits_for_is_free_again() -> None:
    line = Line()
    line.gate.set()
    await line.take("a")
    await line.take("b")

    assert line.came == ["a", "b"]


async def test_who_gives_up_waiting_keeps_no_turn() -> None:
    line = Line()
    first, second, third = line.begin("a", "b", "c")
    await eventually(lambda: line.came == ["a"])

    second.cancel()
    line.gate.set()
    await asyncio.gather(first, third)
    assert line.came == ["a", "c"]


async def test_a_turn_that_comes_as_its_waiter_gives_up_goes_to_the_next() -> None:
    turns = Turns(1)
    first = turns.of("a")
    await first.__aenter__()
    came = asyncio.Event()

    async def wait(name: str) -> None:
        async with turns.of(name):
            came.set()

    second, third = asyncio.create_task(wait("b")), asyncio.create_task(wait("c"))
    await asyncio.sleep(0)  # both wait
    await first.__aexit__(None, None, None)
    second.cancel()  # its turn has come, and it has not run since
    with pytest.raises(asyncio.CancelledError):
        await second
    await third
    assert came.is_set()


async def test_an_error_ends_a_turn() -> None:
    turns = Turns(1)
    with pytest.raises(ValueError, match="mine"):
        async with turns.of("a"):
            raise ValueError("mine")

    async with turns.of("b"):
        pass
