"""Whether Skyvern answers reads, as a process tells it with each heartbeat."""

from tests.simulator.simulating import FakeClock
from worker.reads import Reads, Told


def test_a_process_that_read_nothing_says_nothing() -> None:
    assert Reads(FakeClock()).told() == Told(-1, -1, "")


def test_reads_fail_from_the_first_failure_after_the_last_answer_on() -> None:
    clock = FakeClock()
    reads = Reads(clock)
    reads.answered()
    clock.advance(10)
    reads.failed(503)
    clock.advance(5)
    reads.failed(None)

    assert reads.told() == Told(15_000_000, 5_000_000, "no answer")


def test_an_answer_ends_it() -> None:
    clock = FakeClock()
    reads = Reads(clock)
    reads.failed(403)
    clock.advance(5)
    reads.answered()

    assert reads.told() == Told(0, -1, "")


def test_a_failure_after_which_nothing_was_asked_is_forgotten_in_a_minute() -> None:
    clock = FakeClock()
    reads = Reads(clock)
    reads.failed(403)
    clock.advance(60)
    assert reads.told().why == "HTTP 403"
    clock.advance(1)

    assert reads.told() == Told(-1, -1, "")
