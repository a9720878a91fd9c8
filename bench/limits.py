"""How much of a rate limit four processes use together, and the busiest second."""

from dataclasses import dataclass

from bench.cost import lines
from bench.stack import running
from lab.waiting import until
from runqueue import RunQueue

WORKERS, RATE, BURST, CAP = 4, 200, 20, 40


@dataclass(frozen=True, slots=True)
class Limits:
    """Figures of the simulator's own record.

    Args:
        used: share of the rate that was used; the first burst needs no time.
        busiest_second: submissions that arrived in the busiest second.
        most_live: runs that were live at once, where the cap binds and the rate does not.
    """

    used: float
    busiest_second: int
    most_live: int


def measure(jobs: int = 4000) -> Limits:
    """Let runs pass a rate, then as many at once as a cap lets through."""
    rated, submitted = _run(jobs, "0.1", RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND=str(RATE))
    capped, _ = _run(jobs // 10, "0.5", RUNQUEUE_MAX_CONCURRENT_RUNS=str(CAP))
    used = (jobs - BURST) / (submitted[-1] - submitted[0]) / RATE
    return Limits(used, rated["max_submissions_in_window"], capped["max_live"])


def _run(jobs: int, duration: str, **limits: str) -> tuple[dict[str, int], list[float]]:
    """Return the ledger's sums, and when each run was submitted."""
    settings = {"RUNQUEUE_MAX_BURST_SIZE": str(BURST), "RUNQUEUE_POLL_MIN_SECONDS": "0.1", **limits}
    with (
        running("--duration", duration) as stack,
        RunQueue(stack.redis_url) as queue,
        stack.workers(WORKERS, **settings),
    ):
        until(lambda: queue.stats()["default"].processes == WORKERS, 60, "the workers")
        queue.enqueue_many(lines(jobs))
        until(lambda: stack.simulator.summary()["runs"] >= jobs, 120, "all jobs")
        created = [run["created"] for run in stack.simulator.runs()]
        return stack.simulator.summary(), created
