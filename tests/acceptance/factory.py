"""Real processes for acceptance tests: a Valkey with AOF, a simulator, and workers to be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.simulators import SimulatorProcess
from lab.valkeys import Valkey, start_valkey
from lab.waiting import until
from runqueue import Enqueued, RunQueue

#: The states of ended jobs.
ENDED = ("completed", "failed", "dead", "canceled")


@dataclass(slots=True)
class Factory:
    """The parts under test; `folder` keeps the workers' logs."""

    server: Valkey
    redis_url: str
    base_url: str
    folder: Path
    settings: dict[str, str]
    queue: RunQueue
    #: Where there is one.
    simulator: SimulatorProcess = field(init=False)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: int = 0

    def start_worker(
        self, app: str = "worker.app", *, prefix: Sequence[str] = (), flags: Sequence[str] = ()
    ) -> "subprocess.Popen[bytes]":
        """Start one worker process: the command that users run.

        Args:
            app: the module of the Celery application.
            prefix: what is to run that command.
            flags: of the worker's command.
        """
        env = {
            **os.environ,
            "SKYVERN_API_KEY": "simulator-key",
            "SKYVERN_BASE_URL": self.base_url,
            "RUNQUEUE_REDIS_URL": self.redis_url,
            "RUNQUEUE_METRICS_PORT": "0",
            **self.settings,
        }
        self.started += 1
        command = [*prefix, sys.executable, "-m", "celery", "-A", app, "worker", *flags]
        with (self.folder / f"worker-{self.started}.log").open("wb") as log:
            worker = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        self.workers.append(worker)
        return worker

    def restart_redis(self) -> None:
        """Stop the server and start it again on the same port and files."""
        self.server.stop()
        self.server.start()

    def states(self) -> dict[str, int]:
        """Return how many jobs stand in each state."""
        return {s.value: n for s, n in self.queue.stats()["default"].states.items() if n}

    def ended(self) -> int:
        """Return how many jobs have ended."""
        return sum(self.states().get(state, 0) for state in ENDED)

    def open_jobs(self) -> int:
        """Return how many jobs may still move by themselves."""
        states = self.states()
        return sum(states.get(s, 0) for s in ("scheduled", "ready", "submitting", "running"))


@contextmanager
def factory(
    folder: Path, options: tuple[str, ...] = (), *, host: str = "127.0.0.1", **settings: str
) -> Iterator[Factory]:
    """Start Valkey and simulator; `settings` become the workers' environment.

    Args:
        folder: where files go.
        options: the simulator's.
        host: the address at which both listen.
    """
    with ExitStack() as stack:
        server = start_valkey(folder / "valkey", aof=True, host=host)
        stack.callback(server.stop)
        simulator = SimulatorProcess.start("--host", host, *options)
        stack.callback(simulator.stop)
        url = f"redis://{host}:{server.port}/0"
        queue = stack.enter_context(RunQueue(url))
        made = Factory(server, url, simulator.url, folder, settings, queue)
        made.simulator = simulator
        try:
            yield made
        finally:
            for worker in made.workers:
                if worker.poll() is None:
                    worker.send_signal(signal.SIGTERM)
            for worker in made.workers:
                _end(worker)


def _end(child: "subprocess.Popen[Any]") -> None:
    child.terminate()
    try:
        child.wait(timeout=40)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def task(key: str, url: str = "https://shop.test/", **options: Any) -> dict[str, Any]:
    """Return a line of a batch file."""
    return {"custom_id": key, "kind": "task", "body": {"prompt": "Read it.", "url": url}, **options}


#: Seconds between jobs that come when nothing but lost answers is left.
LATER_EVERY = 5.0


def settled_by_newer_jobs(
    parts: Factory, jobs: int, states: Sequence[str] = ("completed",)
) -> list[Enqueued]:
    """Wait until all jobs are in states, with newer ones coming; returns the newer ones.

    That a job has no run is believed only of a list that shows something newer than its loss.
    """
    later: list[Enqueued] = []
    due = time.monotonic() + LATER_EVERY

    def are_settled() -> bool:
        nonlocal due
        found = parts.states()
        if found.keys() <= set(states) and sum(found.values()) == jobs + len(later):
            return True
        if found.get("unconfirmed") and time.monotonic() > due:
            due = time.monotonic() + LATER_EVERY
            later.extend(parts.queue.enqueue_many([task(f"later-{len(later)}")]))
        return False

    try:
        until(are_settled, 240, f"every job to be {' or '.join(states)}")
    except TimeoutError as error:
        error.add_note(str(parts.states()))
        raise
    return later
