"""What the server's own clock shows, as far as its answers tell."""

import time

import pytest

from api_client.elapsed import elapsed
from tests.simulator.simulating import FakeClock
from worker.process.elapsed import passed_us
from worker.process.server_date import ServerDate


def test_the_newest_date_goes_on_with_the_process_s_own_clock() -> None:
    clock = FakeClock()
    date = ServerDate(clock)
    date.note(1_000.0)
    clock.advance(7.5)
    assert date.now_us() == 1_007_500_000

    date.note(1_600.0)
    date.note(None)
    clock.advance(1)
    assert date.now_us() == 1_601_000_000


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="the system has no such clock")
def test_the_process_s_own_clock_counts_while_the_machine_is_suspended() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now, now_us = elapsed(), passed_us()
    after = time.clock_gettime(time.CLOCK_BOOTTIME)

    assert before <= now <= now_us / 1e6 + 1e-6 <= after + 2e-6
