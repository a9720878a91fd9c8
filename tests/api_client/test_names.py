"""Looking names up: in threads of their own, once for all who wait, and not for ever."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from api_client.http.resolver import PER_DOMAIN, THREADS, HostNames, addresses_of, domain_of
from tests.simulator.simulating import eventually


class System:
    """Asked for names; tells of none before it may, but of those that are quick."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.may_tell = threading.Event()

    def ask(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        if not host.startswith("quick"):
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
    names = HostNames(system.ask)
    waiting = [asyncio.create_task(names.look_up("a.test", 80)) for _ in range(5)]
    await eventually(lambda: system.asked)
    system.may_tell.set()

    assert await asyncio.gather(*waiting) == [["a.test's"]] * 5
    assert system.asked == [("a.test", 80)]


async def test_a_name_is_looked_up_again_once_it_was_told(system: System) -> None:
    names = HostNames(system.ask)
    system.may_tell.set()
    for _ in range(2):
        await names.look_up("a.test", 80)

    assert system.asked == [("a.test", 80)] * 2


async def test_each_of_those_who_wait_is_resolved_what_went_wrong(system: System) -> None:
    system.may_tell.set()
    names = HostNames(system.ask)

    found = await asyncio.gather(
        names.look_up("nobody.test", 80), names.look_up("nobody.test", 80), return_exceptions=True
    )

    assert [str(error) for error in found] == ["no such name"] * 2


async def test_who_stops_waiting_takes_nothing_from_the_others(system: System) -> None:
    names = HostNames(system.ask)
    first, second = (asyncio.create_task(names.look_up("a.test", 80)) for _ in range(2))
    await eventually(lambda: system.asked)
    await stopped(first)
    system.may_tell.set()

    assert await second == ["a.test's"]


async def test_a_look_up_that_everybody_left_is_what_the_next_one_waits_for(
    system: System,
) -> None:
    names = HostNames(system.ask)
    left = asyncio.create_task(names.look_up("a.test", 80))
    await eventually(lambda: system.asked)
    await stopped(left)
    again = asyncio.create_task(names.look_up("a.test", 80))
    await asyncio.sleep(0)
    system.may_tell.set()

    assert await again == ["a.test's"]
    assert system.asked == [("a.test", 80)]


async def test_a_look_up_that_everybody_left_before_its_turn_is_none(system: System) -> None:
    names = HostNames(system.ask, threads=1)
    first, second = (asyncio.create_task(names.look_up(name, 80)) for name in ("a", "b"))
    await eventually(lambda: system.asked)
    await stopped(second)
    again = asyncio.create_task(names.look_up("b", 81))
    system.may_tell.set()

    assert (await first, await again) == (["a's"], ["b's"])
    assert system.asked == [("a", 80), ("b", 81)]


async def test_a_failure_that_nobody_waits_for_is_let_be(system: System) -> None:
    names = HostNames(system.ask)
    left = asyncio.create_task(names.look_up("nobody.test", 80))
    await eventually(lambda: system.asked)
    await stopped(left)
    system.may_tell.set()
    await eventually(lambda: not names._open)


async def test_who_waits_for_too_long_is_resolved_so(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_client.http.resolver.LOOK_UP_SECONDS", 0.05)

    with pytest.raises(OSError, match="no answer in time"):
        await HostNames(system.ask).look_up("a.test", 80)


async def hanging(
    system: System, names: HostNames, *hosts: str
) -> list[asyncio.Task[Sequence[str]]]:
    """Begin to look names up that nobody tells of."""
    tasks = [asyncio.create_task(names.look_up(host, 80)) for host in hosts]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize("domain", ["evil.test", "evil.co.uk"])
async def test_names_of_one_domain_that_nobody_tells_of_keep_no_other_waiting(
    system: System, domain: str
) -> None:
    names = HostNames(system.ask)
    tasks = await hanging(system, names, *(f"slow{n}.{domain}" for n in range(2 * THREADS)))

    assert await names.look_up("quick.honest.test", 80) == ["quick.honest.test's"]
    assert await names.look_up("quick.honest.co.uk", 80) == ["quick.honest.co.uk's"]
    assert len(system.asked) == PER_DOMAIN + 2
    await stopped(*tasks)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("hooks.shop.test", "shop.test"),
        ("A.Hooks.Shop.test.", "shop.test"),
        ("hooks.shop.co.uk", "shop.co.uk"),
        ("shop.co.uk", "shop.co.uk"),
        ("hooks.bahn.de", "bahn.de"),
        ("localhost", "localhost"),
        ("uk", "uk"),
        (".", ""),
    ],
)
def test_a_domain_is_what_one_owner_has(host: str, domain: str) -> None:
    assert domain_of(host) == domain


