"""An account's limits: what the workers' environments say, and what people set live.

A limit that is set live wins, for every worker and at once, until it is reset. Both are kept, so
that the difference can be shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from runqueue.records.job import fields_of


class Range(NamedTuple):
    """What a limit may be, beside 0, which means that there is none; a burst of 0 is one of 1.

    Args:
        most: the largest value.
        whole: whether it counts things.
        words: what it limits, for people.
    """

    most: int
    whole: bool
    words: str


#: Every limit, under the name that it has in the queue; settings put `max_` before it.
RANGES: Final[dict[str, Range]] = {
    "submissions_per_second": Range(100_000, False, "submissions per second"),
    "burst_size": Range(100_000, True, "submissions, or calls, at once after a pause"),
    "concurrent_runs": Range(1_000_000, True, "runs under way at once"),
    "requests_per_second": Range(100_000, False, "calls of all kinds per second"),
    "webhooks_per_second": Range(100_000, False, "relayed webhooks per second"),
    "waiting_jobs": Range(10**9, True, "jobs that wait, before more are refused"),
    "waiting_bytes": Range(2**50, True, "bytes of their requests, likewise"),
}


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """The limits of an account; 0 = none, and a burst of 1.

    Args:
        environment: those of the worker that started last.
        live: what people set since, which wins.
    """

    account: str
    environment: dict[str, float]
    live: dict[str, float]

    @property
    def in_force(self) -> dict[str, float]:
        """What holds now."""
        return {name: self.live.get(name, self.environment.get(name, 0.0)) for name in RANGES}

    def as_dict(self) -> dict[str, Any]:
        """Return the limits as JSON values."""
        return {
            "account": self.account,
            "limits": self.in_force,
            "environment": self.environment,
            "live": self.live,
        }


def read_limits(account: str, reply: Any) -> AccountLimits:
    """Read limits as a script gives them."""
    found = fields_of(reply)
    environment, live = (
        {name: float(found[f"{by}:{name}"]) for name in RANGES if f"{by}:{name}" in found}
        for by in ("env", "live")
    )
    return AccountLimits(account, environment, live)
