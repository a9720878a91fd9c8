"""Simulated processes: killed, frozen, each with its own clock."""

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from simulation.processes import EPOCH, SimulatedProcess, start_in
from simulation.virtual.loop import NothingLeftError, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


def new_process(name: str, loop: VirtualLoop) -> SimulatedProcess:
    return SimulatedProcess(name, loop, Random(name))


def test_time_jumps_to_the_next_timer(loop: VirtualLoop) -> None:
    loop.run_until_complete(asyncio.sleep(86_400))
    assert loop.time() == pytest.approx(86_400)


def test_a_killed_process_runs_nothing_more_not_even_a_finally(loop: VirtualLoop) -> None:
    ran: list[float] = []

    async def work() -> None:
        try:
            while True:
                await asyncio.sleep(1)
                ran.append(loop.time())
        finally:
            ran.append(-1.0)

    async def scenario() -> None:
        process = new_process("one", loop)
        start_in(process, work())
        await asyncio.sleep(2.5)
        process.kill()
        await asyncio.sleep(10)

    loop.run_until_complete(scenario())
    assert ran == [1.0, 2.0]


def test_a_frozen_process_goes_on_later_with_what_came_due(loop: VirtualLoop) -> None:
    ran: list[float] = []

    async def work() -> None:
        await asyncio.sleep(1)
        ran.append(loop.time())

    async def scenario() -> None:
        process = new_process("one", loop)
        start_in(process, work())
        await asyncio.sleep(0.5)
        process.freeze()
        await asyncio.sleep(4.5)
        assert ran == []
        process.thaw()
        await asyncio.sleep(1)

    loop.run_until_complete(scenario())
    assert ran == [5.0]


def test_a_process_has_a_wall_clock_of_its_own(loop: VirtualLoop) -> None:
    one, other = new_process("one", loop), new_process("other", loop)
    one.clock_offset = 60.0
    assert (one.wall(), other.wall()) == (EPOCH + 60, EPOCH)


def test_a_loop_in_which_nothing_can_happen_any_more_says_so(loop: VirtualLoop) -> None:
    with pytest.raises(NothingLeftError, match="no timer is left"):
        loop.run_until_complete(loop.create_future())
