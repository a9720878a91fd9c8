"""How much of a rate limit four processes use together, and the busiest second."""

from dataclasses import dataclass

import httpx
import orjson

from bench.cost import lines
from bench.stack import ledger, running, until
from runqueue import RunQueue

WORKERS, RATE, BURST, CAP = 4, 50, 5, 40


@dataclass(frozen=True, slots=True)
class Limits:
    """Figures of the simulator's own record."""

    used: float
    busiest_second: int
    most_live: int


def measure(jobs: int = 1000) -> Limits:
    """Let short runs pass a rate of 50 a second, burst 5; the cap of 40 does not bind."""
    settings = {
        "RUNQUEUE_MAX_DISPATCHES_PER_SECOND": str(RATE),
        "RUNQUEUE_MAX_BURST_SIZE": str(BURST),
        "RUNQUEUE_MAX_CONCURRENT_RUNS": str(CAP),
        "RUNQUEUE_POLL_MIN_SECONDS": "0.1",
    }
    with (
        running("--duration", "0.1") as stack,
        RunQueue(stack.redis_url) as queue,
        stack.workers(WORKERS, **settings),
    ):
        until(lambda: queue.stats()["default"].processes == WORKERS, 60, "the workers")
        queue.enqueue_many(lines(jobs))
        until(lambda: ledger(stack.base_url)["runs"] >= jobs, 120, "all jobs")
        seen = ledger(stack.base_url)
        runs = httpx.get(f"{stack.base_url}/_ledger").content.splitlines()
    first, last = orjson.loads(runs[0])["created"], orjson.loads(runs[-1])["created"]
    # The first burst needs no time: the rest came at the rate.
    used = (jobs - BURST) / (last - first) / RATE
    return Limits(used, seen["max_submissions_in_window"], seen["max_live"])
