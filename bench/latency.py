"""How long an idle queue takes from `enqueue` to the POST at the API, three workers waiting."""

import random
import time
from dataclasses import dataclass
from functools import partial

from bench.stack import running
from lab.waiting import until
from runqueue import RunQueue, TaskRunRequest

WORKERS = 3


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the call of `enqueue` to the run's creation at the API."""

    p50: float
    p99: float
    worst: float
    samples: int


def measure(samples: int = 500, pause: tuple[float, float] = (0.0, 0.05)) -> Latency:
    """Enqueue one job at a time, each after the last was submitted; the clocks are one machine's.

    Args:
        samples: how many jobs.
        pause: least and most seconds between a submission and the next job. A consumer stays idle
            for a second, so longer pauses measure the way through a Celery message.
    """
    called: dict[str, float] = {}
    with (
        running("--duration", "60") as stack,
        RunQueue(stack.redis_url) as queue,
        stack.workers(WORKERS, RUNQUEUE_POLL_MIN_SECONDS="30", RUNQUEUE_POLL_MAX_SECONDS="60"),
    ):
        until(lambda: _processes(queue) == WORKERS, 60, "the workers")
        for number in range(samples):
            moment = time.time()
            job = queue.enqueue(TaskRunRequest(prompt="Read it.", url=f"https://a.test/{number}"))
            called[job.job_id] = moment
            until(partial(_has_submitted, queue, number), 10, "the run", every=0.005)
            time.sleep(random.uniform(*pause))
        runs = stack.simulator.runs()
    waits = []
    for run in runs:
        job_id = run["title"].rpartition("[rq:")[2].partition(".")[0]
        waits.append(1000 * (run["created"] - called[job_id]))
    waits.sort()
    p50, p99, worst = (waits[int(share * (len(waits) - 1))] for share in (0.5, 0.99, 1.0))
    return Latency(p50, p99, worst, len(waits))


def _processes(queue: RunQueue) -> int:
    return queue.stats()["default"].processes


def _has_submitted(queue: RunQueue, number: int) -> bool:
    return queue.stats()["default"].totals.get("adopted_runs", 0) > number
