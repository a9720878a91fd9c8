"""How long jobs take: by what was seen of a batch, else by what the account can do.

Pure functions. A forecast rests on today's limits and on how long the last runs took; whatever
else waits in line, and jobs with a `run_at`, it knows nothing of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from runqueue.stats import AccountStats

#: Ends from which on what was seen of a batch is believed.
ENOUGH = 10


class Capacity(NamedTuple):
    """What an account can do.

    Args:
        dispatches_per_second: submissions, as the limits and the server allow; 0 = no limit.
        concurrent_runs: at once; 0 = no limit.
        mean_run_seconds: how long runs take; None = no run has ended yet.
    """

    dispatches_per_second: float = 0.0
    concurrent_runs: int = 0
    mean_run_seconds: float | None = None


class Seen(NamedTuple):
    """How fast the jobs of a batch ended.

    Args:
        ends: how many did, those of long ago counting less.
        seconds: in how much time, likewise.
        silence: seconds since the last of them.
    """

    ends: float
    seconds: float
    silence: float

    @property
    def rate(self) -> float | None:
        """Ends a second; None = too few to tell."""
        if self.ends < ENOUGH or self.seconds <= 0:
            return None
        # Where the next end is overdue, it is slower by now than it was.
        return min(self.ends / self.seconds, (self.ends + 1) / (self.seconds + self.silence))


def read_capacity(reply: list[Any]) -> Capacity:
    """Read an account's capacity as `lib/capacity.lua` gives it."""
    dispatches, runs, mean_us = reply
    return Capacity(float(dispatches), int(runs), float(mean_us) / 1e6 if mean_us else None)


def seconds_for(jobs: int, stats: AccountStats) -> float | None:
    """Return how long so many jobs take at today's limits, in seconds; None = nobody knows.

    Args:
        jobs: how many, with those ahead of them in line (`AccountStats.ahead_of`).
        stats: whose.
    """
    return seconds_at(jobs, stats.capacity)


def seconds_at(jobs: int, capacity: Capacity) -> float | None:
    """Return how long so many jobs take with that capacity; see `seconds_for`."""
    if jobs < 1:
        return 0.0
    dispatches, runs, mean = capacity
    if runs and mean is None:
        return None
    rates = [dispatches] if dispatches else []
    if runs and mean:
        rates.append(runs / mean)
    if not rates:
        return mean
    return max(jobs / min(rates), mean or 0.0)


def seconds_left(jobs: int, seen: Seen, capacity: Capacity) -> float | None:
    """Return how long the rest of a batch takes, in seconds; None = nobody knows."""
    return jobs / seen.rate if seen.rate else seconds_at(jobs, capacity)
