"""The state of one gateway process, and its registration with the queue."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, cast

import structlog
from fastapi import Request
from prometheus_client import CollectorRegistry, generate_latest
from redis.exceptions import RedisError

from archive.opened import AsyncOpenArchive
from config.gateway import ApiToken
from config.settings import Account, Settings
from gateway.metrics import Metrics
from gateway.state.end_notifier import EndNotifier
from gateway.state.sampler import Feed
from gateway.state.sessions import Sessions
from gateway.state.together import Together
from gateway.tenants.in_flight import InFlight
from gateway.tenants.scope import TenantScopes
from gateway.webhooks.receiver import Receiver
from gateway.webhooks.webhook_writer import WebhookWriter
from runqueue.connection.client import async_client, check_policy
from runqueue.observe.collector import QueueCollector
from runqueue.producer.queue import RunQueue
from runqueue.records.quotas import Quota
from runqueue.records.run_figures import FigureRules
from runqueue.store.accounts import check_names
from runqueue.store.async_sending import check_format_async
from runqueue.store.keys import ACCOUNTS
from webhooks.notices.notifier import Notifier

log = structlog.get_logger()

#: Seconds between two tries to reach Redis at the start.
ANNOUNCE_EVERY = 1.0
#: Seconds in which Redis has to answer a PING.
PING_SECONDS = 2.0
#: Threads that check bodies: the objects of one may take some fifty megabytes.
CHECKERS: Final = 4
#: Bulk actions of one viewer.
WORKS = 2

T = TypeVar("T")


class GatewayState:
    """Everything of one gateway; made within its event loop.

    Args:
        settings: the gateway's settings.
        url: the queue's Redis.
        own: the token that was made where none are set up; None = there is none.
    """

    def __init__(self, settings: Settings, url: str, own: ApiToken | None = None) -> None:
        self.settings = settings
        self.local_token = own
        #: The tokens of all bearers.
        self.tokens = settings.api_tokens or ((own,) if own else ())
        self.url = url
        self.accounts: dict[str, Account] = settings.all_accounts()
        self.redis = async_client(url)
        #: The digest of the metrics token; set by the code that makes the gate.
        self.scrape_token: str | None = None
        self.metrics = Metrics(self.accounts)
        self.receiver = Receiver(
            {name: account.keys for name, account in self.accounts.items()},
            {name: WebhookWriter(name, self.redis) for name in self.accounts},
            self.metrics,
            FigureRules(settings.credits_per_step, settings.run_details),
        )
        #: Routes use the queue of their bearer: `queue_of`.
        archive = settings.archive_url and AsyncOpenArchive(settings.archive_url.get_secret_value())
        self.tenant_scopes = TenantScopes(url, self.tokens, archive or None)
        self._scraped = RunQueue(url)
        self.queue_metrics = CollectorRegistry()
        self.queue_metrics.register(QueueCollector(self._scraped))
        #: The page's samples and sessions.
        self.feed = Feed(self.tenant_scopes.whole)
        self.sessions = Sessions(self.tokens, self.redis)
        #: The bulk actions under way, whose they are, and the event that ends them early.
        self.works: dict[asyncio.Task[str], str] = {}
        self.end_notifier = EndNotifier(url)
        self.checkers = ThreadPoolExecutor(CHECKERS, thread_name_prefix="check")
        #: What each token has in flight, by its name.
        self.in_flight: defaultdict[str, InFlight] = defaultdict(InFlight)
        #: Monitoring has its own thread: users' actions take threads for seconds.
        self._scraper = ThreadPoolExecutor(1, thread_name_prefix="scrape")
        #: The queue's metrics as text.
        self.scrape = Together(self._scrape).result
        #: Whether Redis answers, soon.
        self.redis_answers = Together(self._ping).result
        self.notifiers = [
            Notifier(name, account, settings.public_url, self.tenant_scopes.whole.send)
            for name, account in self.accounts.items()
        ]
        #: Set when the process ends: all waiting requests are answered.
        self.closing = asyncio.Event()

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Run what takes milliseconds in a thread of those that check bodies."""
        return await asyncio.get_running_loop().run_in_executor(self.checkers, call)

    def quota_of(self, bearer: str) -> Quota | None:
        """Return how many jobs of a bearer may wait; None = any number."""
        settings = self.settings
        jobs, size = settings.gateway_max_waiting_jobs, settings.gateway_max_waiting_bytes
        return Quota(bearer, jobs, size) if jobs or size else None

    async def announce(self) -> None:
        """Check Redis' eviction policy and format, and register the accounts, once it answers.

        Raises:
            AmbiguousAccounts: an account's ids begin as those of one that Redis knows.
            EvictingRedis: it is set up to drop keys.
            OtherFormat: it holds what a version of another format wrote.
        """
        while True:
            try:
                check_policy(await self.redis.info("memory"))
                await check_format_async(self.redis)
                known = await cast(Awaitable[set[bytes]], self.redis.smembers(ACCOUNTS))
                check_names([*self.accounts, *(name.decode(errors="replace") for name in known)])
                await self.redis.sadd(ACCOUNTS, *self.accounts)
            except (RedisError, OSError) as error:
                log.warning("redis_unreachable", error=str(error))
                await asyncio.sleep(ANNOUNCE_EVERY)
            else:
                self.feed.start()
                for notifier in self.notifiers:
                    notifier.start()
                log.info("gateway_announced", accounts=sorted(self.accounts))
                return

    async def _ping(self) -> bool:
        try:
            async with asyncio.timeout(PING_SECONDS):
                return bool(await self.redis.ping())
        except (RedisError, OSError, TimeoutError):
            return False

    async def _scrape(self) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._scraper, generate_latest, self.queue_metrics)

    async def close(self) -> None:
        """Close every connection."""
        self.closing.set()
        await self.feed.close()
        await asyncio.gather(*(one.stop() for one in self.notifiers))
        if self.works:
            await asyncio.wait(self.works)
        self.checkers.shutdown(wait=False, cancel_futures=True)
        self._scraper.shutdown(wait=False, cancel_futures=True)
        await self.end_notifier.close()
        await self.tenant_scopes.close()
        self._scraped.close()
        await self.redis.aclose()


def state_of(request: Request) -> GatewayState:
    """Return what the process that serves a request holds."""
    return cast(GatewayState, request.app.state.gate)
