"""A hundred thousand runs in flight on one worker process: its memory, its lag, and who is missed.

The worker and the simulator are processes of their own. The runs that are submitted first get what
is left of a run's time in an account that has been busy for long, evenly spread; so from the moment
all of them are in flight as many end, and are submitted anew, as in the long run.

A run is *missed* when nobody looks at it, by list or GET, within `TOLERANCE` seconds of when that
is due. That is seen from both ends. In Redis: twice a second, how many runs' looks (and the list's)
are overdue by more than that. In the simulator's ledger: which runs were recorded as over later
than the longest time between two looks and `TOLERANCE` after their end.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import httpx
import orjson
import redis

from bench.process import Lag, loop_lag, resident_mb
from bench.slow import Slow, slowest, watch
from bench.stack import Stack, cpu_seconds, running
from lab.valkeys import free_port
from lab.waiting import until
from runqueue import RunQueue
from runqueue.store.keys import Keys
from worker.poll_times import most_list_spacing

#: Seconds that a look may be overdue.
TOLERANCE = 5.0
#: Seconds that all first runs live, in which the others are submitted.
_HOLD = 150.0
#: Jobs of one call of the producer, and most of them that wait in line.
_CALL, _IN_LINE = 500, 5_000
_PROMPT = "x" * 440


@dataclass
class Phase:
    """What was seen of the worker while runs were submitted, or ended.

    Attributes:
        seconds: how long it took.
        cpu: share of a core that the worker, Redis and the simulator used.
        lag: the worker's own samples of its loop.
        most_mb: most resident memory of the worker.
        latest: seconds by which the most overdue look was late.
        overdue: most looks that were late by more than `TOLERANCE` at once.
        list_late: seconds by which a list was late at most.
    """

    seconds: float = 0.0
    cpu: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lag: Lag = field(default_factory=lambda: Lag({}))
    most_mb: float = 0.0
    latest: float = 0.0
    overdue: int = 0
    list_late: float = 0.0


@dataclass(frozen=True, slots=True)
class Flight:
    """Both phases, and what the ledger says of the second.

    Attributes:
        live: runs in flight at its end.
        ended: runs that ended in it.
        missed: of these, recorded later than `bound` seconds after the end, or never.
        delays: seconds from end to record: mean, 99th percentile, most.
        gets, lists: calls of the second phase, a second.
    """

    ramp: Phase
    steady: Phase
    live: int
    ended: int
    missed: int
    bound: float
    delays: tuple[float, float, float]
    gets: float
    lists: float
    slow: list[Slow]


def measure(
    live: int = 100_000,
    duration: float = 1_800.0,
    looks: tuple[float, float] = (60.0, 60.0),
    counted: float = 240.0,
) -> Flight:
    """Bring so many runs in flight, keep them there for a while, and count.

    Args:
        live: how many.
        duration: seconds that a run takes.
        looks: least and most seconds between two looks at a run that no list shows.
        counted: seconds of the second phase in which ends are counted.
    """
    port = free_port()
    settings = {
        "RUNQUEUE_METRICS_PORT": str(port),
        "RUNQUEUE_POLL_MIN_SECONDS": f"{looks[0]:g}",
        "RUNQUEUE_POLL_MAX_SECONDS": f"{looks[1]:g}",
    }
    with (
        running("--duration", f"{duration:g}", as_usual=True) as stack,
        RunQueue(stack.redis_url) as queue,
        stack.workers(1, **settings) as (worker,),
    ):
        until(lambda: _processes(queue) == 1, 60, "the worker")
        trial = _Trial(stack, queue, worker, port)
        return trial.run(live, duration, looks[1], counted)


def _processes(queue: RunQueue) -> int:
    stats = queue.stats()
    return stats["default"].processes if "default" in stats else 0


class _Trial:
    def __init__(self, stack: Stack, queue: RunQueue, worker: int, port: int) -> None:
        self._stack, self._queue, self._worker, self._port = stack, queue, worker, port
        self._redis = redis.Redis.from_url(stack.redis_url)
        self._prefix = Keys("default").prefix
        self._made = 0
        self._random = random.Random(0)

    def run(self, live: int, duration: float, longest: float, counted: float) -> Flight:
        watch(self._redis)
        ramp = self._phase(
            lambda: self._submit_first(live, duration), lambda: self._live() >= live, 900
        )
        # What lies between two looks at most, lists included; ±10 % of a GET's is chance.
        bound = max(1.1 * longest, most_list_spacing(duration)) + TOLERANCE
        calls, first = self._calls(), 0.0

        def is_over() -> bool:
            nonlocal first
            if not first and self._count("ended:completed"):
                first = time.time()
            # What ends in the counted time may be recorded a bound later.
            return first > 0 and time.time() >= first + counted + bound

        steady = self._phase(
            lambda: self._keep(live, duration), is_over, 2 * _HOLD + counted + bound
        )
        after, still = self._calls(), self._live()
        slow = slowest(self._redis, 8)
        delays, missed = self._delays(first, first + counted)
        return Flight(
            ramp,
            steady,
            still,
            len(delays) + missed,
            missed + sum(delay > bound for delay in delays),
            bound,
            (sum(delays) / len(delays), delays[int(0.99 * (len(delays) - 1))], delays[-1]),
            (after["get_run"] - calls["get_run"]) / steady.seconds,
            (after["list_runs"] - calls["list_runs"]) / steady.seconds,
            slow,
        )

    def _phase(self, feed: Callable[[], None], is_over: Callable[[], bool], most: float) -> Phase:
        seen, lag, cpu = Phase(), loop_lag(self._port), self._cpu()
        start = time.monotonic()
        next_look = 0.0

        def step() -> bool:
            nonlocal next_look
            feed()
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + 0.5
                self._look(seen)
            return is_over()

        until(step, most, "the phase")
        seen.seconds = time.monotonic() - start
        used = [(b - a) / seen.seconds for a, b in zip(cpu, self._cpu(), strict=True)]
        seen.cpu = (used[0], used[1], used[2])
        seen.lag = loop_lag(self._port).since(lag)
        return seen

    def _look(self, seen: Phase) -> None:
        seconds, micros = self._redis.time()
        now = seconds * 1_000_000 + micros
        pipe = self._redis.pipeline(transaction=False)
        pipe.zrange(f"{self._prefix}poll", 0, 0, withscores=True)
        pipe.zcount(f"{self._prefix}poll", "-inf", now - int(TOLERANCE * 1e6))
        pipe.hmget(f"{self._prefix}meta", "list_at", "list_until")
        oldest, overdue, (list_at, list_until) = pipe.execute()
        seen.most_mb = max(seen.most_mb, resident_mb(self._worker))
        seen.overdue = max(seen.overdue, overdue)
        if oldest:
            seen.latest = max(seen.latest, (now - oldest[0][1]) / 1e6)
        if list_at and not list_until:
            seen.list_late = max(seen.list_late, (now - int(list_at)) / 1e6)

    def _submit_first(self, live: int, duration: float) -> None:
        missing, in_line = self._missing(live)
        if missing > 0 and in_line < _IN_LINE:
            # What is left of a run that is met at some moment: anything up to a whole run.
            self._enqueue(
                _HOLD + self._random.random() * duration for _ in range(min(missing, _CALL))
            )

    def _keep(self, live: int, duration: float) -> None:
        missing, _ = self._missing(live)
        if missing > 0:
            self._enqueue(duration for _ in range(min(missing, _CALL)))

    def _missing(self, live: int) -> tuple[int, int]:
        """How many runs are neither in flight nor waiting, and how many wait."""
        found = self._redis.hmget(f"{self._prefix}counters", "live", "ready:2")
        flying, in_line = (int(n or 0) for n in found)
        return live - flying - in_line, in_line

    def _enqueue(self, seconds: Iterator[float]) -> None:
        lines = [
            {
                "kind": "task",
                "body": {
                    "prompt": _PROMPT,
                    "url": f"https://shop.test/{self._made + i}?sim_seconds={length:.1f}",
                    "engine": "skyvern-1.0",
                },
            }
            for i, length in enumerate(seconds)
        ]
        self._made += len(lines)
        self._queue.enqueue_many(lines)

    def _delays(self, first: float, last: float) -> tuple[list[float], int]:
        """Return how long after its end each run was recorded that ended in between.

        Returns:
            The delays in order, and how many were not recorded at all.
        """
        recorded = self._recorded()
        with httpx.stream("GET", f"{self._stack.base_url}/_ledger", timeout=300) as answer:
            runs = [orjson.loads(line) for line in answer.iter_lines()]
        ends = {run["run_id"]: run["ended"] for run in runs if run["ended"] is not None}
        found = {run: end for run, end in ends.items() if first <= end < last}
        delays = sorted(recorded[run] - end for run, end in found.items() if run in recorded)
        return delays, len(found) - len(delays)

    def _recorded(self) -> dict[str, float]:
        """When each run's end was recorded."""
        ended: dict[str, float] = {}
        for key in self._redis.scan_iter(f"{self._prefix}ended:*"):
            ids = cast("list[bytes]", self._redis.lrange(key, 0, -1))
            for start in range(0, len(ids), 1_000):
                pipe = self._redis.pipeline(transaction=False)
                for job_id in ids[start : start + 1_000]:
                    pipe.hmget(f"{self._prefix}job:{job_id.decode()}", "run_id", "ended")
                for run_id, at in pipe.execute():
                    ended[run_id.decode()] = int(at) / 1e6
        return ended

    def _cpu(self) -> tuple[float, float, float]:
        server = self._redis.info("cpu")
        return (
            cpu_seconds(self._worker),
            server["used_cpu_user"] + server["used_cpu_sys"],
            cpu_seconds(self._stack.simulator.process.pid),
        )

    def _calls(self) -> dict[str, int]:
        found = self._redis.hmget(f"{self._prefix}counters", "calls:get", "calls:list")
        gets, lists = (int(n or 0) for n in found)
        return {"get_run": gets, "list_runs": lists}

    def _live(self) -> int:
        return self._count("live")

    def _count(self, name: str) -> int:
        return int(self._redis.hget(f"{self._prefix}counters", name) or 0)
