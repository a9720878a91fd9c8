"""What processes and a Redis have used so far."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import redis

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """A reading, or the difference of two.

    Attributes:
        workers: CPU seconds of the worker processes.
        redis: CPU seconds of the Redis server.
        commands: what Redis has run, those within scripts included.
        at: seconds of the clock.
    """

    workers: float
    redis: float
    commands: int
    at: float

    def since(self, before: "Usage") -> "Usage":
        """Return what was used after an earlier reading."""
        return Usage(
            self.workers - before.workers,
            self.redis - before.redis,
            self.commands - before.commands,
            self.at - before.at,
        )


def usage(pids: Iterable[int], redis_url: str) -> Usage:
    """Read what worker processes, with all below them, and their Redis have used."""
    with redis.Redis.from_url(redis_url) as server:
        cpu = server.info("cpu")
        commands = sum(entry["calls"] for entry in server.info("commandstats").values())
    return Usage(
        sum(map(tree_cpu_seconds, pids)),
        cpu["used_cpu_user"] + cpu["used_cpu_sys"],
        commands,
        time.monotonic(),
    )


def tree_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and all below it, those that have ended included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # Each thread has children of its own.
        below = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    own = sum(map(int, fields[11:15])) / _TICKS
    return own + sum(tree_cpu_seconds(int(child)) for children in below for child in children)
