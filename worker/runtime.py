"""A worker process: its accounts at work, and the event loop on which everything async lives.

The loop has one thread, begun once. Celery's tasks run in pool threads and only wait here for their
consumer's end.
"""

import asyncio
import concurrent.futures
import importlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import redis.asyncio
import structlog
import uvloop
from redis.exceptions import RedisError

from api_client import AsyncTransport
from api_client.http.proxies import Proxies
from config.process_metrics import measure_lag
from config.settings import Account, Settings
from runqueue.connection.client import async_client, check_policy
from runqueue.connection.redis_errors import Cause, cause_of, damage_of
from runqueue.store.accounts import check_names
from runqueue.store.keys import ACCOUNTS
from webhooks.notices.notifier import Notifier
from worker.celery_intake import Intake
from worker.process.account import AccountRuntime, proxies_of
from worker.process.metrics import CONSUMERS, LOOP_LAG
from worker.process.script_client import DirectCalls
from worker.stages.callbacks import CallbackConsumer
from worker.stages.cancel import CancelConsumer
from worker.stages.consumer import Consumer, ConsumerEnd
from worker.stages.deliver import WebhookConsumer
from worker.stages.details import DetailsConsumer
from worker.stages.inbox import InboxConsumer
from worker.stages.list_others import OthersConsumer
from worker.stages.list_runs import ListConsumer, starter
from worker.stages.poll import PollConsumer
from worker.stages.reconcile import ReconcileConsumer
from worker.stages.schedules import SchedulesConsumer
from worker.stages.submit import SubmitConsumer
from worker.stages.sweep import sweep

if TYPE_CHECKING:
    from archive.archiver import Archive, Archiver

log = structlog.get_logger()

T = TypeVar("T")

#: Seconds without a turn of the loop after which it is taken for stuck.
STUCK_SECONDS = 30.0
#: Seconds between two checks whether a start that waits for Redis is still wanted.
ASK_EVERY = 0.2
#: Seconds after which archiving that could not begin is tried again.
ARCHIVE_RETRY = 30.0
#: Seconds in which what is left on the loop takes note of its being cut off.
CUT_SECONDS = 1.0
#: Seconds that recording and saying goodbye may take after the drain.
GOODBYE_SECONDS = 10.0


class AccountWorker(AccountRuntime):
    """An `AccountRuntime` and one consumer of each stage; arguments as there."""

    def __init__(
        self,
        name: str,
        account: Account,
        settings: Settings,
        scripts: DirectCalls,
        transport: AsyncTransport,
    ) -> None:
        super().__init__(name, account, settings, scripts, transport)
        capacity = settings.max_open_calls
        poll, listing = PollConsumer(self, capacity), ListConsumer(self, capacity)
        listing.on_missing = starter(poll)
        others = (
            SubmitConsumer,
            CancelConsumer,
            ReconcileConsumer,
            WebhookConsumer,
            CallbackConsumer,
            DetailsConsumer,
            InboxConsumer,
            OthersConsumer,
            SchedulesConsumer,
        )
        every = [poll, listing, *(made(self, capacity) for made in others)]
        #: By stage: those of `STAGES` in `runqueue/store/live_processes.py`.
        self.consumers: dict[str, Consumer[Any]] = {one.stage: one for one in every}
        self.notifier = Notifier(name, account, settings.public_url, self.send)
        self.archiver: Archiver | None = None

    async def stop(self, seconds: float) -> int:
        """Drain the consumers, record what they brought, end the lease; return the claims left.

        Args:
            seconds: how long calls on the wire may take to finish.
        """
        drains = (one.drain(seconds) for one in self.consumers.values())
        archiving = [self.archiver.stop()] if self.archiver else []
        await asyncio.gather(*drains, self.notifier.stop(), *archiving)
        return await self.goodbye()


