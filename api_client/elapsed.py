"""A clock that nobody sets, and that counts while the machine is suspended."""

import time
from collections.abc import Callable
from functools import partial

#: `time.monotonic` stands still in a suspend on Linux; other systems have no clock beside it.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


#: Returns seconds since some moment before the process began.
elapsed: Callable[[], float] = partial(time.clock_gettime, CLOCK)


def elapsed_us() -> int:
    """Return the same in whole microseconds."""
    return time.clock_gettime_ns(CLOCK) // 1000
