"""What a job costs a worker and Redis, beside what it cost at one old commit, which stays the same.

Each figure is a ratio of two trees in one run: batches in alternation, jobs that trickle and an
idle queue on both at the same time.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from bench.stack import Stack, cpu_seconds, running

#: The commit that every figure is compared with; its jobs have no keys, sessions or answer check.
BASE = "bd85f6c"
_ROOT = Path(__file__).parents[1]
_DRIVER = Path(__file__).with_name("driver.py")
#: A pair of processes has its own luck (where its memory lies), a tenth of the figure: so both
#: trees are begun so many times, with so many pairs of batches each.
_STARTS, _PAIRS, _BATCH = 5, 3, 20_000
_RATE, _TRICKLE_SECONDS, _IDLE_SECONDS = 30, 60, 60
_PROMPT = "x" * 480
#: No limit binds in the base either, which has another name for one.
_UNLIMITED = {"RUNQUEUE_MAX_DISPATCHES_PER_SECOND": "0"}


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds of a worker and of its Redis."""

    worker: float
    redis: float

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.worker - other.worker, self.redis - other.redis)

    def times(self, factor: float) -> "Cpu":
        """Return it times a factor."""
        return Cpu(self.worker * factor, self.redis * factor)


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured, each figure of this tree and of the base.

    Attributes:
        batches: milliseconds a job of a batch, by pair.
        trickling: milliseconds a job that comes alone, less what idling takes.
        idle: milliseconds a second without work.
    """

    batches: list[tuple[Cpu, Cpu]]
    trickling: list[Cpu]
    idle: list[Cpu]

    @property
    def batch_ratio(self) -> Cpu:
        """The medians of the pairs' ratios."""
        return Cpu(
            statistics.median(ours.worker / old.worker for ours, old in self.batches),
            statistics.median(ours.redis / old.redis for ours, old in self.batches),
        )


@dataclass(frozen=True, slots=True)
class Side:
    """A tree with a Redis, a simulator and a worker of its own."""

    tree: Path
    stack: Stack
    worker: int

    def cpu(self) -> Cpu:
        """Return what worker and Redis have used so far."""
        return Cpu(cpu_seconds(self.worker), cpu_seconds(self.stack.redis_pid))

    def drive(self, count: int, rate: float = 0) -> "subprocess.Popen[bytes]":
        """Enqueue jobs by the tree's own producer; it ends once they have."""
        command = [sys.executable, str(_DRIVER), self.stack.redis_url, str(count), str(rate)]
        return subprocess.Popen(command, env=_environment(self.tree), cwd=self.tree)


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


def measure() -> Costs:
    """Measure both trees.

    Raises:
        subprocess.CalledProcessError: git has no such commit, since the clone is shallow.
    """
    with _checked_out() as base:
        batches = [pair for _ in range(_STARTS) for pair in _batches(base)]
        return _one_by_one(base, batches)


def _batches(base: Path) -> list[tuple[Cpu, Cpu]]:
    """Return what a job of a batch takes of both trees, by pair, in alternating order."""
    batches = []
    with _sides(base) as sides:
        for number in range(_PAIRS):
            pair = {}
            for side in sides if number % 2 else sides[::-1]:
                before = side.cpu()
                _finish([side.drive(_BATCH)])
                pair[side.tree] = (side.cpu() - before).times(1000 / _BATCH)
            batches.append((pair[_ROOT], pair[base]))
    return batches


def _one_by_one(base: Path, batches: list[tuple[Cpu, Cpu]]) -> Costs:
    """Return the whole, with what idling and jobs that come alone take of both at the same time."""
    with _sides(base) as sides:
        idle = _both(sides, 0)
        count = _RATE * _TRICKLE_SECONDS
        began = time.monotonic()
        busy = _both(sides, count)
        seconds = time.monotonic() - began
        trickling = [
            (b - i.times(seconds / _IDLE_SECONDS)).times(1000 / count)
            for b, i in zip(busy, idle, strict=True)
        ]
        return Costs(batches, trickling, [one.times(1000 / _IDLE_SECONDS) for one in idle])


def _both(sides: list[Side], count: int) -> list[Cpu]:
    """Return what each uses while both get so many jobs one by one; 0 = while they idle."""
    before = [side.cpu() for side in sides]
    if count:
        _finish([side.drive(count, _RATE) for side in sides])
    else:
        time.sleep(_IDLE_SECONDS)
    return [side.cpu() - was for side, was in zip(sides, before, strict=True)]


def _finish(drivers: "list[subprocess.Popen[bytes]]") -> None:
    for driver in drivers:
        if driver.wait(600):
            raise RuntimeError(f"a driver ended with {driver.returncode}")


@contextmanager
def _checked_out() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "base"
        git = ["git", "-C", str(_ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), BASE], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


@contextmanager
def _sides(base: Path) -> Iterator[list[Side]]:
    """Begin both trees, and warm them."""
    with ExitStack() as stack:
        sides = [stack.enter_context(_side(tree)) for tree in (_ROOT, base)]
        for side in sides:
            _finish([side.drive(_BATCH // 4)])
        yield sides


@contextmanager
def _side(tree: Path) -> Iterator[Side]:
    with running("--duration", "0", "--no-list", as_usual=True) as stack:
        with redis.Redis.from_url(stack.redis_url) as client:
            # The process that rewrites the file would count, and only where it meets a measurement.
            client.config_set("auto-aof-rewrite-percentage", 0)
        environment = {**_environment(tree), **_UNLIMITED}
        with stack.workers(1, cwd=tree, **environment) as (worker,):
            yield Side(tree, stack, worker)


def _environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree)}
