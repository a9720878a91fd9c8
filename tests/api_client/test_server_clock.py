"""What the server's own clock shows, as far as its answers tell."""

import time

import pytest

from api_client.answers.server_clock import ServerClock
from api_client.elapsed import elapsed, elapsed_us
from tests.simulator.simulating import FakeClock


def test_before_the_first_dated_answer_the_server_s_time_is_not_known() -> None:
    clock = ServerClock()
    clock.learn(None)

    assert clock.now_us() is None


def test_the_newest_date_goes_on_with_the_process_s_own_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = FakeClock()
    monkeypatch.setattr("api_client.answers.server_clock.elapsed", own)
    clock = ServerClock()
    clock.learn(1_000.0)
    own.advance(0.5)
    clock.learn(1_000.0)
    own.advance(7.0)
    assert clock.now_us() == 1_007_500_000, "of answers with one date the first says the most"

    clock.learn(1_600.0)
    clock.learn(None)
    own.advance(1)
    assert clock.now_us() == 1_601_000_000

    clock.learn(900.0)
    assert clock.now_us() == 900_000_000, "the server's clock may have been set back"


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="the system has no such clock")
def test_the_process_s_own_clock_counts_while_the_machine_is_suspended() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now, now_us = elapsed(), elapsed_us()
    after = time.clock_gettime(time.CLOCK_BOOTTIME)

    assert before <= now <= now_us / 1e6 + 1e-6 <= after + 2e-6
