"""How long jobs take, by phase: histograms that the scripts count in Redis, where a phase ends.

So they add up over processes, and outlive them. `lua/lib/account/times.lua` has the bounds, too.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass

#: Upper bounds of the buckets, in seconds; above the last there is one more, without a bound.
BOUNDS = (
    *(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600),
    *(1_800, 3_600, 7_200, 21_600, 86_400),
)
#: What is timed, as the counters name it.
NAMES = ("queue", "run_queue", "run", "result", "delivery")


@dataclass(frozen=True, slots=True)
class Times:
    """A histogram.

    Args:
        counts: how many fell into each bucket, not cumulated; one more than `BOUNDS`.
        sum_seconds: of all of them.
    """

    counts: tuple[int, ...]
    sum_seconds: float


def take_times(counters: MutableMapping[str, int]) -> dict[str, Times]:
    """Take the histograms out of an account's counters, by what was timed."""
    return {name: _take(name, counters) for name in NAMES}


def _take(name: str, counters: MutableMapping[str, int]) -> Times:
    buckets = [*(f"{bound:g}" for bound in BOUNDS), "more"]
    counts = tuple(counters.pop(f"time:{name}:{bucket}", 0) for bucket in buckets)
    return Times(counts, counters.pop(f"time:{name}:sum", 0) / 1000)
