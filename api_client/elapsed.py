"""A clock that nobody sets, and that counts while the machine is suspended."""

import time

#: `time.monotonic` stands still in a suspend on Linux; other systems have no clock beside it.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return seconds since some moment before the process began."""
    return time.clock_gettime(CLOCK)


def elapsed_us() -> int:
    """Return the same in whole microseconds."""
    return time.clock_gettime_ns(CLOCK) // 1000
