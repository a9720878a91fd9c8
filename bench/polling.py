"""What following a run costs: lists of live runs, and against that a GET per run and look.

Simulated time (`clocked.py`): a thousand runs are live all the time, no webhook comes, and the
simulator's own ledger says when each run ended and how many calls arrived.
"""

import asyncio
import logging
from dataclasses import dataclass
from unittest import mock

import structlog

from bench.clocked import Clocked, clocked
from config.settings import Settings
from simulator.model.options import Options
from worker.process.account import AccountRuntime

#: Minutes that a run takes, and the share by which that varies.
SCENARIOS = ((5, 0.0), (5, 0.5), (30, 0.5))

#: Of a run's duration: until everything is in its stride, and what is counted then.
_WARM, _COUNTED = 2.0, 1.5


@dataclass(frozen=True, slots=True)
class Seen:
    """What one scenario showed.

    Attributes:
        calls: API calls a run, its submission and its result included.
        delay, worst: seconds from a run's end to its record: the mean, and the 99th percentile.
        commands, cpu_ms: what Redis did for a run, from its submission to its record.
        lists, gets: calls a run of these kinds.
    """

    runs: int
    calls: float
    lists: float
    gets: float
    delay: float
    worst: float
    commands: float
    cpu_ms: float


def measure(duration: float, live: int = 1000, spread: float = 0.0, *, lists: bool = True) -> Seen:
    """Keep so many runs live, and count.

    Args:
        duration: seconds that a run takes, on average.
        live: how many are live.
        spread: 0 to 1: durations lie evenly within that share of it.
        lists: False = a GET per run and look.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with mock.patch.object(AccountRuntime, "may_list", return_value=lists):
        return asyncio.run(_measure(duration, live, spread))


async def _measure(duration: float, live: int, spread: float) -> Seen:
    options = Options(duration=duration, duration_spread=spread)
    limits = {
        "max_submissions_per_second": live / duration,
        "max_burst_size": 5,
        "max_concurrent_runs": 0,
        "max_requests_per_second": 0,
    }
    async with clocked(options, Settings(), **limits) as parts:
        until = parts.clock.now + _WARM * duration
        count = int(live * (_WARM + _COUNTED) * 1.05)
        parts.queue.enqueue_many(
            {"kind": "task", "body": {"prompt": "Read it.", "url": f"https://shop.test/{number}"}}
            for number in range(count)
        )
        await _run_until(parts, until)
        before, work = parts.calls(), await parts.redis_work()
        since = parts.clock.now
        await _run_until(parts, since + _COUNTED * duration)
        after, worked = parts.calls(), await parts.redis_work()
        recorded = {run: at for run, at in (await parts.ended()).items() if at > since}
        ends = {run.run_id: run.ended for run in parts.simulator.store.oldest_first()}
    delays = sorted(at - ends[run] for run, at in recorded.items())
    runs = len(delays)

    def a_run(*routes: str) -> float:
        return sum(after.get(route, 0) - before.get(route, 0) for route in routes) / runs

    return Seen(
        runs,
        a_run(*after),
        a_run("list_runs"),
        a_run("get_run"),
        sum(delays) / runs,
        delays[int(0.99 * (runs - 1))],
        (worked[0] - work[0]) / runs,
        1000 * (worked[1] - work[1]) / runs,
    )


async def _run_until(parts: Clocked, end: float) -> None:
    while parts.clock.now < end:
        await parts.step()
