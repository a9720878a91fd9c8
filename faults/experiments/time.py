"""Clocks that are wrong, or jump."""

import time
from collections.abc import Callable

from faults.experiments.redis import RECOVERED
from faults.lab import Lab
from faults.registry import Body, experiment
from faults.servers import Clock

_RUNS = ("--duration", "1")
_HOUR, _DAY = 3600.0, 86_400.0
#: Without a jump all jobs are over after about this many seconds.
_USUAL = 60.0


def _worker_clock(lab: Lab, jobs: int, seconds: float) -> None:
    """Let one of two workers have another clock, first from its start, then by a jump at work."""
    clock = lab.clock("worker")
    clock.set(seconds)
    faked = lab.worker(**clock.environment()).start()
    lab.worker().start()
    lab.submit(jobs // 2, prefix="before")
    lab.settle(_USUAL)
    clock.set(0)
    lab.submit(jobs - jobs // 2, prefix="jump")
    time.sleep(1)
    clock.set(seconds)
    lab.settle(_USUAL)
    lab.expect(faked.words('"event": "item_failed"') == 0, "its consumers failed")
    lab.expect(lab.count("completed") == jobs, f"not all completed: {lab.states()}")


def _redis_clock(lab: Lab, jobs: int, seconds: float) -> None:
    """Let the clock of Redis' host jump while jobs are submitted and runs are under way."""
    clock = lab.clock("redis")
    lab.worker().start()
    lab.worker().start()
    for part in range(4):
        lab.submit(jobs // 4, prefix=f"part-{part}")
        lab.until_state("completed", max(1, part * jobs // 4))
        _jump(lab, clock, seconds if part % 2 == 0 else 0)
    lab.settle(300)
    lab.expect(lab.count("completed") == jobs, f"not all completed: {lab.states()}")


def _jump(lab: Lab, clock: Clock, seconds: float) -> None:
    """Set the clock of Redis' host, and wait until it is seen there."""
    clock.set(seconds)
    with lab.valkey.client() as client:
        lab.until(
            lambda: abs(client.time()[0] - time.time() - seconds) < 30, 10, "Redis' clock to jump"
        )


@experiment(
    "Redis comes back on a host an hour ahead",
    "it is stopped between two jobs, and started with its host's clock set ahead",
    jobs=40,
    simulator=_RUNS,
    redis_clock=0.0,
)
def returns_ahead(lab: Lab, jobs: int) -> None:
    """The account is held until its workers were heard, and not for the hour."""
    clock = lab.clock("redis")
    lab.worker().start()
    lab.worker().start()
    lab.submit(jobs // 2, prefix="before")
    lab.settle(_USUAL)
    lab.valkey.stop()
    clock.set(_HOUR)
    lab.valkey.start()
    lab.mend()
    lab.submit(jobs - jobs // 2, prefix="after")
    lab.goes_on(RECOVERED)  # another server, as far as anybody can tell
    lab.settle(_USUAL)
    lab.expect(lab.count("completed") == jobs, f"not all completed: {lab.states()}")


@experiment(
    "the clock of Redis' host set ahead while answers are slow",
    "it is set an hour ahead once; answers take a second, so some come before that is believed",
    jobs=120,
    simulator=("--duration", "3"),
    settings={"RUNQUEUE_MAX_DISPATCHES_PER_SECOND": "8"},
    redis_clock=0.0,
)
def ahead_once(lab: Lab, jobs: int) -> None:
    """No run is polled an hour late, and none keeps its slot for that long."""
    clock = lab.clock("redis")
    lab.simulator.faults({"action": {"answer_latency": 1}})
    lab.worker().start()
    lab.worker().start()
    lab.submit(jobs)
    lab.until_state("completed", jobs // 4)
    _jump(lab, clock, _HOUR)
    lab.mend()
    lab.settle(_USUAL)
    lab.expect(lab.count("completed") == jobs, f"not all completed: {lab.states()}")


def _declare() -> None:
    for words, seconds in (
        ("an hour ahead", _HOUR),
        ("an hour back", -_HOUR),
        ("a day back", -_DAY),
    ):
        experiment(
            f"a worker's clock {words}",
            "one of two workers, from its start and by a jump",
            jobs=80,
            simulator=_RUNS,
        )(_with(_worker_clock, seconds))
        experiment(
            f"the clock of Redis' host {words}",
            "it jumps there and back twice while runs are under way",
            jobs=80,
            simulator=("--duration", "2"),
            redis_clock=0.0,
        )(_with(_redis_clock, seconds))


def _with(body: Callable[[Lab, int, float], None], seconds: float) -> Body:
    def with_clock(lab: Lab, jobs: int) -> None:
        body(lab, jobs, seconds)

    return with_clock


_declare()
