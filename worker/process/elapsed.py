"""The process's own clock, which nobody sets, for the scripts that are told how far it went."""

import time

from api_client.elapsed import CLOCK


def passed_us() -> int:
    """Return whole microseconds of `api_client.elapsed`."""
    return time.clock_gettime_ns(CLOCK) // 1000
