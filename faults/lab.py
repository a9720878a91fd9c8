"""A laboratory: a Valkey, a simulated Skyvern and workers, each a real process behind proxies."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.clocks import Clock
from faults.unconfirmed import UnconfirmedWatch
from faults.workers import SETTINGS, Worker
from lab.proxy import Network
from lab.simulators import SimulatorProcess
from lab.valkeys import Valkey, start_valkey
from lab.waiting import until
from runqueue import AccountStats, QueueUnavailable, RunQueue

#: Kinds of jobs: two whose runs a search finds (a task that keeps its title, a workflow with a
#: webhook), two that only requests tell (a task whose title is overwritten, a workflow without).
MIXED = ("titled", "plain", "hooked", "bare")

_OPEN = ("scheduled", "ready", "submitting", "running", "unconfirmed")


def line(
    key: str, kind: str = "titled", plan: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Return a line of a batch file; the run that comes of it names the key in prompt or title.

    Args:
        key: the job's `custom_id`.
        kind: one of `MIXED`.
        plan: what the simulator is to do with the run (`sim_end`, `sim_seconds`, …).
        options: further fields of the line.
    """
    plan = plan or {}
    query = "&".join(f"{name}={value}" for name, value in plan.items())
    if kind in {"titled", "plain"}:
        body: dict[str, Any] = {"prompt": key, "url": f"https://shop.test/{key}?{query}"}
        if kind == "titled":
            body["engine"] = "skyvern-1.0"
        return {"custom_id": key, "kind": "task", "body": body, **options}
    body = {"workflow_id": "wpid_1", "title": key, "parameters": {"key": key, **plan}}
    if kind == "hooked":
        body["webhook_url"] = f"http://127.0.0.1:9/{key}"
    return {"custom_id": key, "kind": "workflow", "body": body, **options}


