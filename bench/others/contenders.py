"""Every queue that is compared, ours too, started and fed in the same way."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from bench.others.environments import ROOT, Environment, Node, Own, Python
from bench.stack import Stack
from runqueue import RunQueue

Body = dict[str, Any]


class Contender(Protocol):
    """A queue with its workers."""

    @property
    def name(self) -> str:
        """What it is called in the table."""

    def make(self) -> None:
        """Install it.

        Raises:
            MissingError: it cannot be had here.
        """

    def workers(self, stack: Stack, count: int, told: "Told") -> AbstractContextManager[list[int]]:
        """Run so many workers; yields the process ids at their tops."""

    def hand_in(self, stack: Stack, bodies: Sequence[Body]) -> None:
        """Submit a job for each body."""


@dataclass(frozen=True, slots=True)
class Told:
    """What every contender is told of its work.

    Attributes:
        look_seconds: between two looks at a run; 0 = the first one follows its submission at once.
        least_seconds: between our first looks at a run, which then grow with its age.
        at_once: calls, or tasks, that one worker has open.
        rate: submissions a second, of all workers; 0 = no limit.
    """

    look_seconds: float = 0.0
    least_seconds: float = 0.0
    at_once: int = 100
    rate: int = 0


@dataclass(frozen=True, slots=True)
class Rival:
    """Another tool.

    Attributes:
        environment: where it is installed.
        work: the command of a worker; `{at_once}` and `{in_flight}` stand for numbers.
        feed: the command that submits the bodies on its stdin.
        has_global_limit: its rate limit is that of all workers together.
    """

    name: str
    environment: Environment
    work: tuple[str, ...]
    feed: tuple[str, ...]
    has_global_limit: bool = False

    def make(self) -> None:
        """Install it."""
        self.environment.make()

    @contextmanager
    def workers(self, stack: Stack, count: int, told: Told) -> Iterator[list[int]]:
        """Run so many workers; a limit that each keeps for itself is divided among them."""
        rate = told.rate if self.has_global_limit else told.rate // count
        env = _environment(stack) | {
            "LOOK_SECONDS": f"{told.look_seconds:g}",
            "AT_ONCE": str(told.at_once),
            "RATE": str(rate),
        }
        work = [part.replace("{at_once}", str(told.at_once)) for part in self.work]
        command = self.environment.command(*work)
        with ExitStack() as running:
            yield [
                running.enter_context(_process(stack, f"{self.name}-{number}", command, env))
                for number in range(count)
            ]

    def hand_in(self, stack: Stack, bodies: Sequence[Body]) -> None:
        """Submit by its own producer, in a process of its own."""
        command = self.environment.command(*self.feed)
        lines = b"".join(orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE) for body in bodies)
        subprocess.run(command, input=lines, env=_environment(stack), cwd=ROOT, check=True)


@dataclass(frozen=True, slots=True)
class Ours:
    """This project: one worker process, as `runqueue up` starts for each core."""

    name: str = "runqueue"

    def make(self) -> None:
        """Do nothing: it is there."""

    @contextmanager
    def workers(self, stack: Stack, count: int, told: Told) -> Iterator[list[int]]:
        """Run so many workers; the most seconds between two looks grow as in the defaults."""
        settings = {
            "RUNQUEUE_POLL_MIN_SECONDS": f"{told.least_seconds:g}",
            "RUNQUEUE_POLL_MAX_SECONDS": f"{6 * told.look_seconds or 30:g}",
            "RUNQUEUE_MAX_OPEN_CALLS": str(min(told.at_once, 500)),
            "RUNQUEUE_MAX_DISPATCHES_PER_SECOND": str(told.rate),
            "RUNQUEUE_MAX_BURST_SIZE": "5" if told.rate else "0",
        }
        with stack.workers(count, **settings) as pids:
            yield pids

    def hand_in(self, stack: Stack, bodies: Sequence[Body]) -> None:
        """Submit by `enqueue_many`."""
        with RunQueue(stack.redis_url) as queue:
            queue.enqueue_many({"kind": "task", "body": body} for body in bodies)


_celery = ("celery", "-A", "bench.others.celery_runs", "worker", "-l", "WARNING")
_lean = ("--without-gossip", "--without-mingle", "--without-heartbeat")
_own, _python = Own(), Python("python")

OURS = Ours()
PREFORK = Rival(
    "Celery, prefork 2",
    _own,
    (*_celery, *_lean, "-c", "2"),
    ("bench.others.celery_runs",),
)
THREADS = Rival(
    "Celery, 32 threads",
    _own,
    (*_celery, *_lean, "-P", "threads", "-c", "32"),
    ("bench.others.celery_runs",),
)
ARQ = Rival("arq", Python("arq"), ("bench.others.arq_runs",), ("bench.others.arq_runs", "hand-in"))
DRAMATIQ = Rival(
    "dramatiq, 2 of 16 threads",
    _python,
    ("dramatiq", "bench.others.dramatiq_runs", "--processes", "2", "--threads", "16"),
    ("bench.others.dramatiq_runs",),
    has_global_limit=True,
)
_taskiq = ("taskiq", "worker", "bench.others.taskiq_runs:broker", "--log-level", "WARNING")
TASKIQ = Rival(
    "taskiq",
    _python,
    (*_taskiq, "--workers", "1", "--max-async-tasks", "{at_once}"),
    ("bench.others.taskiq_runs",),
)
BULLMQ = Rival(
    "BullMQ",
    Node(),
    ("bullmq_runs.mjs",),
    ("bullmq_runs.mjs", "hand-in"),
    has_global_limit=True,
)


def _environment(stack: Stack) -> dict[str, str]:
    return {**stack.environment(), "PYTHONPATH": str(ROOT)}


@contextmanager
def _process(stack: Stack, name: str, command: Sequence[str], env: dict[str, str]) -> Iterator[int]:
    """Run a command in a session of its own, its output in a log; yields its process id."""
    with (stack.folder / f"{name}.log").open("w") as log:
        child = subprocess.Popen(
            command, env=env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield child.pid
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                # It may wait for what it has yet to do; nobody needs that any more.
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