async def test_a_name_that_was_told_before_has_its_turn_whatever_strangers_there_are(
    system: System,
) -> None:
    names = HostNames(system.ask)
    await names.look_up("quick.honest.test", 80)
    tasks = await hanging(system, names, *(f"slow.evil{n}.test" for n in range(2 * THREADS)))

    assert await names.look_up("quick.honest.test", 80) == ["quick.honest.test's"]
    await stopped(*tasks)


async def test_a_name_that_is_resolved_no_more_is_a_stranger_again(system: System) -> None:
    names = HostNames(system.ask)
    system.may_tell.set()
    hosts = [f"slow.evil{n}.test" for n in range(THREADS)]
    for host in hosts:
        await names.look_up(host, 80)
    system.may_tell.clear()
    tasks = await hanging(system, names, *hosts)
    await stopped(*tasks)
    system.may_tell.set()
    await eventually(lambda: not names.running)
    system.may_tell.clear()
    await names.look_up("quick.honest.test", 80)
    tasks = await hanging(system, names, *hosts)

    assert await names.look_up("quick.honest.test", 80) == ["quick.honest.test's"]
    await stopped(*tasks)


async def test_of_the_names_that_were_told_the_newest_are_remembered(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_client.http.resolver.MOST_KNOWN", 2)
    names = HostNames(system.ask)
    for host in ("quick.a.test", "quick.b.test", "quick.a.test", "quick.c.test"):
        await names.look_up(host, 80)

    assert list(names._known) == ["quick.a.test", "quick.c.test"]


async def test_those_who_wait_for_their_domain_s_turn_have_it_one_after_the_other(
    system: System,
) -> None:
    names = HostNames(system.ask)
    hosts = [f"slow{n}.busy.test" for n in range(3 * PER_DOMAIN)]
    tasks = await hanging(system, names, *hosts)
    system.may_tell.set()

    assert await asyncio.gather(*tasks) == [[f"{host}'s"] for host in hosts]


async def test_a_look_up_that_nobody_waits_for_any_more_gives_up_its_turn_for_good(
    system: System,
) -> None:
    names = HostNames(system.ask)
    first = await hanging(system, names, *(f"slow{n}.busy.test" for n in range(PER_DOMAIN)))
    left = await hanging(system, names, "left.busy.test")
    last = await hanging(system, names, "last.busy.test")
    await stopped(*left)
    system.may_tell.set()
    await asyncio.gather(*first, *last)

    assert ("left.busy.test", 80) not in system.asked


async def test_the_end_waits_for_no_look_up(system: System) -> None:
    names = HostNames(system.ask, threads=1)
    both = [asyncio.create_task(names.look_up(name, 80)) for name in ("a", "b")]
    await eventually(lambda: system.asked)
    names.close()

    for task in both:
        with pytest.raises(OSError, match="not looked up any more"):
            await task
    assert system.asked == [("a", 80)]


async def test_what_is_told_after_the_end_is_let_be(system: System) -> None:
    names = HostNames(system.ask, threads=1)
    task = asyncio.create_task(names.look_up("a", 80))
    await eventually(lambda: system.asked)
    names.close()
    system.may_tell.set()

    await eventually(lambda: names.running == 0)

    with pytest.raises(OSError, match="not looked up any more"):
        await task


@pytest.fixture
def exiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no thread take anything any more, as at the interpreter's exit."""

    def submit(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)


async def test_at_the_interpreters_exit_a_name_is_looked_up_where_it_is_asked_for(
    system: System, exiting: None
) -> None:
    names = HostNames(system.ask)
    system.may_tell.set()
    assert await names.look_up("a.test", 80) == ["a.test's"]
    with pytest.raises(OSError, match="no such name"):
        await names.look_up("nobody.test", 80)
    assert names.running == 0


async def test_after_the_end_no_name_is_looked_up(system: System) -> None:
    names = HostNames(system.ask)
    names.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        await names.look_up("a.test", 80)
    assert system.asked == []
