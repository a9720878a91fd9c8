"""The process's own clock, which nobody sets."""

import time

#: Where the system has one (Linux), the clock that goes on while the machine is suspended.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return seconds since some moment before the process began, those of a suspend included."""
    return time.clock_gettime(_CLOCK)


def passed_us() -> int:
    """Return the same in whole microseconds."""
    return time.clock_gettime_ns(_CLOCK) // 1000