@dataclass(slots=True)
class Lab:
    """What an experiment works with, and what it says of itself.

    Args:
        folder: data and logs.
        settings: of its workers.
    """

    folder: Path
    valkey: Valkey
    simulator: SimulatorProcess
    network: Network
    settings: dict[str, str]
    queue: RunQueue = field(init=False)
    unconfirmed: UnconfirmedWatch = field(init=False)
    workers: list[Worker] = field(default_factory=list)
    #: Further servers of the experiment, ended with it.
    servers: list[Valkey] = field(default_factory=list)
    #: Submitted jobs: key by job id.
    accepted: dict[str, str] = field(default_factory=dict)
    #: Those of them whose runs a search finds by their markers.
    marked: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    #: Seconds from the fault's end until work went on.
    recovered: float | None = None
    _mended: float = 0.0
    _before: int = 0

    def __post_init__(self) -> None:
        self.queue = RunQueue(f"{self.valkey.url}/0")
        self.unconfirmed = UnconfirmedWatch(self.valkey.port)

    def worker(self, *, base_url: str | None = None, **settings: str) -> Worker:
        """Make a worker's place, with proxies of its own; no process runs there yet."""
        api = self.network.proxy("127.0.0.1", self.simulator.port)
        redis = self.network.proxy("127.0.0.1", self.valkey.port)
        number = len(self.workers) + 1
        environ = {
            **os.environ,
            **self.settings,
            **settings,
            "SKYVERN_API_KEY": "simulator-key",
            "SKYVERN_BASE_URL": base_url or f"http://127.0.0.1:{api.port}",
            "RUNQUEUE_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
            "RUNQUEUE_BROKER_URL": f"redis://127.0.0.1:{redis.port}/1",
        }
        log = self.folder / f"worker-{number}.log"
        made = Worker(f"worker-{number}", api, redis, environ, log)
        self.workers.append(made)
        return made

    def clock(self, name: str) -> Clock:
        """Make a clock, showing the true time."""
        made = Clock(self.folder / f"{name}.clock")
        made.set(0)
        return made

    def submit(
        self,
        count: int,
        kinds: tuple[str, ...] = MIXED,
        prefix: str = "job",
        plan: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[str]:
        """Submit jobs of the given kinds in turn and return their ids; see `line`."""
        keys = [f"{prefix}-{number}" for number in range(count)]
        lines = [line(key, kinds[i % len(kinds)], plan, **options) for i, key in enumerate(keys)]
        return self.take(lines)

    def take(self, lines: Sequence[Mapping[str, Any]], batch: str | None = None) -> list[str]:
        """Submit these lines, into an open batch if one is named; return the jobs' ids."""
        ids = [answer.job_id for answer in self.queue.enqueue_many(lines, batch=batch)]
        for id_, one in zip(ids, lines, strict=True):
            self.accepted[id_] = str(one["custom_id"])
            if "engine" in one["body"] or "webhook_url" in one["body"]:
                self.marked.add(id_)
        return ids

    def stats(self) -> AccountStats | None:
        """Return the account's figures; None while Redis is away."""
        try:
            return self.queue.stats()["default"]
        except QueueUnavailable:
            return None

    def states(self) -> dict[str, int]:
        """Return how many jobs stand in each state; nothing while Redis is away."""
        stats = self.stats()
        return {state.value: n for state, n in stats.states.items() if n} if stats else {}

    def count(self, *states: str) -> int:
        """Return how many jobs stand in any of these states."""
        seen = self.states()
        return sum(seen.get(state, 0) for state in states)

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> float:
        """Wait until something holds and return how many seconds that took.

        Raises:
            TimeoutError: it did not come true in time.
        """
        start = time.monotonic()
        until(condition, seconds, what, every=0.05)
        return time.monotonic() - start

    def until_state(self, state: str, least: int, seconds: float = 60.0) -> float:
        """Wait until so many jobs stand in a state."""
        return self.until(
            lambda: self.count(state) >= least, seconds, f"{least} jobs to be {state}"
        )

    def mend(self) -> None:
        """Say that the fault is over now: what comes is recovery."""
        self._before = self.simulator.summary()["submissions"]
        self._mended = time.monotonic()

    def goes_on(self, at_most: float, *, wait: float = 120.0) -> None:
        """Wait for the first submission after the fault's end.

        Args:
            at_most: seconds it may take.
            wait: seconds to wait for it.
        """
        until(lambda: self.simulator.summary()["submissions"] > self._before, wait, "work to go on")
        self.recovered = time.monotonic() - self._mended
        self.expect(self.recovered <= at_most, f"recovered only after {self.recovered:.1f} s")

    def settle(self, seconds: float = 180.0) -> None:
        """Wait until no job moves by itself any more, so many seconds at most."""

        def settled() -> bool:
            seen = self.states()
            return bool(seen) and not any(seen.get(state) for state in _OPEN)

        try:
            until(settled, seconds, "the jobs to settle", every=0.1)
        except TimeoutError:
            self.broken.append(f"after {seconds:g} s there still were {self.states()}")

    def total(self, name: str) -> int:
        """Return one of the account's totals."""
        stats = self.stats()
        return stats.totals.get(name, 0) if stats else 0

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note a broken expectation, unless it holds."""
        if not holds:
            self.broken.append(otherwise)

    def note(self, text: str) -> None:
        """Add a figure to the experiment's row."""
        self.notes.append(text)


@contextmanager
def opened(
    folder: Path,
    simulator: tuple[str, ...] = (),
    settings: Mapping[str, str] | None = None,
    redis_clock: float | None = None,
) -> Iterator[Lab]:
    """Start Valkey and a simulator, and end everything that the experiment started.

    Args:
        folder: an empty one, for data and logs.
        simulator: its options.
        settings: settings of the workers, over `SETTINGS`.
        redis_clock: seconds; gives Valkey a clock of its own (`redis.clock`), so far ahead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environ: dict[str, str] = {}
    if redis_clock is not None:
        clock = Clock(folder / "redis.clock")
        clock.set(redis_clock)
        environ = clock.environment()
    with ExitStack() as stack:
        valkey = start_valkey(folder / "valkey", aof=True, environ=environ)
        stack.callback(valkey.kill)
        api = SimulatorProcess.start(*simulator, log=folder / "simulator.log")
        stack.callback(api.stop)
        network = stack.enter_context(Network())
        made = Lab(folder, valkey, api, network, {**SETTINGS, **(settings or {})})
        stack.callback(made.queue.close)
        made.unconfirmed.start()
        stack.callback(made.unconfirmed.stop)
        try:
            yield made
        finally:
            for worker in made.workers:
                worker.kill()
            for server in made.servers:
                server.kill()
