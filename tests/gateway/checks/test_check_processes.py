"""Checks in processes of their own: what happens where one goes wrong, and to the others."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bench.trees import open_files, tree
from gateway.checks import processes
from gateway.checks.messages import CheckBudget, CheckFailed, Crashed, TooLarge
from gateway.checks.processes import (
    SERVER,
    BodyCheck,
    CheckLost,
    CheckProcesses,
    SenderGone,
)
from gateway.tenants.sources import BURST
from tests.gateway.odd_work import Odd
from tests.simulator.simulating import eventually


@pytest.fixture
async def checks() -> AsyncIterator[CheckProcesses]:
    """Checks that may take little time."""
    made = CheckProcesses(CheckBudget(seconds=0.2, seconds_per_mib=1, step=0.01))
    yield made
    made.close()


async def feed(check: BodyCheck, part: bytes) -> None:
    """Feed a part that holds no jobs."""
    assert [packet async for packet in check.feed(part)] == []


def here() -> bool:
    """The sender waits for its answer."""
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is bounded there")
async def test_a_check_that_wants_too_much_memory_is_refused(checks: CheckProcesses) -> None:
    async with checks.check(Odd, "a", here) as check:
        with pytest.raises(TooLarge, match="too much memory"):
            await feed(check, b"hoard")


async def test_a_check_that_wants_too_much_time_is_refused(checks: CheckProcesses) -> None:
    async with checks.check(Odd, "a", here) as check:
        with pytest.raises(TooLarge, match="too much time for its size"):
            await feed(check, b"spin")


async def test_a_larger_body_may_take_more_time(checks: CheckProcesses) -> None:
    async with checks.check(Odd, "a", here) as check:
        await feed(check, bytes(2**20))
        with pytest.raises(TooLarge, match="too much time for its size"):
            await feed(check, b"spin")


async def test_a_process_that_is_killed_is_lost_alone(checks: CheckProcesses) -> None:
    async with checks.check(Odd, "a", here) as check, checks.check(Odd, "b", here) as other:
        await feed(other, b"")
        with pytest.raises(CheckLost):
            await feed(check, b"die")
        await feed(other, b"")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGSEGV, "too much memory"),
        (signal.SIGABRT, "too much memory"),
        (signal.SIGXCPU, "too much time"),
    ],
)
async def test_a_body_whose_check_crashes_is_too_large_and_no_other_is_lost(
    checks: CheckProcesses, number: signal.Signals, said: str
) -> None:
    async with checks.check(Odd, "a", here) as check, checks.check(Odd, "b", here) as other:
        await feed(other, b"")
        with pytest.raises(Crashed, match=said):
            await feed(check, b"crash %d" % number)
        await feed(other, b"")


async def test_checks_that_are_over_leave_no_process_and_no_open_file(
    checks: CheckProcesses,
) -> None:
    for _ in range(8):
        async with checks.check(Odd, "a", here) as check:
            await feed(check, b"")
    assert SERVER._process is not None
    pid = SERVER._process.pid

    def open_kinds() -> list[str]:
        return sorted(name.partition(":")[0] for name in open_files(pid))

    await eventually(lambda: len(tree(pid)) == 1)
    # Its standard files, and the socket over which it hears of checks.
    await eventually(lambda: open_kinds() == ["/dev/null", "/dev/null", "pipe", "socket"])


async def test_a_mistake_is_named_by_its_kind_and_quotes_nothing(checks: CheckProcesses) -> None:
    async with checks.check(Odd, "a", here) as check:
        with pytest.raises(CheckFailed) as found:
            await feed(check, b"fail")

    assert str(found.value) == "KeyError"


async def test_what_a_check_process_writes_is_logged_line_by_line(checks: CheckProcesses) -> None:
    SERVER.close()
    with capture_logs() as lines:
        async with checks.check(Odd, "a", here) as check:
            await feed(check, b"warn")
        await eventually(lambda: "use the new one" in [line.get("words") for line in lines])

    assert {line["event"] for line in lines} == {"check_process_wrote"}


def test_much_that_check_processes_write_makes_few_and_short_lines_of_the_log() -> None:
    written = io.StringIO(("x" * 100_000 + "\n") * BURST)
    with capture_logs() as lines:
        processes._log_lines(written)

    assert BURST <= len(lines) < 2 * BURST
    assert max(len(line["words"]) for line in lines) <= 1_000
    assert {line["more"] for line in lines[:BURST]} == {0}


async def test_a_sender_that_has_gone_ends_a_check_at_its_next_step(
    checks: CheckProcesses,
) -> None:
    gone = False
    async with checks.check(Odd, "a", lambda: gone) as check:
        await feed(check, b"")
        gone = True
        with pytest.raises(SenderGone):
            await feed(check, b"spin")
    assert checks.under_way == 0


async def test_a_check_that_is_given_up_in_a_step_leaves_no_process(
    checks: CheckProcesses,
) -> None:
    checks.budget = CheckBudget(seconds=60, seconds_per_mib=1, step=0.01)

    def at_work() -> list[int]:
        assert SERVER._process is not None
        return tree(SERVER._process.pid)[1:]

    async def check_it() -> None:
        async with checks.check(Odd, "a", here) as check:
            await feed(check, b"spin")

    SERVER.start()
    await eventually(lambda: not at_work())  # those of other tests
    task = asyncio.create_task(check_it())
    await eventually(at_work)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await eventually(lambda: not at_work())
    async with checks.check(Odd, "a", here) as check:  # its turn is another's
        await feed(check, b"")


async def test_what_makes_the_processes_is_made_again(checks: CheckProcesses) -> None:
    SERVER.start()
    assert SERVER._process is not None
    SERVER._process.kill()
    SERVER._process.wait()

    async with checks.check(Odd, "a", here) as check:
        await feed(check, b"")


async def test_a_check_process_looks_for_no_modules_in_the_working_directory(
    checks: CheckProcesses,
) -> None:
    async with checks.check(Odd, "a", here) as check:
        await feed(check, b"search")


@pytest.mark.skipif(sys.platform != "linux", reason="a process is given cores there")
def test_only_cores_that_this_process_may_use_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6})
    quota = tmp_path / "cpu.max"

    assert processes.usable_cores(quota) == 3
    quota.write_text("max 100000\n")
    assert processes.usable_cores(quota) == 3
    quota.write_text("150000 100000\n")
    assert processes.usable_cores(quota) == 2


async def test_checks_take_turns_by_bearer(checks: CheckProcesses) -> None:
    checks.budget = CheckBudget(seconds=60, seconds_per_mib=1, step=0.01)

    async def spin() -> None:
        async with checks.check(Odd, "greedy", here) as check:
            await feed(check, b"spin")

    spinning = [asyncio.create_task(spin()) for _ in range(6)]
    await eventually(lambda: checks.under_way == 6)
    async with checks.check(Odd, "neighbour", here) as check:
        await feed(check, b"")
        await feed(check, b"")
    for one in spinning:
        assert not one.done()
        one.cancel()
    await asyncio.wait(spinning)
