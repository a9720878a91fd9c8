"""Worker CPU per job (one POST, one GET): this project, and the bare loop."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from bench.stack import Stack, cpu_seconds, running
from lab.waiting import until
from runqueue import RunQueue

_PROMPT = "x" * 480


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds of the workers per job, in one run on one simulator."""

    runqueue: float
    bare_loop: float


def lines(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return lines of a batch file, each with a body of about 600 bytes."""
    return [
        {
            "custom_id": f"row-{i}",
            "kind": "task",
            "body": {
                "prompt": _PROMPT,
                "url": f"https://shop.test/{i}",
                "engine": "skyvern-1.0",
                "max_steps": 10,
            },
        }
        for i in range(start, start + count)
    ]


def runqueue_cost(stack: Stack, count: int) -> float:
    """Return the CPU milliseconds per job of one worker of this project.

    A quarter of the jobs warms it up and ends before the others are enqueued: submissions run
    ahead of looks, so a count that began in the middle would leave out a part of the work.
    """
    warm = count // 4
    with RunQueue(stack.redis_url) as queue:

        def completed() -> int:
            return queue.stats()["default"].totals.get("ended:completed", 0)

        with stack.workers(1) as (worker,):
            queue.enqueue_many(lines(warm))
            until(lambda: completed() >= warm, 120, "the first quarter of the jobs")
            before = cpu_seconds(worker)
            queue.enqueue_many(lines(count - warm, warm))
            until(lambda: completed() >= count, 300, "all jobs")
            return 1000 * (cpu_seconds(worker) - before) / (count - warm)


def bare_loop_cost(stack: Stack, count: int, concurrency: int) -> float:
    """Return the CPU milliseconds per pair of calls of the bare loop, its first half left out."""
    command = [
        sys.executable,
        "-m",
        "bench.bare_loop",
        stack.base_url,
        str(count),
        str(concurrency),
    ]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return 1000 * float(printed) / (count - count // 2)


def measure(count: int = 20_000) -> Cost:
    """Measure both in one run, the bound before and after ours: machines drift."""
    with running("--duration", "0") as stack:
        before = bare_loop_cost(stack, count, 100)
        ours = runqueue_cost(stack, count)
        after = bare_loop_cost(stack, count, 100)
    return Cost(ours, (before + after) / 2)
