"""Whether Skyvern answers reads, as a process tells it with each heartbeat."""

import asyncio

import pytest

from tests.simulator.simulating import FakeClock
from worker.process.read_health import ReadReport, Reads


def test_reads_fail_from_the_first_failure_after_the_last_answer_on() -> None:
    clock = FakeClock()
    reads = Reads(clock)
    reads.answered()
    clock.advance(10)
    reads.failed(503)
    clock.advance(5)
    reads.failed(None)

    assert reads.report() == ReadReport(15_000_000, 5_000_000, "no answer")


def test_a_failure_after_which_nothing_was_asked_is_forgotten_in_a_minute() -> None:
    clock = FakeClock()
    reads = Reads(clock)
    reads.failed(403)
    clock.advance(60)
    assert reads.report().why == "HTTP 403"
    clock.advance(1)

    assert reads.report() == ReadReport(-1, -1, "")


class Control:
    """A read of another run, which the server answers, or does not."""

    def __init__(self, reads: Reads, *, answered: bool) -> None:
        self.reads = reads
        self.is_answered = answered
        self.made = 0

    async def __call__(self) -> None:
        self.made += 1
        await asyncio.sleep(0)
        if self.is_answered:
            self.reads.answered()
        else:
            self.reads.failed(500)


@pytest.mark.parametrize("answered", [True, False])
async def test_many_reads_that_failed_at_once_ask_once_whether_any_is_answered(
    answered: bool,
) -> None:
    reads = Reads(FakeClock())
    control = Control(reads, answered=answered)

    found = await asyncio.gather(*(reads.are_answered_now(control) for _ in range(100)))

    assert (set(found), control.made) == ({answered}, 1)


async def test_an_answer_from_before_a_failure_says_nothing_of_now() -> None:
    clock = FakeClock()
    reads = Reads(clock)
    reads.answered()
    clock.advance(1)
    control = Control(reads, answered=False)

    assert not await reads.are_answered_now(control)
    assert control.made == 1


async def test_a_server_that_answers_no_read_is_asked_again_after_half_a_minute() -> None:
    clock = FakeClock()
    reads = Reads(clock)
    control = Control(reads, answered=False)
    assert not await reads.are_answered_now(control)
    control.is_answered = True
    clock.advance(29)
    assert not await reads.are_answered_now(control)
    clock.advance(1)
    assert await reads.are_answered_now(control)
    assert control.made == 2
