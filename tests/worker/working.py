"""One account of one worker process, built by hand: real Valkey, real HTTP, no Celery."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from api_client import AsyncTransport
from config.settings import Account, Settings
from runqueue import Job, JobState, RunQueue, TaskRunRequest
from runqueue.connection.client import async_client
from runqueue.records.account import AccountStats
from runqueue.records.claim_items import Taken
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall
from simulator.model.options import DEFAULT_API_KEY
from tests.simulator.simulating import Client, eventually, simulating
from worker.process.script_client import DirectCalls
from worker.runtime import AccountWorker
from worker.stages.consumer import Consumer

KEYS = Keys("default")
#: A task that never ends by itself.
ENDLESS = "https://shop.test/?sim_end=never"
#: A task that is over as soon as it is accepted.
INSTANT = "https://shop.test/?sim_seconds=0"


@dataclass
class Bench:
    """The account under test, the queue its jobs come from, and the API they go to."""

    account: AccountWorker
    queue: RunQueue
    client: redis.Redis
    api: Client

    def enqueue(
        self,
        n: int = 1,
        *,
        url: str = ENDLESS,
        codes: dict[str, str | None] | None = None,
        **options: Any,
    ) -> list[str]:
        """Hand in tasks, with error codes of their own if so, and return their job ids."""
        request = TaskRunRequest(
            prompt="Read it.", url=url, engine="skyvern-1.0", error_code_mapping=codes
        )
        return [self.queue.enqueue(request, **options).job_id for _ in range(n)]

    async def one_pass(self, stage: str, want: int = 100) -> Taken[Any]:
        """Claim once, and wait until what was claimed is recorded."""
        consumer = self.account.consumers[stage]
        taken = await consumer.take(want, 0)
        start(consumer, *taken.items)
        await eventually(lambda: consumer.busy == 0)
        return taken

    async def submitted(self, n: int = 1, *, url: str = ENDLESS, **options: Any) -> list[str]:
        """Hand in tasks and submit them; return the ids of the jobs that run now."""
        job_ids = self.enqueue(n, url=url, **options)
        await self.one_pass("submit")
        assert {self.job(job_id).state for job_id in job_ids} == {"running"}
        return job_ids

    async def polled(self) -> int:
        """Poll what is due; returns how many that were."""
        return len((await self.one_pass("poll")).items)

    def all_run(self, job_ids: list[str]) -> bool:
        """Tell whether each of these jobs is running."""
        return {self.job(job_id).state for job_id in job_ids} == {JobState.RUNNING}

    def job(self, job_id: str) -> Job:
        """Read a job."""
        return self.queue.get(job_id)

    def stats(self) -> AccountStats:
        """Read the account's figures."""
        return self.queue.stats()["default"]

    def set(self, job_id: str, field: str, value: object) -> None:
        """Write a field of a job's record by hand."""
        self.client.hset(f"{KEYS.prefix}job:{job_id}", field, str(value))

    def score(self, zset: str, member: str) -> float | None:
        """Read a member's score, microseconds."""
        return self.client.zscore(f"{KEYS.prefix}{zset}", member)

    def next_poll(self, job_id: str) -> float:
        """Seconds until a job's run is polled."""
        score = self.score("poll", job_id)
        assert score is not None
        return (score - self.now_us()) / 1e6

    def active_consumers(self, stage: str) -> int:
        """How many consumers of a stage are active."""
        count: Any = self.client.zcard(f"{KEYS.prefix}active_consumers:{stage}")
        return int(count)

    def now_us(self) -> int:
        """The server's clock."""
        seconds, rest = self.client.time()
        return seconds * 1_000_000 + rest

    async def submissions(self) -> int:
        """How many submissions arrived at the API, whatever became of them."""
        async with self.api.session.get(f"{self.api.url}/_ledger/summary") as answer:
            return int((await answer.json())["submissions"])

    async def calls(self, route: str) -> int:
        """How many calls of a route the API has seen."""
        async with self.api.session.get(f"{self.api.url}/_ledger/summary") as answer:
            return int((await answer.json())["requests_by_route"].get(route, 0))

    async def arrived(self, n: int = 1) -> None:
        """Wait until so many submissions have arrived at the API."""

        async def enough() -> bool:
            return await self.submissions() >= n

        await eventually(enough)

    async def runs(self) -> list[dict[str, Any]]:
        """The runs that really exist."""
        return await self.api.ledger()


def start(consumer: Consumer[Any], *items: Any) -> None:
    """Begin items as the consumer's own loop does."""
    for item in items:
        consumer._start(item)


#: Starts an account's worker as `working` does, on the Redis of a test.
Work = Callable[..., AbstractAsyncContextManager[Bench]]


@asynccontextmanager
async def working(
    client: redis.Redis,
    url: str,
    *,
    simulator: dict[str, Any] | None = None,
    clock: Callable[[], float] = time.time,
    key: str = DEFAULT_API_KEY,
    base_url: str = "",
    gave_json: bool = True,
    settings: dict[str, Any] | None = None,
    transport: dict[str, Any] | None = None,
    **limits: Any,
) -> AsyncIterator[Bench]:
    """Start an account's worker beside a simulator; no limits unless they are named.

    Args:
        client, url: the queue's Redis.
        simulator, clock: of the simulator.
        key, base_url: what the worker knows of the API, by default the simulator's.
        gave_json: whether the base URL is known to lead to an API.
        settings: those of the worker that are no limits.
        transport: options of the worker's transport.
        limits: the account's.
    """
    unlimited = {
        "max_submissions_per_second": 0,
        "max_burst_size": 100,
        "max_concurrent_runs": 0,
        "max_requests_per_second": 0,
    }
    # A test moves the clock, or has no server that is slow: no bound on the grace protects it.
    given = {"poll_min_seconds": 0.0, **(settings or {})}
    grace = {name: given.pop(name) for name in ("unconfirmed_grace_seconds",) if name in given}
    chosen = Settings(**given).model_copy(update=grace)
    async with (
        simulating(clock, **(simulator or {})) as api,
        AsyncTransport(**(transport or {})) as sends,
    ):
        own = Account(
            api_key=SecretStr(key), base_url=base_url or api.url, **{**unlimited, **limits}
        )
        connection = async_client(url)
        account = AccountWorker("default", own, chosen, DirectCalls(connection), sends)
        account.client.gave_json = gave_json
        await account.start()
        with RunQueue(url) as queue:
            try:
                yield Bench(account, queue, client, api)
            finally:
                await account.stop(0)
                await connection.aclose()


Send = Callable[[ScriptCall[Any]], Awaitable[Any]]


def wrap_send(
    monkeypatch: pytest.MonkeyPatch,
    account: AccountWorker,
    around: Callable[[Send, ScriptCall[Any]], Awaitable[Any]],
) -> None:
    """Put something around each script call that the account's consumers make."""
    real = account.send

    async def send(call: ScriptCall[Any]) -> Any:
        return await around(real, call)

    monkeypatch.setattr(account, "send", send)


def closed_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def ended(task: asyncio.Task[Any], seconds: float = 20) -> Any:
    """Wait for a task's result."""
    async with asyncio.timeout(seconds):
        return await task
