"""How long jobs take: a batch's by how fast its jobs ended, new ones' by what the account can do.

Pure functions. That of new jobs rests on today's limits and on how long the last runs took;
whatever else waits in line, and jobs with a `run_at`, it knows nothing of.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

#: Seconds; a hold that lasts longer than a year waits for a person.
LONGEST_HOLD = 365 * 86_400.0
#: Ends from which on what was seen of a batch is believed.
ENOUGH = 10
#: Seconds; a batch of which no job ended for longer, and for longer than its rest should take, has
#: no forecast.
LONG_SILENCE = 60.0


class Capacity(NamedTuple):
    """What an account can do.

    Args:
        submissions_per_second: submissions, as the limits and the server allow; 0 = no limit.
        concurrent_runs: at once; 0 = no limit.
        mean_run_seconds: how long runs take; None = no run has ended yet.
        hold_seconds: for how long nothing is submitted; infinite = until a person says otherwise.
    """

    submissions_per_second: float = 0.0
    concurrent_runs: int = 0
    mean_run_seconds: float | None = None
    hold_seconds: float = 0.0


class EndRate(NamedTuple):
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
        """Ends a second; None = too few to say."""
        if self.ends < ENOUGH or self.seconds <= 0:
            return None
        # Where the next end is overdue, it is slower by now than it was.
        return min(self.ends / self.seconds, (self.ends + 1) / (self.seconds + self.silence))


def read_capacity(reply: list[Any], held: float = 0.0) -> Capacity:
    """Read an account's capacity as `lib/account/capacity.lua` gives it.

    Args:
        reply: of the script.
        held: seconds for which nothing is submitted.
    """
    submissions, runs, mean_us = reply
    mean = float(mean_us) / 1e6 if mean_us else None
    return Capacity(float(submissions), int(runs), mean, math.inf if held > LONGEST_HOLD else held)


def seconds_for(jobs: int, capacity: Capacity) -> float | None:
    """Return how long so many jobs take at today's limits, in seconds; None = it is not known.

    Args:
        jobs: how many, with those ahead of them in line (`AccountStats.ahead_of`).
        capacity: that of their account.
    """
    found = seconds_at(jobs, capacity)
    if found is None or math.isinf(capacity.hold_seconds):
        return None
    return found + capacity.hold_seconds


def seconds_at(jobs: int, capacity: Capacity) -> float | None:
    """Return how long so many jobs take with that capacity, once nothing holds them.

    See `seconds_for`.
    """
    if jobs < 1:
        return 0.0
    submissions, runs, mean, _ = capacity
    if runs and mean is None:
        return None
    rates = [submissions] if submissions else []
    if runs and mean:
        rates.append(runs / mean)
    if not rates:
        return mean
    return max(jobs / min(rates), mean or 0.0)


class UsageStatistics(NamedTuple):
    """The steps, or credits, that runs took.

    Args:
        runs: how many runs are known of.
        amount: what they took together.
        squares: the sum of the squares of what each took.
    """

    runs: int = 0
    amount: int = 0
    squares: int = 0

    @property
    def variance(self) -> float:
        """The sample variance."""
        mean = self.amount / self.runs
        return max(0.0, (self.squares - self.runs * mean**2) / max(1, self.runs - 1))


class UsageForecast(NamedTuple):
    """The steps, or credits, that jobs are expected to take.

    Args:
        amount: the most likely number.
        least, most: between these it lies in 19 of 20 cases, if the jobs are like those before.
    """

    amount: float
    least: float
    most: float


def usage_for(jobs: int, seen: UsageStatistics) -> UsageForecast | None:
    """Return how much so many jobs take, one run each; None = no run is known of.

    The spread is that of the prediction interval of a sum of independent values with a mean that
    is estimated from `seen.runs` of them, by the normal distribution.

    Args:
        jobs: how many.
        seen: what runs took so far.
    """
    if not seen.runs:
        return None
    expected = jobs * seen.amount / seen.runs
    spread = 1.96 * math.sqrt(seen.variance * (jobs + jobs**2 / seen.runs))
    return UsageForecast(expected, max(0.0, expected - spread), expected + spread)


def seconds_left(jobs: int, seen: EndRate) -> float | None:
    """Return how long the rest of a batch takes, in seconds; None = it is not known.

    Args:
        jobs: how many are to end.
        seen: how fast jobs of the batch ended.
    """
    if not seen.rate or seen.silence > max(LONG_SILENCE, jobs * seen.seconds / seen.ends):
        return None
    return jobs / seen.rate
