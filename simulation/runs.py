"""Simulating plans: each in a process of its own, so that nothing of one reaches the next."""

from __future__ import annotations

import gc
import json
import logging
import os
import select
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
from runqueue.request.private_targets import allow_private_targets
from simulation.plan import Plan, draw
from simulation.processes import CURRENT
from simulation.server import Client, Valkey
from simulation.world import World

#: Log lines that only a defect writes; and the errors after which a lease brings an item back.
_DEFECTS = {"item_failed", "record_refused", "run_is_another_jobs", "record_lost"}
_REDIS_ERRORS = {"ConnectionError", "TimeoutError", "ResponseError", "ReadOnlyError"}
#: Real seconds after which a simulation counts as stuck.
_STUCK_SECONDS = 300.0


@dataclass(slots=True)
class Result:
    """What a simulation came to.

    Args:
        seed: its plan's.
        digest: of its history.
        events: lines of that.
        minutes: simulated.
        seconds: real.
        jobs: accepted.
        runs: made at the server.
        met: how often each kind of fault was met.
        wrong: which invariants did not hold, in words.
    """

    seed: int
    digest: str
    events: int
    minutes: float
    seconds: float
    jobs: int
    runs: int
    met: dict[str, int]
    wrong: list[str]


def simulate(plan: Plan, out: TextIO | None = None) -> Result:
    """Simulate one plan, in a process of its own.

    Args:
        plan: the plan.
        out: where its history is written.
    """
    with _folder() as folder:
        return _Child(plan, Path(folder), out).result()


def many(seeds: Iterable[int], minutes: float, at_once: int, within: float) -> Iterator[Result]:
    """Simulate seeds, some at a time, and give the results as they come.

    Args:
        seeds: which.
        minutes: simulated minutes of each.
        at_once: processes.
        within: begin none after so many real seconds; 0 = however long.
    """
    began, left = time.monotonic(), iter(seeds)
    children: dict[int, _Child] = {}
    with _folder() as folder:
        free = [Path(folder) / str(number) for number in range(at_once)]
        for one in free:
            one.mkdir()
        while True:
            while free and (not within or time.monotonic() - began < within):
                seed = next(left, None)
                if seed is None:
                    break
                child = _Child(draw(seed, minutes), free.pop(), None)
                children[child.reader] = child
            if not children:
                return
            ready, _, _ = select.select(list(children), [], [])
            for reader in ready:
                child = children.pop(reader)
                free.append(child.folder)
                yield child.result()


def _folder() -> tempfile.TemporaryDirectory[str]:
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


class _Child:
    """A forked process that simulates one plan."""

    def __init__(self, plan: Plan, folder: Path, out: TextIO | None) -> None:
        self.folder = folder
        self._seed = plan.seed
        self.reader, writer = os.pipe()
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self.reader)
            _live(plan, folder, out, writer)
        os.close(writer)

    def result(self) -> Result:
        """Wait for its end, and return what it came to."""
        with os.fdopen(self.reader, "rb") as reader:
            said = reader.read()
        os.waitpid(self._pid, 0)
        if not said:
            return Result(self._seed, "", 0, 0.0, 0.0, 0, 0, {}, ["the simulation's process died"])
        return Result(**json.loads(said))


def _live(plan: Plan, folder: Path, out: TextIO | None, writer: int) -> None:
    """Simulate a plan, write the result, and end without running what is left of it."""
    gc.disable()  # a coroutine of a killed process must not be closed
    valkey = Valkey(folder)
    try:
        for left in folder.iterdir():  # data of the simulation before
            left.unlink()
        valkey.start()
        result = _simulated(plan, valkey, out)
        if out is not None:
            out.flush()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(asdict(result)).encode())
    except BaseException:  # noqa: BLE001 - it is shown, and the parent sees that there is no result
        traceback.print_exc()
    finally:
        valkey.stop()
        os._exit(0)


def _simulated(plan: Plan, valkey: Valkey, out: TextIO | None) -> Result:
    allow_private_targets(allowed=True)
    began = time.monotonic()
    world = World(plan, valkey, out)
    _lead(world)
    try:
        world.run()
    except Exception:  # noqa: BLE001 - whatever it is, the seed shows it again
        world.ledger.fail(traceback.format_exc())
    return Result(
        seed=plan.seed,
        digest=world.history.digest,
        events=world.history.events,
        minutes=world.loop.now / 60,
        seconds=time.monotonic() - began,
        jobs=len(world.ledger.accepted),
        runs=sum(1 for _ in world.skyvern.store.oldest_first()),
        met=dict(world.met()),
        wrong=world.ledger.wrong,
    )


def _lead(world: World) -> None:
    """Lead what the product opens by itself, and its log, to a world."""
    vars(async_queue)["async_client"] = lambda _: Client(world.server, CURRENT.get())

    def take_note(logger: Any, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        del logger, method
        if event["event"] in _DEFECTS and event.get("error") not in _REDIS_ERRORS:
            world.ledger.fail(f"the log says: {event}")
        if world.history.is_told:
            process = CURRENT.get(None)
            words = " ".join(f"{k}={v}" for k, v in sorted(event.items()) if k != "event")
            world.history.tell(process.name if process else "-", f"log {event['event']} {words}")
        raise structlog.DropEvent

    structlog.configure(
        processors=[take_note],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
