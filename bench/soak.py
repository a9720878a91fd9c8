"""A million jobs end to end, records removed meanwhile: memory of worker and Redis by jobs done.

A producer keeps some thousands waiting. After each tenth it stops until every record has been
removed: what Redis holds then is what it holds for good.
"""

import statistics
import sys
import time
from dataclasses import dataclass
from typing import cast

import redis

from bench.cost import lines
from bench.process import resident_mb
from bench.slow import Slow, slowest, together, watch
from bench.stack import Stack, cpu_seconds, running
from lab.waiting import until
from runqueue import RunQueue
from runqueue.store.keys import Keys

#: Jobs that wait in line, and those of one call of the producer.
_WAITING, _CALL = 10_000, 500
#: Seconds that ended jobs are kept.
_KEEP_SECONDS = 10
#: Parts after which memory is read with all records gone.
PARTS = 10


@dataclass(frozen=True, slots=True)
class Part:
    """A tenth of the jobs.

    Attributes:
        done: jobs that had ended at its end.
        seconds: how long it took.
        worker_ms, redis_ms: CPU a job.
        worker_mb: most resident memory of the worker.
        busy_mb: memory of Redis while it worked: the mean.
        records: jobs on record at most.
        rest_mb: memory of Redis with all records gone.
    """

    done: int
    seconds: float
    worker_ms: float
    redis_ms: float
    worker_mb: float
    busy_mb: float
    records: int
    rest_mb: float


@dataclass(frozen=True, slots=True)
class Soak:
    """All parts; and how many runs the simulator made, and completed."""

    parts: list[Part]
    runs: int
    completed: int
    slow: list[Slow]

    @property
    def worker_grows(self) -> float:
        """MB of the worker for 100,000 jobs, the first tenth apart."""
        return self._slope([part.worker_mb for part in self.parts])

    @property
    def redis_grows(self) -> float:
        """MB of Redis for 100,000 jobs, the first tenth apart."""
        return self._slope([part.rest_mb for part in self.parts])

    def _slope(self, values: list[float]) -> float:
        done = [part.done / 100_000 for part in self.parts]
        return statistics.linear_regression(done[1:], values[1:]).slope


def measure(jobs: int = 1_000_000) -> Soak:
    """Have so many jobs done.

    Args:
        jobs: how many; 200,000 are enough to see a trend.
    """
    with running("--duration", "0", as_usual=True) as stack, RunQueue(stack.redis_url) as queue:
        keep = {"BENCH_KEEP_SECONDS": str(_KEEP_SECONDS)}
        with stack.workers(1, "bench.short_retention", **keep) as (worker,):
            until(lambda: "default" in queue.accounts(), 60, "the worker")
            return _Trial(stack, queue, worker).run(jobs)


class _Trial:
    def __init__(self, stack: Stack, queue: RunQueue, worker: int) -> None:
        self._stack, self._queue, self._worker = stack, queue, worker
        self._redis = redis.Redis.from_url(stack.redis_url)
        self._prefix = Keys("default").prefix
        self._made = 0
        self._slow: list[Slow] = []

    def run(self, jobs: int) -> Soak:
        watch(self._redis)
        parts = [self._part(jobs * n // PARTS) for n in range(1, PARTS + 1)]
        summary = self._stack.simulator.summary()
        by_status = cast("dict[str, int]", summary["by_status"])
        return Soak(parts, summary["runs"], by_status.get("completed", 0), together(self._slow)[:5])

    def _part(self, goal: int) -> Part:
        start, first = time.perf_counter(), self._counts()["ended:completed"]
        worker, server = cpu_seconds(self._worker), self._redis_seconds()
        worker_mb, busy, records, next_look = 0.0, [], 0, 0.0

        def is_done() -> bool:
            nonlocal worker_mb, records, next_look
            counts = self._counts()
            if self._made < goal and counts["ready:2"] < _WAITING:
                count = min(_CALL, goal - self._made)
                self._queue.enqueue_many(lines(count, self._made))
                self._made += count
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + 0.5
                worker_mb = max(worker_mb, resident_mb(self._worker))
                busy.append(self._used_mb())
                records = max(records, counts["completed:2"])
            return counts["ended:completed"] >= goal

        until(is_done, 3_600, "a tenth of the jobs")
        done = goal - first
        seconds = time.perf_counter() - start
        cpu = cpu_seconds(self._worker) - worker, self._redis_seconds() - server
        return Part(
            done=goal,
            seconds=seconds,
            worker_ms=1000 * cpu[0] / done,
            redis_ms=1000 * cpu[1] / done,
            worker_mb=worker_mb,
            busy_mb=statistics.fmean(busy),
            records=records,
            rest_mb=self._at_rest(),
        )

    def _at_rest(self) -> float:
        """Return what Redis holds when the last record is gone."""

        def is_gone() -> bool:
            # Sweeps come twice a minute where nothing is known to be due.
            self._redis.hset(f"{self._prefix}meta", "sweep_at", 0)
            return not self._counts()["completed:2"]

        until(is_gone, _KEEP_SECONDS + 120, "retention", every=1.0)
        # What a claim took is kept for two minutes, for asking again: nobody will.
        for claim in self._redis.scan_iter(f"{self._prefix}claim:*", count=1_000):
            self._redis.delete(claim)
        # Nor does what we had Redis remember count.
        self._slow += slowest(self._redis, 100)
        self._redis.slowlog_reset()
        return self._used_mb()

    def _counts(self) -> dict[str, int]:
        names = ("ready:2", "ended:completed", "completed:2")
        found = self._redis.hmget(f"{self._prefix}counters", *names)
        return {name: int(n or 0) for name, n in zip(names, found, strict=True)}

    def _used_mb(self) -> float:
        return float(self._redis.info("memory")["used_memory"]) / 1e6

    def _redis_seconds(self) -> float:
        cpu = self._redis.info("cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


if __name__ == "__main__":
    seen = measure(int(sys.argv[1]))
    print(*seen.parts, seen.runs, seen.completed, *seen.slow, sep="\n")
    print(f"MB a 100,000 jobs: worker {seen.worker_grows:.3f}, Redis {seen.redis_grows:.3f}")
