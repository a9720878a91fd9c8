"""A clock that is never set, and that counts while the machine is suspended."""

import time

#: `time.monotonic` stops while Linux is suspended; other systems have no clock beside it.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return seconds since some moment before the process began."""
    return time.clock_gettime(CLOCK)


def passed_us() -> int:
    """Return the same in whole microseconds, as some scripts take it."""
    return time.clock_gettime_ns(CLOCK) // 1000
