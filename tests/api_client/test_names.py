"""Looking names up: in threads of their own, once for all who wait, and not for ever."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from api_client.names import Names, addresses_of
from tests.simulator.simulating import eventually


class System:
    """Asked for names; tells of none before it may."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.may_tell = threading.Event()

    def ask(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        self.may_tell.wait()
        if host == "nobody.test":
            raise OSError("no such name")
        return [f"{host}'s"]


@pytest.fixture
def system() -> Iterator[System]:
    one = System()
    yield one
    one.may_tell.set()


async def stopped(*tasks: asyncio.Task[Sequence[str]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_the_system_knows_this_machine() -> None:
    assert addresses_of("127.0.0.1", 80) == ["127.0.0.1"]


async def test_all_who_wait_for_a_name_share_one_look_up(system: System) -> None:
    names = Names(system.ask)
    waiting = [asyncio.create_task(names.look_up("a.test", 80)) for _ in range(5)]
    await eventually(lambda: system.asked)
    system.may_tell.set()

    assert await asyncio.gather(*waiting) == [["a.test's"]] * 5
    assert system.asked == [("a.test", 80)]


async def test_a_name_is_looked_up_again_once_it_was_told(system: System) -> None:
    names = Names(system.ask)
    system.may_tell.set()
    for _ in range(2):
        await names.look_up("a.test", 80)

    assert system.asked == [("a.test", 80)] * 2


async def test_each_of_those_who_wait_is_told_what_went_wrong(system: System) -> None:
    system.may_tell.set()
    names = Names(system.ask)

    found = await asyncio.gather(
        names.look_up("nobody.test", 80), names.look_up("nobody.test", 80), return_exceptions=True
    )

    assert [str(error) for error in found] == ["no such name"] * 2


async def test_who_stops_waiting_takes_nothing_from_the_others(system: System) -> None:
    names = Names(system.ask)
    first, second = (asyncio.create_task(names.look_up("a.test", 80)) for _ in range(2))
    await eventually(lambda: system.asked)
    await stopped(first)
    system.may_tell.set()

    assert await second == ["a.test's"]


async def test_a_look_up_that_everybody_left_is_what_the_next_one_waits_for(
    system: System,
) -> None:
    names = Names(system.ask)
    left = asyncio.create_task(names.look_up("a.test", 80))
    await eventually(lambda: system.asked)
    await stopped(left)
    again = asyncio.create_task(names.look_up("a.test", 80))
    await asyncio.sleep(0)
    system.may_tell.set()

    assert await again == ["a.test's"]
    assert system.asked == [("a.test", 80)]


async def test_a_look_up_that_everybody_left_before_its_turn_is_none(system: System) -> None:
    names = Names(system.ask, threads=1)
    first, second = (asyncio.create_task(names.look_up(name, 80)) for name in ("a", "b"))
    await eventually(lambda: system.asked)
    await stopped(second)
    again = asyncio.create_task(names.look_up("b", 81))
    system.may_tell.set()

    assert (await first, await again) == (["a's"], ["b's"])
    assert system.asked == [("a", 80), ("b", 81)]


async def test_a_failure_that_nobody_waits_for_is_let_be(system: System) -> None:
    names = Names(system.ask)
    left = asyncio.create_task(names.look_up("nobody.test", 80))
    await eventually(lambda: system.asked)
    await stopped(left)
    system.may_tell.set()
    await eventually(lambda: not names._open)


async def test_who_waits_for_too_long_is_told_so(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_client.names.LOOK_UP_SECONDS", 0.05)

    with pytest.raises(OSError, match="nobody tells in time"):
        await Names(system.ask).look_up("a.test", 80)


async def test_the_end_waits_for_no_look_up(system: System) -> None:
    names = Names(system.ask, threads=1)
    both = [asyncio.create_task(names.look_up(name, 80)) for name in ("a", "b")]
    await eventually(lambda: system.asked)
    names.close()

    for task in both:
        with pytest.raises(OSError, match="not looked up any more"):
            await task
    assert system.asked == [("a", 80)]
