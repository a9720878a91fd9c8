"""One account's worker in simulated time: simulator and scripts go by a clock that we move.

The scripts, the consumers' passes, the calls over HTTP and the server are the real ones; what is
left out is Celery and the time that calls take. Every half second of that clock the tick's script
says which consumers have work, as in a worker.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import redis.asyncio
from pydantic import SecretStr

from api_client import AsyncTransport
from config.settings import Account, Settings
from lab.valkeys import start_valkey
from runqueue import RunQueue
from runqueue.connection.client import async_client
from runqueue.store import worker_calls
from runqueue.store.async_sending import run_async
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall
from simulator.app import Simulator
from simulator.model.options import DEFAULT_API_KEY, Options
from simulator.server import serving
from worker.process.script_client import DirectCalls
from worker.runtime import AccountWorker
from worker.stages.consumer import Consumer
from worker.stages.list_runs import ListConsumer
from worker.ticker import TICK_SECONDS

T = TypeVar("T")

#: Seconds of the simulated clock between two heartbeats.
_BEAT_SECONDS = 5.0
_START = 1_800_000_000.0


class Clock:
    """Unix seconds that only `Clocked.step` moves."""

    def __init__(self) -> None:
        self.now = _START

    def __call__(self) -> float:
        return self.now


class _Account(AccountWorker):
    """An account whose scripts go by a clock of ours."""

    def __init__(self, clock: Clock, connection: redis.asyncio.Redis, *arguments: Any) -> None:
        self._clock = clock
        self.connection = connection
        name, account, settings, transport = arguments
        super().__init__(name, account, settings, DirectCalls(connection), transport)

    async def send(self, call: ScriptCall[T]) -> T:
        """Run a script at the clock's time."""
        return await run_async(self.connection, call, now_us=int(self._clock.now * 1e6))


class Clocked:
    """A worker, a queue and a simulator under one clock."""

    def __init__(
        self, clock: Clock, account: _Account, simulator: Simulator, queue: RunQueue
    ) -> None:
        self.clock = clock
        self.account = account
        self.simulator = simulator
        self.queue = queue
        self._next_beat = 0.0
        self._is_poll_due = False
        listing = cast(ListConsumer, account.consumers["list"])
        listing.on_missing = self._poll_soon

    def _poll_soon(self) -> None:
        self._is_poll_due = True

    async def step(self) -> None:
        """Let half a second go by, and do what is due then."""
        self.clock.now += TICK_SECONDS
        if self.clock.now >= self._next_beat:
            self._next_beat = self.clock.now + _BEAT_SECONDS
            await self.account.lease.beat()
        name, process = self.account.name, self.account.lease.name
        tick = await self.account.send(
            worker_calls.tick(name, process, int(TICK_SECONDS * 1e6), 0, woken=False)
        )
        for stage in tick.messages:
            if stage != "sweep":
                await self._pass(self.account.consumers[stage])
        if self._is_poll_due:
            self._is_poll_due = False
            await self._pass(self.account.consumers["poll"])

    async def _pass(self, consumer: Consumer[Any]) -> None:
        """Claim and work as a consumer does, until nothing is due."""
        while True:
            taken = await consumer.take(consumer.capacity, 0)
            if not taken.items:
                break
            await asyncio.gather(*(self._handled(consumer, item) for item in taken.items))
            # A place is free once its answer is recorded.
            while consumer.busy:  # noqa: ASYNC110
                await asyncio.sleep(0)
        await self.account.send(
            worker_calls.remove_consumer(self.account.name, consumer.stage, self.account.lease.name)
        )

    async def _handled(self, consumer: Consumer[Any], item: Any) -> None:
        consumer.busy += 1
        await consumer.process(item)

    def calls(self) -> dict[str, int]:
        """How many calls of each route the simulator has seen."""
        summary = self.simulator.ledger.summary([], self.clock.now, 1.0)
        return dict(cast("dict[str, int]", summary["requests_by_route"]))

    async def redis_work(self) -> tuple[int, float]:
        """How many commands Redis has run, those within scripts included, and its CPU seconds."""
        connection = self.account.connection
        stats = await connection.info("commandstats")
        cpu = await connection.info("cpu")
        commands = sum(entry["calls"] for entry in stats.values())
        return commands, cpu["used_cpu_user"] + cpu["used_cpu_sys"]

    async def ended(self) -> dict[str, float]:
        """When each job was recorded as over, by its run; unix seconds."""
        found: dict[str, float] = {}
        keys = [key async for key in self.account.connection.scan_iter(f"{_prefix()}job:*")]
        for start in range(0, len(keys), 1000):
            pipe = self.account.connection.pipeline(transaction=False)
            for key in keys[start : start + 1000]:
                pipe.hmget(key, "run_id", "ended")
            for run_id, at in await pipe.execute():
                if run_id and at:
                    found[run_id.decode()] = int(at) / 1e6
        return found


def _prefix() -> str:
    return Keys("default").prefix


@asynccontextmanager
async def clocked(options: Options, settings: Settings, **limits: Any) -> AsyncIterator[Clocked]:
    """Start the parts.

    Args:
        options: the simulator's.
        settings: the worker's, limits apart.
        limits: the account's.
    """
    clock = Clock()
    with TemporaryDirectory() as folder, ExitStack() as stack:
        server = start_valkey(Path(folder))
        stack.callback(server.stop)
        url = f"{server.url}/0"
        simulator = Simulator(options, clock)
        async with serving(simulator) as base_url, AsyncTransport() as transport:
            connection = async_client(url)
            own = Account(api_key=SecretStr(DEFAULT_API_KEY), base_url=base_url, **limits)
            account = _Account(clock, connection, "default", own, settings, transport)
            await account.start()
            with RunQueue(url) as queue:
                try:
                    yield Clocked(clock, account, simulator, queue)
                finally:
                    await account.stop(0)
                    await connection.aclose()
