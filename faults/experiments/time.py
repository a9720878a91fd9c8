"""Clocks that are wrong, or jump."""

import time

from faults.clocks import Clock
from faults.experiments.redis import RECOVERED
from faults.lab import Lab
from faults.registry import experiment

_RUNS = ("--duration", "1")
_HOUR, _DAY = 3600.0, 86_400.0
#: Without a jump all jobs are over after about this many seconds.
_USUAL = 60.0


@experiment(
    "a worker's clock an hour ahead",
    "one of two workers, from its start and by a jump",
    jobs=80,
    simulator=_RUNS,
)
def worker_ahead(lab: Lab, jobs: int) -> None:
    """It has another clock first from its start, then by a jump at work."""
    clock = lab.clock("worker")
    clock.set(_HOUR)
    faked = lab.worker(**clock.environment()).start()
    lab.worker().start()
    lab.submit(jobs // 2, prefix="before")
    lab.settle(_USUAL)
    clock.set(0)
    lab.submit(jobs - jobs // 2, prefix="jump")
    time.sleep(1)
    clock.set(_HOUR)
    lab.settle(_USUAL)
    lab.expect(faked.words('"event": "item_failed"') == 0, "its consumers failed")
    lab.expect(lab.count("completed") == jobs, f"not all completed: {lab.states()}")


@experiment(
    "the clock of Redis' host a day back",
    "it jumps there and back twice while runs are under way",
    jobs=80,
    simulator=("--duration", "2"),
    redis_clock=0.0,
)
def redis_back(lab: Lab, jobs: int) -> None:
    """Let the clock of Redis' host jump while jobs are submitted and runs are under way."""
    clock = lab.clock("redis")
    lab.worker().start()
    lab.worker().start()
    for part in range(4):
        lab.submit(jobs // 4, prefix=f"part-{part}")
        lab.until_state("completed", max(1, part * jobs // 4))
        _jump(lab, clock, -_DAY if part % 2 == 0 else 0)
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