class ServedAccounts:
    """The accounts of one worker process.

    Args:
        settings: the worker's settings.
        client: the queue's Redis.
        opened: makes what sends an account's calls, through the proxies that it is given.
    """

    def __init__(
        self,
        settings: Settings,
        client: redis.asyncio.Redis,
        opened: Callable[[Proxies], AsyncTransport] = lambda proxies: AsyncTransport(
            proxies=proxies
        ),
    ) -> None:
        self.settings = settings
        self.accounts: dict[str, AccountWorker] = {}
        #: Whether no stage and no sweep is begun any more.
        self.stopping = False
        self._redis = client
        self._scripts = DirectCalls(client)
        self._opened = opened
        #: What sends the accounts' calls, by the proxies that they go through.
        self._transports: dict[Proxies, AsyncTransport] = {}
        self._archive: Archive | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lag: asyncio.Task[None] | None = None
        self._turned = time.monotonic()
        self._started = False
        #: Accounts whose sweep runs: a slow one must not fill the pool with its successors.
        self._sweeping: set[str] = set()

    async def start(self) -> None:
        """Begin every account; waits for Redis as long as it takes.

        Raises:
            AmbiguousAccounts: an account's ids begin as those of one that Redis knows.
            EvictingRedis: Redis is set up to drop keys.
            OtherFormat: Redis holds what a version of another format wrote.
        """
        self._lag = asyncio.create_task(self._measure())
        while True:
            try:
                check_policy(await self._redis.info("memory"))
                known = await cast(Awaitable[set[bytes]], self._redis.smembers(ACCOUNTS))
                check_names(
                    [
                        *self.settings.all_accounts(),
                        *(name.decode(errors="replace") for name in known),
                    ]
                )
                await self._start_accounts()
                break
            # A Redis that is still loading its data, or takes no writes, answers INFO.
            except (RedisError, OSError) as error:
                if cause_of(error) is Cause.CALL:
                    raise
                log.warning("redis_unreachable", error=str(error))
            await asyncio.sleep(1)
        self._started = True
        if (url := self.settings.archive_url) is not None:
            task = asyncio.create_task(self._start_archivers(url.get_secret_value()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _start_accounts(self) -> None:
        for name, account in self.settings.all_accounts().items():
            if name not in self.accounts:
                proxies = proxies_of(account, self.settings)
                if proxies not in self._transports:
                    self._transports[proxies] = self._opened(proxies)
                sends = self._transports[proxies]
                worker = AccountWorker(name, account, self.settings, self._scripts, sends)
                await worker.start()
                worker.notifier.start()
                self.accounts[name] = worker

    async def _start_archivers(self, url: str) -> None:
        # In a thread, and only where there is an archive: SQLAlchemy takes a second.
        said = ""
        while self._archive is None:
            try:
                found = await asyncio.to_thread(importlib.import_module, "archive.archiver")
                if self.stopping:
                    return
                self._archive = found.Archive(url)
            except Exception as error:  # noqa: BLE001 - it must be seen
                # The words of others may hold the URL.
                why = str(error) if isinstance(error, ImportError) else type(error).__name__
                if why != said:
                    log.error("archive_not_started", why=why)  # noqa: TRY400 - nor may the trace
                said = why
                await asyncio.sleep(ARCHIVE_RETRY)
        for worker in self.accounts.values():
            worker.archiver = found.Archiver(worker.name, self.settings, self._archive, worker.send)
            worker.archiver.start()

    async def consume(self, stage: str, account: str, tick_us: int) -> tuple[ConsumerEnd, int]:
        """Run one consumer to its end.

        Returns:
            Why it ended, and the server's time at its last claim.
        """
        if account not in self.accounts or self.stopping:
            return ConsumerEnd.REFUSED, 0
        consumer = self.accounts[account].consumers[stage]
        return await consumer.run(tick_us), consumer.server_us

    async def sweep(self, account: str) -> dict[str, int]:
        """Run one pass of the sweep, unless one is under way."""
        if account not in self.accounts or self.stopping or account in self._sweeping:
            return {}
        self._sweeping.add(account)
        try:
            return await sweep(self.accounts[account])
        except Exception as error:
            if damage_of(error) is None:
                raise
            log.warning("sweep_refused", account=account, error=str(error))
            return {}
        finally:
            self._sweeping.discard(account)

    def begin(self, stage: str, account: str, tick_us: int) -> None:
        """Start a consumer or a sweep of this process without a message."""
        task = asyncio.get_running_loop().create_task(self._work(stage, account, tick_us))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, stage: str, account: str, tick_us: int) -> None:
        try:
            if stage == "sweep":
                await self.sweep(account)
            else:
                await self.accounts[account].consumers[stage].run(tick_us)
        except (RedisError, OSError) as error:  # the next tick begins it again
            log.warning("stage_failed", account=account, stage=stage, error=str(error))

    def wake(self, account: str, stage: str) -> None:
        """Tell a consumer that there may be work; one that has just ended begins again."""
        consumer = self.accounts[account].consumers[stage]
        if consumer.is_running:
            consumer.wake()
        else:
            self.begin(stage, account, 0)

    async def stop(self, grace: float) -> None:
        """Drain every account: finish and record what is on the wire, and end the leases.

        Args:
            grace: seconds that calls on the wire may take to finish.
        """
        accounts = list(self.accounts.values())
        ends = await asyncio.gather(*(one.stop(grace) for one in accounts), return_exceptions=True)
        for account, end in zip(accounts, ends, strict=True):
            if isinstance(end, BaseException):
                log.warning("account_not_drained", account=account.name, error=repr(end))
            else:
                log.info("account_stopped", account=account.name, claims_left=end)
        if self._lag is not None:
            self._lag.cancel()
        if self._archive is not None:
            await self._archive.close()
        for transport in self._transports.values():
            await transport.aclose()
        await self._redis.aclose()

    def is_alive(self) -> bool:
        """Say whether the loop turns; Redis may be away."""
        return time.monotonic() - self._turned < STUCK_SECONDS

    def why_not_ready(self) -> str:
        """Return why this process submits nothing, '' if it may; called from any thread."""
        if self.stopping:
            return "stopping"
        if not self._started:
            return "waiting for Redis"
        accounts = self.accounts.values()
        lost = [account for account in accounts if not account.lease.may_send(account.lease.name)]
        # What keeps one account alone from a lease no other process does better with.
        if len(lost) < len(accounts):
            return ""
        return f"no lease in {', '.join(account.name for account in lost)}"

    async def _measure(self) -> None:
        while True:
            self._turned = time.monotonic()
            await measure_lag(LOOP_LAG)
            for account in self.accounts.values():
                for stage, consumer in account.consumers.items():
                    CONSUMERS.labels(account.name, stage).set(consumer.busy)


class Runtime:
    """The event loop of one worker process, in a thread, and what other threads may ask of it.

    Args:
        settings: the worker's settings.
        url: the queue's Redis.
    """

    def __init__(self, settings: Settings, url: str) -> None:
        self.settings = settings
        self.url = url
        self.stopping = threading.Event()
        self.intake = Intake(url, self.stopping)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="runqueue-loop", daemon=True)
        self._redis = async_client(url, retries=3)
        self._served = ServedAccounts(settings, self._redis)
        self.is_alive = self._served.is_alive
        self.why_not_ready = self._served.why_not_ready

    @property
    def accounts(self) -> Mapping[str, AccountWorker]:
        """The accounts at work."""
        return self._served.accounts

    def start(self, still_wanted: Callable[[], None] = lambda: None) -> None:
        """Begin the loop and every account; waits for Redis as long as it takes.

        Args:
            still_wanted: called a few times a second; what it raises ends the waiting.

        Raises: as `ServedAccounts.start`.
        """
        self._thread.start()
        begun = self.call(self._served.start())
        while not begun.done():
            concurrent.futures.wait([begun], timeout=ASK_EVERY)
            still_wanted()
        begun.result()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Run a coroutine on the loop, from another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def consume(self, stage: str, account: str, tick_us: int) -> tuple[ConsumerEnd, int]:
        """Run one consumer to its end, as `ServedAccounts.consume`; called from a pool thread."""
        if self.stopping.is_set():
            return ConsumerEnd.REFUSED, 0
        try:
            return self.call(self._served.consume(stage, account, tick_us)).result()
        except concurrent.futures.CancelledError:
            return ConsumerEnd.DRAINING, 0

    def sweep(self, account: str) -> dict[str, int]:
        """Run one pass of the sweep; called from a pool thread."""
        if self.stopping.is_set():
            return {}
        try:
            return self.call(self._served.sweep(account)).result()
        except concurrent.futures.CancelledError:
            return {}

    def begin(self, stage: str, account: str, tick_us: int) -> None:
        """Start a consumer or a sweep of this process without a message, from another thread."""
        self._loop.call_soon_threadsafe(self._served.begin, stage, account, tick_us)

    def wake(self, account: str, stage: str) -> None:
        """Tell a consumer that there may be work; called from another thread."""
        self._loop.call_soon_threadsafe(self._served.wake, account, stage)

    def stop(self) -> None:
        """Drain: claim no more, finish and record what is on the wire, end leases and loop."""
        self.stopping.set()
        self._served.stopping = True
        grace = self.settings.drain_seconds
        try:
            self.call(self._served.stop(grace)).result(timeout=grace + GOODBYE_SECONDS)
        except Exception as error:  # noqa: BLE001 - the process ends anyway; leases settle the rest
            log.warning("drain_incomplete", error=repr(error))
        self.intake.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        # A consumer may still be at it (Redis is away, say), and a thread of the pool waits for it.
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left, timeout=CUT_SECONDS))
        # Those that were cut off before they came to it leave their connections open.
        with suppress(TimeoutError, RedisError):
            self._loop.run_until_complete(asyncio.wait_for(self._redis.aclose(), CUT_SECONDS))
        self._loop.close()
