"""What the simulator saw of a contender's work."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
import orjson


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls that have come, and runs that are not over."""

    posts: int
    gets: int
    all: int
    live: int
    most_live: int
    busiest_second: int


def calls(base_url: str) -> Calls:
    """Read the ledger's sums; with many calls this takes the simulator a while."""
    seen = httpx.get(f"{base_url}/_ledger/summary", timeout=60).json()
    routes = seen["requests_by_route"]
    return Calls(
        routes.get("run_task", 0),
        routes.get("get_run", 0),
        seen["requests"],
        seen["live"],
        seen["max_live"],
        seen["max_submissions_in_window"],
    )


def runs(base_url: str) -> list[dict[str, Any]]:
    """Return every run that was really made, oldest first."""
    text = httpx.get(f"{base_url}/_ledger", timeout=60).content
    return [orjson.loads(line) for line in text.splitlines()]


def runs_by_job(base_url: str) -> Counter[str]:
    """Return how many runs each job got; a job is told by its URL."""
    return Counter(run["url"] for run in runs(base_url))


class Quiet:
    """Tells for how long no call has come, as far as was looked."""

    def __init__(self) -> None:
        self._calls = -1
        self._began = self._since = time.monotonic()

    def seconds(self, seen: Calls) -> float:
        """Take a reading in, and return the seconds since the first one that was like it."""
        now = time.monotonic()
        if seen.all != self._calls:
            self._calls, self._since = seen.all, now
        return now - self._since

    @property
    def since_first(self) -> float:
        """Seconds from the beginning to the last call."""
        return self._since - self._began
