"""CPU per call of the typed client, beside what else could make the call, down to bare aiohttp."""

import asyncio
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import httpx

from api_client import AsyncTransport, RawClient
from bench.client_load import BLOCKING, KEY, WAYS

CALLS = ("get", "post")
AT_ONCE = (1, 16, 64, 256)

#: What everything is compared with.
BOUND = "aiohttp"

#: Every way is measured once a round, one after the other: machines drift.
ROUNDS = 3

#: Runs to read.
_RUNS = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """What one way of making a call costs; medians of the rounds.

    Attributes:
        cpu_ms: CPU milliseconds a call.
        ratio: to the bound's of the same round.
    """

    cpu_ms: float
    ratio: float


Cell = tuple[str, str, int]


def measure() -> dict[Cell, Seen]:
    """Measure every way, by way, call and number of calls at once."""
    costs: dict[Cell, list[float]] = {}
    with _simulator() as base_url, ExitStack() as stack:
        ways = {
            name: stack.enter_context(_loader(name, base_url))
            for name in (*WAYS, BLOCKING)
            # No dependency of the project's: it is measured where somebody installed it.
            if name != "httpx-aiohttp" or find_spec("httpx_aiohttp")
        }
        for _ in range(ROUNDS):
            _make_runs(base_url)
            for call in CALLS:
                for at_once in AT_ONCE:
                    for name, ask in ways.items():
                        if name == BLOCKING and at_once > 1:
                            continue
                        if call == "post":
                            httpx.post(f"{base_url}/_reset")
                        costs.setdefault((name, call, at_once), []).append(ask(call, at_once))
    return {cell: _seen(seen, costs[BOUND, *cell[1:]]) for cell, seen in costs.items()}


def _seen(costs: list[float], bounds: list[float]) -> Seen:
    ratios = [cost / bound for cost, bound in zip(costs, bounds, strict=True)]
    return Seen(statistics.median(costs), statistics.median(ratios))


def _make_runs(base_url: str) -> None:
    """Leave the simulator with so many runs, and none before them."""
    httpx.post(f"{base_url}/_reset")

    async def submit() -> None:
        async with AsyncTransport() as transport:
            client = RawClient(base_url, KEY, transport)
            await asyncio.gather(
                *(client.submit("task", b'{"prompt":"Read it."}') for _ in range(_RUNS))
            )

    asyncio.run(submit())


@contextmanager
def _loader(name: str, base_url: str) -> Iterator[Callable[[str, int], float]]:
    """Start the process of one way; yields what measures in it."""
    command = [sys.executable, "-m", "bench.client_load", name, base_url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        asked, told = child.stdin, child.stdout

        def ask(call: str, at_once: int) -> float:
            print(call, at_once, file=asked, flush=True)
            return float(told.readline())

        try:
            yield ask
        finally:
            asked.close()


@contextmanager
def _simulator() -> Iterator[str]:
    """Run a simulator whose runs are over at once; yields its base URL."""
    command = [sys.executable, "-m", "simulator", "--port", "0", "--duration", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().split()[-1]
        finally:
            child.terminate()
