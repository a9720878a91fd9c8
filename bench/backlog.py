"""What a million waiting jobs cost: CPU per job of worker and Redis, against a thousand waiting.

Two queues side by side, each with its own Valkey, simulator and worker. They work in turns (the
other is paused), so that a machine that slows down slows both, and both go on being fed alike.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import redis

from bench.cost import lines
from bench.slow import Slow, slowest, watch
from bench.stack import Stack, cpu_seconds, running
from lab.waiting import until
from runqueue import RunQueue
from runqueue.store.keys import Keys

#: Jobs that wait all the time, on either side.
MANY, FEW = 1_000_000, 1_000
#: Jobs between two figures, and before them, once a side's turn has come.
_BLOCK, _WARM = 5_000, 1_000
#: Whose turn it is: neither is always first.
_TURNS = "few many many few few many many few"
#: Jobs of one call of the producer.
_CALL = 250


@dataclass(frozen=True, slots=True)
class Side:
    """CPU milliseconds a job, and commands of Redis, those within scripts included.

    What Redis does for a job includes its enqueuing.
    """

    worker: float
    redis: float
    commands: float
    a_second: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What both sides showed, and the slowest commands of the Redis where many wait.

    Attributes:
        allocator: that of both servers; see `bench.stack.usual_allocator`.
    """

    allocator: str
    many: Side
    few: Side
    slow: list[Slow]


def measure(many: int = MANY) -> Backlog:
    """Measure 20,000 jobs of each side, in turns of 5,000.

    Args:
        many: how many wait on the side that has many.
    """
    with _Side(many) as crowded, _Side(FEW) as calm:
        sides = {"many": crowded, "few": calm}
        for turn in _TURNS.split():
            sides[turn].work(_BLOCK)
        return Backlog(crowded.allocator, crowded.seen(), calm.seen(), slowest(crowded.redis))


class _Side:
    """One queue, on which so many jobs wait all the time."""

    def __init__(self, waiting: int) -> None:
        self._waiting = waiting
        self._made = 0
        self._jobs, self._commands, self._asked = 0, 0, 0
        self._worker_cpu, self._redis_cpu, self._seconds = 0.0, 0.0, 0.0
        self._counters = f"{Keys('default').prefix}counters"

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            stack: Stack = parts.enter_context(
                running("--duration", "0", "--no-list", as_usual=True)
            )
            self.allocator = stack.allocator
            self._queue = parts.enter_context(RunQueue(stack.redis_url))
            self.redis = redis.Redis.from_url(stack.redis_url)
            parts.callback(self.redis.close)
            self._queue.pause()
            self._feed()
            # Rewriting the file is paid for by what was written, not by what waits: none meanwhile.
            self.redis.config_set("auto-aof-rewrite-percentage", 0)
            until(self._has_settled, 300, "the append-only file")
            self._pid = parts.enter_context(stack.workers(1))[0]
            until(lambda: self._queue.stats()["default"].processes > 0, 60, "the worker")
            watch(self.redis)
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def work(self, jobs: int) -> None:
        """Let so many jobs be done, after some that are not counted."""
        self._queue.resume()
        self._until_done(self._done() + _WARM)
        done, start = self._done(), time.perf_counter()
        worker, server = cpu_seconds(self._pid), self._redis_seconds()
        commands = self._commands_run()
        self._until_done(done + jobs)
        self._commands += self._commands_run() - commands
        self._worker_cpu += cpu_seconds(self._pid) - worker
        self._redis_cpu += self._redis_seconds() - server
        self._seconds += time.perf_counter() - start
        self._jobs += self._done() - done
        self._queue.pause()
        until(lambda: self._count("live") == 0, 60, "the jobs under way")

    def seen(self) -> Side:
        """Return what the turns came to."""
        return Side(
            1000 * self._worker_cpu / self._jobs,
            1000 * self._redis_cpu / self._jobs,
            self._commands / self._jobs,
            self._jobs / self._seconds,
        )

    def _until_done(self, goal: int) -> None:
        def is_done() -> bool:
            self._feed()
            return self._done() >= goal

        until(is_done, 300, "the jobs")

    def _feed(self) -> None:
        """Submit what is missing, unbatched: the jobs of both sides are to be alike."""
        missing = self._waiting - self._count("ready:2")
        while missing >= _CALL:
            count = min(missing, 1_000)
            self._queue.enqueue_many(lines(count, self._made))
            self._made += count
            missing -= count

    def _done(self) -> int:
        return self._count("ended:completed")

    def _commands_run(self) -> int:
        """How many commands Redis has run, but for those by which we look."""
        stats = self.redis.info("commandstats")
        return sum(int(entry["calls"]) for entry in stats.values()) - self._asked

    def _count(self, name: str) -> int:
        self._asked += 1
        return int(self.redis.hget(self._counters, name) or 0)

    def _redis_seconds(self) -> float:
        cpu = self.redis.info("cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])

    def _has_settled(self) -> bool:
        return not self.redis.info("persistence")["aof_rewrite_in_progress"]
