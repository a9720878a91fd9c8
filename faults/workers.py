"""Workers as processes that can be killed, frozen and cut off."""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.proxy import Proxy
from lab.waiting import until

#: The settings of every worker unless an experiment says otherwise.
SETTINGS = {
    "RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "0",
    "RUNQUEUE_MAX_BURST_SIZE": "0",
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "40",
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0",
    "RUNQUEUE_POLL_MIN_SECONDS": "0.2",
    "RUNQUEUE_POLL_MAX_SECONDS": "1",
    "RUNQUEUE_METRICS_PORT": "0",
    "RUNQUEUE_LOG_LEVEL": "INFO",
}
_START_SECONDS = 60.0


@dataclass(slots=True)
class Worker:
    """A worker's place: its two ways, its settings, and its process, if one runs.

    Args:
        api, redis: its proxies to the simulator and to Valkey.
    """

    name: str
    api: Proxy
    redis: Proxy
    environ: dict[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, **extra: str) -> "Worker":
        """Start a process and wait until it is ready; `extra` are settings of this one alone."""
        before = self.words("worker_ready")
        self.launch(**extra)
        until(lambda: self.words("worker_ready") > before, _START_SECONDS, f"{self.name} to start")
        return self

    def launch(self, **extra: str) -> None:
        """Start a process."""
        command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--hostname", f"{self.name}@lab"],
                env={**self.environ, **extra},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def words(self, text: str) -> int:
        """Return how often a text stands in its log."""
        return self.log.read_text(errors="replace").count(text) if self.log.exists() else 0

    def signal(self, number: int) -> None:
        """Send its process a signal, if it lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(10)

    def stop(self, seconds: float = 45.0) -> int:
        """Tell it to end and return its exit code."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if self.process is None:
            return 0
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(10)
