"""Simulating plans, each in a forked process, so that no state of one reaches the next."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import structlog

from runqueue.producer import async_queue
from simulation import processes
from simulation.course import Course
from simulation.plan import SimulationPlan
from simulation.processes import CURRENT
from simulation.server import Client, ValkeyInstance

#: The signals that end a simulation.
_ENDING = {signal.SIGINT, signal.SIGTERM}


@dataclass(slots=True)
class Result:
    """The result of a simulation.

    Args:
        seed: the seed of its plan; name: the plan's name, if it was made by hand.
        digest: the digest of its history.
        events: lines of the history.
        minutes: simulated minutes.
        seconds: real seconds.
        jobs: accepted jobs.
        runs: runs that Skyvern made.
        faults_met: how many faults of each kind had an effect, and how often each effect came.
        marks: how often each of `MARKS` was reached.
        violations: the invariants that did not hold, a sentence each.
    """

    seed: int
    digest: str
    events: int
    minutes: float
    seconds: float
    jobs: int
    runs: int
    faults_met: dict[str, int]
    marks: dict[str, int]
    violations: list[str]
    name: str = ""


def simulate(plan: SimulationPlan, out: TextIO | None = None) -> Result:
    """Simulate one plan, in a process of its own.

    Args:
        plan: the plan.
        out: receives its history.
    """
    with _folder() as folder:
        return _ChildProcess(plan, Path(folder), out).result()


def simulate_many(
    plans: Iterable[SimulationPlan], at_once: int, within: float = 0
) -> Iterator[Result]:
    """Simulate plans, some at a time, and yield the results as they arrive.

    Args:
        plans: the plans.
        at_once: how many are simulated at a time.
        within: begin none after so many real seconds; 0 = however long.
    """
    started, remaining = time.monotonic(), iter(plans)
    children: dict[int, _ChildProcess] = {}
    with _folder() as folder:
        free = [Path(folder) / str(number) for number in range(at_once)]
        for subfolder in free:
            subfolder.mkdir()
        try:
            while True:
                while free and (not within or time.monotonic() - started < within):
                    plan = next(remaining, None)
                    if plan is None:
                        break
                    with _signals_wait():  # until the child is among those that are stopped
                        child = _ChildProcess(plan, free.pop(), None)
                        children[child.reader] = child
                if not children:
                    return
                ready, _, _ = select.select(list(children), [], [])
                for reader in ready:
                    child = children.pop(reader)
                    free.append(child.folder)
                    yield child.result()
        finally:  # nobody wants the others' results any more
            for child in children.values():
                child.stop()


def _folder() -> tempfile.TemporaryDirectory[str]:
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Have the signals that end a simulation wait: within `os.fork` their exceptions are lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _ChildProcess:
    """A forked process that simulates one plan."""

    def __init__(self, plan: SimulationPlan, folder: Path, out: TextIO | None) -> None:
        self.folder = folder
        self._plan = plan
        self.reader, writer = os.pipe()
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self.reader)
            _simulate_in_child(plan, folder, out, writer)
        os.close(writer)

    def stop(self) -> None:
        """End it early, its Valkey included."""
        os.kill(self._pid, signal.SIGTERM)
        os.waitpid(self._pid, 0)
        os.close(self.reader)

    def result(self) -> Result:
        """Wait for its end, and return its result."""
        with os.fdopen(self.reader, "rb") as reader:
            output = reader.read()
        os.waitpid(self._pid, 0)
        if not output:
            died = ["the simulation's process died"]
            return Result(self._plan.seed, "", 0, 0.0, 0.0, 0, 0, {}, {}, died, self._plan.name)
        return Result(**json.loads(output))


def _simulate_in_child(plan: SimulationPlan, folder: Path, out: TextIO | None, writer: int) -> None:
    """Simulate a plan, write the result, and exit without finalizers."""
    gc.disable()  # a coroutine of a killed process must not be closed
    valkey = ValkeyInstance(folder)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        for file in folder.iterdir():  # data of the previous simulation
            file.unlink()
        valkey.start()
        result = _run_world(plan, valkey, out)
        if out is not None:
            out.flush()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(asdict(result)).encode())
    except KeyboardInterrupt:
        pass  # the parent sees that there is no result
    except BaseException:  # noqa: BLE001 - it is shown, and the parent sees that there is no result
        traceback.print_exc()
    finally:
        valkey.stop()
        os._exit(0)


def _run_world(plan: SimulationPlan, valkey: ValkeyInstance, out: TextIO | None) -> Result:
    started = time.monotonic()
    processes.EPOCH = plan.begins
    course = Course(plan, valkey, out)
    world = course.world
    _connect(course)
    try:
        course.run()
    except Exception:  # noqa: BLE001 - whatever it is, the seed shows it again
        world.ledger.fail(traceback.format_exc())
    return Result(
        seed=plan.seed,
        digest=world.history.digest,
        events=world.history.events,
        minutes=world.loop.now / 60,
        seconds=time.monotonic() - started,
        jobs=len(world.ledger.accepted),
        runs=sum(1 for _ in world.skyvern.store.oldest_first()),
        faults_met=dict(world.faults_met()),
        marks=dict(world.marks.reached),
        violations=world.ledger.violations,
        name=plan.name,
    )


def _connect(course: Course) -> None:
    """Connect the queues that the product opens, and its log, to a course."""
    world = course.world
    vars(async_queue)["async_client"] = lambda _: Client(world.server, CURRENT.get())

    def judge_and_drop(
        logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> Mapping[str, Any]:
        del logger, method
        course.log_rules.judge(event)
        world.marks.note_log(event)
        if world.history.is_written:
            process = CURRENT.get(None)
            fields = " ".join(f"{k}={v}" for k, v in sorted(event.items()) if k != "event")
            world.history.explain(
                process.name if process else "-", f"log {event['event']} {fields}"
            )
        raise structlog.DropEvent

    structlog.configure(
        processors=[judge_and_drop],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
