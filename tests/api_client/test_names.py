"""Looking names up, in threads of its own: slow names hold up nothing else."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from api_client.http.connect import HostNames, addresses_of
from tests.simulator.simulating import eventually


class System:
    """Asked for names; tells of those that are slow only once it may."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_tell = threading.Event()

    def ask(self, host: str, _: int) -> Sequence[str]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.may_tell.wait()
        if host == "nobody.test":
            raise OSError("no such name")
        return [f"{host}'s"]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    one = System()
    monkeypatch.setattr("api_client.http.connect.addresses_of", one.ask)
    yield one
    one.may_tell.set()


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api_client.http.connect.THREADS", 1)


def test_the_system_knows_this_machine() -> None:
    assert addresses_of("127.0.0.1", 80) == ["127.0.0.1"]


async def test_slow_names_keep_neither_other_names_waiting_nor_the_loop_s_own_threads(
    system: System,
) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    names = HostNames()
    slow = [asyncio.create_task(names.look_up(f"slow{n}.test", 80)) for n in range(9)]

    assert await names.look_up("quick.test", 80) == ["quick.test's"]
    assert await asyncio.to_thread(lambda: "runs") == "runs"
    system.may_tell.set()
    assert await asyncio.gather(*slow) == [[f"slow{n}.test's"] for n in range(9)]


async def test_a_name_without_an_address_is_an_error(system: System) -> None:
    with pytest.raises(OSError, match="no such name"):
        await HostNames().look_up("nobody.test", 80)


@pytest.mark.usefixtures("one_thread")
async def test_a_look_up_that_nobody_waits_for_any_more_has_no_turn(system: System) -> None:
    names = HostNames()
    slow, left, last = (
        asyncio.create_task(names.look_up(host, 80)) for host in ("slow", "left", "last")
    )
    await eventually(lambda: system.asked)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    system.may_tell.set()

    assert (await slow, await last) == (["slow's"], ["last's"])
    assert system.asked == ["slow", "last"]


@pytest.mark.usefixtures("one_thread")
async def test_the_end_waits_for_no_look_up_and_takes_none_from_those_who_wait(
    system: System,
) -> None:
    names = HostNames()
    both = [asyncio.create_task(names.look_up(host, 80)) for host in ("slow", "quick")]
    await eventually(lambda: system.asked)
    names.close()
    system.may_tell.set()

    assert await asyncio.gather(*both) == [["slow's"], ["quick's"]]


async def test_at_the_interpreters_exit_a_name_is_looked_up_where_it_is_asked_for(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    assert await HostNames().look_up("a.test", 80) == ["a.test's"]
    with pytest.raises(OSError, match="no such name"):
        await HostNames().look_up("nobody.test", 80)
