"""A file of a million lines: killed half-way, submitted again, run, canceled; its memory and rate.

The file goes in by the command line, once into Redis and once through a gateway, while a worker
that would submit whatever it may waits for it.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import redis

from bench.intake import lines
from bench.stack import Stack, running
from lab.gateways import Gateway
from lab.waiting import until
from runqueue import RunQueue
from runqueue.records.batch import Batch

#: Submissions a second that the waiting worker would make.
_RATE = 50
#: Lines of the file that memory is compared with.
SMALL = 1_000


@dataclass(frozen=True, slots=True)
class Million:
    """What a large file came to, by one way.

    Args:
        lines: how many it has.
        a_second: lines a second of the upload that was not killed, from the command's start.
        small_mb, most_mb: most resident memory of the command with 1,000 lines, and with all.
        gateway_mb: the gateway's before, and the most meanwhile; None without one.
        kept: jobs that the killed upload had stored.
        jobs: jobs on record at the end.
        ran_before: runs that began before the batch was accepted.
        cancel_ms: how long canceling took.
        late: submissions later than 100 ms after that.
        redis_bytes: Redis' memory for a job.
    """

    lines: int
    a_second: float
    small_mb: float
    most_mb: float
    gateway_mb: tuple[float, float] | None
    kept: int
    jobs: int
    ran_before: int
    cancel_ms: float
    late: int
    redis_bytes: float


def measure(*, over_http: bool, count: int = 1_000_000) -> Million:
    """Submit a file by one of the two ways.

    Args:
        over_http: through a gateway, which is killed half-way; else the command is.
        count: lines of the file.
    """
    settings = {
        "RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": str(_RATE),
        "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
        "RUNQUEUE_POLL_MIN_SECONDS": "2",
    }
    with (
        running("--duration", "1") as stack,
        RunQueue(stack.redis_url) as queue,
        stack.workers(1, **settings),
    ):
        until(lambda: "default" in queue.accounts(), 30, "the worker")
        gateway = Gateway(stack.environment(), stack.folder / "gateway.log") if over_http else None
        try:
            return _Trial(stack, queue, gateway, count).run()
        finally:
            if gateway is not None:
                gateway.kill()


class _Trial:
    def __init__(self, stack: Stack, queue: RunQueue, gateway: Gateway | None, count: int) -> None:
        self._stack, self._queue, self._gateway, self._count = stack, queue, gateway, count
        self._redis = redis.Redis.from_url(stack.redis_url)
        self._file = stack.folder / "million.jsonl"
        self._small = stack.folder / "small.jsonl"

    def run(self) -> Million:
        _write(self._file, "row", self._count)
        _write(self._small, "small", SMALL)
        if self._gateway is not None:
            self._gateway.start()
        small = self._enqueue(self._small)
        self._queue.cancel_batch(self._sealed().id)
        before = self._used()
        runs_before = self._submitted()
        kept = self._killed_half_way()
        gateway_before = self._gateway_mb()
        start = time.perf_counter()
        whole = self._enqueue(self._file)
        took = time.perf_counter() - start
        batch = self._sealed()
        redis_bytes = (self._used() - before) / self._count
        until(lambda: self._submitted() > runs_before + _RATE, 60, "some runs")
        began = time.perf_counter()
        self._queue.cancel_batch(batch.id)
        cancel_ms, canceled = 1000 * (time.perf_counter() - began), time.time()
        time.sleep(3)  # in which the worker would submit 150
        runs = self._runs()[runs_before:]
        assert batch.sealed_at is not None
        return Million(
            lines=self._count,
            a_second=self._count / took,
            small_mb=small.most_mb,
            most_mb=whole.most_mb,
            gateway_mb=(gateway_before, whole.gateway_mb) if self._gateway else None,
            kept=kept,
            jobs=self._jobs(),
            ran_before=sum(at < batch.sealed_at.timestamp() for at in runs),
            cancel_ms=cancel_ms,
            late=sum(at > canceled + 0.1 for at in runs),
            redis_bytes=redis_bytes,
        )

    def _killed_half_way(self) -> int:
        """Kill the command (the gateway, where there is one) once half of the jobs are stored."""
        base = self._jobs()
        with self._command(self._file) as command:
            until(lambda: self._jobs() - base >= self._count // 2, 600, "half of the file")
            if self._gateway is not None:
                self._gateway.kill()
                command.wait(120)
                self._gateway.start()
            else:
                command.kill()
        return self._jobs() - base

    def _enqueue(self, file: Path) -> "_Seen":
        with self._command(file) as command, _watching(self._sizes(command.pid)) as seen:
            code = command.wait(900)
        assert code == 0, (self._stack.folder / "submit.log").read_text()[-2000:]
        return _Seen(*seen)

    def _sizes(self, pid: int) -> Callable[[], tuple[float, float]]:
        return lambda: (_resident_mb(pid), self._gateway_mb())

    def _gateway_mb(self) -> float:
        process = self._gateway.process if self._gateway else None
        return _resident_mb(process.pid) if process else 0.0

    @contextmanager
    def _command(self, file: Path) -> Iterator["subprocess.Popen[bytes]"]:
        environ = self._stack.environment()
        if self._gateway is not None:
            environ = {**environ, "RUNQUEUE_URL": self._gateway.url}
            del environ["RUNQUEUE_REDIS_URL"]
        with (self._stack.folder / "submit.log").open("wb") as log:
            command = subprocess.Popen(
                [sys.executable, "-m", "runqueue.cli", "submit", str(file)],
                env=environ,
                cwd=self._stack.folder,
                stdout=log,
                stderr=log,
            )
            try:
                yield command
            finally:
                if command.poll() is None:
                    command.send_signal(signal.SIGKILL)
                command.wait()

    def _sealed(self) -> Batch:
        """Return the batch that was accepted last."""
        found = self._queue.list_batches("default", limit=10).batches
        return next(batch for batch in found if batch.sealed)

    def _jobs(self) -> int:
        """How many jobs are on record, but for those of the small file."""
        return max(0, sum(self._queue.stats()["default"].states.values()) - SMALL)

    def _runs(self) -> list[float]:
        """When each run was made."""
        return [run["created"] for run in self._stack.simulator.runs()]

    def _submitted(self) -> int:
        """How many runs were made."""
        return int(self._stack.simulator.summary()["runs"])

    def _used(self) -> int:
        return int(self._redis.info("memory")["used_memory"])


@dataclass(frozen=True, slots=True)
class _Seen:
    most_mb: float
    gateway_mb: float


@contextmanager
def _watching(sizes: Callable[[], tuple[float, float]]) -> Iterator[list[float]]:
    """Yield the most of each size while the block runs."""
    most, is_over = [0.0, 0.0], threading.Event()

    def look() -> None:
        while not is_over.wait(0.05):
            most[:] = map(max, most, sizes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        is_over.set()
        thread.join()


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0.0  # it has just ended
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _write(path: Path, prefix: str, count: int) -> None:
    """Write lines whose bodies have `bench.intake.BODY_BYTES`."""
    body = lines(1)[0]["body"]
    rest = b'","kind":"task","body":' + orjson.dumps(body) + b"}\n"
    with path.open("wb") as file:
        for number in range(count):
            file.write(b'{"custom_id":"%s-%d' % (prefix.encode(), number) + rest)
